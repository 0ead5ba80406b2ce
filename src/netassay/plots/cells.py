"""Cells: a grid of histograms, start | end, with rows and columns headed and each cell's numbers below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netassay.figures import Figure
from netassay.figures.density import ends, top

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SHADES = {"start": ("#c08a3e", "#80551a"), "end": ("#0b6e75", "#0b5c62")}
"""Colours of a series, and of the words about it, which are small and so darker."""
OTHER = ("#5c646c", "#33393f")
Line = tuple[str, str]
"""Words and their colour."""
HEAD, TITLE, SIDE, EDGE, GAP, TALLEST, LONGEST = 0.46, 0.12, 0.24, 0.07, 0.09, 0.6, 9.0
"""Inches: above the cells, for a title of each, beside them for heads of rows, around, between; of a plot, a page."""
WIDTH, BOLD, PITCH, LARGEST, SMALLER = 0.58, 0.72, 1.28, 5.2, 4.2
"""A letter's width, a bold one's and a line's height in font sizes; the largest size of words, and in many rows."""


def height(one: Figure, wide: float) -> float:
    """Return inches: as many rows as there are, lower where they would not fit on a page."""
    return _head(one) + EDGE + _rows(one) * _row(one, wide)


def _head(one: Figure) -> float:
    return HEAD if _headed(one) else HEAD - TITLE


def _rows(one: Figure) -> int:
    return -(-len(one.parts) // one.columns)


def _headed(one: Figure) -> bool:
    """Say whether rows have heads; else the grid is wrapped, and each cell has its title."""
    return any(part.y_label for part in one.parts)


def _width(one: Figure, wide: float) -> float:
    return (wide - (SIDE if _headed(one) else EDGE) - EDGE) / one.columns - GAP


def _words(one: Figure, wide: float) -> tuple[list[list[Line]], float]:
    """Return the lines below each cell and their size: in two where they would be too small in one."""
    room, said = 72 * _width(one, wide), [part.said for part in one.parts]
    apart = _fitting([line for told in said for line in told], room) < LARGEST - 0.4
    lines = [[(piece, _ink(line)) for line in told for piece in _pieces(line, apart)] for told in said]
    most = LARGEST if _rows(one) < 10 else SMALLER
    return lines, min(most, _fitting([line for told in lines for line, _ in told], room))


def _pieces(line: str, apart: bool) -> list[str]:
    return line.split(", ") if apart else [line]


def _ink(line: str) -> str:
    """Return the colour of a line: that of the series it begins with."""
    return SHADES.get(line.replace(":", " ").split(" ")[0], OTHER)[1]


def _fitting(lines: list[str], room: float) -> float:
    """Return the font size at which the longest line fits into so many points."""
    return min(LARGEST, room / (WIDTH * max(map(len, lines), default=1)))


def _row(one: Figure, wide: float) -> float:
    return _plot(one, wide) + _below(one, wide) + GAP + (0 if _headed(one) else TITLE)


def _below(one: Figure, wide: float) -> float:
    """Return the inches below a plot: its ends, and what is said."""
    lines, size = _words(one, wide)
    return 0.11 + max(map(len, lines), default=0) * size * PITCH / 72


def _plot(one: Figure, wide: float) -> float:
    return float(np.clip(LONGEST / _rows(one) - _below(one, wide) - GAP, 0.25, TALLEST))


def grid(canvas: Canvas, one: Figure) -> None:
    """Draw the cells of a grid, each on axes of its own."""
    wide, tall = canvas.get_size_inches()
    lines, size = _words(one, wide)
    width, plot, headed = _width(one, wide), _plot(one, wide), _headed(one)
    _legend(canvas, one, tall)
    for i, part in enumerate(one.parts):
        row, column = divmod(i, one.columns)
        left = (SIDE if headed else EDGE) + column * (width + GAP)
        above = tall - _head(one) - row * _row(one, wide) - (0 if headed else TITLE)
        axes = canvas.add_axes((left / wide, (above - plot) / tall, width / wide, plot / tall))
        cell(axes, part)
        for j, (line, colour) in enumerate(lines[i]):
            _say(axes, line, 8 + j * size * PITCH, size, colour)
        if not headed or row == 0:
            _title(axes, part.title, 72 * width)
        if headed and column == 0:
            _side(canvas, part.y_label, above - _row(one, wide) / 2 + GAP / 2, 72 * _row(one, wide))


def _side(canvas: Canvas, head: str, middle: float, room: float) -> None:
    """Write the head of a row, upwards, as large as there is room."""
    wide, tall = canvas.get_size_inches()
    told: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "center", "parse_math": False}
    fits = min(6.0, room / (BOLD * len(head)))
    canvas.text(SIDE / 3 / wide, middle / tall, head, fontsize=fits, fontweight="bold", **told)


def cell(axes: Axes, part: Figure) -> None:
    """Draw histograms over common bins, shaded below an outline, the ends of their axis and where zero is."""
    for name, values in part.series.items():
        colour = SHADES.get(name, OTHER)[0]
        axes.stairs(values, part.x, fill=True, color=colour, alpha=0.3, linewidth=0)
        axes.stairs(values, part.x, color=colour, linewidth=0.6, label=name)
    low, high = float(part.x[0]), float(part.x[-1])
    if low < 0 < high:
        axes.axvline(0, color="#5c646c", alpha=0.45, linewidth=0.4, zorder=0)
    axes.set(xlim=(low, high), ylim=(0, 1.04 * top(part)), xticks=[], yticks=[])
    axes.spines["left"].set_visible(False)
    for at, side, text in zip((0, 1), ("left", "right"), ends(part), strict=True):
        told: dict[str, Any] = {
            "xytext": (0, -1.5),
            "textcoords": "offset points",
            "ha": side,
            "va": "top",
            "fontsize": 4.3,
        }
        axes.annotate(text, (at, 0), xycoords="axes fraction", color="#5c646c", **told)


def _say(axes: Axes, line: str, down: float, size: float, colour: str) -> None:
    """Write one line so many points below a cell, in the colour of what it is about."""
    told: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "left", "va": "top"}
    axes.annotate(line, (0, 0), xytext=(0, -down), fontsize=size, color=colour, parse_math=False, **told)


def _title(axes: Axes, title: str, room: float) -> None:
    """Write a cell's title, in two lines where it is too long for one, and its end where it is for two."""
    most = max(6, int(room / (0.63 * 5.5)))
    layer, _, last = title.rpartition(".")
    rows = [title] if len(title) <= most or not layer else [layer, last]
    shown = "\n".join(row if len(row) <= most else "…" + row[1 - most :] for row in rows)
    axes.set_title(shown, loc="left", fontsize=5.5, fontweight="bold", pad=2.5, linespacing=1.05, parse_math=False)


def _legend(canvas: Canvas, one: Figure, tall: float) -> None:
    """Say which colour is which, and what the lines below a cell are."""
    from matplotlib.patches import Patch

    names = list(dict.fromkeys(name for part in one.parts for name in part.series))
    marks = [Patch(color=SHADES.get(name, OTHER)[0], label=name) for name in names]
    place = (1 - 0.02 / canvas.get_figwidth(), 1 - 0.02 / tall)
    canvas.legend(handles=marks, loc="upper right", bbox_to_anchor=place, ncols=2, fontsize=6, handlelength=1)
