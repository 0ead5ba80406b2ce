"""Similarity, doubted: what about features and samples would make a map say less than it seems to."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from netassay.data import Data
from netassay.errors import BadInput
from netassay.measures import Measure
from netassay.measures.diagnosing import check_paired, sortedness, spectrum, warn
from netassay.result import Verdict
from netassay.studies.similarity_asked import Tap

LISTED = 3
"""Layers that a verdict names one by one."""


def from_covariance(covariance: Tensor, n: int) -> dict[str, float]:
    """Diagnose features of which only the sums `(d, d)` are known: which sample carries most is not."""
    d, total = len(covariance), float(covariance.trace())
    rank, first = spectrum(covariance) if math.isfinite(total) and total > 0 else (math.nan, math.nan)
    told = {"n": float(n), "d_over_n": d / n, "dead": float((covariance.diagonal() == 0).double().mean())}
    return told | {"effective_rank": rank, "first_share": first, "leverage": math.nan, "whose": math.nan}


def verdicts(
    told: Mapping[Tap, Mapping[str, Any]],
    sides: Mapping[str, Mapping[Tap, str]],
    labels: Tensor | None,
    measures: Collection[Measure],
) -> Iterator[Verdict]:
    """Warn of what the numbers of layers and the order of labels give reason to: of each thing once for each side.

    `sides` name the layers of each side.
    """
    for side, names in sides.items():
        found: dict[str, list[Verdict]] = {}
        for tap, name in names.items():
            for one in warn("features", told[tap], name, measures):
                found.setdefault(one.rule, []).append(one)
        yield from (_together(side, every) for every in found.values())
    if labels is not None:
        yield from warn("samples", sortedness(labels), "", measures)


def _together(side: str, every: Sequence[Verdict]) -> Verdict:
    """Make one verdict of those of several layers: it names them, and has the numbers of the first."""
    first, *more = every
    layers = ", ".join(one.layer for one in every)
    if len(every) > LISTED:
        layers = f"{first.layer} ... {more[-1].layer} ({len(every)} layers)"
    cause = f"in {first.layer}, {first.cause}" if more else first.cause
    return replace(first, layer=f"{side}: {layers}" if side else layers, cause=cause)


def paired(data: Sequence[Data], ids: Sequence[Tensor]) -> None:
    """Refuse two data sets whose rows are not the same samples, or may not be: a loader that shuffles, without ids."""
    if len(data) < 2:
        return
    check_paired(*ids)
    shuffled = [one for one, mine in zip(data, ids, strict=True) if one.note and _places(mine)]
    if shuffled:
        found = f"{shuffled[0].spec}: {shuffled[0].note}"
        raise BadInput("pair two data sets", found, "give loaders with shuffle=False, or batches (x, y, mask, ids)")


def _places(ids: Tensor) -> bool:
    return bool((ids == torch.arange(len(ids))).all())
