"""Flow profile: how gradient goes back through a network as it stands, batch by batch, and the law it follows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from netassay.capturing import visit, watchable
from netassay.data import Data, load_data
from netassay.errors import BadInput
from netassay.flow import Readings
from netassay.layers import shaped
from netassay.objectives import Objective, find
from netassay.progress import track
from netassay.quiet import quiet
from netassay.records import Record
from netassay.result import Result, Table
from netassay.seeds import seeded
from netassay.studies.flow_theory import expected
from netassay.studies.forward import checked, device_of
from netassay.studies.provenance import Seen, describe_pass
from netassay.studies.survey import Key
from netassay.studies.sweep import run
from netassay.verdicts import judged_result
from netassay.watching import Reader
from netassay.zoo import build

SAMPLES = 32
"""Samples that theory is asked about: sizes that it takes from a batch hardly vary between batches."""


def flow_profile(
    model: nn.Module | str,
    data: Any,
    *,
    layers: str | Sequence[str] | None = None,
    objective: str | Objective = "cross_entropy",
    batches: int = 8,
    batch_size: int = 32,
    training: bool = True,
) -> Result:
    """Measure the gradient at every layer over some batches, and the law by which it grows or shrinks with depth.

    Nothing is trained. The first `batches` of `data` go through the model, in train mode by default, since that is how
    gradient flows while a network learns; what that changes is put back. `model` may be a spec.

    Table "layers", a row for each call: `gradient`, the root of the mean over samples of the squared norm of each
    sample's own gradient at the output. Table "law", for trunk and branch: `chi`, by which the squared gradient changes
    from a layer to the one before it, and `attenuation`, the gradient at the output end over that at the input end,
    with their bands over batches and what mean-field theory predicts. Table "norms" puts beside it the norm of the
    whole batch's gradient under a mean loss (`batch_gradient`, root mean square over batches), and what torch's own
    norm says of the same tensors (`float32_norm`): 0 where every square underflows, in `vanished` batches. Verdicts
    name what is sick.

    Raises `BadInput` for layers, data or inputs that do not fit.

    >>> import netassay as na
    >>> found = flow_profile("mlp[64,64,64,64,64,64]:init=default", "digits", batches=2)
    >>> [(row["path"], round(row["chi"], 1)) for row in found.table("law") if row["when"] == "all"]
    [('trunk', 0.2)]
    """
    model = build(model) if isinstance(model, str) else model
    shaped(model, "profile the flow of")
    if batches < 1:
        raise BadInput(f"a flow profile of batches={batches}", "nothing to look at", "batches=8")
    loaded = load_data(data, batch_size=batch_size).first(batches * batch_size)
    readings, said, seen = _read(watchable(model), loaded, layers, find(objective), training)
    told = describe_pass(model, loaded, seen, objective=objective, training=training)
    predicted, notes = _predicted(model, loaded, objective, training)
    made = judged_result(readings, notes, told, predicted)
    return replace(made, tables={**made.tables, "norms": _norms(readings, said)})


def _read(
    model: nn.Module, data: Data, layers: str | Sequence[str] | None, objective: Objective, training: bool
) -> tuple[Readings, np.ndarray, Seen]:
    """Run every batch forward and back; return what was read, torch's own norms `(S, L)`, and the samples seen."""
    seen, taken, norms = Seen(), list[dict[str, np.ndarray]](), list[dict[Key, float]]()
    with ExitStack() as stack:
        stack.enter_context(quiet(model, training=training))
        stack.enter_context(seeded(0))  # dropout draws the same in every profile
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(True))
        reader = Reader(model, layers)
        stack.callback(reader.close)
        reader.open()
        for batch in track(data, "flow"):
            here = checked(batch, len(taken), device_of(model))
            norms.append({})
            with visit(model, reader.layers, on_backward=Own(norms[-1], len(here.x))) as watch:
                run(model, here, objective, watch)
            taken.append(reader.take(1.0) | {"samples": np.array(len(here.x))})
            seen.add(batch)
        calls = reader.calls()
        first, latest = reader.channels()
    if not taken:
        raise BadInput(f"data {data.spec or 'that was passed'}", "no batch in it", "give data with samples")
    signals = {name: np.stack([one[name] for one in taken]) for name in taken[0]}
    samples, nothing = signals.pop("samples"), np.full(len(taken), np.nan)
    said = np.array([[one.get(key, np.nan) for key in reader.plan.labels()] for one in norms])
    steps = np.arange(len(taken))
    facts: dict[str, Any] = {"assumed": {"reduction": "sum", "scaler": None}, "first": first, "latest": latest}
    facts["told"] = {"steps": 0, "skipped": 0, "faults": reader.guard.faults, "never_ran": reader.never_ran}
    return Readings(steps, nothing, nothing, samples, calls, signals, **facts), said, seen


def _predicted(
    model: nn.Module, data: Data, objective: str | Objective, training: bool
) -> tuple[Mapping[str, tuple[float, float]], tuple[str, ...]]:
    """Return what theory expects of each path, and why nothing where it has nothing to say."""
    try:
        return expected(model, data.first(SAMPLES), objective=objective, training=training), ()
    except BadInput as reason:
        return {}, (f"no prediction: {reason.found}",)


def _norms(readings: Readings, said: np.ndarray) -> Table:
    """Put each layer's gradient beside the whole batch's norm, and beside what torch's own norm says of it."""
    gradient, samples = readings.signals["gradient"], readings.samples[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        pooled = np.sqrt(np.nansum(gradient**2 * samples, 0) / np.nansum(np.where(np.isnan(gradient), 0, samples), 0))
        columns = {
            "layer": readings.calls["layer"],
            "gradient": pooled,
            "batch_gradient": np.sqrt(np.nanmean(gradient**2 / samples, 0)),
            "float32_norm": np.sqrt(np.nanmean(said**2, 0)),
            "vanished": np.nansum((said == 0) & (gradient > 0), 0),
        }
    return Table({name: values[np.isfinite(pooled)] for name, values in columns.items()})


class Own:
    """Keeps what torch's own norm says of each call's gradient under a mean loss."""

    def __init__(self, norms: dict[Key, float], samples: int) -> None:
        self.norms, self.samples = norms, samples

    def __call__(self, record: Record) -> None:
        """Keep one call's."""
        if record.gy is not None:
            self.norms[record.key] = float((record.gy / self.samples).norm())
