"""Updating: rules on what a step makes of the gradient: lost, too small, too large, skipped, or reaching no one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from netassay.flow import Readings
from netassay.flow.tables import middle, update_ratio
from netassay.verdicts.evidence import (
    Found,
    active,
    adam,
    judged,
    naming,
    opening,
    over,
    seen,
    stepped,
    throughout,
    trained,
    zero_at_start,
)
from netassay.verdicts.thresholds import (
    ADAM,
    LOST,
    PATIENCE,
    RATIO_HIGH,
    RATIO_LOW,
    RATIO_WILD,
    SETTLED,
    SETTLING,
    SKIPPED,
    SYMMETRIC,
)


def lost(readings: Readings) -> Iterator[Found]:
    """Find steps that rounding takes away."""
    part = active(readings)
    share = np.where(judged(readings), throughout(part.updates["lost"]), np.nan)
    chosen = np.flatnonzero((share > LOST) & (len(part) >= SETTLED))
    if len(chosen):
        at = int(chosen[np.argmax(share[chosen])])
        kind, ratio = readings.parameters["dtype"][at], middle(update_ratio(part))[at]
        cause = (
            f"{100 * share[at]:.0f} % of the entries of {_several(readings, chosen, at)} that have gradient stay bit "
        )
        cause += f"for bit as they were: a step of {ratio:.2g} of the weight is below what {kind} resolves"
        numbers = {"lost": float(share[at]), "update_ratio": float(ratio), "parameters": float(len(chosen))}
        yield Found(str(readings.parameters["layer"][at]), cause, "finding", numbers, seen(part))


def swallowed(readings: Readings) -> Iterator[Found]:
    """Find gradients that Adam's epsilon makes small."""
    part = active(readings)
    factor = np.where(judged(readings), -throughout(-adam(part)), np.nan)
    chosen = np.flatnonzero((factor < ADAM) & (len(part) >= SETTLED))
    if len(chosen):
        at = int(chosen[np.argmin(factor[chosen])])
        ratio = float(np.nan_to_num(middle(update_ratio(part))[at]))
        cause = (
            f"Adam's epsilon swallows the update of {_several(readings, chosen, at)}: it is {factor[at]:.2g} of what "
        )
        cause += "it would be without"
        numbers = {"adam": float(factor[at]), "update_ratio": ratio, "parameters": float(len(chosen))}
        severity = "finding" if ratio < 10 * RATIO_LOW else "warning"
        cause += "" if severity == "finding" else f", and still {ratio:.2g} of the weight"
        yield Found(str(readings.parameters["layer"][at]), cause, severity, numbers, seen(part))  # type: ignore[arg-type]


def ratio(readings: Readings) -> Iterator[Found]:
    """Find weights that steps hardly move, or throw about."""
    part = active(readings)
    ratios = np.where(judged(readings), update_ratio(part), np.nan)
    # Where none arrives any more, or nothing fires, other rules say why: a rate would mend nothing.
    arrives = middle(over(readings, "end").updates["gradient"]) > 0
    largest = -throughout(-ratios)
    low = (largest < RATIO_LOW) & arrives & (not opening(readings))
    yield from _outside(part, np.flatnonzero(low), largest, "hardly moves")
    # Whether the loss falls cannot be told by the first few steps, at which Adam's are the largest.
    fine = _learns(part) or len(part) < PATIENCE
    high, line = throughout(ratios), RATIO_WILD if fine else RATIO_HIGH
    yield from _outside(part, np.flatnonzero(high > line), -high, "throws about")


def _learns(part: Readings) -> bool:
    """Tell whether the loss of the second half of the steps lies below nine tenths of that of the first."""
    half = (len(part) + 1) // 2
    return bool(middle(part.loss[-half:, None])[0] < 0.9 * middle(part.loss[:half, None])[0])


def _outside(part: Readings, chosen: np.ndarray, value: np.ndarray, what: str) -> Iterator[Found]:
    if len(chosen) and len(part) >= SETTLED:
        at = int(chosen[np.argmin(value[chosen])])
        size, rate = abs(float(value[at])), float(middle(part.updates["rate"])[at])
        cause = f"a step {what} {_several(part, chosen, at)}: it is {size:.2g} of its size (learning rate {rate:.2g})"
        numbers = {"update_ratio": size, "rate": rate, "parameters": float(len(chosen))}
        severity = "warning" if RATIO_HIGH < size <= RATIO_WILD else "finding"
        yield Found(str(part.parameters["layer"][at]), cause, severity, numbers, seen(part))  # type: ignore[arg-type]


def _several(readings: Readings, chosen: np.ndarray, at: int) -> str:
    rest = f" (and {len(chosen) - 1} more)" if len(chosen) > 1 else ""
    return f"{readings.parameters['parameter'][at]}{rest}"


