"""Kinds: how lines, bars, boxes and heat maps are drawn on axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from netassay.figures import Figure
from netassay.figures.figure import base, places
from netassay.plots.ribbons import TONES, flow
from netassay.plots.words import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

LONGEST, SHORT = 40, 34
"""Letters of a layer's name that are drawn, and in a list of many."""
COLOURS = (
    "#0b6e75", "#c08a3e", "#7a5195", "#8ab4ff", "#813400", "#0a2374", "#9dbe77", "#ef7a95", "#3e2722", "#1ec8b9",
    "#cfae0a", "#4a63d9", "#6f765b",
)  # fmt: skip
"""Series in their order: any two of them are told apart also by those who do not see red and green alike."""
MANY = 4
"""Series from which on the legend stands beside a figure, rather than above."""
NAMED = {"start": "#c08a3e", "end": "#0b6e75", "emission": TONES["emission"], "absorption": TONES["absorption"]}
HEAT = ("#14273d", "#1f5a74", "#3f9b8c", "#a9cf8c", "#f7efc9")
RAMP = ("#3b1c56", "#2c5c97", "#1d9a8a", "#8fae3a", "#e0a526")
"""First to last, of series that have an order."""
GOOD, NONE, BAD = "#2f7d4f", "#c9c5b8", "#b3402f"
"""A healthy range; cells of exactly zero, and cells that are not finite."""


def finish(axes: Axes, one: Figure) -> None:
    """Name and scale the axes, and say which series is which."""
    if one.flat:
        _lying(axes, one)
        return
    axes.set_title(one.y_label, loc="left", color="#5c646c", parse_math=False)
    if one.limits is not None:
        axes.set_ylim(*one.limits)
    if one.log:
        _decades(axes)
    if any(one.series) and len(one.series) > 1:
        _legend(axes, one)
    if not isinstance(one.x, np.ndarray):
        _layers(axes, one)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)


def _lying(axes: Axes, one: Figure) -> None:
    """Name bars that lie, from top to bottom."""
    axes.set_yticks(range(len(one.x)), [tail(str(name)) for name in one.x], parse_math=False)
    axes.set(xlabel=one.y_label, ylim=(len(one.x) - 0.5, -0.5))
    axes.grid(axis="x", linewidth=0.4, alpha=0.4)
    if any(one.series) and len(one.series) > 1:
        _legend(axes, one)


def _legend(axes: Axes, one: Figure) -> None:
    """Name the series, above or beside the figure; all predictions have one name."""
    if any(base(one, name) != name for name in one.dashed):
        axes.plot([], [], "--", color="#5c646c", linewidth=0.9, label="predicted")
    named = len(axes.get_legend_handles_labels()[1])
    if named > MANY:
        made = axes.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1.05), fontsize=6, borderaxespad=0, labelspacing=0.35
        )
    else:
        made = axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=named, borderaxespad=0.2)
    plain(made, SHORT if named > MANY else LONGEST)


