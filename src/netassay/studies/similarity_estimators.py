"""Similarity, from kept features: a whole map as one matrix product, or pair by pair, and again for each order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.inference import jackknife
from netassay.measures import Calibrated, Measure, rows
from netassay.measures.centring import unit
from netassay.measures.hsic import doubly_centred, u_centred
from netassay.seeds import generator
from netassay.studies.similarity_asked import Tap
from netassay.studies.similarity_pairs import Pairs, reordered

Floats = npt.NDArray[np.float64]
Features = Sequence[Tensor]

NOTHING = 1e-12
"""A square norm below this share of that of all samples is none: rounding of what the one sample left out had."""
GROUPS = 20
"""Random groups of samples, each of which the jackknife leaves out once where there is no closed form."""
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
    `grams` are Gram matrices about the mean, for the measures that need nothing else.
    """
    a, b = sides
    moved = [rows(order, len(a[0])) for order in drawn]
    if not measure.pairwise:
        return _by_pairs(measure, sides, moved, level, seed, per)
    centre = CENTRED.get(measure.name)
    if centre is None or grams is None:
        first, second = (_prepared(measure, side) for side in sides) if a is not b else 2 * (_prepared(measure, a),)
    else:
        first = torch.stack([unit(centre(k), k) for k in grams[0]])
        second = first if a is b else torch.stack([unit(centre(k), k) for k in grams[1]])
    value = (first.flatten(1) @ second.flatten(1).T).cpu().numpy()
    if per == 1 and measure.name in DELETED and len(first[0]) > 4:
        left = _without_each(first, second, DELETED[measure.name])
    else:
        left = _grouped(measure, a, b, value, seed, from_pairwise, per)
    return Estimate(value, _reordered(first, second, moved), *intervals(left, level))


def _by_pairs(
    measure: Measure, sides: tuple[Features, Features], moved: Sequence[Tensor], level: float, seed: int, per: int
) -> Estimate:
    """Estimate pair by pair: with few orders, and without an interval where there are many pairs."""
    few, notes = moved[:FEWER], []
    value, permuted = one_by_one(measure, *sides, few)
    if len(few) < len(moved):
        told = f"{len(few)} orders, being computed pair by pair; no p falls below 1/{len(few) + 1}"
        notes.append(f"{measure.name}: {told}")
    if value.size > PAIRS:
        notes.append(f"{measure.name}: no intervals, being computed pair by pair for {value.size} pairs")
    left = value[None] if value.size > PAIRS else _grouped(measure, *sides, value, seed, one_by_one, per)
    return Estimate(value, permuted, *intervals(left, level), notes=tuple(notes))


