"""Scatter: points of a plane, a corner of which is set apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netassay.figures import Figure
from netassay.figures.figure import places
from netassay.plots.kinds import BAD, COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scatter(axes: Axes, one: Figure) -> None:
    """Draw the points of each series, and the corner with its word."""
    from matplotlib.patches import Rectangle

    if one.corner is not None:
        left, bottom, right, top = one.corner
        axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, color=BAD, alpha=0.1, linewidth=0))
        for word in one.said:
            axes.annotate(word, (right, top), (-3, -8), textcoords="offset points", fontsize=6, color=BAD, ha="right")
        axes.set_xlim(min(0.0, *map(float, one.x)), right)
    for (name, values), place in zip(one.series.items(), places(one).values(), strict=True):
        axes.plot(one.x, values, "o", color=COLOURS[place], markersize=2.8, alpha=0.75, markeredgewidth=0, label=name)
    axes.set_title(one.y_label, loc="left", color="#5c646c")
    axes.set_ylim(one.limits)
    axes.grid(linewidth=0.4, alpha=0.4)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2)
