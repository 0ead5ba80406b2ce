"""Beta: the continued fraction behind the incomplete beta function, and so behind binomial and Student's tails."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)


def fraction(x: Floats, a: Floats, b: Floats) -> Floats:
    """Return the continued fraction of DLMF 8.17.22, by Lentz's method as modified by Thompson & Barnett.

    J. Comput. Phys. 64:490 (1986), section III; about sqrt(max(a, b)) terms are needed.
    """
    c, d = np.ones_like(x), 1 / _away(1 - (a + b) * x / (a + 1))
    value, going = d, np.ones(x.shape, dtype=bool)
    for m in range(1, 100_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / _away(1 + term * d), _away(1 + term / c)
            value = value * (c * d)
        going &= np.abs(c * d - 1) > 2 * EPS
        if not going.any():
            break
    return value


def _away(x: Floats) -> Floats:
    return np.where(np.abs(x) < 1e-300, 1e-300, x)
