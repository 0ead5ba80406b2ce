"""Similarity, doubted: what about features and samples would make a map say less than it seems to."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from netassay.data import Data
from netassay.errors import BadInput
from netassay.measures.diagnosing import check_paired, sortedness, spectrum, warn
from netassay.result import Verdict
from netassay.studies.similarity_asked import Tap

GLANCE = 8
NUMBERS = ("effective_rank", "first_share", "leverage", "whose")


def from_gram(k: Tensor, x: Tensor) -> dict[str, float]:
    """Diagnose features `(n, d)` whose centred Gram matrix is known, as `measures.diagnose` does from features."""
    (n, d), total = x.shape, float(k.trace())
    told = {"n": float(n), "d_over_n": d / n, "dead": still(x)}
    if not (math.isfinite(total) and total > 0):
        return told | dict.fromkeys(NUMBERS, math.nan)
    about = x.double() - x.mean(0, dtype=torch.float64) if d < n else x
    rank, first = spectrum(about.T @ about if d < n else k)
    carried = k.diagonal()
    numbers = (rank, first, float(carried.max()) / total, float(carried.argmax()))
    return told | dict(zip(NUMBERS, numbers, strict=True))


def still(x: Tensor) -> float:
    """Return the share of features that never change; those that do in the first few samples are looked at no more."""
    few = (x[:GLANCE] == x[:1]).all(0)
    return float((x[:, few] == x[:1, few]).all(0).sum()) / x.shape[1]


def from_covariance(covariance: Tensor, n: int) -> dict[str, float]:
    """Diagnose features of which only the sums `(d, d)` are known: which sample carries most is not."""
    d, total = len(covariance), float(covariance.trace())
    rank, first = spectrum(covariance) if math.isfinite(total) and total > 0 else (math.nan, math.nan)
    told = {"n": float(n), "d_over_n": d / n, "dead": float((covariance.diagonal() == 0).double().mean())}
    return told | dict(zip(NUMBERS, (rank, first, math.nan, math.nan), strict=True))


def verdicts(
    told: Mapping[Tap, Mapping[str, Any]], names: Mapping[Tap, str], labels: Tensor | None, measures: Collection[str]
) -> Iterator[Verdict]:
    """Warn of what the numbers of layers and the order of labels give reason to."""
    asked = {name.partition(":")[0] for name in measures}
    for tap, numbers in told.items():
        yield from warn("features", numbers, names[tap], asked)
    if labels is not None:
        yield from warn("samples", sortedness(labels), "", asked)


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
