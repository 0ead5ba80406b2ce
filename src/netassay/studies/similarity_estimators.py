"""Similarity, from kept features: a whole map as one matrix product, or pair by pair, and again for each order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.inference import jackknife
from netassay.measures import Calibrated, Measure, rows, without_each
from netassay.measures.intervals import groups_left
from netassay.studies.similarity_asked import Tap
from netassay.studies.similarity_pairs import Pairs, reordered

Floats = npt.NDArray[np.float64]
Features = Sequence[Tensor]

FEWER = 39
"""Orders for a measure that is computed pair by pair: enough for p = 1/40."""
PAIRS = 400
"""Pairs of layers up to which such a measure gets intervals, which take it 20 times."""


@dataclass(frozen=True)
class Estimate:
    """A measure's map `(A, B)`, the same for each order of the second side's samples `(K, A, B)`, and its interval.

    `analytic` stands for the orders where the null is known without them.
    """

    value: Floats
    permuted: Floats
    low: Floats
    high: Floats
    analytic: Calibrated | None = None
    notes: tuple[str, ...] = ()


class Kept:
    """Features of all samples, as the layers made them, within a budget of bytes."""

    def __init__(self, taps: Sequence[Tap], memory: int) -> None:
        self.taps, self.memory, self.bytes = taps, memory, 0
        self.parts: list[list[Tensor]] = [[] for _ in taps]

    def take(self, tap: int, x: Tensor) -> None:
        """Keep a copy: what comes later may overwrite the layer's output."""
        self.parts[tap].append(x.clone())
        self.bytes += x.numel() * x.element_size()

    def expect(self, needed: int) -> None:
        """Refuse before the pass what will not fit."""
        if needed > self.memory:
            refuse(self.taps, needed, self.memory)

    def end(self, n: int) -> None:
        """Refuse what does not fit, where the length was not known."""
        if self.bytes > self.memory:
            refuse(self.taps, self.bytes, self.memory, "at least ")

    def features(self, tap: int) -> Tensor:
        """Return the features `(n, d)` of a tap."""
        if len(self.parts[tap]) > 1:
            self.parts[tap] = [torch.cat(self.parts[tap])]
        return self.parts[tap][0]


def refuse(taps: Sequence[Tap], needed: int, memory: int, least: str = "") -> None:
    """Say that features do not fit, and what would."""
    found = f"{least}{needed / 2**30:.3g} GiB for {len(taps)} layers, and memory={memory / 2**30:.3g} GiB"
    next = "take positions='pool', fewer layers or samples, or for measures=['cka'] mode='minibatch'"
    raise BadInput("keep the features of every sample", found, next)


def estimate(
    measure: Measure,
    sides: tuple[Features, Features],
    drawn: Sequence[Tensor],
    level: float,
    seed: int,
    grams: tuple[Features, Features] | None = None,
    per: int = 1,
) -> Estimate:
    """Estimate a measure's map from all features of each layer; `drawn` are orders of the samples, not of the rows.

    A sample has `per` rows, next to each other: what an interval leaves out are samples, too.
    `grams` are what the measure makes between samples, where that is known.
    """
    a, b = sides
    moved = [rows(order, len(a[0])) for order in drawn]
    least = np.array([[measure.smallest(x.shape[1], y.shape[1]) for y in b] for x in a])
    spread = grams or _once(measure.spread, a, b)
    if not measure.pairwise:
        return _by_pairs(measure, spread, least, moved, level, seed, per)
    first, second = _stacked(measure, spread)
    value, permuted = _products(first, second), _reordered(first, second, moved)
    left = without_each(measure, first, second) if per == 1 else None
    del first, second  # as large again as what groups are left out of
    left = _grouped(measure, spread, least, value, seed, per) if left is None else left
    return Estimate(value, permuted, *intervals(left, level))


def _by_pairs(
    measure: Measure,
    spread: tuple[Features, Features],
    least: npt.NDArray[np.int64],
    moved: Sequence[Tensor],
    level: float,
    seed: int,
    per: int,
) -> Estimate:
    """Estimate pair by pair: with few orders, and without an interval where there are many pairs."""
    few, notes = moved[:FEWER], []
    first, second = _once(measure.some, *spread)
    value = compared(measure, first, second)
    drawn = [order.to(spread[0][0].device) for order in few]
    permuted = np.array([[[measure.compare(x, y, order) for y in second] for x in first] for order in drawn])
    permuted = permuted.reshape(len(drawn), *value.shape)
    if len(few) < len(moved):
        told = f"{len(few)} orders, being computed pair by pair; no p falls below 1/{len(few) + 1}"
        notes.append(f"{measure.name}: {told}")
    if value.size > PAIRS:
        notes.append(f"{measure.name}: no intervals, being computed pair by pair for {value.size} pairs")
    left = value[None] if value.size > PAIRS else _grouped(measure, spread, least, value, seed, per)
    return Estimate(value, permuted, *intervals(left, level), notes=tuple(notes))


