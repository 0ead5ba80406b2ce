"""Dismissing: what looks sick and is right, with the numbers it was told apart by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from netassay.flow import Readings, law
from netassay.flow.law import points
from netassay.flow.tables import middle, share
from netassay.verdicts.evidence import naming, over, shares, trained, zero_at_start
from netassay.verdicts.thresholds import INVARIANT, SETTLED

Dismissed = dict[str, str]
BATCH_NORMS = re.compile(r"(Sync)?BatchNorm|InstanceNorm")
NORMS = re.compile(r"Norm")
KEY = re.compile(r"(^|[._])(k|key|keys)(_proj|_lin|_linear)?([._]|$)")


def dismissed(readings: Readings) -> tuple[Dismissed, ...]:
    """Return what was considered and dismissed: what it is, where, why it is right, and by which numbers."""
    return tuple(row for look in LOOKS for row in look(readings)) if len(readings) else ()


def _row(what: str, where: Sequence[str] | np.ndarray, why: str, numbers: str) -> Dismissed:
    return {"what": what, "where": naming(list(where)), "why": why, "numbers": numbers}


def _into(readings: Readings, pattern: re.Pattern[str]) -> np.ndarray:
    """Tell which parameters belong to a layer whose output goes straight into such a module."""
    pairs = zip(readings.calls["name"].tolist(), readings.calls["into"].tolist(), strict=True)
    names = {name for name, into in pairs if pattern.search(into)}
    return np.isin(readings.parameters["layer"], list(names))


def _beside_weight(readings: Readings) -> np.ndarray:
    """Return each parameter's gradient over that of its layer's matrix; NaN where there is none."""
    facts, gradient = readings.parameters, middle(readings.updates["gradient"])
    matrix = {facts["layer"][i]: gradient[i] for i in np.flatnonzero(facts["role"] == "matrix")}
    return share(gradient, np.array([matrix.get(layer, np.nan) for layer in facts["layer"]], float))


def _shifts(readings: Readings) -> Iterator[Dismissed]:
    bias, small = readings.parameters["role"] == "bias", _beside_weight(readings) < INVARIANT
    names = readings.parameters["parameter"]
    keys = np.array([bool(KEY.search(str(name))) for name in names], bool)
    kinds = (
        (_into(readings, BATCH_NORMS), "bias before a batch norm", "the norm takes away whatever the bias adds"),
        (keys, "bias of keys", "softmax does not see what is added to every key alike"),
    )
    for where, what, why in kinds:
        chosen = np.flatnonzero(bias & small & where)
        if len(chosen):
            largest = np.max(_beside_weight(readings)[chosen])
            yield _row(what, names[chosen], why, f"gradient at most {largest:.2g} of that of the weight beside it")


def _rows(readings: Readings) -> Iterator[Dismissed]:
    facts = readings.parameters
    zero = middle(readings.updates["gradient_zero"]) / facts["size"]
    chosen = np.flatnonzero((facts["role"] == "embedding") & (zero > 0))
    if len(chosen):
        why = "a row that no sample asks for has no gradient"
        numbers = f"{100 * np.max(zero[chosen]):.0f} % of the gradient is exactly 0"
        yield _row("embedding rows not seen", facts["parameter"][chosen], why, numbers)


def _zero_ends(readings: Readings) -> Iterator[Dismissed]:
    facts = readings.parameters
    last = middle(readings.updates["weight"][-1:])
    started = zero_at_start(readings) & np.isin(facts["role"], ("matrix", "gain"))
    chosen = np.flatnonzero(started & ((last > 0) | (len(readings) < SETTLED)))
    if len(chosen):
        first = readings.signals["gradient"][0]
        blocked = int(((first == 0) & (readings.signals["gradient_entries"][0] > 0)).sum())
        why = (
            "a branch that ends in zeros adds nothing at first; layers before it have gradient from the second step on"
        )
        numbers = (
            f"{blocked} calls have exactly 0 gradient at step {readings.steps[0]}; size now {np.max(last[chosen]):.2g}"
        )
        yield _row("zero-initialised weights", facts["parameter"][chosen], why, numbers)


def _frozen(readings: Readings) -> Iterator[Dismissed]:
    facts = readings.parameters
    chosen = np.flatnonzero(~facts["trained"].astype(bool))
    if len(chosen):
        numbers = f"{len(chosen)} parameters, {int(facts['size'][chosen].sum())} entries"
        yield _row("frozen", facts["parameter"][chosen], "requires_grad is False: no gradient is asked for", numbers)


def _invariant(readings: Readings) -> Iterator[Dismissed]:
    facts, updates = readings.parameters, readings.updates
    radial = np.abs(middle(updates["radial"]))
    start, end = (over(readings, when).updates for when in ("start", "end"))
    grown = share(middle(end["weight"]), middle(start["weight"]))
    shrunk = share(middle(end["gradient"]), middle(start["gradient"]))
    where = _into(readings, NORMS) & (facts["role"] == "matrix") & trained(readings)
    chosen = np.flatnonzero(where & (radial < INVARIANT) & (grown > 1.01) & (shrunk < 1))
    if len(chosen):
        i = int(chosen[np.argmin(shrunk[chosen])])
        why = "scaling a weight before a norm changes nothing, so its gradient goes with one over its size"
        numbers = f"cosine of weight and gradient {radial[i]:.1g}; weight x {grown[i]:.3g}, gradient x {shrunk[i]:.3g}"
        yield _row("scale-invariant weights", facts["parameter"][chosen], why, numbers)


def _called_by_none(readings: Readings) -> Iterator[Dismissed]:
    reached = readings.parameters["layer"][np.isfinite(readings.updates["gradient"]).any(0)].tolist()
    chosen = [name for name in readings.told.get("never_ran", ()) if name in reached]
    if chosen:
        why = "its parent uses its weights without calling it, as attention does its output projection"
        yield _row("never called", chosen, why, f"{len(chosen)} layers never ran, and their weights have gradient")


def _with_the_loss(readings: Readings) -> Iterator[Dismissed]:
    start, end = over(readings, "start"), over(readings, "end")
    for path in ("trunk", "unknown"):
        before, after = law(start, path), law(end, path)
        if before is None or after is None:
            continue
        factor = np.float64(_size(end, path)) / _size(start, path)
        losses = [float(middle(part.loss[:, None])[0]) for part in (start, end)]
        alike = abs(np.log(after.attenuation) - np.log(before.attenuation)) < -np.log(factor)
        if factor < 0.1 and losses[1] < losses[0] and alike:
            why = "gradient goes to 0 with the loss, at every layer alike"
            numbers = f"gradient x {factor:.2g}, loss {losses[0]:.3g} to {losses[1]:.3g}, "
            numbers += f"chi {before.chi:.3g} to {after.chi:.3g}"
            yield _row("gradients shrink", [f"the {path}"], why, numbers)
        return


def _size(part: Readings, path: str) -> float:
    return float(middle(middle(part.signals["gradient"])[points(part, path), None])[0])


def _half(readings: Readings) -> Iterator[Dismissed]:
    part = over(readings, "end")
    zero = shares(part, "zero", "entries")
    chosen = np.flatnonzero((part.calls["role"] == "activation") & (zero > 0.25) & (zero < 0.9))
    if len(chosen):
        why = "a rectifier puts out 0 for about half of what it gets; its channels are judged one by one"
        low, high = 100 * zero[chosen].min(), 100 * zero[chosen].max()
        yield _row("zeros of rectifiers", part.calls["layer"][chosen], why, f"{low:.0f} to {high:.0f} % of the entries")


def _with_updates(look: Callable[[Readings], Iterator[Dismissed]]) -> Callable[[Readings], Iterator[Dismissed]]:
    return lambda readings: look(readings) if readings.updates and len(readings.parameters) else iter(())


LOOKS: tuple[Callable[[Readings], Iterator[Dismissed]], ...] = (
    *map(_with_updates, (_shifts, _rows, _zero_ends, _frozen, _invariant, _called_by_none)),
    _with_the_loss,
    _half,
)
