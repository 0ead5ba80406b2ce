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


def variation(sums: Floats, samples: Floats) -> float:
    """Return the coefficient of variation between channels that is not noise: 0 on average where channels are alike.

    `sums` `(F, C)` are sums over the samples of each fold of what a channel has beside its sample's mean channel,
    `samples` `(F,)` their numbers. The variance of the channels' means less that of the error of a mean, as the folds
    differ; its root, with its sign. NaN with fewer than two folds.
    """
    there = samples > 0
    sums, samples = sums[there], samples[there]
    F, C = sums.shape
    if F < 2:
        return float("nan")
    n = samples.sum()
    mean = sums.sum(0) / n
    error = np.square(sums - samples[:, None] * mean).sum(0) / n**2 * (F / (F - 1))
    variance = mean.var() - error.mean() * (C - 1) / C
    return float(np.sign(variance) * np.sqrt(np.abs(variance)))


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
    """Tell whether there are channels to differ, in and out, and samples in two folds or more."""
    return min(layer.columns["emission"], layer.columns["absorption"]) > 1 and (layer.sums["samples"] > 0).sum() > 1


def _tested(name: str, layers: Sequence[Exchange], tests: int) -> Claim | None:
    # What says nothing in a fold says nothing in any: folds without a sample are left out.
    there = np.all([layer.sums["samples"] > 0 for layer in layers], axis=0)
    if there.sum() < 2:
        return None
    parts = [layer.sums[part][there].astype(np.float64) for layer in layers for part in ("samples", *SIDES[name])]
    n = int(min(layer.sums["samples"].sum() for layer in layers))
    level = 1 - ERROR / tests
    effect, low, high = (SHOWN[name](one) for one in jackknife(parts, EFFECTS[name], level=level))
    fields = {"unit": UNITS[name], "level": level, "tests": tests, "correction": "Bonferroni"}
    counted = "samples" if n >= FEWEST else "samples, too few to decide"
    null = float(SHOWN[name](0.0))
    claim = Claim.above(
        null, statement=STATEMENTS[name], effect=effect, interval=(low, high), n=n, counted=counted, **fields
    )
    return claim if n >= FEWEST else replace(claim, decision="undecided")


def _mean_variation(*parts: Floats) -> float:
    return float(np.mean([variation(sums, samples) for samples, sums in zip(parts[::2], parts[1::2], strict=True)]))


def _mean_ratio(*parts: Floats) -> float:
    """Return log2 of how many times the variation of absorption that of emission is, mean over layers."""
    ratios = []
    for samples, absorbed, emitted in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        a, e = variation(absorbed, samples), variation(emitted, samples)
        ratios.append(np.log2(e / a) if min(a, e) > 0 else np.nan)
    return float(np.mean(ratios))


SIDES: Mapping[str, tuple[str, ...]] = {
    "absorption": ("absorption",),
    "emission": ("emission",),
    "both": ("absorption", "emission"),
}
EFFECTS: Mapping[str, Callable[..., float]] = {
    "absorption": _mean_variation,
    "emission": _mean_variation,
    "both": _mean_ratio,
}
SHOWN: Mapping[str, Callable[[Any], Any]] = {"absorption": float, "emission": float, "both": np.exp2}
