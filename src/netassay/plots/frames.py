"""Frames: drawings that follow one another in time, beside each other on paper, one after another in a GIF."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from netassay.errors import BadInput
from netassay.figures import Figure
from netassay.plots.kinds import SHORT, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MOST, ACROSS, DOTS, PACE = 9, 3, 160, 3
"""Frames on paper, and in one of its rows; a GIF's dots per inch and frames per second."""
Draw = Callable[["Axes", Figure], None]


def multiples(canvas: Canvas, one: Figure, draw: Draw) -> None:
    """Draw frames beside each other on common axes, evenly chosen where there are many, with one legend."""
    chosen = [one.parts[i] for i in np.unique(np.linspace(0, len(one.parts) - 1, MOST).round().astype(int))]
    first = None
    for i, part in enumerate(chosen):
        axes = canvas.add_subplot(-(-len(chosen) // ACROSS), ACROSS, i + 1, sharex=first, sharey=first)
        first = first or axes
        draw(axes, part)
        axes.set_ylim(part.limits)
        axes.set_title(part.title, loc="left", fontweight="bold", parse_math=False)
        axes.grid(axis="y", linewidth=0.4, alpha=0.4)
        axes.label_outer()
    canvas.supxlabel(one.x_label, fontsize=7)
    canvas.supylabel(one.y_label, fontsize=7)
    assert first is not None
    made = canvas.legend(*first.get_legend_handles_labels(), loc="outside right upper", fontsize=6)
    plain(made, SHORT)


def animated(canvas: Canvas, one: Figure, draw: Draw, path: Path) -> Path:
    """Write a GIF of a figure's frames; a file that was there is replaced only by a whole one."""
    half = path.with_name(f".{path.stem}.part.gif")
    try:
        _written(canvas, one, draw, half)
        half.replace(path)
    except OSError as error:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        found = str(error.strerror or error)
        raise BadInput(f"animation {path}", found, "name a folder that can be written") from error
    return path


def _written(canvas: Canvas, one: Figure, draw: Draw, path: Path) -> None:
    from matplotlib.animation import PillowWriter

    writer = PillowWriter(fps=PACE)
    with writer.saving(canvas, str(path), DOTS):
        for part in one.parts:
            canvas.clear()
            canvas.suptitle(f"{one.title}: {part.title}", x=0.01, ha="left", fontsize=8, fontweight="bold")
            draw(canvas.add_subplot(), part)
            writer.grab_frame()
