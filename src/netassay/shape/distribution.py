"""Distribution: what is kept of one population of numbers, whatever its size; parts merge in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from netassay.streams import Extremes, LogHistogram, Moments

FEW = 4096
"""Finite values up to which they are kept themselves: biases and norm layers, whose spread a bin may swallow."""


@dataclass(frozen=True)
class Distribution:
    """Moments, histogram and extremes of the finite numbers of a population, and how many were 0, NaN or infinite.

    `moments`, `histogram` and `extremes` have one row. `few` holds the finite values themselves, ascending, where there
    are at most `FEW` and each part kept them; otherwise None. Variances divide by n. What has no value is NaN.

    >>> d = Distribution.of([1.0, 2.0, 3.0]).merge(Distribution.of([4.0, np.nan]))
    >>> d.n, d.mean, d.maximum, d.nan, d.quantile(0.5)
    (4, 2.5, 4.0, 1, 2.0)
    """

    moments: Moments
    histogram: LogHistogram
    extremes: Extremes
    zero: int
    nan: int
    inf: int
    few: np.ndarray | None

    @classmethod
    def empty(cls) -> Distribution:
        """Return the identity of `merge`."""
        return cls(Moments.empty(), LogHistogram.empty(), Extremes.empty(), 0, 0, 0, np.zeros(0))

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Distribution:
        """Take all numbers of an array of any shape; `gathering.measure` does so for a tensor, faster."""
        x = np.asarray(values, dtype=np.float64).ravel()
        finite = x[np.isfinite(x)]
        ends = Extremes(*(np.array([end]) for end in (finite.min(initial=np.inf), finite.max(initial=-np.inf))))
        zero, nan, inf = (int(np.count_nonzero(what)) for what in (finite == 0, np.isnan(x), np.isinf(x)))
        column = finite[:, None]
        return cls(Moments.of(column), LogHistogram.of(column), ends, zero, nan, inf, kept(finite))

    def merge(self, other: Distribution) -> Distribution:
        """Join with further numbers of the same population."""
        few = None if self.few is None or other.few is None else kept(np.concatenate([self.few, other.few]))
        return Distribution(
            self.moments.merge(other.moments),
            self.histogram.merge(other.histogram),
            self.extremes.merge(other.extremes),
            self.zero + other.zero,
            self.nan + other.nan,
            self.inf + other.inf,
            few,
        )

    @property
    def n(self) -> int:
        """Finite numbers; all other properties but `nan` and `inf` are over these."""
        return int(self.moments.n[0])

    @property
    def mean(self) -> float:
        """Arithmetic mean; of equal numbers the number itself."""
        return self.minimum if self.constant else float(self.moments.mean[0]) if self.n else float("nan")

    @property
    def variance(self) -> float:
        """Population variance; exactly 0 where all numbers are equal. Of doubles below 1e-154 the squares vanish."""
        return 0.0 if self.constant else max(float(self.moments.variance[0]), 0.0) if self.n else float("nan")

    @property
    def std(self) -> float:
        """Population standard deviation."""
        return float(np.sqrt(self.variance))

    @property
    def skewness(self) -> float:
        """Third standardised moment, 0 for what is symmetric; NaN where all numbers are equal."""
        return float("nan") if self.constant else float(self.moments.skewness[0])

    @property
    def kurtosis(self) -> float:
        """Fourth standardised moment, 3 for a Gaussian; NaN where all numbers are equal."""
        return float("nan") if self.constant else float(self.moments.kurtosis[0])

    @property
    def minimum(self) -> float:
        """Smallest finite number."""
        return float(self.extremes.low[0]) if self.n else float("nan")

    @property
    def maximum(self) -> float:
        """Largest finite number."""
        return float(self.extremes.high[0]) if self.n else float("nan")

    @property
    def zero_share(self) -> float:
        """Exact zeros over finite numbers."""
        return self.zero / self.n if self.n else float("nan")

    @property
    def constant(self) -> bool:
        """Whether there are numbers and all are equal."""
        return self.minimum == self.maximum

    def quantile(self, q: float) -> float:
        """Return the order statistic of rank `ceil(q n)`, exact where all values were kept, else within 0.78 %."""
        if self.few is not None and len(self.few):
            return float(self.few[int(np.clip(np.ceil(q * self.n), 1, self.n)) - 1])
        return float(np.clip(self.histogram.quantile([q])[0, 0], self.minimum, self.maximum))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that is kept as named arrays, to be stored; `from_arrays` is the way back, bit for bit."""
        few = {} if self.few is None else {"few": self.few}
        parts = {name: np.concatenate([*vars(getattr(self, name)).values()]) for name in ("moments", "extremes")}
        counts = np.array([self.zero, self.nan, self.inf], dtype=np.int64)
        return {**parts, "keys": self.histogram.keys, "bins": self.histogram.counts[0], "counts": counts, **few}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Distribution:
        """Return the distribution whose `arrays()` these are."""
        moments, ends = (np.split(arrays[name], len(arrays[name])) for name in ("moments", "extremes"))
        histogram = LogHistogram(arrays["keys"], arrays["bins"][None])
        zero, nan, inf = arrays["counts"].tolist()
        return cls(Moments(*moments), histogram, Extremes(*ends), zero, nan, inf, arrays.get("few"))


def kept(values: np.ndarray) -> np.ndarray | None:
    """Return the values in order where they are few, else None."""
    return np.sort(values) if len(values) <= FEW else None
