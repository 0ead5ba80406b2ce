"""Quadrature: averages over a Gaussian to machine precision, also of functions that bend or jump."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from netassay.meanfield.activations import Floats

NODES = 16
REACH = 12.0
"""Standard deviations that are covered; beyond lies 4e-33 of the mass."""
NEAR = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
"""Where panels are cut around a kink and around 0, in units of the activation's argument, so that steps stay smooth."""
ORDER = 256
"""Hermite coefficients that are summed."""
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(NODES)


def grid(deviation: float, mean: float, kinks: Sequence[float] = ()) -> tuple[Floats, Floats]:
    """Return nodes and weights of a standard Gaussian for functions of `mean + deviation x` with these kinks.

    Gauss-Legendre on panels of at most one standard deviation, cut where the function bends, and close to there.

    >>> x, w = grid(1.0, 0.0, [0.0])
    >>> bool(abs(float(w @ np.maximum(x, 0.0)) - 1 / math.sqrt(2 * math.pi)) < 1e-15)
    True
    """
    cuts = [np.arange(-REACH, REACH + 1)]
    if deviation > 0:
        places = np.concatenate([[at - NEAR, at + NEAR] for at in (0.0, *kinks)], axis=None)
        cuts.append((places - mean) / deviation)
    edges = np.unique(np.clip(np.concatenate(cuts), -REACH, REACH))
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1, None] + half + half * POINTS).ravel()
    return x, (half * WEIGHTS).ravel() * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def hermite(values: Floats, x: Floats, weights: Floats, order: int = ORDER) -> Floats:
    """Return the coefficients of a function in normalised Hermite polynomials, from its values on a grid.

    >>> x, w = grid(1.0, 0.0)
    >>> hermite(x**2, x, w, 4).round(6).tolist()
    [1.0, 0.0, 1.414214, 0.0]
    """
    before, now, coefficients = np.zeros_like(x), np.ones_like(x), np.empty(order)
    for k in range(order):
        coefficients[k] = weights @ (values * now)
        before, now = now, (x * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    return coefficients


def mehler(values: Floats, x: Floats, weights: Floats, c: Floats) -> Floats:
    """Return E[f(x1) f(x2)] for standard Gaussians with correlations `c`: the sum over k of a_k^2 c^k.

    Mehler's formula; Daniely et al. 2016 (arXiv 1602.05897) call it the dual activation. What the coefficients beyond
    `ORDER` hold is put on the next one, so that c = 1 gives E[f^2]; for a function with a kink at most 1e-5 of E[f^2]
    is misplaced.
    """
    squares = hermite(values, x, weights) ** 2
    rest = max(float(weights @ values**2) - float(squares.sum()), 0.0)
    # Horner's scheme, from the highest power down.
    total = np.full(np.shape(c), rest)
    for square in squares[::-1]:
        total = total * c + square
    return total
