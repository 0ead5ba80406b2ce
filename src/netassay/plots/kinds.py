"""Kinds: how lines, bars, boxes and heat maps are drawn on axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from netassay.figures import Figure
from netassay.plots.ribbons import TONES, flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 40
"""Letters of a layer's name that are drawn."""
COLOURS = ("#0b6e75", "#c08a3e", "#7a5195", "#2f7d4f")
NAMED = {"start": "#c08a3e", "end": "#0b6e75", "emission": TONES["emission"], "absorption": TONES["absorption"]}
HEAT = ("#14273d", "#1f5a74", "#3f9b8c", "#a9cf8c", "#f7efc9")


def finish(axes: Axes, one: Figure) -> None:
    """Name and scale the axes, and say which series is which."""
    axes.set_title(one.y_label, loc="left", color="#5c646c")
    if one.log:
        _decades(axes)
    if one.limits is not None:
        axes.set_ylim(*one.limits)
    if any(one.series) and len(one.series) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(one.series), borderaxespad=0.2)
    if not isinstance(one.x, np.ndarray):
        _layers(axes, one)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)


def _decades(axes: Axes) -> None:
    """Scale y by logarithms, with three labels a decade where there are few decades."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < 300 * low:
        from matplotlib.ticker import LogLocator

        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def _layers(axes: Axes, one: Figure) -> None:
    """Label layers along x; where there are too many to read, every so many."""
    every = max(1, len(one.x) // 40)
    ticks = range(0, len(one.x), every)
    names = [tail(str(one.x[i])) for i in ticks]
    axes.set_xticks(list(ticks), names, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)


def tail(name: str) -> str:
    """Return the end of a long name, which tells layers apart; whole names would leave no room for the figure.

    >>> tail("encoder.layers.11.self_attention.out_proj.weight")
    '…ayers.11.self_attention.out_proj.weight'
    """
    return name if len(name) <= LONGEST else "…" + name[1 - LONGEST :]


def _places(one: Figure) -> np.ndarray:
    return one.x if isinstance(one.x, np.ndarray) else np.arange(len(one.x))


def _colour(name: str, i: int) -> str:
    return NAMED.get(name, COLOURS[i % len(COLOURS)])


def _lines(axes: Axes, one: Figure) -> None:
    x, few = _places(one), len(one.x) <= 60
    apart = np.array([str(label) in one.marks for label in one.x])
    for i, (name, values) in enumerate(one.series.items()):
        shown = np.where(values > 0, values, np.nan) if one.log else values
        colour = _colour(name, i)
        axes.plot(x, shown, color=colour, linewidth=0.9, label=name or None)
        if few:
            axes.plot(x[~apart], shown[~apart], "o", color=colour, markersize=2.8)
            axes.plot(x[apart], shown[apart], "o", color=colour, markersize=2.8, markerfacecolor="white")


def _bars(axes: Axes, one: Figure) -> None:
    width = 0.8 / len(one.series)
    for i, (name, values) in enumerate(one.series.items()):
        axes.bar(
            _places(one) + (i - (len(one.series) - 1) / 2) * width, values, width, color=_colour(name, i), label=name
        )


def _boxes(axes: Axes, one: Figure) -> None:
    width = 0.7 / len(one.series)
    for i, (name, values) in enumerate(one.series.items()):
        rows = gaps(values) if one.log else values
        drawn = [dict(zip(("whislo", "q1", "med", "q3", "whishi"), row, strict=True)) for row in rows]
        line = {"color": _colour(name, i), "linewidth": 0.8}
        at = _places(one) + (i - (len(one.series) - 1) / 2) * width
        parts = axes.bxp(
            drawn, positions=at, widths=width * 0.8, showfliers=False, manage_ticks=False,
            boxprops=line, whiskerprops=line, capprops=line, medianprops=line,
        )  # fmt: skip
        parts["boxes"][0].set_label(name or None)


def gaps(rows: np.ndarray) -> np.ndarray:
    """Return boxes as a logarithmic axis can show them: without a whisker to zero, and none that begins there.

    >>> gaps(np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 2.0, 3.0, 4.0]])).tolist()
    [[nan, 1.0, 2.0, 3.0, 4.0], [nan, nan, nan, nan, nan]]
    """
    whole = (rows[:, 1:] > 0).all(1, keepdims=True)
    return np.where(whole & (rows > 0), rows, np.nan)


def _heat(axes: Axes, one: Figure) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    low, high = one.limits or (None, None)
    colours = LinearSegmentedColormap.from_list("netassay", HEAT)
    image = axes.imshow(
        np.array(list(one.series.values())), aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest"
    )
    names = list(map(tail, one.series))
    every = 1 if one.wide else max(1, len(names) // 8)
    axes.set_yticks(range(0, len(names), every), names[::every], parse_math=False)
    many = 8 if max(map(len, map(str, one.x)), default=0) < 5 else 4
    ticks = range(0, len(one.x), max(1, len(one.x) // many))
    axes.set_xticks(list(ticks), [str(one.x[i]) for i in ticks])
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
    if not one.wide:
        axes.set_ylabel(one.y_label)
        bar.set_label("log10 of mean block / largest")


KINDS: Mapping[str, Callable[[Any, Figure], None]] = {
    "lines": _lines,
    "bars": _bars,
    "boxes": _boxes,
    "heat": _heat,
    "sankey": flow,
}
