"""Kernels: averages of an activation, of its square and of its slope over Gaussian arguments, alone and in pairs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput
from netassay.meanfield.activations import Activation, Floats, activation
from netassay.meanfield.quadrature import grid, mehler


class Moments(NamedTuple):
    """Averages over one Gaussian argument: E[phi], E[phi^2], E[phi'^2]."""

    mean: float
    second: float
    slope: float


def moments(phi: str | Activation, variance: float, mean: float = 0.0) -> Moments:
    """Return E[phi(z)], E[phi(z)^2] and E[phi'(z)^2] for z ~ N(mean, variance).

    Closed forms for what is linear on both sides of 0 and for erf, where the mean is 0; else quadrature, to 1e-12.
    ReLU: He et al. 2015 (arXiv 1502.01852), section 2.2, E[phi^2] = q / 2. erf: Williams 1997, Computing with
    infinite networks, equation 11.

    >>> moments("relu", 2.0).second
    1.0
    """
    phi = _found(phi)
    _check(variance)
    if mean == 0 and phi.leak is not None:
        a = phi.leak
        return Moments((1 - a) * math.sqrt(variance / (2 * math.pi)), (1 + a * a) / 2 * variance, (1 + a * a) / 2)
    if mean == 0 and phi.name == "erf":
        return Moments(0.0, float(_arcsine(variance, variance)), 4 / math.pi / math.sqrt(1 + 4 * variance))
    x, weights = grid(math.sqrt(variance), mean, phi.kinks)
    z = mean + math.sqrt(variance) * x
    value = phi.value(z)
    return Moments(*(float(weights @ each) for each in (value, value**2, phi.slope(z) ** 2)))


def pair(phi: str | Activation, variance: float, c: npt.ArrayLike, mean: float = 0.0) -> Any:
    """Return E[phi(z1) phi(z2)] for two Gaussian arguments of equal mean and variance with correlation `c`.

    A number or an array of correlations. ReLU: Cho & Saul 2009, Kernel methods for deep learning, the arc-cosine
    kernel of degree 1, halved.

    >>> round(pair("relu", 2.0, 0.311), 4)
    0.4893
    """
    phi, c = _found(phi), _correlation(c)
    _check(variance)
    if mean == 0 and phi.leak is not None:
        a = phi.leak
        bent = (np.sqrt(1 - c**2) + c * (math.pi - np.arccos(c))) / (2 * math.pi)
        return _plain(variance * (a * c + (1 - a) ** 2 * bent))
    if mean == 0 and phi.name == "erf":
        return _plain(_arcsine(variance, variance * c))
    x, weights = grid(math.sqrt(variance), mean, phi.kinks)
    return _plain(mehler(phi.value(mean + math.sqrt(variance) * x), x, weights, c))


def slope_pair(phi: str | Activation, variance: float, c: npt.ArrayLike, mean: float = 0.0) -> Any:
    """Return E[phi'(z1) phi'(z2)] for two Gaussian arguments of equal mean and variance with correlation `c`.

    ReLU: Cho & Saul 2009, the arc-cosine kernel of degree 0, halved. By quadrature, jumps of the slope cost up to
    2 % between the correlations 0.99 and 1, and less below.

    >>> slope_pair("relu", 1.0, 0.0)
    0.25
    """
    phi, c = _found(phi), _correlation(c)
    _check(variance)
    if mean == 0 and phi.leak is not None:
        a = phi.leak
        return _plain(a + (1 - a) ** 2 * (math.pi - np.arccos(c)) / (2 * math.pi))
    x, weights = grid(math.sqrt(variance), mean, phi.kinks)
    return _plain(mehler(phi.slope(mean + math.sqrt(variance) * x), x, weights, c))


def _arcsine(variance: float, covariance: Any) -> Any:
    return 2 / math.pi * np.arcsin(2 * covariance / (1 + 2 * variance))


def _found(phi: str | Activation) -> Activation:
    return phi if isinstance(phi, Activation) else activation(phi)


def _check(variance: float) -> None:
    if not 0 <= variance < math.inf:
        raise BadInput("a Gaussian average", f"variance {variance:g}", "give a variance of 0 or more, and finite")


def _correlation(c: npt.ArrayLike) -> Floats:
    values = np.asarray(c, dtype=np.float64)
    if np.any(np.abs(values) > 1 + 1e-9):
        found = f"correlation {values.flat[int(np.argmax(np.abs(values)))]:g}"
        raise BadInput("a Gaussian average of a pair", found, "give correlations from -1 to 1")
    return np.clip(values, -1.0, 1.0)


def _plain(values: Any) -> Any:
    return float(values) if np.ndim(values) == 0 else values
