"""Similarity map: every layer of one network against every layer of another, and how much of it is chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from netassay.measures import Measure
from netassay.result import Result, Table
from netassay.studies.provenance import describe
from netassay.studies.similarity_asked import Asked, Tap, asked, twins
from netassay.studies.similarity_estimators import Estimate, Kept, from_pairwise, one_by_one, orders
from netassay.studies.similarity_gathering import Gathered, Policy, gather
from netassay.studies.similarity_standin import diagnose, named
from netassay.studies.similarity_tables import arrays, best_table, layer_table, measure_table


def similarity_map(
    a: Any,
    b: Any = None,
    data: Any = None,
    *,
    layers: str | Sequence[str] | None = None,
    measures: Sequence[str] = ("cka",),
    positions: str = "flatten",
    tokens: str = "mean",
    mode: str = "auto",
    permutations: int = 200,
    seed: int = 0,
    level: float = 0.95,
    memory: int = 2 << 30,
    data_b: Any = None,
    twin: bool = False,
    batch_size: int = 128,
) -> Result:
    """Map how similar every layer of `a` is to every layer of `b` on the same samples, in one pass over them.

    >>> import torch, netassay as na
    >>> r = similarity_map(na.build("mlp[8]"), na.build("mlp[8]", seed=1), torch.randn(50, 64))
    >>> r.array("cka").shape, r.array("cka").axes["layer of a"]
    ((3, 3), ('fc1', 'act1', 'head'))
    """
    wanted = asked(a, b, data, data_b, layers, batch_size)
    policy, chosen = Policy(positions, tokens), {name: named(name) for name in measures}
    looked = Look(wanted, policy, chosen, memory, permutations, seed)
    baseline = Look(twins(wanted, layers), policy, chosen, memory, 0, seed) if twin else None
    return _result(looked, baseline, level)


class Look:
    """One pass, and the estimates made of it."""

    def __init__(
        self, wanted: Asked, policy: Policy, measures: dict[str, Measure], memory: int, permutations: int, seed: int
    ) -> None:
        self.wanted, self.measures, self.memory = wanted, measures, memory
        self.permutations, self.seed = permutations, seed
        self.gathered: Gathered = gather(wanted, policy, self._sinks)
        self.n = self.gathered.seen[0].samples
        self.a = [tap for run in wanted.a for tap in self.gathered.taps if tap.run is run]
        self.b = [tap for run in wanted.b for tap in self.gathered.taps if tap.run is run]
        self.found = {name: self._estimate(measure) for name, measure in measures.items()}

    def _sinks(self, taps: list[Tap]) -> list[Kept]:
        self.kept = Kept(taps, self.memory)
        return [self.kept]

    def features(self, tap: Tap) -> Tensor:
        """Return the features of a tap."""
        return self.kept.features(self.gathered.taps.index(tap))

    def _estimate(self, measure: Measure) -> Estimate:
        for x in self.a:
            for y in self.b:
                measure.check(self.n, x.d, y.d)
        a = [self.features(tap) for tap in self.a]
        b = a if self.a == self.b else [self.features(tap) for tap in self.b]
        drawn = orders(len(a[0]), self.permutations, self.seed)
        value, permuted = (from_pairwise if measure.pairwise else one_by_one)(measure, a, b, drawn)
        nothing = np.full(value.shape, np.nan)
        return Estimate(value, permuted, nothing, nothing, "full Gram", "the features fit into memory")


def _result(looked: Look, baseline: Look | None, level: float) -> Result:
    a, b = looked.a, looked.b
    told = {tap: diagnose(looked.features(tap)) for tap in dict.fromkeys([*a, *b])}
    maps, best = {}, []
    for name, measure in looked.measures.items():
        found = looked.found[name]
        maps |= arrays(name, measure, found, a, b, level)
        best += best_table(name, measure, found, a, b, level)
        if baseline is not None:
            maps[f"{name}/untrained"] = arrays(name, measure, baseline.found[name], a, b, level)[name]
    tables = {
        "layers": layer_table({"a": a, "b": b}, looked.n, told),
        "best": Table.of(best),
        "patterns": Table.of([]),
        "measures": measure_table(looked.measures, looked.found, a + b),
    }
    notes = tuple(looked.gathered.notes) + tuple(looked.wanted.notes)
    return Result("similarity_map", tables, maps, notes=notes, provenance=describe(looked.wanted.a[0].model))
