"""Passing: rules on how gradient passes from layer to layer: vanishing, exploding, exactly zero, underflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest

import numpy as np

from netassay.flow import Readings, Slope, law, laws
from netassay.flow.law import points
from netassay.flow.tables import middle
from netassay.verdicts.evidence import Found, effective, naming, opening, over, seen, shares
from netassay.verdicts.thresholds import ATTENUATION, SATURATED, SHRINKS, SPARSE, STEEPEST, SUBNORMAL


def vanishing(readings: Readings) -> Iterator[Found]:
    """Find gradient that shrinks towards the input."""
    return _depth(readings, 1)


def exploding(readings: Readings) -> Iterator[Found]:
    """Find gradient that grows towards the input."""
    return _depth(readings, -1)


def _depth(readings: Readings, sign: int) -> Iterator[Found]:
    closed = opening(readings)  # what begins at 0 lets hardly anything into its branch for the first steps
    for when in ("end", "start"):
        part = over(readings, when)
        beyond = [slope for slope in laws(part) if _beyond(slope, sign) and not (closed and slope.path == "branch")]
        if beyond:
            yield _told(part, beyond[0], sign, now=when == "end")
            return


def _beyond(slope: Slope, sign: int) -> bool:
    """Tell whether the law leads beyond the line, and its band, where there is one, away from 1."""
    sure = slope.batches == 1 or (slope.high < 1 if sign > 0 else slope.low > 1)
    return sure and sign * np.log(slope.attenuation) > np.log(ATTENUATION)


def _told(part: Readings, slope: Slope, sign: int, now: bool) -> Found:
    chosen, gradient = _profile(part, slope)
    names = part.calls["layer"][chosen]
    layer, share = str(names[np.argmin(sign * gradient[chosen])]), 0.0
    if len(chosen) > 3:
        drops = sign * np.diff(np.log(gradient[chosen]))
        share = float(drops.max() / max(drops.sum(), 1e-300))
    why = _cause(part, slope, sign)
    if share > STEEPEST:
        layer = str(names[1 + int(np.argmax(drops))])
        why = f"{100 * share:.0f} % of it at this layer alone: its weights are too {'small' if sign > 0 else 'large'}"
    first = names[: max(1, len(names) // 3)].tolist()
    moves, numbers = effective(part, [str(name).split("#")[0] for name in first])
    word = "vanishes" if sign > 0 else "explodes"
    factor = slope.attenuation if sign > 0 else 1 / slope.attenuation
    cause = f"gradient {word} towards the input, by {factor:.3g} over {slope.depth_to - slope.depth_from} layers "
    cause += f"(chi = {slope.chi:.3g} per layer on the {slope.path}); {why}"
    severity = "finding"
    if not now:
        severity, cause = "warning", f"{cause}. So it was at the start; training has overcome it"
    elif moves and sign > 0:
        severity, cause = "warning", f"{cause}. Small but effective: a step still moves the weights there"
    law_of = {name: float(getattr(slope, name)) for name in ("chi", "low", "high", "attenuation", "batches")}
    return Found(layer, cause, severity, law_of | numbers, seen(part))  # type: ignore[arg-type]


def _profile(part: Readings, slope: Slope) -> tuple[np.ndarray, np.ndarray]:
    """Return the calls of the fit that have gradient, by depth, and the median gradient of every call."""
    gradient = middle(part.signals["gradient"])
    chosen = points(part, slope.path)
    chosen = chosen[np.isfinite(gradient[chosen]) & (gradient[chosen] > 0)]
    return chosen[np.argsort(part.calls["depth"][chosen], kind="stable")], gradient


def _cause(part: Readings, slope: Slope, sign: int) -> str:
    """Name the cause by what else was read in the same steps."""
    activation = (part.calls["role"] == "activation") & (part.calls["depth"] >= slope.depth_from)
    flat = np.where(activation, middle(part.signals["flat"]), np.nan)
    if sign > 0 and np.nanmax(flat, initial=0) > SATURATED:
        at = int(np.nanargmax(flat))
        return (
            f"saturation: the slope is below 0.05 at {100 * flat[at]:.0f} % of the entries of {part.calls['layer'][at]}"
        )
    zero = np.where(activation, shares(part, "zero", "entries"), np.nan)
    if sign > 0 and np.nanmax(zero, initial=0) > SPARSE:
        at = int(np.nanargmax(zero))
        return f"dead units: {100 * zero[at]:.0f} % of the entries of {part.calls['layer'][at]} are 0"
    forward = law(part, slope.path, signal="variance")
    if forward is not None and (forward.chi < SHRINKS if sign > 0 else forward.chi > 1 / SHRINKS):
        size, word = ("small", "shrinks") if sign > 0 else ("large", "grows")
        alike = f"the signal {word} as well, to {forward.chi:.3g} of its variance per layer"
        return f"initialisation: {alike}: the weights are too {size}"
    bare = [
        word for word, there in (("normalisation", "norm" in part.calls["role"]), ("skip", _skips(part))) if not there
    ]
    if bare:
        return f"depth without {' and without '.join(bare)}, while the signal keeps its size going forward"
    return "nothing else that was read says why"


def _skips(part: Readings) -> bool:
    return bool((part.calls["path"] == "branch").any())


def zero(readings: Readings) -> Iterator[Found]:
    """Find where gradient becomes exactly 0 on its way back, and matrices that get none although it arrives."""
    part = over(readings, "end")
    arrived = np.nansum(part.signals["gradient_entries"], 0) > 0
    bad = np.nansum(part.signals["gradient_nan"] + part.signals["gradient_inf"], 0) > 0
    none = arrived & ~bad & (np.nanmax(np.nan_to_num(part.signals["gradient"]), 0, initial=0) == 0)
    order = np.flatnonzero(arrived & (part.calls["role"] != "input") & (part.calls["role"] != "block"))
    for at, behind in zip_longest(order, order[1:], fillvalue=-1):
        if none[at] and (behind < 0 or not none[behind]):
            found = _stopped(readings, part, int(at), int(behind))
            if found:
                yield found
    yield from _without_input(part, set(part.calls["name"][arrived & ~none].tolist()))


def _stopped(readings: Readings, part: Readings, at: int, behind: int) -> Found | None:
    """Say why gradient ends between a call and the one behind it, the one nearer to the loss."""
    layer = str(part.calls["layer"][at])
    before = int((middle(part.signals["gradient"][:, :at]) == 0).sum())
    numbers = {"calls": float(before + 1), "since_step": float(_since(readings, at))}
    told = f"exactly 0 gradient arrives at {layer} and at {before} calls before it"
    if behind < 0:
        fitted = bool((part.loss == 0).all())
        return None if fitted else Found(layer, f"{told}: the loss itself gives none", "finding", numbers, seen(part))
    after = str(part.calls["layer"][behind])
    if opening(readings):
        return None
    for closed, why, its_own in CLOSED:
        if closed(part, behind):
            named = after if its_own else layer
            return Found(named, f"{told}: {why.format(after)}", "finding", numbers, seen(part))
    return Found(layer, f"{told}, and not at {after} behind it", "finding", numbers, seen(part))


def _zero_weight(part: Readings, behind: int) -> bool:
    if not part.updates:
        return False
    facts = part.parameters
    own = np.isin(facts["role"], ("matrix", "gain")) & (facts["layer"] == part.calls["name"][behind])
    return bool((middle(part.updates["weight"])[own] == 0).any())


def _mute(part: Readings, at: int) -> bool:
    return bool(part.calls["role"][at] == "activation" and shares(part, "zero", "entries")[at] == 1)


CLOSED: tuple[tuple[Callable[[Readings, int], bool], str, bool], ...] = (
    (_mute, "nothing fires in {} behind it, it is dead", False),
    (lambda part, at: bool(middle(part.signals["flat"])[at] == 1), "{} behind it is saturated throughout", False),
    (_zero_weight, "the weight of {} behind it is 0 and stays 0", True),
    (
        lambda part, at: bool(shares(part, "gradient_subnormal", "gradient_entries")[at] > 0),
        "underflow, at {} behind it some are subnormal",
        False,
    ),
    (
        lambda part, at: bool(middle(part.signals["variance"])[at] == 0),
        "{} behind it puts out the same for every sample",
        True,
    ),
)
"""Why no gradient comes through a call, first to last: the test, the sentence, and whether the call itself is named."""


def _since(readings: Readings, at: int) -> int:
    alive = np.flatnonzero(np.nan_to_num(readings.signals["gradient"][:, at]) > 0)
    return int(readings.steps[min(alive[-1] + 1, len(readings) - 1)] if len(alive) else readings.steps[0])


def _without_input(part: Readings, reached: set[str]) -> Iterator[Found]:
    if not part.updates:
        return
    facts, gradient = part.parameters, part.updates["gradient"]
    zero = (np.isfinite(gradient).sum(0) > 0) & (np.nan_to_num(gradient).max(0, initial=0) == 0)
    for i in np.flatnonzero(zero & facts["trained"].astype(bool) & (facts["role"] == "matrix")):
        if facts["layer"][i] in reached:
            cause = f"the gradient of {facts['parameter'][i]} is exactly 0 though gradient arrives: its input is 0"
            steps = {"steps": float(np.isfinite(gradient[:, i]).sum())}
            yield Found(str(facts["layer"][i]), cause, "finding", steps, seen(part))


def underflow(readings: Readings) -> Iterator[Found]:
    """Find gradients of which a large share is too small for its number format."""
    part = over(readings, "end")
    counts = part.signals["gradient_entries"] - part.signals["gradient_zero"]
    with np.errstate(invalid="ignore", divide="ignore"):
        subnormal = middle(np.where(counts > 0, part.signals["gradient_subnormal"] / counts, np.nan))
    chosen = np.flatnonzero(np.nan_to_num(subnormal) > SUBNORMAL)
    if len(chosen):
        at, names = int(chosen[-1]), part.calls["layer"][chosen].tolist()
        zeros = float(shares(part, "gradient_zero", "gradient_entries")[at])
        cause = f"{100 * subnormal[at]:.0f} % of the gradient that is not 0 is subnormal, and {100 * zeros:.0f} % are 0"
        cause += f" (met first here, going back; {len(chosen)} calls: {naming(names)})"
        numbers = {"subnormal": float(subnormal[at]), "zero": zeros, "calls": float(len(chosen))}
        yield Found(str(names[-1]), cause, "finding", numbers, seen(part))
