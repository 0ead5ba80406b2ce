"""Signalling: rules on what layers put out: silent channels, saturation, outputs that are alike for all inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from netassay.flow import Readings
from netassay.flow.tables import middle
from netassay.named import Table
from netassay.verdicts.channels import STATES, many, ranges, silent, states
from netassay.verdicts.evidence import Found, cut, naming, over, seen
from netassay.verdicts.thresholds import DEAD_BORN, DEAD_MADE, DEAD_SAMPLES, DEAD_SOME, DEPENDENCE, IDLE, SATURATED


def dead(readings: Readings) -> Iterator[Found]:
    """Find layers many of whose channels carry nothing, at the layer that has the weights."""
    told: np.ndarray = np.zeros(0, bool)
    for label, role, named, samples in _named(readings):
        mute, share = silent(named), float(silent(named).mean())
        # A norm or an activation is silent where the layer before it is: that one has been told of.
        again = role in ("norm", "activation") and len(told) == len(named) and not (named == "dead")[~told].any()
        if not again:
            told = mute if share > DEAD_SOME else np.zeros(0, bool)
            if share > DEAD_SOME:
                yield _silent(readings, label, named, samples, share)


def _silent(readings: Readings, label: str, named: np.ndarray, samples: int, share: float) -> Found:
    count, before = int((named == "dead").sum()), readings.first.get(label)
    there = int(silent(states(before)).sum()) if before is not None else None
    born = there is None or there >= DEAD_BORN * len(named)
    many = count >= (DEAD_BORN if born else DEAD_MADE) * len(named) and samples >= DEAD_SAMPLES
    given = _given(readings, label)
    mute = np.flatnonzero(silent(named))
    cause = f"{len(mute)} of {len(named)} channels carry nothing (channels {ranges(mute)}); {count} of them are dead, "
    cause += f"active in none of {samples} samples"
    if before is not None:
        cause += f"; {there or 'none'} so in the first {int(np.max(before['samples'], initial=0))} samples read"
    cause += f"; what the layer gets hardly varies ({given:.2g} of its mean square)" if given < IDLE else ""
    numbers = {"share": share, "dead": float(count), "channels": float(len(named)), "input_dependence": given}
    numbers |= {} if there is None else {"at_the_start": float(there)}
    return Found(label, cause, "finding" if many and not given < IDLE else "note", numbers, samples)


def _given(readings: Readings, label: str) -> float:
    """Return how much what a layer gets depends on the input: the call before the weights that feed it."""
    at = readings.calls["layer"].tolist().index(label)
    weights = np.flatnonzero((readings.calls["role"] == "weight") & (np.arange(len(readings.calls["role"])) <= at))
    return float(_dependence(over(readings, "end"))[weights[-1] - 1]) if len(weights) and weights[-1] else float("nan")


def _dependence(part: Readings) -> np.ndarray:
    """Return variance over mean square of each call, in steps of several samples; 0 where the output is 0."""
    several = cut(part, np.flatnonzero(part.samples > 1))
    mean_square, variance = several.signals["second_moment"], several.signals["variance"]
    with np.errstate(invalid="ignore", divide="ignore"):
        return middle(np.where(mean_square > 0, variance / mean_square, np.where(mean_square == 0, 0.0, np.nan)))


def monotonous(state: str, readings: Readings) -> Iterator[Found]:
    """Find layers more than a quarter of whose channels is in a state such as constant or saturated."""
    for label, _, named, samples in _named(readings):
        verdict = many(state, label, named, samples)
        if verdict is not None:
            severity = "note" if _given(readings, label) < IDLE else verdict.severity
            yield Found(label, verdict.cause, severity, verdict.numbers, samples)


def channel_table(readings: Readings) -> Table:
    """Return how many channels of each layer are in which state, in the latest steps and, dead, in the first."""
    rows: list[Mapping[str, Any]] = []
    for label, role, named, samples in _named(readings):
        before = readings.first.get(label)
        row = {"layer": label, "role": role, "channels": len(named), "samples": samples}
        row |= {state.name: int((named == state.name).sum()) for state in STATES}
        rows.append(row | {"dead_at_start": -1 if before is None else int((states(before) == "dead").sum())})
    return Table.of(rows)


def _named(readings: Readings) -> Iterator[tuple[str, str, np.ndarray, int]]:
    """Return each layer's channels by state, in order of execution, with the samples that they were judged by."""
    for label, role in zip(readings.calls["layer"].tolist(), readings.calls["role"].tolist(), strict=True):
        numbers = readings.latest.get(label)
        if numbers is not None and len(numbers["samples"]):
            yield label, role, states(numbers), int(np.max(numbers["samples"]))


def saturated(readings: Readings) -> Iterator[Found]:
    """Find bounded activations that are flat for most of their entries; the network's last output may be."""
    part = over(readings, "end")
    flat, roles = middle(part.signals["flat"]), part.calls["role"]
    last = int(np.flatnonzero(roles == "weight").max(initial=-1))
    chosen = np.flatnonzero((flat > SATURATED) & (roles == "activation") & (np.arange(len(flat)) < last))
    if len(chosen):
        at, names = int(chosen[0]), part.calls["layer"][chosen].tolist()
        cause = f"saturated: the slope is below 0.05 at {100 * flat[at]:.0f} % of the entries"
        cause += f" (the first of {len(chosen)}: {naming(names)})" if len(chosen) > 1 else ""
        numbers = {"flat": float(flat[at]), "layers": float(len(chosen))}
        if at:
            numbers["input_rms"] = float(np.sqrt(middle(part.signals["second_moment"])[at - 1]))
        yield Found(names[0], cause, "finding", numbers, seen(part))


def independent(readings: Readings) -> Iterator[Found]:
    """Find the first call from which on outputs hardly depend on the input."""
    part = over(readings, "end")
    share = _dependence(part)
    lost = share <= DEPENDENCE
    if len(lost) > 1 and part.calls["role"][0] == "input" and lost[:2].all():
        cause = (
            f"the data: what the model is given is the same for every sample, up to {share[0]:.2g} of its mean square"
        )
        yield Found(str(part.calls["layer"][0]), cause, "finding", {"dependence": float(share[0])}, seen(part))
        return
    way = np.flatnonzero(np.isin(part.calls["path"], ("trunk", "unknown")) & np.isfinite(share))
    kept = way[~lost[way]]
    after = way[way > kept[-1]] if len(kept) else way
    weights = after[part.calls["role"][after] == "weight"]
    if len(weights):
        at = int(after[0])
        before = float(share[kept[-1]]) if len(kept) else float("nan")
        cause = f"from here on the output hardly depends on the input: across samples it varies by {share[at]:.2g} of "
        cause += f"its mean square ({before:.2g} before)"
        numbers = {"dependence": float(share[at]), "before": before, "calls": float(len(after))}
        yield Found(str(part.calls["layer"][at]), cause, "finding", numbers, seen(part))
