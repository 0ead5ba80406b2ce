"""State: what a monitor has read, as Readings, and as what a resumed run goes on from.

The latter is of types that `torch.load(weights_only=True)` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netassay.errors import BadInput, listing
from netassay.flow import Readings
from netassay.layers import named_layers
from netassay.watching.stretches import Stretches

if TYPE_CHECKING:
    from netassay.watching.monitor import Monitor


def readings(monitor: Monitor) -> Readings:
    """Return everything a monitor has read so far, and what the scale of gradients rests on."""
    first, latest = monitor.reader.channels()
    scaler, sampler = monitor.scaling.scaler, monitor.sampler
    assumed = {
        "reduction": monitor.reduction,
        "scaler": None if scaler is None else type(scaler).__name__,
        "samples": "the first axis of the first tensor that the model is given",
        "every": sampler.every if sampler.budget is None else None,
        "budget": sampler.budget,
        "clock": "time of the thread that trains; work that a device has queued is not in it",
    }
    told = {
        "steps": monitor.steps_done,
        "skipped": monitor.skipped,
        "faults": list(monitor.faults),
        "untold": [row.step for row in monitor.series.rows if row.loss is None],
        "never_ran": monitor.reader.never_ran if monitor.series.rows else [],
    }
    calls, parameters = monitor.reader.calls(), monitor.updates.facts()
    both: dict[str, Any] = {"first": first, "latest": latest, "assumed": assumed, "told": told}
    return Readings(**monitor.series.arrays(), calls=calls, parameters=parameters, **both)


def state(monitor: Monitor) -> dict[str, Any]:
    """Return the series, the channels and the counts of a monitor."""
    plan, facts = monitor.reader.plan, monitor.reader.calls()
    rows = {name: column.tolist() for name, column in facts.items()}
    stretches = monitor.reader.stretches
    return {
        "steps_done": monitor.steps_done,
        "skipped": monitor.skipped,
        "epoch": monitor.epoch,
        "series": monitor.series.state_dict(),
        "parameters": [one.name for one in monitor.updates.parameters],
        "keys": [list(key) for key in plan.keys],
        "calls": rows,
        "channels": [
            {"key": list(key), "activation": one.activation, "bounded": one.bounded, **one.state_dict()}
            for key, one in stretches.items()
        ],
        "told": monitor.alarms.state_dict(),
        "faults": list(monitor.faults),
    }


def load(monitor: Monitor, kept: Mapping[str, Any]) -> None:
    """Put a state into a monitor; facts of calls are those kept, until the calls happen again.

    Raises `BadInput` for the state of another model, before anything is taken from it.
    """
    _same_model(monitor, kept)
    monitor.steps_done, monitor.skipped, monitor.epoch = kept["steps_done"], kept["skipped"], kept["epoch"]
    monitor.series.load_state_dict(kept["series"])
    plan = monitor.reader.plan
    for i, (name, call) in enumerate(kept["keys"]):
        key = (str(name), int(call))
        plan.keys.setdefault(key)
        plan.layers.setdefault(key, None)
        plan.loaded[key] = {fact: column[i] for fact, column in kept["calls"].items() if fact != "layer"}
    for one in kept["channels"]:
        stretches = Stretches(one["activation"], one["bounded"])
        stretches.load_state_dict(one)
        monitor.reader.stretches[(str(one["key"][0]), int(one["key"][1]))] = stretches
    monitor.alarms.load_state_dict(kept["told"])
    monitor.alarms.read = len(monitor.series.rows)
    for sentence in kept["faults"]:
        part, _, told = sentence.partition(": ")
        monitor.guard.fault(part, told)


def _same_model(monitor: Monitor, kept: Mapping[str, Any]) -> None:
    model = monitor.reader.model
    layers = {layer.name for layer in named_layers(model)} | {""}
    before, now = kept.get("parameters", ["no parameters"]), [one.name for one in monitor.updates.parameters]
    strange = [str(name) for name, _ in kept.get("keys", ()) if name not in layers]
    strange += sorted({*before} ^ {*now}) or [one for one, other in zip(before, now, strict=True) if one != other]
    if strange:
        asked = f"load the state of a watch of {type(model).__name__}"
        found = f"that of another model: it differs in {listing(strange, 4)}"
        raise BadInput(asked, found, "give what state_dict() of a watch of the same model gave")
