"""Channel profile: what every channel of every layer carries forward, and what gradient comes back to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netassay.axes import by_channel
from netassay.data import Batch, load_data
from netassay.errors import BadInput, listing
from netassay.layers import Layer, has_weight, named_layers, select
from netassay.objectives import Objective, find
from netassay.records import Record
from netassay.result import Result
from netassay.streams.blocks import scratch
from netassay.streams.rows import Rows, make, observe, read
from netassay.studies.channel_tables import tables
from netassay.studies.provenance import describe_pass, joined
from netassay.studies.sweep import Call, Outcome, sweep
from netassay.studies.twins import untrained
from netassay.zoo import build

ACTIVATIONS: tuple[type[nn.Module], ...] = tuple(
    kind
    for name, kind in vars(nn.modules.activation).items()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and name not in ("Module", "MultiheadAttention")
)
"""Layers whose output is a nonlinearity: a channel fires there when its output is not zero."""
BOUNDED = (nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign)
"""Activations that flatten out away from zero output, so that a small slope means saturation, not silence."""
FORWARD = ("moments", "extremes", "counts", "norms", "spread", "sample_norms")
BACKWARD = ("moments", "extremes", "counts", "norms", "sample_norms")
FLAT = 0.05


@dataclass(frozen=True)
class Channels:
    """One call of a layer: its streams forward (`y`) and backward (`gy`), and how flat its activation was.

    `flat` `(2, C)`: entries whose slope is below 0.05, and entries with a gradient at all; None where not judged.
    """

    label: str
    kind: str
    depth: int
    path: str
    activation: bool
    y: Mapping[str, Any]
    gy: Mapping[str, Any]
    flat: np.ndarray | None = None

    def merge(self, other: Channels) -> Channels:
        """Join with the same call's streams over further samples."""
        flat = self.flat if other.flat is None else other.flat if self.flat is None else self.flat + other.flat
        return replace(self, y=_merge(self.y, other.y), gy=_merge(self.gy, other.gy), flat=flat)


