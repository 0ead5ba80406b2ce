"""Maps: heat maps beside each other on one scale of colours, rows and columns named, thin lines over them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from netassay.figures import Figure
from netassay.figures.figure import oddities
from netassay.plots.kinds import BAD, HEAT, NONE, tail

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure as Canvas

PAGE, SIDE, ABOVE, BELOW = 7.0, 0.62, 0.8, 0.62
"""Inches: of a page, of the names beside a map, of what stands above all maps, and of the names below a map."""
SCALE = 0.5
"""Inches of the scale beside a map that has its own."""
LETTERS, ROOM, FEW = 18, 0.085, 3
"""Letters of a layer's name; inches that one takes; maps in a row from which on titles are in two lines."""


def height(one: Figure) -> float:
    """Return inches: so that maps are as square as their numbers of layers."""
    rows = -(-len(one.parts) // one.columns)
    return ABOVE + rows * (_wide(one) * max(map(_shape, one.parts)) + BELOW + 0.2)


def _wide(one: Figure) -> float:
    """Return the inches of a map."""
    apart = one.columns if one.columns > FEW else 1
    scales = SCALE * one.columns * bool(one.parts[0].unit)
    return (PAGE - 0.3 - SIDE * apart - 0.12 * one.columns - scales) / one.columns


def _shape(part: Figure) -> float:
    """Return how much taller than wide a map is."""
    return min(1.6, max(0.5, len(part.series) / max(1, len(part.x))))


def tiles(canvas: Canvas, one: Figure) -> None:
    """Draw maps in rows, on axes of their own, with one scale above them."""
    rows = -(-len(one.parts) // one.columns)
    made = [canvas.add_subplot(rows, one.columns, i + 1) for i in range(len(one.parts))]
    for i, (axes, part) in enumerate(zip(made, one.parts, strict=True)):
        tile(axes, part, _wide(one))
        title = part.title.replace(": ", "\n", 1) if one.columns > FEW or part.unit else part.name
        if part.unit:
            _own_scale(canvas, axes, part)
        axes.set_title(title, loc="left", fontsize=6, parse_math=False)
        if i % one.columns and list(part.series) == list(one.parts[i - 1].series):
            axes.set_yticklabels([])
    canvas.supxlabel(one.x_label, fontsize=7, parse_math=False)
    canvas.supylabel(one.y_label, fontsize=7, parse_math=False)
    if not one.parts[0].unit:
        _scale(canvas, made, one)
    _keys(canvas, one)


def _scale(canvas: Canvas, made: list[Axes], one: Figure) -> None:
    """Draw the one scale of colours above all maps."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low, high = one.limits or (0.0, 1.0)
    shades = ScalarMappable(Normalize(min(low, high), max(low, high)), ramp(one))
    where: dict[str, Any] = {"orientation": "horizontal", "location": "top", "anchor": (0.0, 0.5)}
    bar = canvas.colorbar(shades, ax=made, shrink=0.45, aspect=34, fraction=0.04, pad=0.03, **where)
    bar.set_label(one.unit, fontsize=6.5, parse_math=False)
    bar.ax.tick_params(labelsize=5.5, length=2, pad=1)
    if low > high:
        bar.ax.invert_xaxis()


def _own_scale(canvas: Canvas, axes: Axes, part: Figure) -> None:
    """Draw the scale of one map at its right, bright on top."""
    bar = canvas.colorbar(axes.images[0], ax=axes, shrink=0.7, aspect=26, pad=0.02)
    bar.ax.tick_params(labelsize=5, length=1.5, width=0.4, pad=2)
    bar.outline.set_visible(False)
    low, high = part.limits or (0.0, 1.0)
    bar.ax.set_xlabel(part.ends[0], fontsize=5, loc="left", parse_math=False)
    bar.ax.set_title(part.ends[1], fontsize=5, loc="left", parse_math=False)
    if low > high:
        bar.ax.invert_yaxis()


def ramp(one: Figure) -> Colormap:
    """Return the colours of a map: bright is what equal features have, also where that is a small number."""
    from matplotlib.colors import LinearSegmentedColormap

    low, high = one.limits or (0.0, 1.0)
    shades = HEAT if low < high else HEAT[::-1]
    return LinearSegmentedColormap.from_list("netassay", shades).with_extremes(under=NONE, bad=BAD)


def tile(axes: Axes, part: Figure, wide: float) -> None:
    """Draw one map so many inches wide, the first row on top."""
    limits = part.limits or (0.0, 1.0)
    low, high = min(limits), max(limits)
    cells = np.array(list(part.series.values()), dtype=float)
    shown = np.where(np.isneginf(cells), low - 1, np.where(np.isfinite(cells), np.maximum(cells, low), np.nan))
    axes.imshow(shown, aspect="auto", cmap=ramp(part), vmin=low, vmax=high, interpolation="nearest")
    for (i, j), value in np.ndenumerate(cells) if part.written else ():
        if np.isfinite(value):
            bright = (value - limits[0]) / (limits[1] - limits[0]) > 0.55
            where: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "zorder": 5,
                "color": HEAT[0] if bright else "white",
            }
            axes.text(j, i, f"{value:.2f}".replace("-0.00", "0.00"), fontsize=5, **where)
    for x0, y0, x1, y1 in part.lines:
        axes.plot([x0, x1], [y0, y1], color="white", linewidth=1.3, alpha=0.5)
        axes.plot([x0, x1], [y0, y1], color="#1d2125", linewidth=0.5, alpha=0.9)
    axes.set(xlim=(-0.5, len(part.x) - 0.5), ylim=(len(part.series) - 0.5, -0.5))
    axes.set_box_aspect(_shape(part))
    _named(axes, part, wide)


def _named(axes: Axes, part: Figure, wide: float) -> None:
    """Name rows and columns; where there are too many to read, every so many."""
    aslant: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
    for names, place, room, told in (
        (list(map(str, part.x)), axes.set_xticks, wide, aslant),
        (list(part.series), axes.set_yticks, wide * _shape(part), {}),
    ):
        ticks = range(0, len(names), max(1, math.ceil(len(names) * ROOM / room)))
        place(list(ticks), [cut(names[i]) for i in ticks], fontsize=4.8, parse_math=False, **told)
    axes.tick_params(length=1.5, width=0.4, pad=1)
    for spine in axes.spines.values():
        spine.set_visible(False)


def cut(name: str, most: int = LETTERS) -> str:
    """Return the end of a long name, with the beginning of the model's where there is one in front.

    >>> cut("resnet34/layer3.5.conv2"), cut("layer1.0.conv1")
    ('resnet…yer3.5.conv2', 'layer1.0.conv1')
    """
    if len(name) <= most or "/" not in name:
        return tail(name, most)
    return name[:6] + tail(name, most - 5)


def _keys(canvas: Canvas, one: Figure) -> None:
    """Say what grey and red cells are, and the line of equal depth, where there are any."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    tones = dict(zip(one.apart, (NONE, BAD), strict=True))
    marks: list[Any] = [Patch(color=tones[word], label=word) for word in oddities(one)]
    if any(x0 != x1 and y0 != y1 for part in one.parts for x0, y0, x1, y1 in part.lines):
        marks.append(Line2D([], [], color="#1d2125", linewidth=0.5, label="equal relative depth"))
    if marks:
        canvas.legend(handles=marks, loc="upper right", ncols=3, fontsize=6, handlelength=1, borderaxespad=0.3)
