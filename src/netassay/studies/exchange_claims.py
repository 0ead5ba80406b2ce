"""Exchange claims: whether the channels of a layer differ in what they absorb and emit, and which more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from netassay.inference import jackknife
from netassay.result import Claim

if TYPE_CHECKING:
    from netassay.studies.exchange_streams import Exchange

Floats = npt.NDArray[np.float64]

ERROR = 0.05
"""How often one interval or more misses; shared out over the claims that are made together (Bonferroni)."""
FEWEST = 30
"""Samples below which nothing is decided: intervals are those of a normal distribution."""
STATEMENTS = {
    "absorption": "Channels of one layer differ in how much gradient they absorb",
    "emission": "Channels of one layer differ in how much gradient they emit",
    "both": "Emission varies more between channels than absorption",
}
UNITS = {
    "absorption": "coefficient of variation between channels",
    "emission": "coefficient of variation between channels",
    "both": "times the variation of absorption",
}


def variance(sums: Floats, samples: Floats) -> Floats:
    """Return the variance between channels that is not noise, of all folds, and without each of them: `(1 + F,)`.

    `sums` `(F, C)` are sums over the samples of each fold of what a channel has beside its sample's mean channel,
    `samples` `(F,)` their numbers. The variance of the channels' means, which is about 1, less that of the error of a
    mean, as the folds differ: 0 on average where channels are alike, since errors add up to 0 as the means add up to C.
    NaN with fewer than three folds.
    """
    F = len(samples)
    if F < 3:
        return np.full(1 + F, np.nan)
    n = np.concatenate([[samples.sum()], samples.sum() - samples])[:, None]
    mean = np.concatenate([sums.sum(0)[None], sums.sum(0) - sums]) / n
    # Sums over folds of (s - n m)^2 = s^2 - 2 n s m + n^2 m^2, less what is left out.
    parts = (sums**2, samples[:, None] * sums, samples[:, None] ** 2)
    square, cross, size = (np.concatenate([one.sum(0)[None], one.sum(0) - one]) for one in parts)
    folds = np.concatenate([[F], np.full(F, F - 1)])[:, None]
    error = (square - 2 * mean * cross + mean**2 * size) / n**2 * folds / (folds - 1)
    return np.asarray(mean.var(1) - error.mean(1))


def variation(sums: Floats, samples: Floats) -> float:
    """Return the coefficient of variation between channels that is not noise: the signed root of the variance."""
    there = samples > 0
    return float(_root(variance(sums[there], samples[there])[0]))


def claims(layers: Sequence[Exchange]) -> tuple[Claim, ...]:
    """Test the three statements, over all layers together."""
    several = [layer for layer in layers if _several(layer)]
    tested = [_tested(name, several, len(STATEMENTS)) for name in STATEMENTS] if several else []
    return tuple(claim for claim in tested if claim is not None)


def by_layer(layers: Sequence[Exchange]) -> list[dict[str, Any]]:
    """Test the three statements layer by layer: the rows of a table, corrected for their number."""
    several = [layer for layer in layers if _several(layer)]
    rows = []
    for layer in several:
        for name in STATEMENTS:
            claim = _tested(name, [layer], len(STATEMENTS) * len(several))
            if claim is not None:
                low, high = claim.interval
                told = {"layer": layer.label, "statement": claim.statement, "decision": claim.decision}
                rows.append(
                    {**told, "effect": claim.effect, "low": low, "high": high, "n": claim.n, "unit": claim.unit}
                )
    return rows


def _several(layer: Exchange) -> bool:
    """Tell whether there are channels to differ, in and out, that mix, and samples in three folds or more."""
    channels = min(layer.columns["emission"], layer.columns["absorption"])
    return layer.mixes and channels > 1 and (layer.sums["samples"] > 0).sum() > 2


def _tested(name: str, layers: Sequence[Exchange], tests: int) -> Claim | None:
    # What says nothing in a fold says nothing in any: folds without a sample are left out.
    there = np.all([layer.sums["samples"] > 0 for layer in layers], axis=0)
    if there.sum() < 3:
        return None
    means = {
        side: np.mean([variance(one.sums[side][there], one.sums["samples"][there].astype(float)) for one in layers], 0)
        for side in SIDES
    }
    n = int(min(layer.sums["samples"].sum() for layer in layers))
    level = 1 - ERROR / tests
    with np.errstate(invalid="ignore", divide="ignore"):
        effect, low, high = (float(SHOWN[name](one)) for one in jackknife(EFFECTS[name](means), level=level))
    claim = Claim.above(
        float(SHOWN[name](0.0)),
        statement=STATEMENTS[name],
        effect=effect,
        interval=(low, high),
        n=n,
        counted="samples" if n >= FEWEST else "samples, too few to decide",
        unit=UNITS[name],
        level=level,
        tests=tests,
        correction="Bonferroni",
    )
    # Alike is the least that channels can be: an estimate below it is noise, not the opposite.
    undecided = n < FEWEST or (name in SIDES and claim.decision == "does not hold")
    return replace(claim, decision="undecided") if undecided else claim


def _root(variance: Any) -> Any:
    """Return the root of a variance, with its sign."""
    return np.sign(variance) * np.sqrt(np.abs(variance))


SIDES = ("absorption", "emission")
EFFECTS: Mapping[str, Callable[[Mapping[str, Floats]], Floats]] = {
    "absorption": lambda means: means["absorption"],
    "emission": lambda means: means["emission"],
    "both": lambda means: np.log2(means["emission"] / means["absorption"]) / 2,
}
"""What is tested, of all folds and without each: the mean variance over layers, or log2 of the ratio of its roots."""
SHOWN: Mapping[str, Callable[[Any], Any]] = {"absorption": _root, "emission": _root, "both": np.exp2}
"""How it is shown: as a coefficient of variation, or as a ratio of two."""
