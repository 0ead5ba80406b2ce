"""Jackknife: the error of an estimate from what it would be without each of some groups of samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from netassay.inference.student import student_quantile

FEWEST = 5
"""Groups below which there is no interval: their spread would be little more than a guess."""


def jackknife(estimates: npt.ArrayLike, *, level: float = 0.95) -> tuple[float, float, float]:
    """Return an estimate and its interval: (estimate, low, high).

    `estimates` `(1 + G,)` are the estimate from all samples, and from all but each of G groups, which should be of
    about one size and dealt at random. The interval is `estimate +- t se`, `se^2 = (G - 1)/G sum_g (t_g - mean t)^2`
    (Shao & Tu 1995, The Jackknife and Bootstrap, section 2.3), t the quantile of Student's t at G - 1 degrees of
    freedom; NaN below five groups, and where an estimate is not finite.

    >>> values = np.arange(100.0)
    >>> estimate, low, high = jackknife([values.mean(), *((values.sum() - values) / 99)])
    >>> estimate, round(high - estimate, 2)  # 1.984 times 29.01 / 10
    (49.5, 5.76)
    """
    all, *without = np.asarray(estimates, dtype=np.float64)
    G = len(without)
    if G < FEWEST:
        return float(all), float("nan"), float("nan")
    error = np.sqrt((G - 1) / G * np.square(without - np.mean(without)).sum())
    reach = float(student_quantile((1 + level) / 2, G - 1) * error)
    return float(all), float(all - reach), float(all + reach)
