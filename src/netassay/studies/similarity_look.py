"""Similarity, looked at: one pass for all measures, and what each estimator makes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.inference.jackknife import FEWEST
from netassay.measures import (
    Calibrated,
    Measure,
    check_chance,
    diagnose,
    null_moments,
    null_quantile,
    null_skewness,
    null_tail,
    orders,
    rows,
)
from netassay.measures.centring import centred
from netassay.measures.cka import linear
from netassay.studies.similarity_asked import Asked, Tap
from netassay.studies.similarity_batches import COLUMNS, LEAST, SAFE, Batched, gram
from netassay.studies.similarity_estimators import Estimate, Floats, Kept, estimate, intervals
from netassay.studies.similarity_gathering import Gathered, Policy, Sink, gather
from netassay.studies.similarity_modes import BATCHES, FULL, SPACE, Size, Way, way
from netassay.studies.similarity_sums import Sums
from netassay.studies.similarity_sums import reordered as reordered_sums


@dataclass(frozen=True)
class Ask:
    """How every map of a study is made."""

    policy: Policy
    measures: Mapping[str, Measure]
    mode: str
    permutations: int
    seed: int
    level: float
    memory: int

    def __post_init__(self) -> None:
        """Refuse, before anything runs, what no map can be made with."""
        counts = {"permutations": self.permutations, "seed": self.seed, "memory": self.memory}
        check_chance("similarity_map", self.level, **counts)
        if not self.measures:
            raise BadInput("similarity_map", "measures=[]", "name a measure: measures='cka'")


class Look:
    """One pass over the data, and every measure's map of it."""

    def __init__(self, wanted: Asked, ask: Ask, task: str = "similarity") -> None:
        self.wanted, self.ask = wanted, ask
        self.kept: Kept | None = None
        self.sums: Sums | None = None
        self.batched: Batched | None = None
        self.gathered: Gathered = gather(wanted, ask.policy, self._sinks, task)
        self.n = self.gathered.seen[0].samples
        self.features: dict[Tap, Tensor] = {}
        self.grams: dict[Tap, Tensor] = {}
        if self.kept is not None:
            self.features = {tap: self.kept.features(i) for i, tap in enumerate(self.gathered.taps)}
        for measure in ask.measures.values():
            for x, y in {(x.d, y.d) for x in self.a for y in self.b}:
                measure.check(self.n * self.a[0].rows, x, y)
        drawn = orders(self.n, ask.permutations, ask.seed)
        self.found = {name: self._estimate(measure, drawn) for name, measure in ask.measures.items()}
        if self.batched is not None and self.kept is None:
            self.n = self.batched.samples

    def _sinks(self, taps: list[Tap]) -> list[Sink]:
        self.a, self.b = ([tap for run in runs for tap in taps if tap.run is run] for runs in self.wanted.sides)
        _of_one_length(self.a, self.b)
        _outputs(self.ask.measures.values(), self.a, self.b)
        size = Size(self.wanted.data[0].n, self.a, self.b, self.ask.permutations)
        self.way: Way = way(self.ask.mode, size, self.ask.memory)
        measures = self.ask.measures.values()
        others, ways = [one for one in measures if not streams(one)], any(streams(one) for one in measures)
        sinks: list[Sink] = []
        if others or (ways and self.way.keeps):
            sinks.append(kept := Kept(taps, self.ask.memory))
            by_samples = any(one.between is not None for one in others) or (ways and self.way.estimator == FULL)
            kept.expect(size.full()[1] if by_samples and size.n else size.features)
            self.kept = kept
        a, b = ([taps.index(tap) for tap in side] for side in (self.a, self.b))
        if ways and self.way.estimator == SPACE:
            sinks.append(sums := Sums(taps, a, b))
            self.sums = sums
        if ways and self.way.estimator == BATCHES:
            sinks.append(batched := Batched(taps, a, b, self.ask.permutations, self.ask.seed))
            self.batched = batched
        return sinks

    def way_of(self, name: str) -> tuple[str, str]:
        """Return the estimator of a measure, and why."""
        if streams(self.ask.measures[name]):
            return self.way.estimator, self.way.why
        return FULL, "the only one of this measure; the features of all samples are kept"

    def diagnosed(self) -> dict[Tap, Mapping[str, Any]]:
        """Tell of every layer what its features are like."""
        sink = self.sums or self.batched
        taps = dict.fromkeys([*self.a, *self.b])
        if self.features or sink is None:
            return {tap: diagnose(self.features[tap], self.grams.get(tap)) for tap in taps}
        return {tap: sink.told(self.gathered.taps.index(tap)) for tap in taps}

    def gram(self, tap: Tap) -> Tensor:
        """Return the Gram matrix of a tap's features about their mean, float64, made once."""
        if tap not in self.grams:
            x = self.features[tap]
            mean = x.mean(0, dtype=torch.float64)
            memory = mean.new_empty(len(x) * COLUMNS)
            made = gram(x, mean, memory)
            safe = SAFE < float(made.diagonal().max()) < 1 / SAFE
            self.grams[tap] = made if safe else gram(centred(x), None, memory)
        return self.grams[tap]

    def _sides(self, of: Callable[[Tap], Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        a = [of(tap) for tap in self.a]
        return a, a if self.a == self.b else [of(tap) for tap in self.b]

    def _estimate(self, measure: Measure, drawn: Sequence[Tensor]) -> Estimate:
        if streams(measure) and self.sums is not None:
            return self._in_space(self.sums, drawn)
        if streams(measure) and self.batched is not None:
            return self._by_batches(self.batched)
        # With several rows a sample, groups are left out of the matrix: it is then taken about the median.
        grams = self._sides(self.gram) if measure.between is linear and self.a[0].rows == 1 else None
        features = self._sides(self.features.__getitem__)
        return estimate(measure, features, drawn, self.ask.level, self.ask.seed, grams, self.a[0].rows)

    def _by_batches(self, batched: Batched) -> Estimate:
        if not batched.batches:
            raise BadInput("cka by minibatch", f"batches of fewer than {LEAST} samples", "batch_size=128")
        every = _numbers(batched.estimates())
        low, high = intervals(every, self.ask.level)
        told = f"cka: batches of at least {LEAST} samples; {batched.left_out} samples of smaller ones are left out"
        permuted = batched.reordered().cpu().numpy()
        few = f"cka: no intervals, which take {FEWEST} batches or more; there are {batched.batches}"
        notes = (*[told] * (batched.left_out > 0), *[few] * (batched.batches < FEWEST))
        return Estimate(every[0], permuted, low, high, notes=notes)

    def _in_space(self, sums: Sums, drawn: Sequence[Tensor]) -> Estimate:
        every = _numbers(sums.estimates())
        low, high = intervals(every, self.ask.level)
        none = np.zeros((0, *every[0].shape))
        if not self.ask.permutations:
            return Estimate(every[0], none, low, high)
        if self.features:
            moved = [rows(order, self.n * self.a[0].rows) for order in drawn]
            sides = self._sides(self.features.__getitem__)
            return Estimate(every[0], _numbers(reordered_sums(*sides, moved)), low, high)
        if self.a[0].rows > 1:
            told = "cka: no chance, since no features are kept and the positions of a sample depend on each other"
            return Estimate(every[0], none, low, high, notes=(told,))
        told = "cka: chance by its exact mean and variance over all orders and a gamma law, since no features are kept"
        return Estimate(every[0], none, low, high, self._analytic(every[0], sums), (told,))

    def _analytic(self, value: Floats, sums: Sums) -> Calibrated:
        """Judge by the law over all orders; maxima over layers by Bonferroni."""
        mean, deviation = null_moments(self.n)
        spectra = {tap: sums.spectrum(self.gathered.taps.index(tap)) for tap in dict.fromkeys([*self.a, *self.b])}
        p, threshold = np.zeros(value.shape), np.zeros(value.shape)
        for i, x in enumerate(self.a):
            for j, y in enumerate(self.b):
                skewness = null_skewness(spectra[x], spectra[y])
                p[i, j] = null_tail(value[i, j], mean, deviation, skewness)
                threshold[i, j] = null_quantile(1 - self.ask.level, mean, deviation, skewness)
        above = np.maximum((value - threshold) / (1 - threshold), 0)
        return bonferroni(p, threshold, above)


def streams(measure: Measure) -> bool:
    """Tell whether there are three estimators of a measure: of debiased CKA of a linear kernel."""
    return measure.between is linear and not measure.biased


def bonferroni(p: Floats, threshold: Floats, above: Floats) -> Calibrated:
    """Judge maxima over rows, columns and the whole map by the smallest p, times how many there are."""
    known = np.isfinite(p)
    least = np.where(known, p, np.inf)

    def smallest(axis: int | tuple[int, ...]) -> Floats:
        count = known.sum(axis)
        return np.where(count > 0, np.minimum(1, least.min(axis, initial=1) * count), np.nan)

    return Calibrated(p, threshold, above, smallest(1), smallest(0), float(smallest((0, 1))))


def _outputs(measures: Collection[Measure], a: Sequence[Tap], b: Sequence[Tap]) -> None:
    """Refuse measures of outputs for layers that are not outputs of the same classes."""
    outputs = [one.name for one in measures if one.on == "outputs"]
    odd = next((tap for tap in (*a, *b) if tap.d != a[-1].d), None)
    if outputs and odd is not None:
        found = f"{a[-1].d} features of {a[-1].call.label}, {odd.d} of {odd.call.label}; it compares outputs"
        raise BadInput(f"{outputs[0]} of layers", found, f"name the output: layers={a[-1].call.layer.name!r}")


def _of_one_length(a: Sequence[Tap], b: Sequence[Tap]) -> None:
    """Refuse sides without layers, and layers whose rows are not the same."""
    for side in (a, b):
        if not side:
            raise BadInput("similarity_map", "no layer that was asked for ran", "see `netassay summary` for names")
    odd = next((tap for tap in (*a, *b) if tap.rows != a[0].rows), None)
    if odd is not None:
        found = f"{a[0].rows} positions in {a[0].call.label}, {odd.rows} in {odd.call.label}"
        raise BadInput("positions='samples'", found, "choose layers of one resolution, or positions='pool'")


def _numbers(tensor: Tensor) -> Floats:
    return np.asarray(tensor.cpu().to(torch.float64).numpy())
