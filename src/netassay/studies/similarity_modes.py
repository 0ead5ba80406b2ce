"""Similarity, by which estimator: three ways to debiased CKA, chosen by counted work and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netassay.errors import UnknownName
from netassay.studies.similarity_asked import Tap
from netassay.studies.similarity_sums import GROUPS

FULL, SPACE, BATCHES = "full Gram", "feature space", "minibatch"
MODES = ("auto", FULL, SPACE, BATCHES)
DOUBLE, BESIDE = 8, 8
"""Bytes of a number; matrices of n x n that making one layer takes for a while, beside those that are kept of all."""


@dataclass(frozen=True)
class Way:
    """An estimator, why it was taken, and whether the features are kept for it."""

    estimator: str
    why: str
    keeps: bool


@dataclass(frozen=True)
class Size:
    """What is to be compared: `n` samples (None: not known), features of each side and of every layer once."""

    n: int | None
    a: Sequence[Tap]
    b: Sequence[Tap]
    permutations: int

    @property
    def layers(self) -> Sequence[Tap]:
        """Every layer once."""
        return list(dict.fromkeys([*self.a, *self.b]))

    @property
    def features(self) -> int:
        """Bytes of all features."""
        return (self.n or 0) * sum(tap.d * tap.rows * tap.size for tap in self.layers)

    def full(self) -> tuple[int, int]:
        """Multiply-adds and bytes with a Gram matrix of all samples for each layer."""
        n = (self.n or 0) * self.a[0].rows
        work = n * n * sum(tap.d for tap in self.layers)
        work += (1 + self.permutations) * n * n // 2 * len(self.a) * len(self.b)
        widest = max(tap.d for tap in self.layers)
        return work, self.features + DOUBLE * n * (n * (3 * len(self.layers) + BESIDE) + 2 * widest)

    def space(self, keeps: bool) -> tuple[int, int]:
        """Multiply-adds and bytes with sums over samples in feature space; orders need the features themselves."""
        n = (self.n or 0) * self.a[0].rows
        wide, high = sum(tap.d for tap in self.a), sum(tap.d for tap in self.b)
        pairs = wide * high + sum(tap.d**2 for tap in self.layers)
        work = n * pairs + (self.permutations * n * wide * high if keeps else 0)
        return work, DOUBLE * ((GROUPS + 2) * pairs + keeps * n * (wide + high)) + keeps * self.features


def way(mode: str, size: Size, memory: int) -> Way:
    """Choose: of the exact ones that fit into memory the one with least work, else minibatch."""
    if mode not in MODES:
        raise UnknownName("mode", mode, MODES)
    keeps = size.space(True)[1] <= memory and bool(size.permutations) and size.n is not None
    counted = {FULL: size.full(), SPACE: size.space(keeps)}
    if mode != "auto":
        return Way(mode, "asked for", {FULL: True, SPACE: keeps, BATCHES: False}[mode])
    if size.n is None:
        return Way(BATCHES, "the data does not tell its length; a different estimator than that of all samples", False)
    told = {name: f"{name} takes {work:.2g} multiply-adds and {_bytes(used)}" for name, (work, used) in counted.items()}
    fits = {name: work for name, (work, used) in counted.items() if used <= memory}
    if not fits:
        why = f"{'; '.join(told.values())}; memory={_bytes(memory)}; a different estimator than that of all samples"
        return Way(BATCHES, why, False)
    best = min(fits, key=lambda name: fits[name])
    return Way(best, f"{told[best]}; {told[FULL if best == SPACE else SPACE]}", best == FULL or keeps)


def _bytes(count: int) -> str:
    return f"{count / 2**30:.2g} GiB"
