"""Prescribe's tables: what each remedy did at the start and to the loss, ranked, with intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netassay.inference import seed_interval
from netassay.result import Claim, Table
from netassay.studies.change import ERROR
from netassay.studies.init_claims import FEWEST, enough
from netassay.studies.remedies import AS_IT_IS, Case, Remedy

TAIL = 10
"""The last tenth of the steps is the end."""
ENDS = ("", "_low", "_high")
Logs = tuple[float, float, float]
UNKNOWN: Logs = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Law:
    """Logarithms of chi and attenuation of a path, each with its band over batches; all calls of layers.

    A call is (layer, depth, path, gradient).
    """

    path: str
    chi: Logs
    attenuation: Logs
    layers: Sequence[tuple[str, int, str, float]]


@dataclass(frozen=True)
class Trial:
    """A remedy under one seed: the law at its start, and loss and share of hits before every step."""

    remedy: Remedy
    seed: int
    law: Law
    losses: Sequence[float]
    hits: Sequence[float]

    @property
    def diverged(self) -> bool:
        """Whether the loss was not finite at its end."""
        return not math.isfinite(self.losses[-1])

    @property
    def end(self) -> float:
        """Mean loss of the last tenth of the steps; NaN where it diverged."""
        return math.nan if self.diverged else float(np.mean(self.losses[-_tail(self.losses) :]))


def _tail(losses: Sequence[float]) -> int:
    return max(len(losses) // TAIL, 1)


def tables(trials: Sequence[Trial]) -> dict[str, Table]:
    """Name everything that was found."""
    curves = [
        {"remedy": one.remedy.name, "seed": one.seed, "step": step, "loss": loss}
        for one in trials
        for step, loss in enumerate(one.losses)
    ]
    return {
        "remedies": Table.of(_ranked(trials)),
        "before_after": Table.of([row for group in _grouped(trials).values() for row in _layers(group)]),
        "curves": Table.of(curves),
    }


def _grouped(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    groups: dict[str, list[Trial]] = {}
    for one in trials:
        groups.setdefault(one.remedy.name, []).append(one)
    return groups


def _ranked(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    groups = _grouped(trials)
    start = float(np.mean([one.losses[0] for one in groups[AS_IT_IS]]))
    rows = [_row(group, start) for group in groups.values()]
    rows.sort(key=lambda row: math.inf if math.isnan(row["loss_end"]) else row["loss_end"])
    best = rows[0]
    for rank, row in enumerate(rows, 1):
        apart = row["loss_fall_high"] < best["loss_fall_low"] or math.isnan(row["loss_end"])
        row |= {"rank": rank, "together": row is best or not apart}
    return rows


def _row(group: Sequence[Trial], start: float) -> dict[str, Any]:
    remedy = group[0].remedy
    row: dict[str, Any] = {"remedy": remedy.name, "what": remedy.what}
    row |= {"path": group[0].law.path}
    for name in ("chi", "attenuation"):
        logs: list[Logs] = [getattr(one.law, name) for one in group]
        spread = seed_interval([one[0] for one in logs]) if len(logs) > 1 else logs[0]
        row |= {f"{name}{end}": _exp(value) for end, value in zip(ENDS, spread, strict=True)}
    row |= {"loss_start": float(np.mean([one.losses[0] for one in group]))}
    row |= {"loss_end": float(np.mean([one.end for one in group]))}
    row |= _spread("loss_fall", [start - one.end for one in group])
    hits = [math.nan if one.diverged else float(np.mean(one.hits[-_tail(one.hits) :])) for one in group]
    counts = {"diverged": sum(one.diverged for one in group), "n": len(group)}
    return {**row, "accuracy": float(np.mean(hits)), **counts}


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{name}{end}": value for end, value in zip(ENDS, seed_interval(values), strict=True)}


def _exp(value: float) -> float:
    return math.inf if value > 709 else math.exp(value)


def _layers(group: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return a row for each layer: the gradient's geometric mean over seeds, its interval by the logarithms'."""
    seen = [{label: size for label, _, _, size in one.law.layers} for one in group]
    rows = []
    for label, depth, path, _ in group[0].law.layers:
        logs = [math.log(one[label]) if one.get(label, 0.0) > 0 else -math.inf for one in seen]
        middle, low, high = seed_interval(logs)
        sizes = {"gradient": _exp(middle), "low": _exp(low), "high": _exp(high)}
        rows.append({"remedy": group[0].remedy.name, "layer": label, "depth": depth, "path": path, **sizes})
    return rows


def claims(trials: Sequence[Trial]) -> tuple[Claim, ...]:
    """Put to the test, seed by seed, that each remedy ends at a lower loss than the network as it is."""
    groups = _grouped(trials)
    base = {one.seed: one.end for one in groups.pop(AS_IT_IS)}
    level = 1 - ERROR / max(len(groups), 1)
    return tuple(
        _claim(name, [base[one.seed] - one.end for one in group], level, len(groups)) for name, group in groups.items()
    )


def _statement(name: str) -> str:
    return f"With {name} the loss falls further than as it is"


def _claim(name: str, falls: Sequence[float], level: float, tests: int) -> Claim:
    few = len(falls) < FEWEST
    effect, low, high = seed_interval(falls, level)
    told: Mapping[str, Any] = {
        "statement": _statement(name),
        "effect": effect,
        "interval": (math.nan, math.nan) if few else (low, high),
        "n": len(falls),
        "counted": "seeds",
        "unit": "nats",
        "level": level,
        "tests": tests,
        "correction": "Bonferroni",
    }
    return enough(Claim.above(0, **told))


def notes(trials: Sequence[Trial], case: Case) -> tuple[str, ...]:
    """Say first what to do, then what to know."""
    rows = {row["remedy"]: row for row in _ranked(trials)}
    lacking = [f"fewer than {FEWEST} seeds: no claim can hold"] if rows[AS_IT_IS]["n"] < FEWEST else []
    ended = [(name, row["diverged"], row["n"]) for name, row in rows.items() if row["diverged"]]
    gone = [f"{name}: the loss was not finite in {some} of {n} seeds" for name, some, n in ended]
    same = [] if isinstance(case.model, str) else ["one network was given: as it is, seeds order the data alone"]
    return (advice(rows, claims(trials)), *lacking, *gone, *same)


def advice(rows: Mapping[str, Mapping[str, Any]], tested: Sequence[Claim]) -> str:
    """Return the recommendation in one sentence: the best remedy of which it is sure that it helps."""
    surely = {claim.statement for claim in tested if claim.decision == "holds"}
    helps = [row for name, row in rows.items() if _statement(name) in surely]
    now = rows[AS_IT_IS]
    if not helps:
        first = next(iter(rows))
        lowest = "leaving it so" if first == AS_IT_IS else f"{first}, not surely"
        return f"No remedy is told apart from the network as it is; the lowest loss came with {lowest}."
    best = helps[0]
    fall = f"the loss falls by {best['loss_fall']:.3g} nats, as it is by {now['loss_fall']:.3g}"
    law = f"chi is {best['chi']:.3g}, as it is {now['chi']:.3g}"
    others = [row["remedy"] for row in helps[1:] if row["loss_fall_high"] >= best["loss_fall_low"]]
    beside = f"; these help too, and are not told apart from it: {', '.join(others)}" if others else ""
    return f"Type `{best['what']}`: {fall}; {law}{beside}."
