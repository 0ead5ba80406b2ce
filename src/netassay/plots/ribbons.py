"""Ribbons: a flow drawn as nodes in columns and curved bands between them, as wide as what they carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from netassay.figures import Figure
from netassay.figures.flow import Node, Piece, heights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TONES: Mapping[str, str] = {
    "end": "#3a4148", "emission": "#c8553d", "absorption": "#4f5d9e", "around": "#8b9a8f", "cancelled": "#a39c8a",
}  # fmt: skip
WIDE, GAP, PALE = 0.05, 0.022, 0.32
"""A node's width in columns, and the gap between nodes in shares of the whole height; how much ink a band has."""


def flow(axes: Axes, one: Figure) -> None:
    """Draw a sankey: columns from left to right, in each the nodes from top to bottom in their order."""
    assert one.flow is not None
    nodes, pieces = one.flow.routed(one.series["width"])
    sizes = heights(nodes, pieces)
    tops, scale = _tops(nodes, sizes)
    for piece in sorted(pieces, key=lambda piece: -piece.width):
        _ribbon(axes, nodes, piece, _edges(pieces, piece, tops, scale), scale)
    for node, top, size in zip(nodes, tops, sizes * scale, strict=True):
        beside, alpha = [node.stage - WIDE, node.stage + WIDE], 1.0 if node.label else PALE
        axes.fill_between(beside, top - size, top, color=TONES[node.tone], alpha=alpha, linewidth=0)
    final = max(node.stage for node in nodes)
    for node, top, size in zip(nodes, tops, sizes * scale, strict=True):
        _label(axes, node, top - size / 2, final)
    for stage, head in enumerate(one.flow.heads):
        axes.text(stage, 1.02, _head(head, final), ha="center", va="bottom", fontsize=6, parse_math=False)
    axes.text(final / 2, -0.05, f"{one.x_label}; width: {one.y_label}", ha="center", va="top")
    axes.set_xlim(-0.75, final + 0.75)
    axes.set_ylim(-0.1, 1.12)
    axes.set_axis_off()


def _tops(nodes: Sequence[Node], sizes: np.ndarray) -> tuple[np.ndarray, float]:
    """Return where each node begins, from 1 downwards, and the height of one unit; the fullest column fills it."""
    stages = np.array([node.stage for node in nodes])
    within = [np.flatnonzero(stages == stage) for stage in range(stages.max() + 1)]
    scale = min((1 - GAP * (len(at) - 1)) / sizes[at].sum() for at in within if len(at))
    tops = np.ones(len(nodes))
    for at in within:
        tops[at[1:]] -= np.cumsum(sizes[at[:-1]] * scale + GAP)
    return tops, float(scale)


def _edges(pieces: Sequence[Piece], one: Piece, tops: np.ndarray, scale: float) -> tuple[float, float]:
    """Return where a piece begins and ends: below those that leave, or enter, above it."""
    before = sum(other.width for other in pieces if other.start == one.start and other.end < one.end)
    after = sum(other.width for other in pieces if other.end == one.end and other.start < one.start)
    return float(tops[one.start] - before * scale), float(tops[one.end] - after * scale)


def _ribbon(axes: Axes, nodes: Sequence[Node], piece: Piece, edges: tuple[float, float], scale: float) -> None:
    before, after = nodes[piece.start], nodes[piece.end]
    tone = after.tone if before.tone == "end" or after.tone == "cancelled" else before.tone
    t = np.linspace(0, 1, 40)
    top = edges[0] + (edges[1] - edges[0]) * t * t * (3 - 2 * t)
    x = before.stage + WIDE + (after.stage - before.stage - 2 * WIDE) * t
    axes.fill_between(x, top - piece.width * scale, top, color=TONES[tone], alpha=PALE, linewidth=0)


def _label(axes: Axes, node: Node, middle: float, final: int) -> None:
    """Write beside a node what it is: the ends outside, groups on their right."""
    left = node.stage == 0
    at = node.stage + (-1 if left else 1) * (WIDE + 0.03)
    size = 6.5 if node.stage in (0, final) or node.tone == "around" else 5
    axes.text(at, middle, node.label, ha="right" if left else "left", va="center", fontsize=size, parse_math=False)


def _head(head: str, final: int) -> str:
    """Return a column's head: a layer's name, cut at the front to the room between columns, above its side."""
    layer, _, side = head.rpartition(" ")
    most = max(6, 130 // (final + 1))
    return f"{layer if len(layer) <= most else '…' + layer[1 - most :]}\n{side}"
