"""Jackknife: the error of an estimate from what it would be without each of some groups of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt


def jackknife(
    parts: Sequence[npt.NDArray[Any]], statistic: Callable[..., float], *, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the estimate and its interval from a jackknife that leaves out one group at a time.

    Each of `parts` holds one row for each of G groups of samples, in the same order; `statistic(*parts)` is of all
    rows. Groups should be of about one size, and dealt at random. The interval is `estimate +- z se` with
    `se^2 = (G - 1)/G sum_g (t_g - mean t)^2` (Shao & Tu 1995, The Jackknife and Bootstrap, section 2.3); NaN below two
    groups, and where an estimate is not finite.

    >>> estimate, low, high = jackknife([np.arange(100.0)], np.mean)
    >>> estimate, round(float(high - estimate), 2)  # 1.96 times 29.01 / 10
    (49.5, 5.69)
    """
    G = len(parts[0])
    estimate = float(statistic(*parts))
    if G < 2:
        return estimate, float("nan"), float("nan")
    without = np.array([statistic(*(np.delete(part, g, axis=0) for part in parts)) for g in range(G)])
    error = np.sqrt((G - 1) / G * np.square(without - without.mean()).sum())
    reach = float(NormalDist().inv_cdf((1 + level) / 2) * error)
    return estimate, estimate - reach, estimate + reach
