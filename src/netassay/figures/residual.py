"""Residual: the gradient that comes back through a residual block, over its branch and around it, as a flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.exchange import UNIT, bins, called, mean_blocks, mixes
from netassay.figures.figure import Figure
from netassay.figures.flow import Flow, Node, Tone
from netassay.figures.layers import Results, last
from netassay.result import Result

GROUPS = 8
"""Groups into which a layer's channels are gathered."""
START, AROUND, END, CANCELLED = "block's output", "around", "block's input", "cancelled"


@dataclass(frozen=True)
class Step:
    """One layer of a branch: what its groups of output channels send to its groups of input channels; sums to 1."""

    layer: str
    passed: np.ndarray
    survives: np.ndarray
    size: tuple[int, int]

    def names(self, side: str) -> list[str]:
        """Return the names of its groups of output or input channels."""
        size = self.size[0 if side == "out" else 1]
        return [f"{self.layer} {side} {called(group)}" for group in bins(size, GROUPS)]


@dataclass
class Links:
    """Links as they are found; what has no width is none."""

    ends: list[tuple[str, str]] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)

    def join(self, before: Sequence[str], after: Sequence[str], widths: np.ndarray) -> None:
        """Join every name before with every name after."""
        for (i, j), width in np.ndenumerate(widths):
            if width > 0:
                self.ends.append((before[i], after[j]))
                self.widths.append(float(width))


def sankey(results: Results, block: str | None = None) -> Figure:
    """Draw the gradient that comes back through a residual block; by default the one with the longest branch.

    `block` is the first layer of its branch.
    """
    result = last(results)
    row, steps = _chosen(result, block)
    through, around = (float(_finite(row[name])) for name in ("through", "around"))
    links = _links(steps, through, around)
    if not links.widths:
        raise NothingToDraw("sankey", f"no gradient comes back through {row['layer']}", "map a network that learns")
    flow = _flow(steps, links)
    return Figure(
        name="sankey",
        title=f"Gradient back through a residual block: {steps[-1].layer} to {steps[0].layer}",
        healthy="Healthy: the branch is no thread beside the way around, and no one group carries it all. "
        f"Here {through:.3g} comes through the branch, {around:.3g} around it, and their sum has norm "
        f"{float(row['total']):.3g}; each layer's blocks are scaled to what comes through.",
        kind="sankey",
        wide=True,
        x=[node.name for node in flow.nodes],
        series={"width": np.array(links.widths)},
        x_label="groups of channels, from the block's output back to its input",
        y_label=UNIT,
        flow=flow,
    )


def _chosen(result: Result, block: str | None) -> tuple[Mapping[str, Any], list[Step]]:
    """Return a residual block's row and what can be drawn of its branch."""
    rows = result.table("residual") if "residual" in result.tables else []
    if block is not None and block not in [row["layer"] for row in rows]:
        raise UnknownName("residual block of exchange_map", block, [row["layer"] for row in rows])
    tried = [row for row in rows if block in (None, row["layer"])]
    for row in sorted(tried, key=lambda row: -len(row["members"].split(","))):
        steps = _steps(result, row["members"].split(","))
        if steps:
            return row, steps
    found = "blocks of its layers were not kept" if rows else "no branch of which both ways were measured"
    raise NothingToDraw("sankey", found, "map a network with skip connections with also=('blocks', 'around')")


def _steps(result: Result, members: Sequence[str]) -> list[Step]:
    """Return those layers of a branch whose channels exchange gradient, in order of execution."""
    made = {label: _step(result, label) for label in members}
    kept = [label for label in members if made[label] is not None]
    mixing = set(mixes(result))
    chosen = [label for label in kept if label in mixing] or kept
    return [step for label in chosen if (step := made[label]) is not None]


def _step(result: Result, layer: str) -> Step | None:
    found = mean_blocks(result, layer)
    values = _finite(found) if found is not None else np.zeros((1, 1))
    if not values.sum() > 0:
        return None
    out, into = (bins(size, GROUPS) for size in values.shape)
    gathered = np.add.reduceat(np.add.reduceat(values, [g[0] for g in out], 0), [g[0] for g in into], 1)
    size = (values.shape[0], values.shape[1])
    return Step(layer, gathered / values.sum(), _survives(result, layer, into), size)


def _finite(values: Any) -> np.ndarray:
    """Return numbers of which those that are not finite count for nothing."""
    made = np.asarray(values, dtype=float)
    return np.where(np.isfinite(made), made, 0.0)


def _survives(result: Result, layer: str, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return the coherence of groups of input channels, weighted by what they absorb."""
    table = result.tables["inputs"].columns
    rows = np.flatnonzero(table["layer"] == layer)
    rows = rows[np.argsort(table["channel"][rows].astype(int), kind="stable")]
    shares, weights = (_finite(table[name][rows]) for name in ("coherence_median", "absorption_mean"))
    kept, arrived = (np.add.reduceat(values, [g[0] for g in groups]) for values in (shares * weights, weights))
    return np.clip(np.divide(kept, arrived, out=np.zeros(len(groups)), where=arrived > 0), 0, 1)


def _links(steps: Sequence[Step], through: float, around: float) -> Links:
    """Follow the gradient from the block's output back to its input."""
    links = Links()
    links.join([START], [AROUND], np.array([[around]]))
    links.join([AROUND], [END], np.array([[around]]))
    if not through > 0:
        return links
    back = list(reversed(steps))
    links.join([START], back[0].names("out"), through * back[0].passed.sum(1)[None])
    for i, step in enumerate(back):
        links.join(step.names("out"), step.names("in"), through * step.passed)
        if i + 1 < len(back):
            links.join(step.names("in"), back[i + 1].names("out"), through * _handed(step, back[i + 1]))
    arrived, kept = through * back[-1].passed.sum(0), back[-1].survives
    links.join(back[-1].names("in"), [END, CANCELLED], np.stack([arrived * kept, arrived * (1 - kept)], axis=1))
    return links


def _handed(later: Step, earlier: Step) -> np.ndarray:
    """Return what a layer's input groups hand to the output groups of the layer before it.

    Where both count the same channels, a group is its own, at the mean of its two shares; else all by share.
    """
    arrives, leaves = later.passed.sum(0), earlier.passed.sum(1)
    if later.size[1] == earlier.size[0]:
        return np.diag((arrives + leaves) / 2)
    return np.outer(arrives, leaves)


def _flow(steps: Sequence[Step], links: Links) -> Flow:
    """Stand the nodes in columns, and leave out those that nothing reaches."""
    sides = [(step, side) for step in reversed(steps) for side in ("out", "in")]
    final = len(sides) + 1
    nodes = [Node(START, 0, START, "end"), Node(AROUND, (final + 1) // 2, AROUND, "around")]
    for stage, (step, side) in enumerate(sides, start=1):
        tone: Tone = "emission" if side == "out" else "absorption"
        groups = bins(step.size[0 if side == "out" else 1], GROUPS)
        nodes += [Node(name, stage, called(g), tone) for name, g in zip(step.names(side), groups, strict=True)]
    nodes += [Node(END, final, END, "end"), Node(CANCELLED, final, CANCELLED, "cancelled")]
    reached = {name for link in links.ends for name in link}
    heads = ("", *(f"{step.layer} {side}" for step, side in sides), "")
    return Flow(tuple(node for node in nodes if node.name in reached), tuple(links.ends), heads)
