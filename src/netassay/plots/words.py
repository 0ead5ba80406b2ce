"""Words: what stands in a figure of lines beside its points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from netassay.figures import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 18
"""Letters of a word beside a point."""


def written(axes: Axes, one: Figure, x: np.ndarray) -> None:
    """Write a word for each place on top, or aslant beside its point where points have their own."""
    if one.points:
        told: dict[str, Any] = {"textcoords": "offset points", "rotation": 40, "fontsize": 5.5, "color": "#5c646c"}
        for at, y, word in zip(x, one.series[min(one.points)], one.said, strict=False):
            axes.annotate(
                word if len(word) <= MOST else f"…{word[1 - MOST :]}",
                (at, y),
                (2, 3),
                parse_math=False,
                annotation_clip=False,
                **told,
            )
        return
    told = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "va": "top"}
    for at, word in zip(x, one.said, strict=False):
        axes.annotate(word, (at, 1), (0, -1), ha="center", fontsize=6, fontweight="bold", parse_math=False, **told)
