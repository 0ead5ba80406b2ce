"""Similarity: how alike two sets of features are, against chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.inference import jackknife
from netassay.measures.calibrating import calibrate, check_chance, orders, under_orders
from netassay.measures.features import features, rows, told
from netassay.measures.intervals import GROUPS, without_each, without_groups
from netassay.measures.measure import Measure
from netassay.measures.score import Score
from netassay.measures.table import named


def similarity(
    x: Any,
    y: Any,
    measure: str | Measure = "cka",
    *,
    permutations: int = 200,
    seed: int = 0,
    level: float = 0.95,
    positions: str = "flatten",
    tokens: str = "mean",
) -> Score:
    """Return how alike features x `(n, ...)` and y `(n, ...)` of the same n samples are, with its null and interval.

    Tensors or arrays; row i of both is sample i. Two axes are features, three are tokens, more have channels at axis 1
    and positions after it: `positions` and `tokens` as in `netassay.measures.features`. Measures of outputs take logits
    `(n, classes)`. The null are values with the samples of y in `permutations` random orders. The interval is the
    jackknife's, over samples for CKA and over 20 groups of samples otherwise; samples should be independent. Of 100
    samples, 95 % intervals of CKA held the value in 94 to 96 % of 300 trials, in 99 % where nothing was shared. Raises
    `BadInput` where the samples are too few or do not pair; a value that is not defined is NaN.

    >>> x, y = np.random.default_rng(1).normal(size=(2, 60, 500))  # independent noise
    >>> similarity(x, y, "cka_biased")
    0.8952 (cka_biased of 60 samples; interval 0.8851 to 0.9054 at 95%; p = 0.129; by chance 0.8922)
    """
    chosen = named(measure) if isinstance(measure, str) else measure
    given = [_tensor(side) for side in (x, y)]
    n = _paired(given[0], given[1])
    check_chance("similarity", level, permutations=permutations, seed=seed)
    fx, fy = (features(side, positions=positions, tokens=tokens) for side in given)
    if len(fx) != len(fy):
        found = f"{len(fx) // n} and {len(fy) // n} positions a sample"
        raise BadInput("similarity with positions='samples'", found, "take positions='flatten', or layers of one size")
    chosen.check(len(fx), fx.shape[1], fy.shape[1])
    a, b = chosen.prepare(fx), chosen.prepare(fy)
    value = chosen.compare(a, b, None)
    null = under_orders(chosen, a, b, [rows(order, len(fx)) for order in orders(n, permutations, seed)])
    judged = calibrate([[value]], null.reshape(-1, 1, 1), chosen.direction, chosen.best, 1 - level)
    low, high, left = _interval(chosen, fx, fy, (a, b), n, level, seed)
    made = [told(tuple(side.shape), positions=positions, tokens=tokens) for side in given]
    how = [chosen.title, *made, f"{permutations} orders of the samples", left, *_reasons(chosen, a, b, value)]
    return Score(
        value,
        measure=chosen.name,
        direction=chosen.direction,
        n=n,
        null=null,
        p=float(judged.p[0, 0]),
        threshold=float(judged.threshold[0, 0]),
        calibrated=float(judged.calibrated[0, 0]),
        interval=(low, high),
        level=level,
        how="; ".join(how),
    )


def _tensor(side: Any) -> Tensor:
    if isinstance(side, Tensor):
        return (side if side.layout == torch.strided else side.to_dense()).detach().cpu()
    array = np.asarray(side)
    if array.dtype.kind not in "fiub":
        found = f"{type(side).__name__} of entries {array.dtype}"
        raise BadInput("similarity", found, "give tensors or arrays of numbers, one row a sample")
    return torch.as_tensor(array)


def _paired(x: Tensor, y: Tensor) -> int:
    """Return the number of samples, or refuse."""
    shapes = f"features of shapes {tuple(x.shape)} and {tuple(y.shape)}"
    if not x.dim() or not y.dim() or len(x) != len(y) or not x.numel() or not y.numel():
        raise BadInput("similarity", shapes, "give features of the same samples, one row a sample")
    return len(x)


def _interval(
    measure: Measure, x: Tensor, y: Tensor, prepared: tuple[Any, Any], n: int, level: float, seed: int
) -> tuple[float, float, str]:
    estimates = without_each(measure, *prepared) if len(x) == n else None
    how = f"jackknife over {n} samples"
    if estimates is None:
        estimates, how = (
            without_groups(measure, x, y, seed=seed, per=len(x) // n),
            f"jackknife over {min(GROUPS, n)} groups",
        )
    _, low, high = jackknife(estimates, level=level)
    return low, high, how


def _reasons(measure: Measure, a: Any, b: Any, value: float) -> list[str]:
    """Name the side that has no value even with itself."""
    sides = zip("xy", (a, b), strict=True) if math.isnan(value) else ()
    reason = "not defined: {} has no value with itself: too many samples do not differ, too few for it, or NaN or Inf"
    return [reason.format(side) for side, one in sides if math.isnan(measure.compare(one, one, None))]
