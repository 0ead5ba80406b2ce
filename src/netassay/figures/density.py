"""Density: a cell of a grid, histograms over common bins: made fit to draw, its height, and its ends in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netassay.figures.figure import Figure

LONE = 3
"""Times the second highest bar from which on the highest is cut."""


def tidied(edges: np.ndarray, densities: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return edges that increase and densities that are finite, without the series of which nothing is known.

    Values that are all alike leave bins without a width: they become one bar in the middle of bins around it.

    >>> edges, drawn = tidied(np.ones(3), {"start": np.full(2, np.nan)})
    >>> edges.tolist(), drawn["start"].tolist()
    ([0.5, 1.0, 1.5], [0.0, 2.0])
    """
    if not np.isfinite(edges).all():
        return np.linspace(0.0, 1.0, len(edges)), {}
    if (np.diff(edges) <= 0).any():
        middle, half = float(edges.mean()), max(abs(float(edges.mean())), 1.0) / 2
        around = np.linspace(middle - half, middle + half, len(edges))
        bar = (np.arange(len(edges) - 1) == (len(edges) - 1) // 2) / np.diff(around)
        return around, {name: bar for name, values in densities.items() if not (values == 0).all()}
    return edges, {name: _finite(edges, np.asarray(v)) for name, v in densities.items() if not np.isnan(v).all()}


def _finite(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return densities where an infinite one is a bar of area one."""
    endless = np.isposinf(values)
    return np.where(endless, 1 / np.diff(edges), 0.0) if endless.any() else np.nan_to_num(values)


def top(part: Figure) -> float:
    """Return the height of a cell: the highest density, unless one bar stands far above the rest, which is cut.

    What is all alike would be as high as a bin is narrow, and the zeros of a ReLU likewise; both flatten the rest.

    >>> top(Figure("n", "t", "", "density", np.arange(4.0), {"a": np.array([0, 9, 0]), "b": np.ones(3)}, "", ""))
    1.0
    """
    heights = [_height(values) for values in part.series.values()]
    return max(heights, default=0.0) or max((float(v.max()) for v in part.series.values()), default=0.0) or 1.0


def _height(values: np.ndarray) -> float:
    """Return the highest bar, or half as much again as the second where the highest is three times that."""
    second, first = (float(value) for value in np.sort(np.append(values, 0.0))[-2:])
    return first if first <= LONE * second else 1.5 * second


def ends(part: Figure) -> tuple[str, str]:
    """Return where a cell begins and ends, in as many digits as tell the two apart.

    >>> ends(Figure("n", "t", "", "density", np.array([0.99991, 1.00023]), {}, "", ""))
    ('0.99991', '1.0002')
    """
    low, high = float(part.x[0]), float(part.x[-1])
    size, span = max(abs(low), abs(high)), high - low
    digits = int(np.clip(np.ceil(np.log10(size / span)) + 1, 2, 12)) if span > 0 and size > 0 else 2
    return short(low, digits), short(high, digits)


def short(number: float, digits: int) -> str:
    """Write a number to so many digits, without a power of ten where it is a few letters long.

    >>> short(351.2, 2), short(-0.000012, 2)
    ('350', '−1.2e-05')
    """
    return signed(f"{float(f'{number:.{digits}g}'):.{max(digits, 4)}g}")


def signed(number: str) -> str:
    """Write a number's sign as a minus, and none before zero.

    >>> signed("-0.5"), signed("-0.0")
    ('−0.5', '0.0')
    """
    bare = number.removeprefix("-")
    return f"\N{MINUS SIGN}{bare}" if bare != number and float(number) else bare
