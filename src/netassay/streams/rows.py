"""Rows: the device form of the streams, made once, filled by one custom op, read once at the end.

`make` allocates, `observe` fills on the tensor's own device, `read` is the only transfer and the only bridge to
the value forms. What a row holds and how it is filled is in `filling`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.errors import UnknownName
from netassay.streams.bins import read_bins
from netassay.streams.blocks import scratch
from netassay.streams.counts import Counts
from netassay.streams.cross import Cross
from netassay.streams.extremes import Extremes
from netassay.streams.filling import ADDED, ROWS, guess
from netassay.streams.magnitude import Magnitude
from netassay.streams.moments import Moments, centre
from netassay.streams.norms import Norms, canonical
from netassay.streams.spread import Spread
from netassay.streams.sums import gather
from netassay.streams.window import read_window

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Kind:
    """How one stream lives on a device: the sums it wants, the rows it is read from, and how."""

    wants: frozenset[str]
    rows: tuple[str, ...]
    read: Callable[[Arrays], Any]


@dataclass(frozen=True)
class Rows:
    """Preallocated rows of one layer, by name, and memory to work in, which layers may share."""

    streams: tuple[str, ...]
    tensors: dict[str, Tensor]
    memory: Tensor


def make(streams: Sequence[str], x: Tensor, other: Tensor | None = None, memory: Tensor | None = None) -> Rows:
    """Allocate rows for tensors like `x` `(N, C, P)`, on its device; `streams` are names from `KINDS`.

    `other` `(N, B, P)` is the second set of channels of "cross"; without it, `x` is crossed with itself. `memory` is
    what `scratch` made for this device, one for all rows of a study.
    """
    for name in streams:
        if name not in KINDS:
            raise UnknownName("stream", name, KINDS)
    tensors = {name: ROWS[name].make(x, other).to(x.device) for name in _names(streams)}
    return Rows(tuple(streams), tensors, scratch(x.device) if memory is None else memory)


def observe(rows: Rows, x: Tensor, keep: Tensor | None = None, other: Tensor | None = None) -> None:
    """Fold `x` `(N, C, P)` into its rows; where `keep` `(N, P)` is False the entry does not exist."""
    # The op is for compilers; its dispatch takes as long as a small layer's sums.
    fill = torch.ops.netassay.observe if torch.compiler.is_compiling() else _observe
    fill(x.detach(), keep, other, ",".join(rows.streams), [*rows.tensors.values(), rows.memory])


def read(rows: Rows) -> dict[str, Any]:
    """Bring every stream to its value form: one transfer a row, float64, mergeable."""
    arrays = {name: row.cpu().numpy().copy() for name, row in rows.tensors.items()}
    return {name: KINDS[name].read(arrays) for name in rows.streams}


def _observe(x: Tensor, keep: Tensor | None, other: Tensor | None, streams: str, rows: list[Tensor]) -> None:
    """Fold one tensor into its rows; opaque to compilers, which see only that `rows` (the last: memory) change."""
    names, wants = _asked(streams)
    named = dict(zip(names, rows[:-1], strict=True))
    sums = gather(x, keep, wants, guess(x, named), rows[-1])
    sums.other = other
    for name, row in named.items():
        ROWS[name].fill(row, sums)


# Registered by hand: the wrappers of `torch.library.custom_op` cost as much as a small layer's sums.
_library = torch.library.Library("netassay", "DEF")  # type: ignore[no-untyped-call]
_library.define("observe(Tensor x, Tensor? keep, Tensor? other, str streams, Tensor(a!)[] rows) -> ()")  # type: ignore[no-untyped-call]
_library.impl("observe", _observe, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("netassay::observe", lambda x, keep, other, streams, rows: None, lib=_library)


@lru_cache
def _asked(streams: str) -> tuple[list[str], frozenset[str]]:
    """Return the rows of some streams and the sums they want."""
    chosen = streams.split(",")
    return _names(chosen), frozenset[str]().union(*(KINDS[name].wants for name in chosen))


def _names(streams: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(row for name in streams for row in KINDS[name].rows))


def _added(arrays: Arrays, *names: str) -> list[np.ndarray]:
    places = list(ADDED)
    return [arrays["sums"][places.index(name)] for name in names]


def _moments(arrays: Arrays) -> Moments:
    n, *powers = _added(arrays, "count", "first", "second", "third", "fourth")
    return Moments(n, *centre(0 * n, n, *powers)).merge(Moments(*arrays["pooled"]))


def _counts(arrays: Arrays) -> Counts:
    names = ("entries", "nonzero", "signs", "faint", "nan", "inf", "samples", "active")
    n, nonzero, signs, faint, *rest = (values.astype(np.int64) for values in _added(arrays, *names))
    nan, inf, samples, active = rest
    zero = n - nonzero
    return Counts(n + nan + inf, zero, faint - zero, (nonzero + signs) // 2, nan, inf, samples, active)


def _norms(arrays: Arrays) -> Norms:
    """Read squares from the plain sums, or from the scaled ones of double input; the other is empty."""
    entries, square, second = _added(arrays, "entries", "square", "second")
    square = square + second
    n, scaled, exponent = arrays["scaled"]
    plain = canonical(entries * (n == 0), square, np.zeros(len(square), dtype=np.int64))
    return plain.merge(canonical(n, scaled, exponent.astype(np.int64)))


def _spread(arrays: Arrays) -> Spread:
    """Centre each position; the sums are about the shift of the first batch."""
    n, shift, second, place = arrays["place"][:1, 0], *arrays["place"][:, 1:3].T, arrays["place"][:, 3:]
    samples = n + (n == 0)
    mean = place / samples
    m2 = second - (place * mean).sum(1)
    # Not below 0, where it is nothing but rounding; NaN stays.
    return Spread(n, mean + shift[:, None], np.where(m2 < 0, 0.0, m2))


def _cross(arrays: Arrays) -> Cross:
    row = arrays["cross"]
    return Cross(row[:1, 0], row[1:, 0], row[0, 1:], row[1:, 1:])


def _kind(wants: str, rows: str, read: Callable[[Arrays], Any]) -> Kind:
    return Kind(frozenset(wants.split()), tuple(rows.split()), read)


KINDS: dict[str, Kind] = {
    "moments": _kind("first second third fourth", "sums pooled", _moments),
    "extremes": _kind("low high", "ends", lambda arrays: Extremes(*arrays["ends"])),
    "counts": _kind("signs nonzero faint nan inf", "sums", _counts),
    "norms": _kind("norm", "sums scaled", _norms),
    "magnitude": _kind("size", "sums", lambda arrays: Magnitude(*_added(arrays, "entries", "size"))),
    "spread": _kind("second place", "place", _spread),
    "quantiles": _kind("bins", "bins", lambda arrays: read_bins(arrays["bins"])),
    "sample_norms": _kind("norm", "window", lambda arrays: read_window(arrays["window"])),
    "cross": _kind("", "cross", _cross),
}
