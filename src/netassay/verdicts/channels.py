"""Verdicts: tables of what can be wrong, each row a test on named numbers, a sentence, and the threshold's source.

Channel states are judged first to last: the first row that applies names the channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from netassay.inference import binomial_interval, binomial_upper, fisher_tail
from netassay.result import Verdict

Numbers = Mapping[str, np.ndarray]
"""Per channel: `samples` seen; `firing` of them; `open` share of entries; `size` relative to the layer's mean;
`spread` across samples over mean square; `flat` share of entries with slope below 0.05. NaN: not judged."""

FEWEST = 10
"""Samples below which no state is named: a unit that fires for half of them is silent in 10 once in 1024."""
LEVEL = 0.999
SILENT_LAYER = "silent channels"
QUARTER = 0.25


@dataclass(frozen=True)
class State:
    """A row: what to call a channel, when, and why that is where the line is drawn."""

    name: str
    applies: Callable[[Numbers], np.ndarray]
    meaning: str
    threshold: str
    source: str


STATES = (
    State(
        "unobserved",
        lambda q: q["samples"] < FEWEST,
        "too few samples to tell, or no gradient reached the layer",
        f"fewer than {FEWEST} samples",
        "a unit that fires for half of the samples is silent in 10 with probability 2**-10",
    ),
    State(
        "dead",
        lambda q: q["firing"] == 0,
        "no output above its activation's floor, or no gradient, in any sample",
        "0 of n samples; then it fires for fewer than 3/n of them with 95 % confidence",
        "rule of three: Hanley & Lippman-Hand 1983, JAMA 249:1743",
    ),
    State(
        "constant",
        lambda q: q["spread"] <= 1e-12,
        "the same output for every sample, and not zero",
        "variance across samples at most 1e-12 of the mean square (float32 resolves 1e-14)",
        "netassay",
    ),
    State(
        "saturated",
        lambda q: q["flat"] > 0.5,
        "more than half of its outputs lie where the activation's slope is below 0.05",
        "share above 0.5",
        "netassay; after DeepDiagnosis (Wardat et al. 2022), which counts units beyond +-5",
    ),
    State(
        "dormant",
        lambda q: q["size"] <= 0.025,
        "hardly any output beside that of its layer",
        "mean absolute output at most 0.025 of the layer's mean",
        "Sokar et al. 2023 (arXiv 2302.12902), definition 3.1 with tau = 0.025",
    ),
    State(
        "sparse",
        lambda q: q["open"] < 0.01,
        "fires rarely, and has gradient when it does",
        "non-zero in less than 1 % of its entries",
        "1 %: Amazon SageMaker Debugger, rule DeadRelu",
    ),
)
HEALTHY = "healthy"
SILENT = ("dead", "dormant")


def states(numbers: Numbers) -> np.ndarray:
    """Name the state of each channel, `(C,)`.

    >>> one = dict(samples=[50], firing=[0], open=[0.0], size=[0.0], spread=[np.nan], flat=[np.nan])
    >>> states({name: np.array(value) for name, value in one.items()}).tolist()
    ['dead']
    """
    named = np.full(len(numbers["samples"]), HEALTHY, dtype="<U10")
    with np.errstate(invalid="ignore"):
        for state in reversed(STATES):
            named[state.applies(numbers)] = state.name
    return named


def silence_bound(samples: np.ndarray) -> np.ndarray:
    """Return the largest firing rate that 0 of `samples` leaves open at 95 %: about 3/n.

    >>> silence_bound(np.array([300])).round(4).tolist()
    [0.0099]
    """
    return np.asarray(binomial_upper(np.zeros_like(samples), samples, 0.95))


def silent(named: np.ndarray) -> np.ndarray:
    """Tell which channels carry nothing: dead or dormant."""
    return np.isin(named, SILENT)


def suspicious(named: np.ndarray) -> bool:
    """Tell whether more than a quarter of a layer's channels carry nothing."""
    return bool(silent(named).sum() > QUARTER * len(named))


