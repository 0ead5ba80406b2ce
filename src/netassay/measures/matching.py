"""Matching: how alike two layers are neuron by neuron, once the best pairs are found; needs scipy."""

from __future__ import annotations

import importlib
import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures.centring import unit
from netassay.measures.measure import ROTATIONS, Measure
from netassay.measures.reducing import about_mean, taken

MOST, MOST_COPIES, MOST_PAIRS = 4096, 4096, 300_000
"""Features of a side, copies to pair, and pairs of a linear program: the search takes the cube of the first in time."""
_MATCHING = partial(
    Measure,
    direction="similarity",
    lowest=-1.0,
    highest=1.0,
    invariances=ROTATIONS - {"orthogonal"},
    smallest=lambda d, e: 3,
    biased=True,
)


def permutation() -> Measure:
    """Cosine of centred features after the best pairing of neurons: `max_P <X, Y P> / (||X|| ||Y||)`.

    As `nbs`, with orders of neurons instead of rotations, and never above it. Of unequal numbers, those of the larger
    side that are left over are paired with nothing. Its angle is a metric where numbers are equal. Williams et al.
    2021, arXiv 2110.14739, (5) with permutations; solved exactly (Crouse 2016), in the cube of the features.
    """

    def arranged(x: Tensor) -> Tensor:
        return unit(about_mean(_few("permutation", x)))

    source = "Williams et al. 2021, arXiv 2110.14739, (5); Crouse 2016, IEEE Trans. Aerosp. 52:1679"
    return _MATCHING(
        name="permutation", title="Permutation similarity", arranged=arranged, compare=_paired, source=source
    )


def soft_matching() -> Measure:
    """Correlation of best matched neurons: `max_T sum_ij T_ij corr(x_i, y_j)`, T spreading each neuron's 1/d over 1/e.

    The mean over pairs where both sides have as many neurons; else the optimal transport between them, found exactly:
    by pairing copies where the common multiple is small, by a linear program otherwise. Each neuron counts alike,
    whatever its variance; constant ones are left out. Khosla & Williams 2024, arXiv 2311.09466, (7); of equal numbers:
    Li et al. 2016, arXiv 1511.07543.
    """

    def arranged(x: Tensor) -> Tensor:
        x = about_mean(_few("soft_matching", x))
        norm = torch.linalg.vector_norm(x, dim=0)
        return x.div(norm)[:, norm != 0]

    source = "Khosla & Williams 2024, arXiv 2311.09466, (7); Li et al. 2016, arXiv 1511.07543"
    return _MATCHING(
        name="soft_matching", title="Soft matching correlation", arranged=arranged, compare=_transported, source=source
    )


def _few(name: str, x: Tensor) -> Tensor:
    """Refuse what could not be matched, before anything is compared."""
    needs_scipy(name)
    if x.shape[1] > MOST:
        found = f"{x.shape[1]} features; the search takes their cube in time, and at most {MOST} are matched"
        raise BadInput(name, found, "take positions='pool' or 'resize:2', or measure='nbs'")
    return x


def needs_scipy(name: str, part: str = "optimize") -> Any:
    """Return a part of scipy, or say what needs it and how to install it."""
    try:
        return importlib.import_module(f"scipy.{part}")
    except ImportError:
        raise BadInput(name, "scipy is not installed", "pip install 'netassay[stats]'") from None


def _pairs(gain: np.ndarray) -> float:
    """Return the largest sum of entries of which no two share a row or a column."""
    found = needs_scipy("permutation").linear_sum_assignment(gain, maximize=True)
    return math.fsum(gain[found].tolist())


def _gain(a: Tensor, b: Tensor, order: Tensor | None) -> np.ndarray | None:
    """Return the inner products of neurons; None where there are none, or one is not a number."""
    gain = (a.T @ taken(b, order)).cpu().numpy()
    return gain if gain.size and np.isfinite(gain).all() else None


def _paired(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
    gain = _gain(a, b, order)
    return math.nan if gain is None else _pairs(gain)


def _transported(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
    gain = _gain(a, b, order)
    if gain is None:
        return math.nan
    d, e = gain.shape
    copies = math.lcm(d, e)
    if copies <= MOST_COPIES:
        return _pairs(gain.repeat(copies // d, 0).repeat(copies // e, 1)) / copies
    return _program(gain)


def _program(gain: np.ndarray) -> float:
    """Return the largest gain of moving 1/d from each row to 1/e in each column, by a linear program."""
    sparse = needs_scipy("soft_matching", "sparse")
    d, e = gain.shape
    if d * e > MOST_PAIRS:
        found = f"{d} and {e} neurons, which have no small common multiple"
        raise BadInput("soft_matching", found, "compare layers of like width, or take measure='permutation' or 'nbs'")
    rows = sparse.kron(sparse.eye_array(d), np.ones((1, e)))
    columns = sparse.kron(np.ones((1, d)), sparse.eye_array(e))
    sums = np.concatenate([np.full(d, 1 / d), np.full(e, 1 / e)])
    equal = sparse.vstack([rows, columns]).tocsr()
    return -float(needs_scipy("soft_matching").linprog(-gain.ravel(), A_eq=equal, b_eq=sums, method="highs").fun)
