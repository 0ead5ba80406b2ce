"""Charts: the figures of sections as the plain numbers that the page's scripts draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from netassay.figures import Figure
from netassay.figures.density import top
from netassay.figures.figure import base
from netassay.report.sections import Section

DIGITS = 5
"""Significant digits that figures carry; tables show four, the run keeps all."""


def charts(built: Sequence[Section]) -> dict[str, dict[str, Any]]:
    """Return what the script draws, each under the name of its holder; every part of a panel has one."""
    return {key: plain(figure) for key, figure in _drawn(built) if figure.kind != "density"}


def cells(built: Sequence[Section]) -> dict[str, dict[str, Any]]:
    """Return the histograms of grids, each under the name of its cell."""
    return {key: _bars(figure) for key, figure in _drawn(built) if figure.kind == "density"}


def _drawn(built: Sequence[Section]) -> list[tuple[str, Figure]]:
    made = [(f"{section.key}-{figure.name}", figure) for section in built for figure in section.figures]
    own = [(key, figure) for key, figure in made if not figure.parts or figure.kind == "frames"]
    apart = [(key, figure) for key, figure in made if figure.parts and figure.kind != "frames"]
    return [*own, *((f"{key}-{i}", part) for key, figure in apart for i, part in enumerate(figure.parts))]


def _bars(part: Figure) -> dict[str, Any]:
    """Return a cell: where its axis begins and how long it is, edges in shares of that, densities and its height."""
    x = np.asarray(part.x, dtype=float)
    start, span = float(x[0]), float(x[-1] - x[0])
    return {
        "from": start,
        "span": span,
        "at": [round(share, 4) for share in ((x - start) / span).tolist()],
        "top": float(f"{top(part):.{DIGITS}g}"),
        "series": [[name, [float(f"{v:.4g}") for v in values.tolist()]] for name, values in part.series.items()],
    }


def plain(figure: Figure) -> dict[str, Any]:
    """Turn a figure into what the page's script draws; numbers carry five digits, what is not finite is a gap."""
    if figure.kind == "frames":
        return {"frames": [plain(part) for part in figure.parts], "titles": [part.title for part in figure.parts]}
    told: dict[str, Any] = {
        "kind": figure.kind,
        "numeric": isinstance(figure.x, np.ndarray),
        "x": _rounded(figure.x) if isinstance(figure.x, np.ndarray) else list(figure.x),
        "series": {name: _rounded(values) for name, values in figure.series.items()},
        "xLabel": figure.x_label,
        "yLabel": figure.y_label,
        "log": figure.log,
        "limits": figure.limits,
        "marks": sorted(figure.marks),
    }
    if figure.bands or figure.dashed:
        told["bands"] = {name: [_rounded(side) for side in sides] for name, sides in figure.bands.items()}
        told["dashed"] = {name: base(figure, name) for name in sorted(figure.dashed)}
    if figure.tones:
        told["tones"] = dict(figure.tones)
    if figure.flat:
        told |= {"flat": True, "range": figure.healthy_range}
    if figure.points:
        told["points"] = sorted(figure.points)
        told["fitted"] = {name: base(figure, name) for name in figure.series if base(figure, name) != name}
    if figure.ramp:
        told |= {"ramp": True, "filled": figure.filled, "range": figure.healthy_range}
    if figure.notes or figure.said:
        told |= {"notes": list(figure.notes), "said": list(figure.said), "whiskers": figure.whiskers}
    if figure.corner is not None:
        told["corner"] = figure.corner
    if figure.kind in ("heat", "map"):
        told |= {"rows": list(figure.series), "wide": figure.wide, "ends": figure.ends, "cell": figure.cell}
        told |= {"lines": figure.lines, "apart": figure.apart, "written": figure.written}
        told["zero"] = {name: np.flatnonzero(row == -np.inf).tolist() for name, row in figure.series.items()}
    return told | ({"flow": _flow(figure)} if figure.flow is not None else {})


def _flow(figure: Figure) -> dict[str, Any]:
    """Return the nodes of a sankey and the pieces of its links, which refer to nodes by their places."""
    assert figure.flow is not None
    nodes, pieces = figure.flow.routed(figure.series["width"])
    return {
        "heads": figure.flow.heads,
        "links": figure.flow.links,
        "nodes": [[node.name, node.stage, node.label, node.tone] for node in nodes],
        "pieces": [[piece.start, piece.end, float(f"{piece.width:.{DIGITS}g}"), piece.link] for piece in pieces],
    }


def _rounded(values: np.ndarray) -> list[Any]:
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]
