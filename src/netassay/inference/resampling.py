"""Resampling: the bootstrap interval of an estimate, the permutation test of a difference.

A statistic is a function `statistic(values, axis=...)` that reduces one axis, as numpy's own do; resamples
are drawn in chunks, so that memory is bounded by `CHUNK` and the estimates themselves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

CHUNK = 2**25  # bytes of resampled values at a time
GROUPS = 1000  # of the jackknife: grouping then adds noise of about 0.65/1000 to the acceleration
TIES = 1e-12  # relative to the largest difference: sums in another order differ by rounding alone

cdf = np.vectorize(NormalDist().cdf, otypes=[np.float64])
quantile = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])


def difference_of_means(a: Any, b: Any, axis: int) -> Any:
    """Return mean(a) - mean(b) along an axis."""
    return np.mean(a, axis=axis) - np.mean(b, axis=axis)


def bootstrap(
    values: npt.ArrayLike,
    statistic: Callable[..., Any],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Any, Any, Any]:
    """Return the estimate and its BCa bootstrap interval: (estimate, low, high).

    `values` are (n, ...), independent along the first axis, which is resampled and which `statistic(values,
    axis=...)` reduces; pass differences for pairs. Each of the three has the shape of what the statistic
    returns.

    BCa: Efron 1987, J. Am. Statist. Ass. 82:171, as in Efron & Tibshirani 1993, (14.9), (14.10), (14.14) and
    (14.15); the acceleration is the jackknife's, over at most 1000 random groups. Of one value the interval
    is NaN; of equal values it is the estimate; where the estimate or a resample is not finite it is NaN
    (nothing is dropped). With few values it covers too rarely: for the mean of 10 normal values 0.90 instead
    of 0.95, of 20 values 0.92, of 50 values 0.94; for log-normal ones 0.80, 0.89, 0.91.

    >>> bootstrap([1.0, 2.0, 3.0, 4.0], np.mean)
    (2.5, 1.5, 3.5)
    """
    array, n = _values(values)
    _check(resamples, level)
    with np.errstate(invalid="ignore", over="ignore"):
        estimate = np.asarray(statistic(array, axis=0), dtype=np.float64)
        if n < 2:
            nan = np.full_like(estimate, np.nan)
            return _plain(estimate), _plain(nan), _plain(nan)
        generator = np.random.default_rng(seed)
        draws = np.sort(_draws(array, statistic, resamples, generator), axis=0)
        low, high = _bca(estimate, draws, _acceleration(array, statistic, generator), level)
    finite = np.isfinite(estimate) & np.isfinite(draws).all(axis=0)
    return _plain(estimate), _plain(np.where(finite, low, np.nan)), _plain(np.where(finite, high, np.nan))


def _draws(values: Floats, statistic: Callable[..., Any], resamples: int, generator: np.random.Generator) -> Floats:
    n = len(values)
    size = max(1, CHUNK // max(values.nbytes, 8 * n))
    counts = [min(size, resamples - start) for start in range(0, resamples, size)]
    parts = [statistic(values[generator.integers(n, size=(count, n))], axis=1) for count in counts]
    return np.concatenate(parts).astype(np.float64)


def _acceleration(values: Floats, statistic: Callable[..., Any], generator: np.random.Generator) -> Floats:
    """Return a of (14.15) from values left out one by one, or in random groups where they are many.

    Influences add up within a group, so the sums of their squares and cubes keep their expectation.
    """
    n = len(values)
    groups = np.array_split(generator.permutation(n), min(n, GROUPS))
    without = np.array([statistic(np.delete(values, group, axis=0), axis=0) for group in groups], dtype=np.float64)
    u = without.mean(axis=0) - without
    spread = (u**2).sum(axis=0)
    return np.asarray((u**3).sum(axis=0) / (6 * np.where(spread > 0, spread, 1.0) ** 1.5))


def _bca(estimate: Floats, draws: Floats, a: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the quantiles (14.9) of sorted draws at the levels of (14.10)."""
    resamples = len(draws)
    # ties count half; at least half a resample lies on each side, else z0 were infinite
    below = (draws < estimate).sum(axis=0) + (draws == estimate).sum(axis=0) / 2
    z0 = quantile(np.clip(below, 0.5, resamples - 0.5) / resamples)
    tail = NormalDist().inv_cdf((1 - level) / 2)
    return _at(draws, _level(z0, a, tail)), _at(draws, _level(z0, a, -tail))


