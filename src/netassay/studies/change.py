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
ERROR = 0.05
"""How often one interval or more misses; shared out over the claims that are made together (Bonferroni)."""


@dataclass(frozen=True)
class Pair:
    """What every study gets: the network before and after learning, and data; `held_out` unless it was trained on.

    `training` is what was seen of the training, where there was one; `second` trains another seed in the same way.
    """

    start: nn.Module
    end: nn.Module
    data: Data
    layers: str | Sequence[str] | None
    objective: str | Objective
    held_out: bool = True
    training: Result | None = None
    second: Callable[[], nn.Module] | None = None


def compared(pair: Pair, results: Mapping[str, Result], how: str, seed: int) -> Result:
    """Judge what learning did, by what the studies found at its start and at its end."""
    scores, notes = _scores(pair)
    changes = _changes(results)
    above = bool(scores) and pair.held_out
    tests = len(changes) + above
    level = 1 - ERROR / max(tests, 1)
    claims = [*([_above_chance(scores[-1], pair.data, level)] if above else []), *_tested(changes, level, seed)]
    corrected = tuple(replace(claim, level=level, tests=tests, correction="Bonferroni") for claim in claims)
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


def _above_chance(end: Mapping[str, Any], data: Data, level: float) -> Claim:
    """Test the accuracy against that of always naming the commonest class."""
    labels = np.concatenate([batch.y.flatten().cpu().numpy() for batch in data if batch.y is not None])
    share = float(np.unique(labels, return_counts=True)[1].max() / len(labels))
    low, high = binomial_interval(round(end["accuracy"] * end["n"]), end["n"], level)
    return Claim.above(
        share,
        statement=f"The network is right more often than by always naming the commonest class ({share:.3g})",
        effect=end["accuracy"],
        interval=(float(low), float(high)),
        n=end["n"],
        counted="samples",
        unit="accuracy",
    )


FEWEST = 8
"""Layers below which nothing is decided: 7 agree by chance once in 64, more often than the level of an interval."""
CAUTION = (
    "Claims over layers speak of this network and this training; its layers are not independent, and with as few as "
    f"10 a 95 % bootstrap interval holds the truth about 90 times in 100. Fewer than {FEWEST} decide nothing."
)


def _changes(results: Mapping[str, Result]) -> dict[str, np.ndarray]:
    """Return the differences between end and start, layer by layer, of each statement that two layers speak of."""
    changes = {}
    for statement, _, measure, _ in CLAIMS:
        change = measure(results[f"channels/{END}"]) - measure(results[f"channels/{START}"])
        change = change[np.isfinite(change)]
        if len(change) >= 2:
            changes[statement] = change
    return changes


def _tested(changes: Mapping[str, np.ndarray], level: float, seed: int) -> list[Claim]:
    """Test each statement by the mean of its differences."""
    claims = []
    for statement, unit, _, show in CLAIMS:
        if statement in changes:
            change = changes[statement]
            effect, *interval = (float(show(value)) for value in bootstrap(change, np.mean, level=level, seed=seed))
            few = len(change) < FEWEST
            counted = "layers, too few to decide" if few else "layers"
            fields = {"effect": effect, "interval": tuple(interval), "n": len(change), "counted": counted}
            claim = Claim.above(float(show(0.0)), statement=statement, unit=unit, **fields)
            claims.append(replace(claim, decision="undecided") if few else claim)
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
    """Return log2 of the gradient norm beside that at the last layer, which shrinks as the loss does."""
    norm = result.tables["layers"].columns["gy_norm"]
    norm = np.log2(np.where(norm > 0, norm, np.nan))
    return np.asarray(norm[:-1] - norm[-1])


CLAIMS: tuple[tuple[str, str, Callable[[Result], np.ndarray], Callable[[Any], Any]], ...] = (
    ("Learning made activations sparser", "share of zero outputs, end - start", _zeros, float),
    ("Learning set the channels of a layer apart", "times their spread at the start", _apart, np.exp2),
    ("Learning let more gradient through", "times the start's, per gradient at the end", _gradient, np.exp2),
)
"""What learning may have done to every layer: a statement, the unit of its effect, one number a layer, and how the mean
difference of these numbers is shown: as it is, or as the ratio that it is the logarithm of."""