def _merge(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    both = {name: stream.merge(b[name]) for name, stream in a.items() if name in b}
    return {**b, **a, **both}


@dataclass(frozen=True)
class Profile:
    """Every call's channels over some samples; profiles of parts of a data set merge."""

    layers: tuple[Channels, ...]
    never_ran: tuple[str, ...]
    samples: int
    made: Mapping[str, Any]
    before: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def merge(self, other: Profile) -> Profile:
        """Join with the profile of further samples of the same layers."""
        mine, theirs = [layer.label for layer in self.layers], [layer.label for layer in other.layers]
        if mine != theirs:
            raise BadInput("merge two profiles", f"layers {mine[:3]}... and {theirs[:3]}...", "profile the same layers")
        layers = tuple(a.merge(b) for a, b in zip(self.layers, other.layers, strict=True))
        samples = self.samples + other.samples
        return replace(self, layers=layers, samples=samples, made=joined(self.made, other.made))

    def result(self) -> Result:
        """Name the axes."""
        return replace(tables(self), source=self)


def channel_profile(
    model: nn.Module | str,
    data: Any,
    layers: str | Sequence[str] | None = None,
    *,
    objective: str | Objective = "cross_entropy",
    baseline: Result | None = None,
    quantiles: bool = True,
    training: bool = False,
    batch_size: int = 128,
) -> Result:
    """Profile every channel: outputs `y` and the gradients `gy` that arrive there, over all of `data`.

    `layers` are patterns (see `select`); by default every layer with a weight matrix and every activation.
    Gradients are of the objective's sum over samples, per sample; a mean loss over N would give 1/N of them. The
    model runs in eval mode unless `training`. `baseline` is the profile of the same layers at initialisation, by
    which silent channels are judged; without it, a model with suspiciously many is compared with an untrained twin.
    `quantiles=False` leaves out the histogram of all entries, the costliest stream. `model` may be a spec.

    Tables "layers" and "channels" (`docs/words.md` has the columns), arrays "y_quantiles" and "gy_quantiles"
    (layer, quantile). Results over parts of the data merge exactly.

    >>> import netassay as na
    >>> r = channel_profile(na.build("mlp[8]"), (torch.randn(20, 64), torch.arange(20) % 10))
    >>> [(row["layer"], row["channels"], row["samples"]) for row in r.table("layers")]
    [('fc1', 8, 20), ('act1', 8, 20), ('head', 10, 20)]
    """
    model = build(model) if isinstance(model, str) else model
    loaded = load_data(data, batch_size=batch_size)
    chosen = _chosen(model, layers)
    look = Look(quantiles)
    outcome = sweep(
        model,
        loaded,
        chosen,
        objective=find(objective),
        on_forward=look.forward,
        on_backward=look.backward,
        training=training,
        task="channels",
    )
    if not outcome.calls:
        asked = f"channels of {listing(outcome.never_ran)}"
        raise BadInput(asked, "the forward pass calls none of them", "choose layers that `netassay summary` shows")
    made = describe_pass(model, loaded, outcome.samples, objective=objective, training=training)
    profile = Profile(look.read(outcome), tuple(outcome.never_ran), outcome.samples, made)
    if baseline is not None:
        return replace(profile, before=_states(baseline)).result()
    result = profile.result()
    suspects = {verdict.layer.split("#")[0] for verdict in result.verdicts if verdict.rule == "silent channels"}
    if not suspects:
        return result
    twin, told = untrained(model)
    there = channel_profile(
        twin,
        loaded,
        [f"re:{re.escape(name)}" for name in suspects],
        objective=objective,
        baseline=result,
        quantiles=False,
        training=training,
    )
    return replace(profile, before=_states(there), notes=(f"the initialisation is {told}",)).result()


class Look:
    """Rows of every call, filled while a sweep goes by."""

    def __init__(self, quantiles: bool) -> None:
        more = ("quantiles",) if quantiles else ()
        self.streams = {"y": FORWARD + more, "gy": BACKWARD + more}
        self.rows: dict[tuple[str, str], Rows] = {}
        self.flat: dict[str, Tensor] = {}
        self.memory: Tensor | None = None

    def forward(self, call: Call, record: Record, batch: Batch) -> None:
        """Fold an output into its rows."""
        if record.y is None:
            raise BadInput(
                f"channels of layer {call.label!r}",
                f"it returns {record.returned}, without a tensor that has a sample axis",
                "leave it out, or pad sequences instead of packing them",
            )
        extra = ("magnitude",) if isinstance(call.layer.module, ACTIVATIONS) else ()
        self._fold(call, "y", record.y, batch, extra)

    def backward(self, call: Call, record: Record, batch: Batch) -> None:
        """Fold the gradient at an output into its rows, and for a bounded activation count where it is flat."""
        if record.gy is None:
            return
        self._fold(call, "gy", record.gy, batch, ())
        if isinstance(call.layer.module, BOUNDED) and record.gx is not None:
            there = by_channel(record.gy != 0, call.axis, len(batch.x), call.label)
            slope = by_channel(record.gx.abs() < FLAT * record.gy.abs(), call.axis, len(batch.x), call.label)
            counts = torch.stack([(slope & there).sum((0, 2)), there.sum((0, 2))])
            self.flat[call.label] = self.flat[call.label] + counts if call.label in self.flat else counts

    def _fold(self, call: Call, side: str, tensor: Tensor, batch: Batch, extra: Sequence[str]) -> None:
        view = by_channel(tensor, call.axis, len(batch.x), call.label)
        key = (call.label, side)
        if key not in self.rows:
            self.memory = scratch(view.device) if self.memory is None else self.memory
            self.rows[key] = make([*self.streams[side], *extra], view, memory=self.memory)
        observe(self.rows[key], view, _keep(batch, view))

    def read(self, outcome: Outcome) -> tuple[Channels, ...]:
        """Bring every row to its value form."""
        return tuple(self._channels(call) for call in outcome.calls.values() if (call.label, "y") in self.rows)

    def _channels(self, call: Call) -> Channels:
        y, gy = (self.rows.get((call.label, side)) for side in ("y", "gy"))
        flat = self.flat.get(call.label)
        return Channels(
            call.label,
            call.layer.kind,
            call.place.depth,
            call.place.path,
            isinstance(call.layer.module, ACTIVATIONS),
            {} if y is None else read(y),
            {} if gy is None else read(gy),
            None if flat is None else flat.cpu().numpy(),
        )


def _keep(batch: Batch, view: Tensor) -> Tensor | None:
    """Return the batch's mask where it speaks of this tensor's positions."""
    mask = batch.mask
    fits = mask is not None and mask.dim() == 2 and mask.shape == (view.shape[0], view.shape[2])
    return mask.bool() if mask is not None and fits else None


def _chosen(model: nn.Module, layers: str | Sequence[str] | None) -> list[Layer]:
    if layers is not None:
        return select(model, layers)
    default: Callable[[Layer], bool] = lambda one: isinstance(one.module, ACTIVATIONS) or has_weight(one.module)  # noqa: E731
    chosen = [layer for layer in named_layers(model) if default(layer)]
    if not chosen:
        raise BadInput(f"channels of {type(model).__name__}", "no layer with a weight", "name layers: layers='*'")
    return chosen


def _states(baseline: Result) -> dict[str, np.ndarray]:
    table = baseline.tables["channels"].columns
    return {str(label): table["state"][table["layer"] == label] for label in dict.fromkeys(table["layer"].tolist())}
