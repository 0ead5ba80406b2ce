"""Jackknife: the error of an estimate from what it would be without each of some groups of samples."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt


def jackknife(estimates: npt.ArrayLike, *, level: float = 0.95) -> tuple[float, float, float]:
    """Return an estimate and its interval: (estimate, low, high).

    `estimates` `(1 + G,)` are the estimate from all samples, and from all but each of G groups, which should be of
    about one size and dealt at random. The interval is `estimate +- z se`, `se^2 = (G - 1)/G sum_g (t_g - mean t)^2`
    (Shao & Tu 1995, The Jackknife and Bootstrap, section 2.3); NaN below two groups, and where one is not finite.

    >>> values = np.arange(100.0)
    >>> estimate, low, high = jackknife([values.mean(), *((values.sum() - values) / 99)])
    >>> estimate, round(high - estimate, 2)  # 1.96 times 29.01 / 10
    (49.5, 5.69)
    """
    all, *without = np.asarray(estimates, dtype=np.float64)
    G = len(without)
    if G < 2:
        return float(all), float("nan"), float("nan")
    error = np.sqrt((G - 1) / G * np.square(without - np.mean(without)).sum())
    reach = float(NormalDist().inv_cdf((1 + level) / 2) * error)
    return float(all), float(all - reach), float(all + reach)