def symmetric(readings: Readings) -> Iterator[Found]:
    """Find weight matrices whose channels started as copies of each other."""
    facts = readings.parameters
    for i in np.flatnonzero((facts["symmetric"] > 0) & judged(readings)):
        copies, layer = int(facts["symmetric"][i]), str(facts["layer"][i])
        channels = _channels(readings, layer) or copies + 1
        if copies >= SYMMETRIC * channels - 1:
            cause = f"{copies + 1} of {channels} channels of {facts['parameter'][i]} started as copies of each other: "
            cause += "what they get in and give back is the same, so they stay so"
            yield Found(layer, cause, "finding", {"same": copies + 1.0, "channels": float(channels)}, seen(readings))


def _channels(readings: Readings, layer: str) -> int:
    for label, name in zip(readings.calls["layer"].tolist(), readings.calls["name"].tolist(), strict=True):
        if name == layer and label in readings.first:
            return len(readings.first[label]["samples"])
    return 0


def forgotten(readings: Readings) -> Iterator[Found]:
    """Find parameters that want gradient and are in no optimizer."""
    facts = readings.parameters
    held, wants = facts["optimizer"] >= 0, facts["trained"].astype(bool)
    missing = np.flatnonzero(wants & ~held)
    if not held.any() or not len(missing):
        return
    # Where only a head is trained, most is left out, and all of it before the head.
    head = missing[-1] < np.flatnonzero(held)[0] and len(missing) > held.sum()
    cause = f"{len(missing)} parameters want gradient and are in no optimizer: {_names(readings, missing)}"
    cause += "; all come before those that are trained, as where only a head is" if head else ""
    numbers = {"parameters": float(len(missing)), "entries": float(facts["size"][missing].sum())}
    severity = "warning" if head else "finding"
    yield Found(str(facts["layer"][missing[0]]), cause, severity, numbers, seen(readings))  # type: ignore[arg-type]


def unused(readings: Readings) -> Iterator[Found]:
    """Find trained parameters that never have a gradient: cut off from the loss, leading nowhere, or never run."""
    facts = readings.parameters
    none = np.isnan(readings.updates["gradient"])
    steps = stepped(readings)
    chosen = np.flatnonzero(trained(readings) & steps.any(0) & (none | ~steps).all(0))
    ran = {name: i for i, name in enumerate(readings.calls["name"].tolist())}
    reached = np.flatnonzero(np.nan_to_num(readings.signals["gradient"]).max(0, initial=0) > 0)
    final = int(reached.max(initial=-1))
    at = {i: ran.get(str(facts["layer"][i]), -1) for i in chosen.tolist()}
    before = sorted((i for i in at if 0 <= at[i] < final), key=lambda i: at[i])
    never, aside = [i for i in at if at[i] < 0], [i for i in at if at[i] > final]
    numbers = {"steps": float(steps.any(1).sum()), "parameters": float(len(chosen))}
    if before:
        behind = readings.calls["layer"][reached[reached > at[before[-1]]][0]]
        cause = f"gradient ends here: none (None) at {_names(readings, before)}, while it arrives at {behind} behind:"
        cause += " a detach() or no_grad between, or an output that nobody takes"
        yield Found(str(facts["layer"][before[-1]]), cause, "finding", numbers, seen(readings))
    for group, why in ((aside, "ran, but nothing leads from it to the loss"), (never, "did not run in the steps read")):
        if group:
            cause = f"unused: no gradient (None) in any step for {_names(readings, group)}: it {why}"
            yield Found(str(facts["layer"][group[0]]), cause, "note", numbers, seen(readings))


def _names(readings: Readings, chosen: Sequence[int] | np.ndarray) -> str:
    return naming(readings.parameters["parameter"][np.asarray(chosen, int)].tolist())


def skipped(readings: Readings) -> Iterator[Found]:
    """Find a loss scale that does not settle."""
    count = float(readings.told.get("skipped", 0))
    steps = float(readings.told.get("steps", 0)) + count
    rate = (count - SETTLING) / max(steps - SETTLING, 1.0)
    if rate > SKIPPED:
        cause = f"the scaler skipped {count:.0f} of {steps:.0f} steps, since gradients were not finite"
        yield Found("", cause, "finding", {"skipped": count, "steps": steps, "rate": rate}, int(steps))


def unmoved(readings: Readings) -> Iterator[Found]:
    """Find weights that started at 0 and got gradient, and are still 0."""
    part = over(readings, "end")
    weight = middle(part.updates["weight"])
    still = zero_at_start(readings) & trained(readings) & (readings.parameters["role"] == "matrix") & (weight == 0)
    for i in np.flatnonzero(still & (len(readings) >= SETTLED)):
        cause = f"{readings.parameters['parameter'][i]} started at 0 and is still 0 after {len(readings)} steps read"
        yield Found(str(readings.parameters["layer"][i]), cause, "finding", {"weight": 0.0}, seen(readings))