def silent_layer(layer: str, named: np.ndarray, samples: int, before: np.ndarray | None) -> Verdict | None:
    """Judge a layer's silent channels: a finding where they are more than a quarter and than initialisation predicts.

    `named` are the channels' states, `before` those of the same layer in one or more untrained networks, or None.
    More than predicted: Fisher's exact test gives so many to networks like these less than once in 1000. More than
    predicted, but no quarter, is a note: training may. A layer that is silent throughout is a finding in any case.
    """
    count, channels = int(silent(named).sum()), len(named)
    there = None if before is None else (int(silent(before).sum()), len(before))
    chance = 0.0 if there is None else fisher_tail(count, channels, *there)
    expected = chance >= 1 - LEVEL and count < channels
    if not count or expected or (there is None and not suspicious(named)):
        return None
    counts = {state: int((named == state).sum()) for state in SILENT}
    parts = " and ".join(f"{number} {state}" for state, number in counts.items() if number)
    low, high = binomial_interval(count, channels)
    numbers = {**counts, "channels": channels, "share": count / channels, "low": float(low), "high": float(high)}
    threshold = "more than a quarter of the channels"
    if there is None:
        threshold += " (its initialisation is not known)"
    else:
        numbers |= {"untrained": there[0], "untrained_channels": there[1], "chance": chance}
        threshold += f", and all of them or more than its initialisation predicts ({there[0]} of {there[1]} there)"
    return Verdict(
        rule=SILENT_LAYER,
        layer=layer,
        cause=f"{count} of {channels} channels carry nothing ({parts}: {ranges(np.flatnonzero(silent(named)))})",
        severity="finding" if suspicious(named) else "note",
        numbers=numbers,
        threshold=threshold,
        source="dead: rule of three; dormant: Sokar et al. 2023; a quarter: netassay; chance: Fisher 1935",
        n=samples,
        wrong_if="the samples are not those the network is for, or were preprocessed differently",
        next="look at the bias and the norm's gain of these channels, and at the size of the layer's input",
    )


def too_few(samples: int) -> Verdict:
    """Warn of a profile that can name no state."""
    return Verdict(
        rule="too few samples",
        layer="",
        cause=f"{samples} samples are too few to tell whether a channel is silent",
        severity="warning",
        numbers={"samples": samples},
        threshold=STATES[0].threshold,
        source=STATES[0].source,
        n=samples,
        wrong_if="never",
        next=f"give {FEWEST} samples or more",
    )


def unreached_layer(layer: str, samples: int) -> Verdict:
    """Warn of a layer at which no gradient arrived, though the objective's gradient was taken."""
    return Verdict(
        rule="no gradient",
        layer=layer,
        cause=f"no gradient arrived at any channel in {samples} samples",
        severity="warning",
        numbers={"samples": samples},
        threshold="every entry exactly 0, or none arrived",
        source="netassay",
        n=samples,
        wrong_if="a branch ends in weights that are zero on purpose (zero-initialised gains), or the layer is unused",
        next="look at the layers behind it: dead activations, zero weights, a detach()",
    )


def not_finite(layer: str, what: str, numbers: Mapping[str, float], samples: int) -> Verdict:
    """Name the first layer, in the order in which tensors came to be, that holds NaN or Inf."""
    return Verdict(
        rule="not finite",
        layer=layer,
        cause=f"the first {what} with NaN or Inf: {int(numbers['nan'])} NaN, {int(numbers['inf'])} Inf",
        severity="finding",
        numbers=numbers,
        threshold="any",
        source="netassay",
        n=samples,
        wrong_if="never: its statistics are over what is finite, and say so",
        next="look at the layer's weights and at the size of its input",
    )


def many(state: str, layer: str, named: np.ndarray, samples: int) -> Verdict | None:
    """Warn of a layer in which more than a quarter of the channels is constant or saturated."""
    row = next(one for one in STATES if one.name == state)
    chosen = named == state
    if chosen.sum() <= QUARTER * len(named):
        return None
    return Verdict(
        rule=f"{state} channels",
        layer=layer,
        cause=f"{chosen.sum()} of {len(named)} channels are {state} ({ranges(np.flatnonzero(chosen))}): {row.meaning}",
        severity="warning",
        numbers={"channels": len(named), state: int(chosen.sum())},
        threshold=row.threshold,
        source=row.source,
        n=samples,
        wrong_if="the samples do not vary in what this layer looks at",
        next="look at the size of the layer's input and at its bias",
    )


def ranges(numbers: Sequence[int] | np.ndarray, most: int = 12) -> str:
    """Write channel numbers as runs.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    runs: list[list[int]] = []
    for number in map(int, numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs[:most])
    return shown + (f" and {len(runs) - most} more runs" if len(runs) > most else "")
