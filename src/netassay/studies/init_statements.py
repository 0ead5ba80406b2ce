"""Init statements: what is claimed of initialisations, of which schemes, and the number that a seed has to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from netassay.shape import Distribution, gaussian_distance, log_variance_ratio
from netassay.studies.init_looks import BEFORE, LOGITS
from netassay.studies.init_payload import END, START, Outcome
from netassay.studies.init_tables import placed

CONSTANT = ("ones", "zeros")
KAIMING, XAVIER = ("kaiming_normal", "kaiming_uniform"), ("xavier_normal", "xavier_uniform")
UNIFORM = ("kaiming_uniform", "xavier_uniform", "lecun_uniform", "default")

Seed = Mapping[str, Outcome]
"""The outcomes of one seed, by scheme."""


@dataclass(frozen=True)
class Statement:
    """What is claimed, of which schemes (groups, of which each must be there), and one number that a seed has to say.

    It holds where the interval of `effect` lies above `null`, or below it where `below`; `exact` where each seed's
    number is `null` itself, and one that is not is enough to say that it does not.
    """

    text: str
    unit: str
    groups: tuple[tuple[str, ...], ...]
    effect: Callable[[Seed, list[list[str]]], float]
    null: float = 0.0
    below: bool = False
    exact: bool = False

    def groups_in(self, schemes: Sequence[str]) -> list[list[str]]:
        """Return those schemes of each group that were studied; an empty group stands for all that draw at random."""
        random = [scheme for scheme in schemes if scheme not in CONSTANT]
        return [[one for one in schemes if one in group] if group else random for group in self.groups]


def _faster(seed: Seed, groups: list[list[str]]) -> float:
    """Return by how much the first group's mean training loss is below the second's."""
    first, second = (np.mean([seed[scheme].training_loss for scheme in group]) for group in groups)
    return float(second - first)


def _higher(seed: Seed, groups: list[list[str]]) -> float:
    """Return by how much the first group's mean training loss is above the highest of the second."""
    first, second = ([seed[scheme].training_loss for scheme in group] for group in groups)
    return min(first) - max(second)


def _moved(seed: Seed, groups: list[list[str]]) -> float:
    """Return the largest share of a weight matrix that moved."""
    shares = []
    for scheme in groups[0]:
        unmoved = dict(zip(*seed[scheme].named("unmoved").values(), strict=True))
        shares += [1 - float(unmoved[name]) for name in _matrices(seed[scheme])]
    return max(shares, default=0.0)


def _apart(seed: Seed, groups: list[list[str]]) -> float:
    """Return how many channels too many the most varied hidden layer has; 0 where each acts as one."""
    found = []
    for scheme in groups[0]:
        told = seed[scheme].named("distinct")
        found += [n for layer, n in zip(told["layer"], told[END], strict=True) if layer != _head(seed[scheme])]
    return float(max(found, default=1) - 1)


def _head(one: Outcome) -> str:
    """Return the layer that makes the logits."""
    places = (placed(name) for _, name, source in one.distributions if source)
    return next(place["layer"] for place in places if place["place"] == LOGITS).partition("#")[0]


def _matrices(one: Outcome) -> list[str]:
    """Return the names of the weight matrices."""
    names = [f"{layer}.weight" for layer in one.named("distinct")["layer"]]
    return [name for name in names if (START, name, "") in one.distributions]


Measure = Callable[[Distribution, Distribution], float]


def _of_weights(measure: Measure, over: Callable[[list[float]], float]) -> Callable[[Seed, list[list[str]]], float]:
    """Put together what `measure` says of each weight matrix, start and end, of each scheme."""

    def effect(seed: Seed, groups: list[list[str]]) -> float:
        named = [(seed[scheme].distributions, name) for scheme in groups[0] for name in _matrices(seed[scheme])]
        return float(over([measure(found[START, name, ""], found[END, name, ""]) for found, name in named] or [np.nan]))

    return effect


def _of_features(over: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Seed, list[list[str]]], float]:
    """Take the mean over schemes of what `over` says of log2 of the std of weight layers' outputs, start and end."""

    def effect(seed: Seed, groups: list[list[str]]) -> float:
        return float(np.mean([over(*_stds(seed[scheme])) for scheme in groups[0]]))

    return effect


def _stds(one: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Return log2 of the standard deviation of each weight layer's output, in order of execution, start and end."""
    source = next(source for _, _, source in one.distributions if source)
    names = [name for when, name, of in one.distributions if when == START and of == source]
    names = [name for name in names if placed(name)["place"] in (BEFORE, LOGITS)]
    with np.errstate(divide="ignore"):
        start, end = (np.log2([one.distributions[when, name, source].std for name in names]) for when in (START, END))
    return start, end


def _slope(end: np.ndarray) -> float:
    """Return the least-squares slope at the end, per layer."""
    if len(end) < 2 or not np.isfinite(end).all():
        return np.nan
    return float(np.polyfit(np.arange(len(end)), end, 1)[0])


def _remaining(start: Distribution, end: Distribution) -> float:
    return _over(gaussian_distance(end), gaussian_distance(start))


def _off(start: Distribution, end: Distribution) -> float:
    return _over(abs(end.mean), end.std)


def _over(a: float, b: float) -> float:
    return a / b if b else float("nan")


STATEMENTS = (
    Statement(
        "Orthogonal weights learn faster than Kaiming's: a lower mean training loss",
        "nats, the mean of both Kaiming schemes less orthogonal",
        (("orthogonal",), KAIMING),
        _faster,
    ),
    Statement(
        "Kaiming's weights learn faster than Xavier's: a lower mean training loss",
        "nats, the mean of Xavier's schemes less that of Kaiming's",
        (KAIMING, XAVIER),
        _faster,
    ),
    Statement(
        "With zeros no weight ever moves",
        "largest share of a weight matrix that moved",
        (("zeros",),),
        _moved,
        exact=True,
    ),
    Statement(
        "With ones the loss is higher than with any random scheme",
        "nats of mean training loss, ones less the highest other",
        (("ones",), ()),
        _higher,
    ),
    Statement(
        "With ones each hidden layer acts as one channel, also after training",
        "channels beyond one in the most varied hidden layer",
        (("ones",),),
        _apart,
        exact=True,
    ),
    Statement(
        "Random weights keep a mean of about 0: below a tenth of their standard deviation, on average over layers",
        "standard deviations",
        ((),),
        _of_weights(_off, np.mean),
        null=0.1,
        below=True,
    ),
    Statement(
        "The variance of random weights grows in every layer",
        "least ln(variance at the end / at the start) of a layer",
        ((),),
        _of_weights(log_variance_ratio, np.min),
    ),
    Statement(
        "Uniform weights become Gaussian: less than half of the distance is left, on average over layers",
        "of the distance at the start",
        (UNIFORM,),
        _of_weights(_remaining, np.mean),
        null=0.5,
        below=True,
    ),
    Statement(
        "Random weights give features a standard deviation of about 1 at the start: within a factor of 2, on average",
        "mean |log2 std|",
        ((),),
        _of_features(lambda start, end: float(np.abs(start).mean())),
        null=1.0,
        below=True,
    ),
    Statement(
        "Training from random weights makes the standard deviation of features grow",
        "mean log2(std at the end / at the start)",
        ((),),
        _of_features(lambda start, end: float((end - start).mean())),
    ),
    Statement(
        "After training from random weights, features have a larger standard deviation the deeper the layer",
        "log2 std per layer",
        ((),),
        _of_features(lambda start, end: _slope(end)),
    ),
)
"""In the order in which they are told."""
