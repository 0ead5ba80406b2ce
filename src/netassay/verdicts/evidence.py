"""Evidence: what rules share: what they hand back, stretches of steps, which parameters are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from netassay.flow import Readings, stretch
from netassay.flow.tables import middle, share, update_ratio
from netassay.result import Severity
from netassay.verdicts.thresholds import ACTIVE_RATE, EFFECTIVE_ADAM, EFFECTIVE_RATIO, LOST, OPENING


@dataclass(frozen=True)
class Found:
    """What a rule found: where, why, how bad, by which numbers, from how many samples; `next` if not the rule's own."""

    layer: str
    cause: str
    severity: Severity
    numbers: Mapping[str, float]
    n: int
    next: str = ""


def cut(readings: Readings, rows: slice | np.ndarray) -> Readings:
    """Keep some of the steps."""
    return replace(
        readings,
        **{name: getattr(readings, name)[rows] for name in ("steps", "epochs", "loss", "samples")},
        signals={name: values[rows] for name, values in readings.signals.items()},
        updates={name: values[rows] for name, values in readings.updates.items()},
    )


def over(readings: Readings, when: str) -> Readings:
    """Keep the first steps, the latest or all."""
    return cut(readings, stretch(readings, when))


def seen(readings: Readings) -> int:
    """Count the samples that went through in the steps read."""
    return int(np.nansum(readings.samples))


def shares(readings: Readings, top: str, of: str) -> np.ndarray:
    """Return the median over steps of one signal over another, call by call."""
    return middle(share(readings.signals[top], readings.signals[of]))


def stepped(readings: Readings) -> np.ndarray:
    """Tell at which steps the optimizer of each parameter made one, `(S, P)`."""
    return np.asarray(np.isfinite(readings.updates["rate"]))


def judged(readings: Readings) -> np.ndarray:
    """Tell which parameters the rules for updates judge: trained matrices, in an optimizer, that did not start at 0."""
    facts = readings.parameters
    return np.asarray((facts["role"] == "matrix") & trained(readings) & ~zero_at_start(readings))


def trained(readings: Readings) -> np.ndarray:
    """Tell which parameters want gradient and have an optimizer."""
    return np.asarray(readings.parameters["trained"].astype(bool) & (readings.parameters["optimizer"] >= 0))


def zero_at_start(readings: Readings) -> np.ndarray:
    """Tell which parameters were exactly 0 when first read."""
    return np.asarray(_first(readings.updates["weight"]) == 0)


def _first(values: np.ndarray) -> np.ndarray:
    """Return the first known value of each column; NaN where there is none."""
    known = np.isfinite(values)
    return np.where(known.any(0), values[known.argmax(0), np.arange(values.shape[1])], np.nan)


def opening(readings: Readings) -> bool:
    """Tell whether a weight or a factor started at 0 and had too few steps to open what it closes."""
    begun = zero_at_start(readings) & (readings.parameters["role"] != "bias") if readings.updates else np.zeros(0, bool)
    return bool(begun.any() and len(readings) < OPENING)


def active(readings: Readings) -> Readings:
    """Keep the steps at which some parameter's rate is above a tenth of its largest."""
    rate = readings.updates["rate"]
    known = np.where(np.isfinite(rate), rate, 0.0)
    return cut(readings, np.flatnonzero((known >= ACTIVE_RATE * known.max(0, initial=0)).any(1)))


def throughout(values: np.ndarray) -> np.ndarray:
    """Return, of the medians over the first and the second half of the steps, the smaller, column by column.

    What is so in both halves is no passing state: neither the first steps of a warm-up nor the end of a training.
    """
    half = (len(values) + 1) // 2
    return np.asarray(np.fmin(middle(values[:half]), middle(values[-half:])))


def adam(readings: Readings) -> np.ndarray:
    """Return Adam's factor over the entries that have gradient: those of black pixels say nothing, `(S, P)`."""
    zero = readings.updates["gradient_zero"] / readings.parameters["size"]
    return np.asarray(np.minimum(1.0, share(readings.updates["adam"], 1 - zero)))


def effective(readings: Readings, names: Sequence[str]) -> tuple[bool | None, dict[str, float]]:
    """Tell whether what arrives at the weights of some layers moves them, with the numbers; None if not known."""
    chosen = judged(readings) & np.isin(readings.parameters["layer"], names) if readings.updates else np.zeros(0, bool)
    if not chosen.any():
        return None, {}
    ratio = middle(update_ratio(readings))[chosen]
    factor, lost = middle(adam(readings))[chosen], middle(readings.updates["lost"])[chosen]
    known = np.isfinite(ratio)
    if not known.any():
        return None, {}
    numbers = {"update_ratio": float(np.nanmin(ratio)), "lost": float(np.nanmax(lost[known]))}
    if np.isfinite(factor).any():
        numbers["adam"] = float(np.nanmin(factor))
    moves = numbers["update_ratio"] >= EFFECTIVE_RATIO and not numbers["lost"] > LOST
    return bool(moves and not numbers.get("adam", 1.0) < EFFECTIVE_ADAM), numbers


def naming(names: Sequence[str], most: int = 4) -> str:
    """Name some of many."""
    shown = ", ".join(map(str, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
