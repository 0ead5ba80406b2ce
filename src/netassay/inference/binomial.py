"""Exact bounds on a chance: `k` of `n` were seen, what may the chance be?

All rests on the regularised incomplete beta function, P(X >= k) = I_p(k, n - k + 1) (DLMF 8.17.5). It is
taken in logarithms so that no tail is too small, and sought over the log-odds log p/(1 - p) so that no chance
is too near 0 or 1. Against scipy up to n = 10^6: bounds within 1e-12, tails within 1e-11 of their value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput
from netassay.inference.beta import fraction

Floats = npt.NDArray[np.float64]

# log n! minus Stirling's formula: a table, and from 16 on the series whose next term is 1e-14 there.
STIRLING = np.array(
    [0.0] + [math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - math.log(2 * math.pi) / 2 for n in range(1, 16)]
)
SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680)


def binomial_interval(k: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95) -> tuple[Any, Any]:
    """Return the Clopper-Pearson interval of the chance of what came true in `k` of `n` independent trials.

    Counts or arrays of counts, broadcast; so are the two bounds. It covers with at least `level`, half of the
    rest on each side (Clopper & Pearson 1934, Biometrika 26:404). No trials give (0, 1).

    >>> low, high = binomial_interval(0, 10)
    >>> low, round(high, 6)
    (0.0, 0.308497)
    """
    k, n = _counts(k, n)
    log_alpha = math.log(_rest(level) / 2)
    return _plain(_low(k, n, log_alpha)), _plain(_high(k, n, log_alpha))


def binomial_upper(k: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95) -> Any:
    """Return the one-sided upper bound of the chance of what came true in `k` of `n` independent trials.

    A larger chance would give `k` or fewer in less than 1 - `level` of the cases. At k = 0 it is 1 - (1 -
    level)^(1/n), about 3/n at 95 % (the rule of three).

    >>> round(binomial_upper(0, 1000), 6)
    0.002991
    """
    k, n = _counts(k, n)
    return _plain(_high(k, n, math.log(_rest(level))))


def binomial_tail(k: npt.ArrayLike, n: npt.ArrayLike, p: npt.ArrayLike) -> Any:
    """Return P(X >= k) for X binomial with `n` trials of chance `p`; counts, chances or arrays, broadcast.

    >>> round(binomial_tail(9, 10, 0.5), 9)
    0.010742188
    """
    k, n, p = (np.asarray(each, dtype=np.float64) for each in np.broadcast_arrays(k, n, p))
    _check_counts(n, n)
    if not np.all((p >= 0) & (p <= 1)) or np.any(k != np.floor(k)):
        raise BadInput("binomial tail", "a chance outside [0, 1], or a broken count", "give whole k and n, 0 <= p <= 1")
    tail = np.where((k <= 0) | (p == 1) & (k <= n), 1.0, 0.0)
    inside = (k >= 1) & (k <= n) & (p > 0) & (p < 1)
    tail[inside] = np.exp(_log_tail(k[inside], n[inside], p[inside], 1 - p[inside]))
    return _plain(tail)


def _low(k: Floats, n: Floats, log_alpha: float) -> Floats:
    closed = np.where(k == 0, 0.0, np.exp(log_alpha / np.maximum(n, 1)))
    return np.where((k > 0) & (k < n), _chance(_log_odds(k, n, log_alpha)), closed)


def _high(k: Floats, n: Floats, log_alpha: float) -> Floats:
    closed = np.where(k == n, 1.0, -np.expm1(log_alpha / np.maximum(n, 1)))
    return np.where((k > 0) & (k < n), _chance(-_log_odds(n - k, n, log_alpha)), closed)


def _chance(log_odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-log_odds))


def _log_odds(k: Floats, n: Floats, log_alpha: float) -> Floats:
    """Return the log-odds at which P(X >= k) is alpha, where 0 < k < n; 0 elsewhere.

    Newton on log P: over the log-odds it is the logarithm of a distribution function with a log-concave
    density, hence concave, so that after the first step all steps go up to the root.
    """
    odds = np.zeros(k.shape)
    inside = (k > 0) & (k < n)
    k, n = k[inside], n[inside]
    t = np.log((k - 0.5) / (n - k + 0.5))
    for _ in range(60):
        p, q = _chance(t), _chance(-t)
        log_tail = _log_tail(k, n, p, q)
        slope = k * q * np.exp(_log_mass(k, n, p, q) - log_tail)
        step = (log_tail - log_alpha) / slope
        t = t - step
        if np.all(np.abs(step) < 1e-8):  # the next step would be its square
            break
    odds[inside] = t
    return odds


def _log_tail(k: Floats, n: Floats, p: Floats, q: Floats) -> Floats:
    """Return log P(X >= k) for 1 <= k <= n and q = 1 - p, both above 0."""
    a, b = k, n - k + 1
    near = p * (a + b + 2) < a + 1  # the side on which the fraction converges fast (DLMF 8.17.22)
    x, first, second = np.where(near, p, q), np.where(near, a, b), np.where(near, b, a)
    log_front = _log_mass(k, n, p, q) + np.log(q) + np.where(near, 0.0, np.log(a / b))
    log_side = log_front + np.log(fraction(x, first, second))
    with np.errstate(divide="ignore"):
        return np.where(near, log_side, np.log(-np.expm1(np.minimum(log_side, 0.0))))


def _log_mass(k: Floats, n: Floats, p: Floats, q: Floats) -> Floats:
    """Return log P(X = k), without the cancellation of three log-factorials.

    Loader 2000, "Fast and accurate computation of binomial probabilities", equation (5).
    """
    rest = n - k
    near = _stirling(n) - _stirling(k) - _stirling(rest) - _deviance(k, n * p) - _deviance(rest, n * q)
    with np.errstate(divide="ignore"):
        middle = near + np.log(n / (2 * math.pi * np.maximum(k, 1) * np.maximum(rest, 1))) / 2
        return np.where(rest == 0, k * np.log(p), np.where(k == 0, n * np.log(q), middle))


def _stirling(n: Floats) -> Floats:
    series = np.zeros_like(n)
    for coefficient in reversed(SERIES):
        series = series / np.maximum(n, 1) ** 2 + coefficient
    return np.where(n < 16, STIRLING[np.minimum(n, 15).astype(int)], series / np.maximum(n, 1))


def _deviance(x: Floats, m: Floats) -> Floats:
    """Return x log(x/m) + m - x, by its series where x is near m (Loader 2000, section 3)."""
    v = (x - m) / (x + m)
    series = np.zeros_like(v)
    for j in range(9, 0, -1):
        series = (series + 1 / (2 * j + 1)) * v * v
    near = (x - m) * v + 2 * x * v * series
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.where(x > 0, x * np.log(x / m), 0.0) + m - x
    return np.where(np.abs(v) < 0.1, near, far)


def _counts(k: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    k, n = (np.asarray(each, dtype=np.float64) for each in np.broadcast_arrays(k, n))
    _check_counts(k, n)
    return k, n


def _check_counts(k: Floats, n: Floats) -> None:
    good = (k >= 0) & (k <= n) & (k == np.floor(k)) & (n == np.floor(n))
    if not np.all(good):
        at = int(np.argmin(good))
        found = f"k = {k.flat[at]:g} of n = {n.flat[at]:g}"
        raise BadInput("bounds on a binomial chance", found, "give whole numbers with 0 <= k <= n")


def _rest(level: float) -> float:
    if not 0 < level < 1:
        raise BadInput("bounds on a binomial chance", f"level = {level:g}", "give a level between 0 and 1, e.g. 0.95")
    return 1 - level


def _plain(values: Floats) -> Any:
    return values.item() if values.ndim == 0 else values
