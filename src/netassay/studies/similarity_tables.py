"""Similarity, named: the maps as arrays with layers for axes, and the tables beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from netassay.measures import Calibrated, Measure, calibrate
from netassay.patterns import middles
from netassay.result import Array, Table
from netassay.studies.similarity_asked import Run, Tap
from netassay.studies.similarity_estimators import Estimate
from netassay.studies.similarity_look import Look, bonferroni

A, B = "layer of a", "layer of b"
Side = Sequence[Tap]


def labels(side: Side) -> list[str]:
    """Name rows or columns, in order of execution; by model too where there are several."""
    several = len({tap.run for tap in side}) > 1
    return [f"{tap.run.name}/{tap.call.label}" if several else tap.call.label for tap in side]


def named_axes(look: Look) -> dict[str, list[str]]:
    """Return both axes of a map and the names along them."""
    return {A: labels(look.a), B: labels(look.b)}


@dataclass(frozen=True, eq=False)
class Pair:
    """A pair of models, their layers, their part of a map, and how it is judged.

    `mirrored` where the pair turned round stands before it, whose map is the mirror image.
    """

    one: Run
    other: Run
    a: Side
    b: Side
    found: Estimate
    told: Calibrated
    mirrored: bool


def pairs(look: Look, name: str, told: Calibrated) -> list[Pair]:
    """Return each pair of models and its part of a measure's map, which as a whole is judged by `told`."""
    measure, found = look.ask.measures[name], look.found[name]
    same, seen, every = look.wanted.a == look.wanted.b, set(), []
    for one, other in product(*(dict.fromkeys(tap.run for tap in side) for side in (look.a, look.b))):
        a, b = [tap for tap in look.a if tap.run is one], [tap for tap in look.b if tap.run is other]
        mine, judgement = found, told
        if one is other or len(a) < len(look.a) or len(b) < len(look.b):
            rows, columns = (
                np.flatnonzero([tap.run is run for tap in side]) for side, run in ((look.a, one), (look.b, other))
            )
            mine = part(found, rows, columns, one is other)
            judgement = judged(measure, mine, look.ask.level)
        every.append(Pair(one, other, a, b, mine, judgement, same and (other, one) in seen))
        seen.add((one, other))
    return every


def arrays(name: str, found: Estimate, told: Calibrated, axes: Mapping[str, Sequence[str]]) -> dict[str, Array]:
    """Return a measure's map, and the maps that tell how much of it is chance."""
    null = found.permuted.mean(0) if len(found.permuted) else np.full(found.value.shape, np.nan)
    if found.analytic is not None:
        null = np.zeros(found.value.shape)
    maps = {"": found.value, "/calibrated": told.calibrated, "/p": told.p, "/null": null, "/threshold": told.threshold}
    maps |= {"/low": found.low, "/high": found.high}
    return {name + key: Array(values, **axes) for key, values in maps.items()}


def judged(measure: Measure, found: Estimate, level: float) -> Calibrated:
    """Judge a map by its orders, or by its law where that is known without them."""
    if found.analytic is not None:
        return found.analytic
    return calibrate(found.value, found.permuted, measure.direction, measure.best, 1 - level)


def part(found: Estimate, rows: np.ndarray, columns: np.ndarray, besides: bool) -> Estimate:
    """Return what belongs to a pair of models; `besides` leaves out each layer's match with itself."""
    pick = np.ix_(rows, columns)
    out = np.eye(len(rows), dtype=bool) if besides else np.zeros((len(rows), len(columns)), dtype=bool)
    value, permuted = (
        np.where(out, np.nan, one) for one in (found.value[pick], found.permuted[:, rows][:, :, columns])
    )
    analytic = found.analytic
    if analytic is not None:
        p = np.where(out, np.nan, analytic.p[pick])
        analytic = bonferroni(p, analytic.threshold[pick], analytic.calibrated[pick])
    return replace(found, value=value, permuted=permuted, low=found.low[pick], high=found.high[pick], analytic=analytic)


def positions(side: Side) -> np.ndarray:
    """Return the relative position of each layer within its model, as patterns have it; the layers of one together."""
    counts = Counter(tap.run for tap in side)
    return np.concatenate([middles(count) for count in counts.values()])


def layer_table(sides: Mapping[str, Side], n: int, told: Mapping[Tap, Mapping[str, Any]]) -> Table:
    """One row for each row and each column of the map."""
    rows = []
    for side, taps in sides.items():
        for tap, label, place in zip(taps, labels(taps), positions(taps).tolist(), strict=True):
            row: dict[str, Any] = {"side": side, "model": tap.run.name, "layer": label, "kind": tap.call.layer.kind}
            row |= {"depth": tap.call.place.depth, "position": place, "n": n * tap.rows, "d": tap.d}
            row |= {key: told[tap][key] for key in ("effective_rank", "first_share", "leverage", "dead")}
            rows.append(row | {"note": tap.how})
    return Table.of(rows)


def best_table(name: str, measure: Measure, every: Sequence[Pair]) -> list[dict[str, Any]]:
    """For each layer of each model, the most similar layer of each other model, in both directions."""
    rows: list[dict[str, Any]] = []
    for pair in sorted(every, key=lambda pair: pair.one is pair.other):  # a network with itself: last
        mine, told = pair.found, pair.told
        maps = {"score": mine.value, "calibrated": told.calibrated, "low": mine.low, "high": mine.high}
        rows += _matches(name, measure, "a", maps, told.p_row_max, (pair.a, pair.b))
        turned = {key: one.T for key, one in maps.items()}
        rows += _matches(name, measure, "b", turned, told.p_col_max, (pair.b, pair.a))
    return rows


def _matches(
    name: str, measure: Measure, of: str, maps: Mapping[str, np.ndarray], p: np.ndarray, sides: Any
) -> Iterator[dict[str, Any]]:
    (mine, theirs), values = sides, maps["score"]
    here, there = positions(mine), positions(theirs)
    order = np.argsort(-values if measure.direction == "similarity" else values, axis=1, kind="stable")  # NaN last
    for row, ranked in enumerate(order):
        known = [int(k) for k in ranked if np.isfinite(values[row, k])]
        if not known:
            continue
        k, second = known[0], known[1] if len(known) > 1 else None
        pair = ((mine[row], here[row]), (theirs[k], there[k]))
        (one, at), (other, to) = pair if of == "a" else pair[::-1]
        names = {"model_a": one.run.name, "layer_a": one.call.label, "model_b": other.run.name}
        told = {"of": of, **names, "layer_b": other.call.label, "measure": name}
        told |= {key: float(one[row, k]) for key, one in maps.items()} | {"p": float(p[row])}
        told["second"] = "" if second is None else theirs[second].call.label
        told["second_score"] = float("nan") if second is None else float(values[row, second])
        yield told | {"shift": float(to - at)}


def measure_table(look: Look) -> Table:
    """One row for each measure: what it declares, and how it was estimated."""
    widest = max(tap.d for tap in (*look.a, *look.b))
    rows = []
    for name, one in look.ask.measures.items():
        row = {"measure": name, "title": one.title, "direction": one.direction, "lowest": one.lowest}
        row |= {"highest": one.highest, "invariances": ", ".join(sorted(one.invariances)), "metric": one.metric}
        estimator, why = look.way_of(name)
        row |= {"smallest_n": one.smallest(widest, widest), "estimator": estimator, "why": why, "source": one.source}
        rows.append(row)
    return Table.of(rows)