def intervals(estimates: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the jackknife's interval of each entry of a map, from `(1 + G, A, B)`."""
    both = np.apply_along_axis(lambda one: np.array(jackknife(one, level=level)[1:]), 0, estimates)
    return both[0], both[1]


def from_pairwise(measure: Measure, a: Features, b: Features, drawn: Sequence[Tensor]) -> tuple[Floats, Floats]:
    """Return a pairwise measure's map `(A, B)` and that of each order `(K, A, B)`, as matrix products."""
    first = _prepared(measure, a)
    second = first if a is b else _prepared(measure, b)
    return (first.flatten(1) @ second.flatten(1).T).cpu().numpy(), _reordered(first, second, drawn)


def one_by_one(measure: Measure, a: Features, b: Features, drawn: Sequence[Tensor]) -> tuple[Floats, Floats]:
    """Return any measure's map and that of each order, pair by pair; of a symmetric map one half."""
    first = [measure.prepare(x.double()) for x in a]
    second = first if a is b else [measure.prepare(x.double()) for x in b]
    half = a is b and measure.symmetric
    value = np.array(
        [
            [np.nan if half and j < i else measure.compare(x, y, None) for j, y in enumerate(second)]
            for i, x in enumerate(first)
        ]
    )
    value = np.where(np.tri(len(a), k=-1, dtype=bool), value.T, value) if half else value
    orders = [order.to(a[0].device) for order in drawn]
    moved = [[[measure.compare(x, y, order) for y in second] for x in first] for order in orders]
    return value, np.array(moved).reshape(len(orders), len(a), len(b))


def _prepared(measure: Measure, features: Features) -> Tensor:
    return torch.stack([measure.prepare(x.double()) for x in features])


def _reordered(first: Tensor, second: Tensor, drawn: Sequence[Tensor]) -> Floats:
    """Return the inner products under each order, `(K, A, B)`; in double precision, as ties are to be seen."""
    if not drawn:
        return np.zeros((0, len(first), len(second)))
    stacks = (first,) if first is second else (first, second)
    symmetric = all(torch.allclose(one, one.mT, rtol=0, atol=1e-12, equal_nan=True) for one in stacks)
    pairs = Pairs(first.shape[-1], symmetric=symmetric, device=first.device)
    packed = [pairs.packed(one) for one in stacks]
    return np.asarray(reordered(packed[0], packed[-1], drawn, pairs).cpu().numpy())


def _without_each(first: Tensor, second: Tensor, left: Callable[[Tensor, Tensor], Tensor]) -> Floats:
    """Return the map from all samples and from all but each, `(1 + n, A, B)`, from sums over rows of products."""
    a, b = first.transpose(0, 1), second.transpose(0, 1)  # (n, A, n)
    across = left(a @ b.mT, first.diagonal(0, 1, 2).T[:, :, None] * second.diagonal(0, 1, 2).T[:, None])
    own = [left(side.square().sum(2), side.diagonal(0, 0, 2).T.square()) for side in (a, b)]
    own = [torch.where(one > NOTHING, one, torch.nan) for one in own]
    return np.asarray((across / torch.sqrt(own[0][:, :, None] * own[1][:, None])).cpu().numpy())


def _debiased(rows: Tensor, own: Tensor) -> Tensor:
    """Return sums of products of U-centred matrices over all samples and all but each, from those over rows.

    U-centring again what is left takes off another 2 r_i / (n - 3).
    """
    n, total = len(rows), rows.sum(0, keepdim=True)
    return torch.cat([total, total - 2 * rows * (n - 2) / (n - 3)])


def _biased(rows: Tensor, own: Tensor) -> Tensor:
    """The same for doubly centred matrices, whose diagonal is not 0."""
    n, total = len(rows), rows.sum(0, keepdim=True)
    return torch.cat([total, total - 2 * rows + own - 2 * (rows - own) / (n - 1) + own / (n - 1) ** 2])


DELETED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cka": _debiased, "cka_biased": _biased}
"""Measures whose value without a sample has a closed form."""

CENTRED: dict[str, Callable[[Tensor], Tensor]] = {"cka": u_centred, "cka_biased": doubly_centred}
"""What makes the prepared matrix of these measures, up to its norm, of a Gram matrix."""

Mapped = Callable[[Measure, Features, Features, Sequence[Tensor]], tuple[Floats, Floats]]


def _grouped(measure: Measure, a: Features, b: Features, value: Floats, seed: int, mapped: Mapped, per: int) -> Floats:
    """Return the map from all samples and from all but each random group, `(1 + G, A, B)`."""
    n = len(a[0]) // per
    widest = max(x.shape[1] for x in (*a, *b))
    out = [value]
    for group in torch.randperm(n, generator=generator(seed)).tensor_split(min(GROUPS, n)):
        keep = torch.ones(n, dtype=torch.bool)
        keep[group] = False
        keep = keep.repeat_interleave(per)
        if int(keep.sum()) < measure.smallest(widest, widest):
            return np.stack([value])
        first = [x[keep.to(x.device)] for x in a]
        out.append(mapped(measure, first, first if a is b else [x[keep.to(x.device)] for x in b], ())[0])
    return np.stack(out)