def _level(z0: Floats, a: Floats, z: float) -> Floats:
    shifted = z0 + z
    scale = 1 - a * shifted
    steep = np.sign(shifted) * np.inf
    return np.asarray(cdf(np.where(scale > 0, z0 + shifted / np.where(scale > 0, scale, 1.0), steep)))


def _at(draws: Floats, level: Floats) -> Floats:
    place = np.nan_to_num(level) * (len(draws) - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, len(draws) - 1)
    low, high = (np.take_along_axis(draws, each[None], axis=0)[0] for each in (below, above))
    return np.asarray(low + (high - low) * (place - below))


def permutation(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    statistic: Callable[..., Any] = difference_of_means,
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> Any:
    """Return the two-sided p-value of a difference between two independent samples.

    The null: all values come from one distribution, so that any assignment of them to the samples is as
    likely. `a` is (n, ...), `b` (m, ...); `statistic(a, b, axis=...)` reduces that axis and is 0 on average
    under the null. p is the share of assignments whose |statistic| is no smaller than the one seen: over all
    of them when there are at most `resamples`, else (hits + 1)/(resamples + 1) over random ones, which is
    never 0 (Phipson & Smyth 2010, Statist. Appl. Genet. Mol. Biol. 9:39). NaN where a statistic is not
    finite.

    >>> permutation([1.0, 2.0, 3.0], [7.0, 8.0, 9.0])
    0.1
    """
    (first, n), (second, m) = _values(a), _values(b)
    if first.shape[1:] != second.shape[1:]:
        found = f"samples of shapes {first.shape} and {second.shape}"
        raise BadInput("permutation test", found, "give two samples that differ in their first axis only")
    _check(resamples)
    exact = math.comb(n + m, n) <= resamples
    with np.errstate(invalid="ignore", over="ignore"):
        seen = np.abs(np.asarray(statistic(first, second, axis=0), dtype=np.float64))
        null = _null(first, second, statistic, None if exact else np.random.default_rng(seed), resamples)
        hits = (null >= seen - TIES * np.maximum(null.max(axis=0), seen)).sum(axis=0)
    p = hits / len(null) if exact else (hits + 1) / (len(null) + 1)
    return _plain(np.where(np.isfinite(seen) & np.isfinite(null).all(axis=0), p, np.nan))


def _null(
    a: Floats,
    b: Floats,
    statistic: Callable[..., Any],
    generator: np.random.Generator | None,
    resamples: int,
) -> Floats:
    """Return |statistic| under all assignments, or under as many random ones as `resamples` says."""
    n, pool = len(a), np.concatenate([a, b])
    size = max(1, CHUNK // max(pool.nbytes, 8 * len(pool)))
    orders = _random_orders(len(pool), resamples, size, generator) if generator else _all_orders(n, len(b), size)
    parts = [statistic(pool[order[:, :n]], pool[order[:, n:]], axis=1) for order in orders]
    return np.abs(np.concatenate(parts).astype(np.float64))


def _all_orders(n: int, m: int, size: int) -> Iterator[Indices]:
    chosen = itertools.combinations(range(n + m), n)
    while batch := list(itertools.islice(chosen, size)):
        second = np.ones((len(batch), n + m), dtype=bool)
        np.put_along_axis(second, np.array(batch, dtype=np.int64), False, axis=1)
        yield np.argsort(second, axis=1, kind="stable")


def _random_orders(total: int, resamples: int, size: int, generator: np.random.Generator) -> Iterator[Indices]:
    for start in range(0, resamples, size):
        rows = np.tile(np.arange(total), (min(size, resamples - start), 1))
        yield generator.permuted(rows, axis=1)


def _values(values: npt.ArrayLike) -> tuple[Floats, int]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or len(array) == 0:
        raise BadInput("resample", f"values of shape {array.shape}", "give at least one value, along the first axis")
    return array, len(array)


def _check(resamples: int, level: float = 0.95) -> None:
    if not 0 < level < 1 or resamples < 1:
        found = f"level = {level:g}, resamples = {resamples}"
        raise BadInput("resample", found, "give a level between 0 and 1, and 1 resample or more")


def _plain(values: Any) -> Any:
    return values.item() if values.ndim == 0 else values
