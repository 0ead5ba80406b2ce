"""Chance: the null of CKA where it is known without shuffling, from sums that need no samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float64]

STRAIGHT = 1e-5
"""A skewness below this is taken for none: far out too the gamma law is then the Gaussian to three digits."""


def null_moments(n: int) -> tuple[float, float]:
    """Return mean and standard deviation of debiased CKA over all orders of n samples, exactly, whatever the features.

    0 and sqrt(2 / (n (n - 3))): all sums over U-centred matrices but those of their squares vanish.

    >>> null_moments(4)
    (0.0, 0.7071067811865476)
    """
    return 0.0, math.sqrt(2 / (n * (n - 3)))


def null_skewness(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Return the skewness of CKA over orders of many samples, from the eigenvalues of both covariances.

    The law is that of `sum_ij a_i b_j (z_ij^2 - 1)`, z Gaussian: skewness `sqrt(8) r(a) r(b)`,
    `r(v) = sum v^3 / (sum v^2)^1.5`. One direction on each side gives chi-squared, many of like size a Gaussian.

    >>> round(null_skewness([1.0], [3.0]) ** 2, 9)
    8.0
    """
    shapes = [
        (np.square(v) * v).sum() / np.square(v).sum() ** 1.5 for v in (np.asarray(a, float), np.asarray(b, float))
    ]
    return float(math.sqrt(8) * shapes[0] * shapes[1])


def null_tail(value: npt.ArrayLike, mean: float, deviation: float, skewness: float = 0.0) -> Floats:
    """Return the chance of `value` or more under a gamma law of three moments (Pearson's type III).

    An approximation, where the moments are exact: say so beside the p it gives.
    """
    z = torch.as_tensor((np.asarray(value, dtype=np.float64) - mean) / deviation)
    if skewness < STRAIGHT:
        return np.asarray(torch.special.erfc(z / math.sqrt(2)) / 2)
    shape = torch.tensor(4 / skewness**2, dtype=torch.float64)
    return np.asarray(torch.special.gammaincc(shape, (shape + z * shape.sqrt()).clamp(min=0)))


def null_quantile(chance: float, mean: float, deviation: float, skewness: float = 0.0) -> float:
    """Return the value that `null_tail` gives this chance."""
    low, high = mean - 40 * deviation, mean + 1000 * deviation
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if null_tail(middle, mean, deviation, skewness) > chance else (low, middle)
    return (low + high) / 2
