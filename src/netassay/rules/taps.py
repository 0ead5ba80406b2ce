"""Taps: where each position of a kernel puts a layer's output gradient on its input, axis by axis. Integers only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, product
from typing import NamedTuple


class Tap(NamedTuple):
    """One position of a kernel along one axis, as the copy of the gradient that it makes on the input.

    Input positions fall into lattices that never meet; on `lattice`, of `length` positions, position `u` holds entry
    `first + (u - shift) * step` of the gradient, and nothing where there is none.
    """

    lattice: int
    length: int
    first: int
    step: int
    shift: int

    @property
    def copy(self) -> tuple[int, int, int, int]:
        """What the copy looks like, wherever it lies: equal copies are made once."""
        return self[1:]


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution: its kernel's taps, and how long the gradient is."""

    taps: tuple[Tap, ...]
    source: int


@lru_cache(maxsize=1024)
def forward_axis(kernel: int, stride: int, dilation: int, padding: int, size: int, out: int) -> Axis:
    """Return the axis of a convolution from `size` to `out` positions, `padding` zeros before the first.

    Tap j puts entry r at position `r * stride + j * dilation - padding`: a lattice for each remainder by `stride`.
    """
    taps = []
    for offset in (j * dilation - padding for j in range(kernel)):
        lattice = offset % stride
        taps.append(Tap(lattice, max(0, -(-(size - lattice) // stride)), 0, 1, offset // stride))
    return Axis(tuple(taps), out)


@lru_cache(maxsize=1024)
def transposed_axis(kernel: int, stride: int, dilation: int, padding: int, size: int, out: int) -> Axis:
    """Return the axis of a transposed convolution: position r gets entry `r * stride + j * dilation - padding`."""
    offsets = [j * dilation - padding for j in range(kernel)]
    return Axis(tuple(Tap(0, size, offset % stride, stride, -(offset // stride)) for offset in offsets), out)


Copies = tuple[tuple[int, int, int, int], ...]


class Run(NamedTuple):
    """A product of copies row by row: rows `start` to `stop` of one, `lag` rows further on of the other."""

    lag: int
    start: int
    stop: int


class Term(NamedTuple):
    """Where the inner product of two taps is found: in `run`, at copies `left` and `right` of `family`."""

    family: int
    run: Run
    left: int
    right: int


@dataclass(frozen=True, eq=False)  # one of a kind, and long: not compared, but found by what it is
class Plan:
    """How the inner products of all taps come to be.

    `families`: copies of one length over the axes but the first, each a tuple of copies. `runs`: products along the
    first axis, of the families that need them. `order`: taps, lattice by lattice, as flat positions in the kernel.
    `ends`: for the tap at each place of `order`, the place after the last one that it meets. `terms`: row by row of
    the triangle of pairs that meet, where their product is found; None where the two do not overlap after all.
    """

    families: tuple[tuple[Copies, ...], ...]
    products: tuple[tuple[int, Run], ...]
    order: tuple[int, ...]
    ends: tuple[int, ...]
    terms: tuple[Term | None, ...]

    @property
    def own(self) -> list[int]:
        """Places in `terms` of each tap with itself."""
        return list(accumulate((end - a for a, end in enumerate(self.ends[:-1])), initial=0))


@lru_cache(maxsize=256)
def plan(axes: tuple[Axis, ...], lags: bool) -> Plan:
    """Plan the inner products of a kernel's taps; with `lags`, the first axis is not copied but slid along."""
    taps = list(product(*(axis.taps for axis in axes)))
    order = sorted(range(len(taps)), key=lambda k: ([tap.lattice for tap in taps[k]], k))
    copied = [tuple(tap.copy for tap in (one[1:] if lags else one)) for one in taps]
    families: dict[tuple[int, ...], list[Copies]] = {}
    for one in dict.fromkeys(copied):
        families.setdefault(_lengths(one), []).append(one)
    names = list(families)

    def term(k: int, other: int) -> Term | None:
        if any(a.lattice != b.lattice for a, b in zip(taps[k], taps[other], strict=True)):
            return None
        if lags and taps[k][0].shift < taps[other][0].shift:
            k, other = other, k
        lengths = _lengths(copied[k])
        run = _run(taps[k][0], taps[other][0], axes[0].source) if lags else Run(0, 0, 1)
        family = families[lengths]
        found = Term(names.index(lengths), run, family.index(copied[k]), family.index(copied[other]))
        return found if run.start < run.stop and all(lengths) else None

    rows = [_trimmed([term(k, other) for other in order[a:]]) for a, k in enumerate(order)]
    terms = tuple(one for row in rows for one in row)
    products = tuple(sorted({(one.family, one.run) for one in terms if one is not None}))
    ends = tuple(a + len(row) for a, row in enumerate(rows))
    return Plan(tuple(map(tuple, families.values())), products, tuple(order), ends, terms)


def _lengths(copies: Copies) -> tuple[int, ...]:
    return tuple(length for length, *_ in copies)


def _trimmed(row: list[Term | None]) -> list[Term | None]:
    """Cut a row of the triangle behind its last product; a tap's product with itself stays, were it nothing."""
    last = max((i for i, one in enumerate(row) if one is not None), default=0)
    return row[: last + 1]


def _run(first: Tap, second: Tap, source: int) -> Run:
    """Return which entries r of the first and r + lag of the second tap fall on the same positions of the input."""
    lag = first.shift - second.shift
    return Run(lag, max(0, -first.shift, -lag), min(source, first.length - first.shift, source - lag))
