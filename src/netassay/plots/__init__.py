"""Plots: a study's figures in matplotlib, at the width of a paper's column, for PDF, SVG and notebooks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netassay.errors import BadInput
from netassay.figures import Figure, Results, figure
from netassay.plots import cells, frames, maps
from netassay.plots.kinds import KINDS, LONGEST, NAMED, finish, tail
from netassay.plots.scatter import scatter
from netassay.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["NAMED", "animate", "draw", "drawing", "tail"]

COLUMN, PAGE = 3.4, 7.0
"""Inches: one column and the full width of a two-column paper."""
HEIGHTS = {"panel": 3.6, "sankey": 3.4, "frames": 4.4}
STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "netassay",
    "pdf.fonttype": 42,
}


def draw(result: Result | Results, name: str | None = None, **options: Any) -> Canvas:
    """Draw one figure of a result, or of several of one study under names; the study's first figure by default.

    `options` are the figure's: `layers` and `channels` of "panel", `layer` of "blocks", `block` of "sankey",
    `parameters` of "weights" and "shift", `place` of "features", `control` of "grids", `quantity` of "pairs".
    Returns the matplotlib figure: `.savefig("figure.pdf")`. Needs matplotlib.
    """
    results = {"": result} if isinstance(result, Result) else result
    return drawing(figure(results, name, **options))


def drawing(one: Figure) -> Canvas:
    """Draw a figure at column width, or page width where it is wide."""
    _need("matplotlib", "matplotlib", one)
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(STYLE):
        wide = PAGE if one.wide else COLUMN
        tall = cells.height(one, wide) if one.kind == "grid" else _height(one)
        canvas = Canvas(figsize=(wide, tall), layout=None if one.kind == "grid" else "constrained")
        canvas.suptitle(one.title, x=0.01, ha="left", fontsize=8, fontweight="bold", parse_math=False)
        if one.kind == "grid":
            canvas.suptitle(one.title, x=0.01, y=1 - 0.04 / tall, va="top", ha="left", fontsize=8, fontweight="bold")
            cells.grid(canvas, one)
        elif one.kind == "maps":
            maps.tiles(canvas, one)
        elif one.kind == "frames":
            frames.multiples(canvas, one, KINDS["lines"])
        elif one.parts:
            _panel(canvas, one)
        else:
            _single(canvas.add_subplot(), one)
        canvas.savefig = partial(_save, canvas.savefig)  # type: ignore[method-assign]
        return canvas


def animate(result: Result | Results, name: str, path: str | Path, **options: Any) -> Path:
    """Write a figure that has frames as a GIF, one frame after another, and return where it is. Needs Pillow."""
    results = {"": result} if isinstance(result, Result) else result
    one, target = figure(results, name, **options), Path(path)
    if one.kind != "frames":
        raise BadInput(f"animation of figure {name!r}", "it does not change in time", f"draw it: result.plot({name!r})")
    if target.suffix.lower() != ".gif":
        raise BadInput(f"animation {target}", "its name does not end in .gif", f"name it {target.with_suffix('.gif')}")
    _need("matplotlib", "matplotlib", one)
    _need("PIL", "Pillow", one)
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(STYLE):
        return frames.animated(Canvas(figsize=(PAGE, 3.0), layout="constrained"), one, _single, target)


def _need(module: str, package: str, one: Figure) -> None:
    """Say in a sentence what to install, where it is missing."""
    try:
        import_module(module)
    except ImportError:
        found, command = f"{package} is not installed", f"pip install {package.lower()}"
        raise BadInput(f"figure {one.name!r}", found, command) from None


def _single(axes: Axes, one: Figure) -> None:
    (scatter if one.kind == "scatter" else KINDS[one.kind])(axes, one)
    axes.set_xlabel(one.x_label)
    if one.kind in ("lines", "bars", "boxes"):
        finish(axes, one)


def _panel(canvas: Canvas, one: Figure) -> None:
    """Draw parts in a grid, row by row; titles stand above the first row, what is drawn at its left."""
    for i, part in enumerate(one.parts):
        axes = canvas.add_subplot(-(-len(one.parts) // one.columns), one.columns, i + 1)
        _single(axes, part)
        if part.kind != "boxes":
            axes.set_title(part.title, loc="left", fontweight="bold", color="black", parse_math=False)
            axes.set_ylabel(part.y_label if i % one.columns == 0 else "")
            axes.margins(x=0.12)
            if (own := axes.get_legend()) is not None:
                own.remove()
            continue
        axes.set_title("", loc="left")
        axes.set_title(tail(part.title) if i < one.columns else "", fontweight="bold", parse_math=False)
        axes.tick_params(axis="both", labelsize=5.5)
        axes.set_xticks(range(0, len(part.x), 2), part.x[::2], rotation=0, ha="center")
        axes.set_ylabel(f"{part.y_label}\n{one.y_label}" if i % one.columns == 0 else "")
    if one.parts[0].kind != "boxes":
        _common(canvas)


def _common(canvas: Canvas) -> None:
    """Name the series of all parts at once."""
    handles, names = canvas.axes[0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="upper right", ncols=len(names), fontsize=6.5, borderaxespad=0.2)


def _save(save: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Save in the house's style: fonts and ids of a file are chosen when it is written, not when it is drawn."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        save(*arguments, **options)


def _height(one: Figure) -> float:
    """Return inches: room for the rows of a heat map, or for layer names that stand aslant."""
    if one.flat:
        return max(1.5, 0.8 + 0.16 * len(one.x))
    if one.kind == "heat":
        return max(1.6, 0.9 + 0.15 * len(one.series)) if one.wide else 3.0
    if one.kind == "maps":
        return maps.height(one)
    if one.kind == "panel" and one.parts[0].kind == "lines":
        return max(map(_height, one.parts)) * -(-len(one.parts) // one.columns) + 0.3
    if one.kind in HEIGHTS:
        return HEIGHTS[one.kind]
    names = 0 if isinstance(one.x, np.ndarray) else max(map(len, map(str, one.x)), default=0)
    return max(2.1 + 0.045 * min(names, LONGEST), 0.8 + 0.13 * len(one.series.keys() - one.dashed))
