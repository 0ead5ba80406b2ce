"""Change: what learning did to a network, judged by what the studies found at its start and at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from netassay import training
from netassay.data import Data
from netassay.errors import BadInput
from netassay.inference import binomial_interval, bootstrap
from netassay.objectives import Objective
from netassay.result import Claim, Result, Table
from netassay.studies.provenance import describe

START, END = "start", "end"
LEVEL = 1 - 0.05 / 4
"""Of each interval: 95 % for the four claims together (Bonferroni)."""


@dataclass(frozen=True)
class Pair:
    """What every study gets: the network before and after learning, and data it was not trained on."""

    start: nn.Module
    end: nn.Module
    data: Data
    layers: str | Sequence[str] | None
    objective: str | Objective


def compared(pair: Pair, results: Mapping[str, Result], how: str, seed: int) -> Result:
    """Judge what learning did, by what the studies found at its start and at its end."""
    scores, notes = _scores(pair)
    claims = [*_above_chance(scores, pair), *_change(results, seed)]
    corrected = tuple(replace(claim, tests=len(claims), correction="Bonferroni") for claim in claims)
    tables = {"scores": Table.of(scores)} if scores else {}
    made = {**describe(pair.end), "data": pair.data.spec, "seed": seed, "how": how}
    return Result("examine", tables, claims=corrected, notes=(*notes, CAUTION), provenance=made)


def _scores(pair: Pair) -> tuple[list[dict[str, Any]], list[str]]:
    rows = []
    try:
        for when, model in ((START, pair.start), (END, pair.end)):
            score = training.evaluate(model, pair.data)
            low, high = binomial_interval(score.correct, score.n)
            interval = {"low": float(low), "high": float(high)}
            rows.append({"when": when, "accuracy": score.accuracy, **interval, "loss": score.loss, "n": score.n})
    except BadInput as reason:
        return [], [f"no accuracy: {reason.found}"]
    return rows, []


def _above_chance(scores: Sequence[Mapping[str, Any]], pair: Pair) -> list[Claim]:
    if not scores or not pair.data.classes:
        return []
    end, chance = scores[-1], 1 / pair.data.classes
    low, high = binomial_interval(round(end["accuracy"] * end["n"]), end["n"], LEVEL)
    return [
        Claim.above(
            0.0,
            statement=f"The network is right more often than chance ({chance:.3g})",
            effect=end["accuracy"] - chance,
            interval=(float(low) - chance, float(high) - chance),
            n=end["n"],
            counted="samples",
            unit="accuracy above chance",
        )
    ]


CLAIMS: tuple[tuple[str, str, Callable[[Result], np.ndarray], Callable[[Any], Any]], ...] = (
    ("Learning made activations sparser", "share of zero outputs, end - start", lambda r: _zeros(r), float),
    ("Learning set the channels of a layer apart", "times their spread at the start", lambda r: _apart(r), np.exp2),
    ("Learning let less gradient through", "times the end's gradient at the start", lambda r: -_gradient(r), np.exp2),
)
"""What learning may have done to every layer: a statement, the unit of its effect, one number a layer, and how the mean
difference of these numbers is shown: as it is, or as the ratio that it is the logarithm of."""
FEWEST = 8
"""Layers below which nothing is decided: 7 agree by chance once in 64, more often than the level of an interval."""
CAUTION = (
    "Claims over layers speak of this network and this training; its layers are not independent, and with as few as "
    f"10 a 95 % bootstrap interval holds the truth about 90 times in 100. Fewer than {FEWEST} decide nothing."
)


def _change(results: Mapping[str, Result], seed: int) -> list[Claim]:
    """Test each claim on the differences between end and start, layer by layer."""
    claims = []
    for statement, unit, measure, show in CLAIMS:
        change = measure(results[f"channels/{END}"]) - measure(results[f"channels/{START}"])
        change = change[np.isfinite(change)]
        if len(change) >= 2:
            effect, *interval = (float(show(value)) for value in bootstrap(change, np.mean, level=LEVEL, seed=seed))
            fields = {"effect": effect, "interval": tuple(interval), "n": len(change), "counted": "layers"}
            claim = Claim.above(float(show(0.0)), statement=statement, unit=unit, **fields)
            claims.append(claim if len(change) >= FEWEST else replace(claim, decision="undecided"))
    return claims


def _zeros(result: Result) -> np.ndarray:
    table = result.tables["layers"].columns
    return np.where(table["activation"], table["y_zero_share"], np.nan)


def _apart(result: Result) -> np.ndarray:
    """Return log2 of the coefficient of variation of the channels' RMS output, layer by layer."""
    channels = result.tables["channels"].columns
    sizes = [channels["y_rms"][channels["layer"] == label] for label in result.tables["layers"].columns["layer"]]
    ratios = np.array([size.std() / size.mean() if size.mean() > 0 else np.nan for size in sizes])
    return np.log2(np.where(ratios > 0, ratios, np.nan))


def _gradient(result: Result) -> np.ndarray:
    norm = result.tables["layers"].columns["gy_norm"]
    return np.log2(np.where(norm > 0, norm, np.nan))