def plain(made: Legend, most: int) -> None:
    """Show names in a legend as they are, the ends of those that are long."""
    for text in made.get_texts():
        text.set(text=tail(text.get_text(), most), parse_math=False)


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
    every = max(1, -(-len(one.x) // 40))
    ticks = range(0, len(one.x), every)
    names = [tail(str(one.x[i])) for i in ticks]
    axes.set_xticks(list(ticks), names, rotation=60, ha="right", rotation_mode="anchor", parse_math=False)


def tail(name: str, most: int = LONGEST) -> str:
    """Return the end of a long name, which tells layers apart; whole names would leave no room for the figure.

    >>> tail("encoder.layers.11.self_attention.out_proj.weight")
    '…ayers.11.self_attention.out_proj.weight'
    """
    return name if len(name) <= most else "…" + name[1 - most :]


def _places(one: Figure) -> np.ndarray:
    return one.x if isinstance(one.x, np.ndarray) else np.arange(len(one.x))


def _colour(name: str, i: int) -> str:
    return NAMED.get(name, COLOURS[i % len(COLOURS)])


def _tones(one: Figure) -> dict[str, str]:
    """Return the colour of each series: its own, or its place on the ramp."""
    order = places(one)
    if not one.ramp:
        return {name: _colour(base(one, name), i) for name, i in order.items()}
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    ramp = LinearSegmentedColormap.from_list("depth", RAMP)
    return {name: to_hex(ramp(i / max(1, len(order) - 1))) for name, i in order.items()}


def _lines(axes: Axes, one: Figure) -> None:
    x, few, tones = _places(one), len(one.x) <= 60 and not one.points, _tones(one)
    if one.healthy_range is not None:
        axes.axhspan(*one.healthy_range, color=GOOD, alpha=0.1, linewidth=0)
    apart = np.array([str(label) in one.marks for label in one.x])
    for name, values in one.series.items():
        shown, colour = _shown(one, values), tones[name]
        if name in one.bands:
            low, high = (_shown(one, side) for side in one.bands[name])
            if one.whiskers:
                axes.vlines(
                    x + 0.03 * (list(one.series).index(name) - (len(one.series) - 1) / 2),
                    low,
                    high,
                    color=colour,
                    linewidth=0.7,
                )
            elif name in one.points:
                axes.vlines(x, low, high, color=colour, linewidth=0.6, alpha=0.6)
            else:
                axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        if one.filled:
            axes.fill_between(x, shown, step="mid", color=colour, alpha=0.5, linewidth=0, label=name)
            continue
        if name in one.points:
            axes.plot(x[~apart], shown[~apart], "o", color=colour, markersize=3.2, label=name)
            axes.plot(x[apart], shown[apart], "o", color=colour, markersize=3.2, markerfacecolor="white")
            continue
        if name in one.dashed:
            own = name if base(one, name) == name else None
            axes.plot(x, shown, "--", color=colour, linewidth=0.9, label=own)
            continue
        axes.plot(x, shown, color=colour, linewidth=0.9, label=name if name and base(one, name) == name else None)
        if few:
            axes.plot(x[~apart], shown[~apart], "o", color=colour, markersize=2.8)
            axes.plot(x[apart], shown[apart], "o", color=colour, markersize=2.8, markerfacecolor="white")
    written(axes, one, x)


def _shown(one: Figure, values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan) if one.log else values


def _bars(axes: Axes, one: Figure) -> None:
    if one.healthy_range is not None:
        (axes.axvspan if one.flat else axes.axhspan)(*one.healthy_range, color=GOOD, alpha=0.1, linewidth=0)
    width = 0.8 / len(one.series)
    for i, (name, values) in enumerate(one.series.items()):
        at = _places(one) + (i - (len(one.series) - 1) / 2) * width
        bar, whisker = (axes.barh, axes.hlines) if one.flat else (axes.bar, axes.vlines)
        bar(at, values, width, color=_each(one) or _colour(name, i), label=name)
        if name in one.bands:
            whisker(at, *one.bands[name], color="#33393f", linewidth=0.7, path_effects=[_outline()])
    if any((values < 0).any() for values in one.series.values()):
        (axes.axvline if one.flat else axes.axhline)(0, color="#5c646c", linewidth=0.5)


def _each(one: Figure) -> list[str]:
    """Return a colour for each bar, where bars have their own."""
    return [COLOURS[one.tones[x] % len(COLOURS)] if x in one.tones else NONE for x in one.x] if one.tones else []


def _outline() -> Any:
    """Return a light edge, by which a dark line is seen on a dark bar."""
    from matplotlib.patheffects import withStroke

    return withStroke(linewidth=2.2, foreground="white")


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
    colours = LinearSegmentedColormap.from_list("netassay", HEAT).with_extremes(under=NONE, bad=BAD)
    cells = np.array(list(one.series.values()))
    shown = np.where(np.isneginf(cells), (low or 0.0) - 1, cells)  # below the shades, or it would not be set apart
    image = axes.imshow(shown, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    names = list(map(tail, one.series))
    every = 1 if one.wide else max(1, len(names) // 8)
    axes.set_yticks(range(0, len(names), every), names[::every], parse_math=False)
    many = 8 if max(map(len, map(str, one.x)), default=0) < 5 else 4
    ticks = range(0, len(one.x), max(1, len(one.x) // many))
    axes.set_xticks(list(ticks), [str(one.x[i]) for i in ticks])
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label(one.unit)
    if not one.wide:
        axes.set_ylabel(one.y_label)


KINDS: Mapping[str, Callable[[Any, Figure], None]] = {
    "lines": _lines,
    "bars": _bars,
    "boxes": _boxes,
    "heat": _heat,
    "sankey": flow,
}
