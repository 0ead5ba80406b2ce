"""Finite: the first tensor that held NaN or Inf, in the order in which a step makes them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from netassay.flow import Readings
from netassay.verdicts.evidence import Found, naming, stepped

HARMLESS = re.compile(
    r"ReLU6?|(Leaky|P)ReLU|[CS]?ELU|GELU|SiLU|Mish|Tanh|Sigmoid|Hard(tanh|sigmoid|swish)|Soft(plus|sign)"
)
"""Activations that make nothing infinite of what is finite: where their output is bad, what they were given was."""


def first_bad(readings: Readings) -> tuple[int, Found] | None:
    """Return the first row that holds anything not finite, and the tensor that came first in it.

    Order: parameters that were bad before the step, outputs in order of execution, the loss, gradients in the order in
    which the backward pass makes them, parameters' gradients, the optimizer's state, parameters after the step.
    """
    for row in range(len(readings)):
        for look in LOOKS:
            found = look(readings, row)
            if found is not None:
                return row, found
    return None


def _made(readings: Readings, row: int, layer: str, cause: str, numbers: dict[str, float], next: str = "") -> Found:
    numbers = {"step": float(readings.steps[row]), **numbers}
    return Found(layer, cause, "finding", numbers, int(readings.samples[row]), next)


def _counted(readings: Readings, row: int, at: int, prefix: str = "") -> tuple[str, dict[str, float]]:
    nan, inf = (float(readings.signals[f"{prefix}{kind}"][row, at]) for kind in ("nan", "inf"))
    return f"{nan:.0f} NaN, {inf:.0f} Inf", {"nan": nan, "inf": inf}


def _bad_calls(readings: Readings, row: int, prefix: str = "") -> np.ndarray:
    nan, inf = (readings.signals[f"{prefix}{kind}"][row] for kind in ("nan", "inf"))
    return np.flatnonzero(np.nan_to_num(nan) + np.nan_to_num(inf) > 0)


def _bad_parameters(readings: Readings, row: int, *names: str) -> np.ndarray:
    if not readings.updates:
        return np.zeros(0, int)
    return np.flatnonzero(sum(np.nan_to_num(readings.updates[name][row]) for name in names) > 0)


def _between(readings: Readings, row: int) -> str:
    if not row:
        return f"at or before step {readings.steps[row]}, the first that was read"
    return f"between step {readings.steps[row - 1]} and {readings.steps[row]}; watch every step to name it"


def _before(readings: Readings, row: int) -> Found | None:
    if not readings.updates:
        return None
    weight = readings.updates["weight"][row]
    bad = np.isinf(weight) | (np.isnan(weight) & stepped(readings)[row])
    if not bad.any():
        return None
    names = readings.parameters["parameter"][bad].tolist()
    cause = f"the parameter {naming(names)} was not finite before the step: it happened {_between(readings, row)}"
    numbers = {"parameters": float(len(names))}
    return _made(readings, row, str(readings.parameters["layer"][bad][0]), cause, numbers)


def _forward(readings: Readings, row: int) -> Found | None:
    bad = _bad_calls(readings, row)
    if not len(bad):
        return None
    at = int(bad[0])
    told, numbers = _counted(readings, row, at)
    if readings.calls["role"][at] == "input":
        cause = f"the data: what the model was given holds {told}"
        return _made(readings, row, str(readings.calls["layer"][at]), cause, numbers, "look at how the data are made")
    layer, before = (str(readings.calls["layer"][max(one, 0)]) for one in (at, at - 1))
    why = "everything before it is finite"
    if at:
        largest = float(np.sqrt(np.nanmax(readings.signals["second_moment"][row, :at], initial=0.0)))
        numbers["largest_before"] = largest
        why += f", its entries at most about {largest:.3g} in root mean square"
    if at and readings.calls["role"][at - 1] != "input" and _given_bad(readings, row, at):
        cause = f"the first tensor that is not finite comes between the output of {before} and that of {layer} ({told})"
        return _made(readings, row, before, f"{cause} at step {readings.steps[row]}; {why}", numbers)
    cause = f"the first tensor that is not finite is its output ({told}) at step {readings.steps[row]}; {why}"
    return _made(readings, row, layer, cause, numbers)


def _whole(readings: Readings, row: int, at: int) -> bool:
    """Tell whether no entry of an output is finite."""
    signals = readings.signals
    return bool(signals["nan"][row, at] + signals["inf"][row, at] >= signals["entries"][row, at])


def _given_bad(readings: Readings, row: int, at: int) -> bool:
    """Tell whether a bad output shows a bad input: of what cannot make it, or no entry that is finite."""
    return bool(HARMLESS.fullmatch(readings.calls["kind"][at])) or _whole(readings, row, at)


def _loss(readings: Readings, row: int) -> Found | None:
    loss = readings.loss[row]
    known = np.isfinite(readings.loss[: row + 1]).any() or np.isinf(loss)
    known &= int(readings.steps[row]) not in readings.told.get("untold", ())
    if np.isfinite(loss) or not known or _skipped(readings, row):
        return None
    last = str(readings.calls["layer"][readings.calls["role"] != "block"][-1])
    cause = (
        f"the loss is {loss} at step {readings.steps[row]}, while every output is finite: it comes behind this layer"
    )
    return _made(readings, row, last, cause, {"loss": float(loss)}, "look for a logarithm or a quotient of 0 there")


def _backward(readings: Readings, row: int) -> Found | None:
    bad = _bad_calls(readings, row, "gradient_")
    if not len(bad) or _skipped(readings, row):
        return None
    at = int(bad[-1])
    told, numbers = _counted(readings, row, at, "gradient_")
    # Containers end where their last child does, so what comes after in execution met the gradient before.
    later = readings.calls["layer"][at + 1 :].tolist()
    behind = f"the gradient at {later[0]} behind it is finite" if later else "the loss made it"
    cause = f"the first tensor that is not finite is the gradient at its output ({told}) at step {readings.steps[row]}"
    return _made(readings, row, str(readings.calls["layer"][at]), f"{cause}, in the backward pass: {behind}", numbers)


def _parameter(what: str, *names: str) -> Callable[[Readings, int], Found | None]:
    def look(readings: Readings, row: int) -> Found | None:
        bad = _bad_parameters(readings, row, *names)
        if not len(bad) or (names[0] == "gradient_nan" and _skipped(readings, row)):
            return None
        named = naming(readings.parameters["parameter"][bad].tolist())
        count = float(sum(np.nan_to_num(readings.updates[name][row, bad]).sum() for name in names))
        cause = f"the first tensor that is not finite is {what} {named} ({count:.0f} entries) at step"
        layer = str(readings.parameters["layer"][bad[0]])
        return _made(readings, row, layer, f"{cause} {readings.steps[row]}", {"entries": count})

    return look


def _skipped(readings: Readings, row: int) -> bool:
    """Tell whether the scaler dealt with what is not finite: it skipped the step, or the optimizer met none of it."""
    if not readings.assumed.get("scaler") or not readings.updates:
        return False
    met = sum(np.nan_to_num(readings.updates[f"gradient_{kind}"][row]).sum() for kind in ("nan", "inf"))
    return not stepped(readings)[row].any() or not met


LOOKS: tuple[Callable[[Readings, int], Found | None], ...] = (
    _before,
    _forward,
    _loss,
    _backward,
    _parameter("the gradient of", "gradient_nan", "gradient_inf"),
    _parameter("the optimizer's state of", "state_nan"),
    _parameter("what the step made of", "weight_nan", "weight_inf"),
)
