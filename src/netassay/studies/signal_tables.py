"""Signal tables: what a sweep adds up of each call, and the rows that put it beside the tape's prediction."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from netassay.axes import by_channel
from netassay.data import Batch
from netassay.errors import BadInput, listing
from netassay.records import Record
from netassay.result import Table
from netassay.studies.directions import Directions
from netassay.studies.survey import Call, Key, Outcome
from netassay.studies.tape import Tape
from netassay.studies.twins import fresh_norms

POOLING = "c is the mean, over pairs of samples, of the cosine of their whole outputs"


@dataclass
class Mean:
    """A mean of squares: their sum in float64, and their number."""

    total: float = 0.0
    n: int = 0

    def add(self, values: Tensor) -> None:
        """Add the squares of a tensor's entries."""
        self.total += float(values.double().square().sum())
        self.n += values.numel()

    @property
    def value(self) -> float:
        """The mean; NaN of nothing."""
        return self.total / self.n if self.n else math.nan


@dataclass
class Sizes:
    """What was measured of each call: mean square of outputs and of gradients, and directions of samples."""

    outputs: dict[Key, Mean] = field(default_factory=dict)
    gradients: dict[Key, Mean] = field(default_factory=dict)
    directions: dict[Key, Directions] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def forward(self, call: Call, record: Record, batch: Batch) -> None:
        """Add up a call's output."""
        if record.y is None:
            return
        self.outputs.setdefault(record.key, Mean()).add(record.y)
        try:
            view = by_channel(record.y.double(), call.axis, len(batch.x), call.label, call.sample_axis)
            self.directions.setdefault(record.key, Directions()).add(view.flatten(1))
        except BadInput as error:
            self.left_out[call.label] = f"no correlation at {call.label}: {error.found}"

    def backward(self, call: Call, record: Record, batch: Batch) -> None:
        """Add up the gradient at a call's output."""
        if record.gy is not None:
            self.gradients.setdefault(record.key, Mean()).add(record.gy)

    def output(self, key: Key) -> float:
        """Return the second moment of an output."""
        return self.outputs.get(key, Mean()).value

    def entries(self, key: Key) -> float:
        """Return the number of entries that a gradient had over all samples; NaN where none arrived."""
        return self.gradients[key].n if key in self.gradients else math.nan

    def gradient(self, key: Key) -> float:
        """Return the second moment of a gradient."""
        return self.gradients.get(key, Mean()).value

    def correlation(self, key: Key) -> float:
        """Return the mean cosine."""
        return self.directions.get(key, Directions()).cosine


def layer_table(
    outcome: Outcome, sizes: Sizes, tape: Tape, at: Mapping[Key, int], back: Mapping[int, tuple[float, bool]]
) -> Table:
    """Put what was measured beside what is predicted, a row for each call."""
    rows = [
        _row(key, call, sizes, tape, at.get(key), back) | {"entries": sizes.entries(key) / outcome.seen.samples}
        for key, call in outcome.calls.items()
    ]
    for side in ("measured", "predicted"):
        for i, row in enumerate(rows):
            before = rows[i - 1] if i else {}
            row[f"forward_{side}"] = _ratio(row[f"q_{side}"], before.get(f"q_{side}"))
            row[f"backward_{side}"] = _ratio(before.get(f"g_{side}"), row[f"g_{side}"])
    return Table.of(rows)


def _row(
    key: Key, call: Call, sizes: Sizes, tape: Tape, place: int | None, back: Mapping[int, tuple[float, bool]]
) -> dict[str, Any]:
    node = None if place is None else tape.nodes[place]
    known = None if node is None else node.made.field
    g, g_anchored = (math.nan, False) if place is None else back.get(place, (math.nan, False))
    sigma_w2 = math.nan if node is None else node.made.sigma_w2
    slope = tape.nodes[node.sources[0][0]].slope if node is not None and node.sources else math.nan
    return {
        "layer": call.label,
        "kind": call.layer.kind,
        "depth": call.place.depth,
        "path": call.place.path,
        "sigma_w2": sigma_w2,
        "chi": sigma_w2 * slope,
        "q_measured": sizes.output(key),
        "q_predicted": math.nan if known is None else known.q,
        "c_measured": sizes.correlation(key),
        "c_predicted": math.nan if known is None else known.c,
        "g_measured": sizes.gradient(key),
        "g_predicted": g,
        "anchored": node is None or node.loose,
        "g_anchored": g_anchored,
    }


def _ratio(above: float | None, below: float | None) -> float:
    return above / below if above is not None and below else math.nan


def notes(
    model: nn.Module, outcome: Outcome, sizes: Sizes, tape: Tape, at: Mapping[Key, int], *, training: bool
) -> tuple[str, ...]:
    """Say what was pooled how, where the prediction was anchored anew, and what it rests on."""
    labels = {place: outcome.calls[key].label for key, place in at.items() if key in outcome.calls}
    odd = [labels.get(place, "a function") for place in tape.notes]
    unseen = [call.label for key, call in outcome.calls.items() if key not in at]
    fresh = [] if training else list(fresh_norms(model))
    told = [
        (tape.anchors, f"anchored: the prediction goes on from what is measured after {_counted(tape.anchors)}"),
        (tape.correlations, f"anchored: only the correlation is measured after {_counted(tape.correlations)}"),
        (odd, f"weights that are not independent, by the sums of their rows: {listing(odd)}"),
        (unseen, f"nothing is predicted for {listing(unseen)}: no function of torch showed what it made"),
        (fresh, f"batch norms that have seen no batch, and scale nothing in eval mode: {listing(fresh, 3)}"),
        (outcome.never_ran, f"never ran: {listing(outcome.never_ran)}"),
    ]
    return (POOLING, *(sentence for found, sentence in told if found), *sizes.left_out.values())


def _counted(calls: Counter[str]) -> str:
    return ", ".join(name + (f" ({n} calls)" if n > 1 else "") for name, n in calls.items())
