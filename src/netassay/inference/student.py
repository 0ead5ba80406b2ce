"""Student: the interval of a mean over a few independent values, such as the seeds of a study.

Three seeds are too few to resample. The quantile of Student's t comes from its exact tail, a regularised incomplete
beta function; against scipy, within 1e-11 of its value from 1 to 1000 degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from netassay.errors import BadInput
from netassay.inference.beta import fraction


def seed_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of independent values and its interval by Student's t: (mean, low, high).

    `mean +- t s / sqrt(n)`, s the sample standard deviation (divided by n - 1) and t the quantile at n - 1 degrees of
    freedom (Student 1908, Biometrika 6:1). It covers exactly with `level` where the values are Gaussian. Equal values
    give an interval of no width; of one value, and where one is not finite, it is NaN.

    >>> mean, low, high = seed_interval([1.0, 2.0, 3.0])
    >>> mean, round(high - mean, 4)  # 4.3027 / sqrt(3)
    (2.0, 2.4841)
    """
    reach = student_quantile((1 + _checked(level)) / 2, max(len(values) - 1, 1))
    n, values = len(values), [float(value) for value in values]
    if not n or not all(map(math.isfinite, values)):
        return sum(values) / n if n else math.nan, math.nan, math.nan
    # Rounding must not carry the mean of equal values away from them.
    mean = min(max(math.fsum(values) / n, min(values)), max(values))
    if n == 1:
        return mean, math.nan, math.nan
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = reach * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


def prediction_tail(value: float, others: Sequence[float]) -> float:
    """Return the chance that one more value, drawn as `others` were, is as high as `value` or higher.

    `t = (value - mean) / (s sqrt(1 + 1/R))` at R - 1 degrees of freedom, s the sample standard deviation of the R
    others (Geisser 1993, Predictive Inference, section 2.1.2); exact where all are Gaussian and independent. Equal
    others leave no chance to a higher value: 0, else 1. NaN for less than two others, and where one is not finite.

    >>> round(prediction_tail(3.0, [0.0, 1.0, 2.0]), 4)  # t = 2 / sqrt(4/3), df 2
    0.1127
    """
    mean, low, high = seed_interval(others, 0.5)
    if not math.isfinite(value + low):
        return math.nan
    if low == high:
        return float(value <= mean)
    deviation = (high - mean) / student_quantile(0.75, len(others) - 1) * math.sqrt(len(others))
    t = (value - mean) / (deviation * math.sqrt(1 + 1 / len(others)))
    tail = math.exp(_log_tail(math.log(abs(t)), len(others) - 1)[0]) if t else 0.5
    return tail if t >= 0 else 1 - tail


@lru_cache
def student_quantile(p: float, df: float) -> float:
    """Return the value below which Student's t with `df` degrees of freedom lies with chance `p`.

    `df` is 1 or more, and need not be whole.

    >>> round(student_quantile(0.975, 1), 4), round(student_quantile(0.975, 2), 5)
    (12.7062, 4.30265)
    """
    _checked(p)
    if df < 1:
        raise BadInput("a quantile of Student's t", f"{df:g} degrees of freedom", "give 1 or more")
    if p <= 0.5:
        return -_upper(p, df) if p < 0.5 else 0.0
    return _upper(1 - p, df)


def _upper(tail: float, df: float) -> float:
    """Return t > 0 with P(T > t) = `tail` < 1/2.

    Newton on log P over u = log t: the density of log |T|, half the logarithm of an F, is log-concave, so log P is
    concave and falling, and after the first step all steps go down to the root.
    """
    u, goal = 0.0, math.log(tail)
    for _ in range(200):
        log_tail, log_density = _log_tail(u, df)
        step = (log_tail - goal) / math.exp(log_density - log_tail)
        u += step
        if abs(step) < 1e-9:  # the next step would be its square
            break
    return math.exp(u)


def _log_tail(u: float, df: float) -> tuple[float, float]:
    """Return log P(T > t) and the log density of log T at t = exp(u).

    P is half the incomplete beta function I_x(df/2, 1/2) at x = df/(df + t^2) (DLMF 8.17.22), or 1/2 less half that of
    the other side, where the fraction converges faster there (DLMF 8.17.4).
    """
    a, b = df / 2, 0.5
    odds = 2 * u - math.log(df)
    log_x, log_y = -float(np.logaddexp(0, odds)), -float(np.logaddexp(0, -odds))
    log_density = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * log_x + b * log_y
    x, y = math.exp(log_x), math.exp(log_y)
    if x < (a + 1) / (a + b + 2):
        return log_density + math.log(_fraction(x, a, b) / (2 * a)), log_density
    return math.log(0.5) + math.log1p(-math.exp(log_density) / b * _fraction(y, b, a)), log_density


def _fraction(x: float, a: float, b: float) -> float:
    return float(fraction(*(np.array([value]) for value in (x, a, b)))[0])


def _checked(chance: float) -> float:
    if not 0 < chance < 1:
        raise BadInput("an interval by Student's t", f"a chance of {chance:g}", "give one between 0 and 1, e.g. 0.95")
    return chance
