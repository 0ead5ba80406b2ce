"""Many tests at once: p-values adjusted so that they are read as if each were the only one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput

Floats = npt.NDArray[np.float64]


def holm(p: npt.ArrayLike) -> Floats:
    """Return p-values adjusted by Holm: at most one false finding among all, with any dependence.

    Of m tests in rising order, max over j <= i of min(1, (m - j + 1) p_j) (Holm 1979, Scand. J. Statist.
    6:65). Same shape; NaN stays NaN and does not count as a test.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values, order = _sorted(p)
    rising = values.ravel()[order]
    steps = np.maximum.accumulate(rising * np.arange(len(order), 0, -1))
    return _filled(values, order, steps)


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Return p-values adjusted by Benjamini and Hochberg: the expected share of false findings is bounded.

    Of m independent (or positively dependent) tests in rising order, min over j >= i of min(1, p_j m/j)
    (Benjamini & Hochberg 1995, J. R. Statist. Soc. B 57:289, (1)). Same shape; NaN stays NaN and does not
    count as a test.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.04, 0.04]
    """
    values, order = _sorted(p)
    falling = values.ravel()[order][::-1]
    m = len(order)
    steps = np.minimum.accumulate(falling * (m / np.arange(m, 0, -1)))
    return _filled(values, order, steps[::-1])


def _sorted(p: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.intp]]:
    values = np.asarray(p, dtype=np.float64)
    if np.any((values < 0) | (values > 1)):
        worst = values[(values < 0) | (values > 1)][0]
        raise BadInput("adjust p-values", f"a p-value of {worst:g}", "give values between 0 and 1, or NaN")
    order = np.argsort(values, axis=None, kind="stable")  # NaN comes last
    return values, order[: values.size - int(np.isnan(values).sum())]


def _filled(values: Floats, order: npt.NDArray[np.intp], steps: Floats) -> Floats:
    adjusted = np.full(values.size, np.nan)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted.reshape(values.shape)
