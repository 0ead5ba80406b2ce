"""Density: a distribution over linear bins, to be drawn beside others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput
from netassay.shape.distribution import Distribution
from netassay.shape.law import law_of

NARROW = 0.05
"""Half the window around numbers that are all equal, as a share of them; around 0, half the window itself."""
SAME = 1e-9
"""Relative difference below which numbers are drawn as equal."""


def density(d: Distribution, edges: npt.ArrayLike) -> np.ndarray:
    """Return the density `(bins,)` between ascending `edges` `(bins + 1,)`, per unit of the numbers.

    It integrates to the share of finite numbers between the edges, the last of which is inside. Exact where the values
    were kept; else the mass of each of the histogram's bins is spread evenly. NaN where there is no finite number.

    >>> density(Distribution.of([0.0, 1.0, 1.5, 9.0]), [0.0, 1.0, 3.0])
    array([0.25, 0.25])
    """
    edges = np.asarray(edges, dtype=np.float64)
    widths = np.diff(edges)
    if not (len(widths) and np.all(widths > 0)):
        raise BadInput("a density", "edges that do not ascend", "give two edges or more, each above the one before")
    if not d.n:
        return np.full(len(widths), np.nan)
    law = law_of(d)
    below = np.append(law.share(edges[:-1], "left"), law.share(edges[-1:], "right"))
    return np.asarray(np.diff(below) / widths)


def common_edges(distributions: Iterable[Distribution], bins: int = 60, cover: float = 0.998) -> np.ndarray:
    """Return edges `(bins + 1,)`, evenly spaced, that hold at least the middle `cover` of each distribution.

    Numbers that are all equal get a narrow window: 5 % to both sides, 0.05 around 0. What has no finite number is left
    out; where nothing else is, the window is the one around 0.

    >>> common_edges([Distribution.of([1.0]), Distribution.of([3.0]), Distribution.empty()], bins=4)
    array([1. , 1.5, 2. , 2.5, 3. ])
    """
    tails = (1 - cover) / 2, (1 + cover) / 2
    found = [d for d in distributions if d.n]
    low = min((max(d.minimum, d.quantile(tails[0]) - _blur(d, tails[0])) for d in found), default=0.0)
    high = max((min(d.maximum, d.quantile(tails[1]) + _blur(d, tails[1])) for d in found), default=0.0)
    size = max(abs(low), abs(high))
    if high - low <= SAME * size:
        reach = NARROW * (size or 1.0)
        low, high = low - reach, high + reach
    return np.linspace(low, high, bins + 1)


def _blur(d: Distribution, q: float) -> float:
    """Return how far beyond a quantile that a bin stands for its numbers may lie: the bin's width."""
    return 0.0 if d.few is not None else abs(d.quantile(q)) / 64