def intervals(estimates: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the jackknife's interval of each entry of a map, from `(1 + G, A, B)`."""
    both = np.apply_along_axis(lambda one: np.array(jackknife(one, level=level)[1:]), 0, estimates)
    return both[0], both[1]


def _mapped(measure: Measure, spread: tuple[Features, Features], keep: Tensor) -> Floats:
    """Return some samples' map `(A, B)`: of a pairwise measure as a matrix product, else pair by pair."""
    if measure.pairwise:
        return _products(*_stacked(measure, spread, keep))
    return compared(measure, *_once(lambda one: measure.some(one, keep), *spread))


def compared(measure: Measure, first: Sequence[Any], second: Sequence[Any]) -> Floats:
    """Return the map of what is prepared; where both sides are one, of a symmetric map one half is computed."""
    half = first is second and measure.symmetric
    value = np.array(
        [
            [np.nan if half and j < i else measure.compare(x, y, None) for j, y in enumerate(second)]
            for i, x in enumerate(first)
        ]
    )
    return np.where(np.tri(len(first), k=-1, dtype=bool), value.T, value) if half else value


def _once(make: Callable[[Tensor], Any], a: Features, b: Features) -> tuple[list[Any], list[Any]]:
    """Make something of each tensor of two sides, once of one that stands on both; sides that are one stay one."""
    made = {id(x): make(x) for x in {id(x): x for x in (*a, *b)}.values()}
    first = [made[id(x)] for x in a]
    return first, first if a is b else [made[id(x)] for x in b]


def _stacked(
    measure: Measure, spread: tuple[Features, Features], keep: Tensor | slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """Prepare both sides as `(A, n, n)` and `(B, n, n)`: each layer into its place, as large as all that is kept."""
    every = list({id(x): x for side in spread for x in side}.values())
    places = {id(x): i for i, x in enumerate(every)}
    made = measure.some(every[0], keep).expand(len(every), -1, -1).clone()
    for i, x in enumerate(every[1:], 1):
        made[i] = measure.some(x, keep)
    first, second = (_taken(made, [places[id(x)] for x in side]) for side in spread)
    return first, first if spread[0] is spread[1] else second


def _taken(made: Tensor, at: list[int]) -> Tensor:
    """Take layers, without a copy where they are neighbours."""
    neighbours = at == list(range(at[0], at[-1] + 1))
    return made[at[0] : at[-1] + 1] if neighbours else made[at]


def _products(first: Tensor, second: Tensor) -> Floats:
    return np.asarray((first.flatten(1) @ second.flatten(1).T).cpu().numpy())


def _reordered(first: Tensor, second: Tensor, drawn: Sequence[Tensor]) -> Floats:
    """Return the inner products under each order, `(K, A, B)`; in double precision, as ties are to be seen."""
    if not drawn:
        return np.zeros((0, len(first), len(second)))
    stacks = (first,) if first is second else (first, second)
    each = (one for stack in stacks for one in stack)
    symmetric = all(torch.allclose(one, one.mT, rtol=0, atol=1e-12, equal_nan=True) for one in each)
    pairs = Pairs(first.shape[-1], symmetric=symmetric, device=first.device)
    packed = [pairs.packed(one) for one in stacks]
    return np.asarray(reordered(packed[0], packed[-1], drawn, pairs).cpu().numpy())


def _grouped(
    measure: Measure,
    spread: tuple[Features, Features],
    least: npt.NDArray[np.int64],
    value: Floats,
    seed: int,
    per: int,
) -> Floats:
    """Return the map from all samples and from all but each random group, `(1 + G, A, B)`; NaN with too few left."""
    out = [value]
    for keep in groups_left(len(spread[0][0]), seed, per):
        out.append(np.where(int(keep.sum()) < least, np.nan, _mapped(measure, spread, keep)))
    return np.stack(out)
