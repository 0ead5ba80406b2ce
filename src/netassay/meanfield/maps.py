"""Maps: what one layer of a wide random network does to size, correlation and gradient, and where that settles.

`sigma_w2` is the variance of a weight times the fan-in, `sigma_b2` the variance of a bias, `q` the second moment of
what comes out of a linear layer, `c` the correlation of two inputs there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from netassay.errors import BadInput
from netassay.meanfield.activations import Activation
from netassay.meanfield.kernels import moments, pair, slope_pair

LEAST, MOST = 1e-14, 1e12
"""Second moments beyond which a map without bias is taken to go to 0, and any map to infinity: rounding hides more."""
STEPS = 200


def length_map(phi: str | Activation, q: float, sigma_w2: float, sigma_b2: float = 0.0) -> float:
    """Return the next layer's second moment, sigma_w^2 E[phi(z)^2] + sigma_b^2 for z ~ N(0, q).

    Poole et al. 2016 (arXiv 1606.05340), equation 3.

    >>> length_map("relu", 3.0, 2.0)
    3.0
    """
    return sigma_w2 * moments(phi, q).second + sigma_b2


def correlation_map(
    phi: str | Activation, c: npt.ArrayLike, q: float = 1.0, sigma_w2: float = 1.0, sigma_b2: float = 0.0
) -> Any:
    """Return the next layer's correlation of two inputs that correlate by `c` and have the second moment `q`.

    Poole et al. 2016 (arXiv 1606.05340), equation 5. Without bias it does not depend on `sigma_w2`.

    >>> round(correlation_map("relu", 0.0), 4)
    0.3183
    """
    there = length_map(phi, q, sigma_w2, sigma_b2)
    if not there > 0:
        raise BadInput("a correlation map", "a next layer that is 0 everywhere", "give sigma_w2 or q above 0")
    return (sigma_w2 * pair(phi, q, c) + sigma_b2) / there


def gradient_factor(phi: str | Activation, q: float, sigma_w2: float) -> float:
    """Return chi = sigma_w^2 E[phi'(z)^2], by which a gradient's second moment grows in one step back.

    Schoenholz et al. 2017 (arXiv 1611.01232), where layers are equally wide; at c = 1 it is the slope of the
    correlation map, too.

    >>> gradient_factor("relu", 1.0, 2.0)
    1.0
    """
    return sigma_w2 * moments(phi, q).slope


def gradient_correlation(phi: str | Activation, c: npt.ArrayLike, q: float = 1.0) -> Any:
    """Return E[phi'(z1) phi'(z2)] / E[phi'(z)^2]: what one layer leaves of the correlation of two inputs' gradients.

    Over layers the factors multiply. ReLU: 1 - arccos(c) / pi.

    >>> round(gradient_correlation("relu", 0.5), 4)
    0.6667
    """
    return slope_pair(phi, q, c) / moments(phi, q).slope


def fixed_point(phi: str | Activation, sigma_w2: float, sigma_b2: float = 0.0, start: float = 1.0) -> float:
    """Return q*, where the length map comes to rest from `start`; 0 or infinity where it does not stop before.

    Poole et al. 2016 (arXiv 1606.05340), section 2. Found by bisection, since near criticality iteration takes
    forever; `start` itself where the map leaves it as it is, as ReLU at sigma_w^2 = 2 does.

    >>> round(fixed_point("tanh", 2.0), 4)
    0.618
    """

    def drift(q: float) -> float:
        return length_map(phi, q, sigma_w2, sigma_b2) - q

    first = drift(start)
    if abs(first) <= 1e-14 * start:
        return start
    here, factor = start, 2.0 if first > 0 else 0.5
    while drift(here) * first > 0:
        here *= factor
        if here > MOST or (here < LEAST and not sigma_b2):
            return 0.0 if factor < 1 else math.inf
    return _crossing(lambda q: drift(q) * first, here / factor, here)


def critical(phi: str | Activation, sigma_b2: float = 0.0) -> float:
    """Return the sigma_w^2 at which chi = 1 at the fixed point: the edge of chaos.

    Schoenholz et al. 2017 (arXiv 1611.01232), figure 1. Without bias the fixed point is q* = 0 if phi(0) = 0;
    where no finite fixed point is critical, as for ReLU with a bias, the limit of a large one is returned.

    >>> round(critical("tanh"), 4), round(critical("tanh", 0.05), 4)
    (1.0, 1.761)
    """
    if sigma_b2 == 0 and moments(phi, LEAST).second <= 2 * LEAST:
        return 1 / moments(phi, LEAST).slope

    def below(q: float) -> float:
        there = moments(phi, q)
        return 1 - (q - sigma_b2) * there.slope / there.second

    here = 2 * sigma_b2 or 1.0
    while below(here) > 0:
        here *= 2
        if here > 1e12:
            return 1 / moments(phi, here).slope
    q = _crossing(below, max(here / 2, sigma_b2), here)
    return 1 / moments(phi, q).slope


def depth_scale(chi: float) -> float:
    """Return xi = 1 / |ln chi|, the layers over which a signal falls or grows by e; infinite at chi = 1.

    Schoenholz et al. 2017 (arXiv 1611.01232), section 3.

    >>> round(depth_scale(1.1055), 2), depth_scale(1.0)
    (9.97, inf)
    """
    if not chi >= 0:
        raise BadInput("a depth scale", f"chi = {chi:g}", "give chi of 0 or more")
    log = abs(math.log(chi)) if chi else math.inf
    return 1 / log if log else math.inf


def preserving_gain(phi: str | Activation) -> float:
    """Return the factor after which phi(z), z ~ N(0, 1), has variance 1: 1 / sqrt(Var phi(z)).

    Brock et al. 2021 (arXiv 2101.08692), section 3; their constants were sampled and differ by 0.06 %.

    >>> round(preserving_gain("relu"), 6)
    1.712859
    """
    one = moments(phi, 1.0)
    return 1 / math.sqrt(one.second - one.mean**2)


def _crossing(value: Any, inside: float, beyond: float) -> float:
    """Return where `value`, above 0 at `inside`, comes to 0 before `beyond`."""
    for _ in range(STEPS):
        middle = (inside + beyond) / 2
        if middle in (inside, beyond):
            break
        inside, beyond = (middle, beyond) if value(middle) > 0 else (inside, middle)
    return (inside + beyond) / 2
