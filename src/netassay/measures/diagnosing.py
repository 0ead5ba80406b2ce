"""Diagnosing: what about a set of features, or about the samples, would make a similarity say less than it seems to."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.measures.centring import centred
from netassay.measures.measure import Measure
from netassay.result import Verdict

MANY, FLAT, FIRST, ONE, RUNS, SURE = 0.1, 2.0, 0.9, 0.2, 0.5, 4.0
GLANCE = 8


def diagnose(x: Tensor, gram: Tensor | None = None) -> dict[str, float]:
    """Return what can mislead about features `(n, d)`, in numbers.

    `d_over_n`; `effective_rank`, exp of the entropy of the eigenvalues of the covariance over their sum (Roy & Vetterli
    2007, (3), of the covariance matrix): 1 to min(n - 1, d); `first_share` of the first eigenvalue; `leverage`, the
    largest share of the squared norm of the centred features that one sample carries, 1/n where all carry alike, and
    `whose` index that is; `dead`, the share of features that never change. Undefined ones are NaN. `gram`, the
    Gram matrix `(n, n)` of the centred features at any scale, saves work where it is known.

    >>> told = diagnose(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> {name: round(value, 3) for name, value in told.items() if name not in ("whose", "n")}
    {'d_over_n': 0.5, 'dead': 0.0, 'effective_rank': 2.0, 'first_share': 0.5, 'leverage': 0.25}
    """
    n, d = x.shape
    about = centred(x) if gram is None or d < n else x
    carried = about.square().sum(1) if gram is None else gram.diagonal()
    total = carried.sum()
    told = {"n": float(n), "d_over_n": d / n, "dead": still(x)}
    if not (bool(torch.isfinite(total)) and bool(total > 0)):
        return told | dict.fromkeys(("effective_rank", "first_share", "leverage", "whose"), math.nan)
    rank, first = spectrum(about.T @ about if d < n else about @ about.T if gram is None else gram)
    leverage, whose = float(carried.max() / total), float(carried.argmax())
    return told | {"effective_rank": rank, "first_share": first, "leverage": leverage, "whose": whose}


def still(x: Tensor) -> float:
    """Return the share of features that never change; those that do in the first few samples are looked at no more."""
    few = (x[:GLANCE] == x[:1]).all(0)
    return float((x[:, few] == x[:1, few]).all(0).sum()) / x.shape[1]


def spectrum(gram: Tensor) -> tuple[float, float]:
    """Return the effective rank and the first share of a centred Gram or covariance matrix, which have one spectrum.

    >>> [round(value, 6) for value in spectrum(torch.eye(4))]
    [4.0, 0.25]
    """
    values = torch.linalg.eigvalsh(gram.double() / gram.double().trace()).clamp(min=0)
    shares = values / values.sum()
    return math.exp(-float(torch.xlogy(shares, shares).sum())), float(shares[-1])


def sortedness(labels: Sequence[int] | Tensor) -> dict[str, float]:
    """Return how many runs of equal labels there are: `classes`, `runs`, what a random order has, and `z`.

    `expected` = `1 + (n^2 - sum n_k^2) / n`, `z` = (runs - expected) over the deviation (Barton & David 1957): 0 on
    average for shuffled samples, far below for classes that lie together. NaN for one class.

    >>> {name: round(value, 2) for name, value in sortedness([0] * 8 + [1] * 8).items()}
    {'n': 16.0, 'classes': 2.0, 'runs': 2.0, 'expected': 9.0, 'z': -3.62}
    """
    labels = torch.as_tensor(labels).reshape(-1)
    n, counts = len(labels), torch.unique(labels, return_counts=True)[1].double()
    runs = 1 + int((labels[1:] != labels[:-1]).sum()) if n else 0
    two, three = float(counts.square().sum()), float(counts.pow(3).sum())
    expected = 1 + (n * n - two) / n if n else math.nan
    spread = (two * (two + n * (n + 1)) - 2 * n * three - n**3) / (n * n * (n - 1)) if n > 1 else 0.0
    z = (runs - expected) / math.sqrt(spread) if spread > 0 else math.nan
    return {"n": float(n), "classes": float(len(counts)), "runs": float(runs), "expected": expected, "z": z}


def check_paired(a: Iterable[object], b: Iterable[object]) -> None:
    """Refuse sides whose rows are not the same samples: ids are compared, in order.

    >>> check_paired([3, 1, 2], torch.tensor([3, 1, 2]))
    """
    first, second = _listed(a), _listed(b)
    if first == second:
        return
    at = next((i for i, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), None)
    where = (
        f"{len(first)} and {len(second)}" if at is None else f"sample {first[at]!r} beside {second[at]!r} in row {at}"
    )
    how = (
        "the same samples in another order" if sorted(map(str, first)) == sorted(map(str, second)) else "other samples"
    )
    raise BadInput(
        "compare the two sides sample by sample", f"{how}: {where}", "pass one list of batches, shuffle=False"
    )


def _listed(ids: Iterable[object]) -> list[object]:
    return list(ids.tolist() if isinstance(ids, Tensor) else ids)


Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Concern:
    """A row: `test` looks at named numbers and at the measures asked for; `cause` is filled in with the numbers."""

    name: str
    of: Literal["features", "samples"]
    test: Callable[[Numbers, Collection[Measure]], bool]
    cause: str
    threshold: str
    source: str
    wrong_if: str
    next: str


CONCERNS: tuple[Concern, ...] = (
    Concern(
        "dead layer",
        "features",
        lambda x, measures: x["dead"] == 1,
        "no feature changes over {n:.0f} samples: nothing to compare",
        "every feature constant",
        "a similarity of what does not vary is 0/0",
        "other samples make it change",
        "look at the layer in channel_profile, or leave it out",
    ),
    Concern(
        "many features for few samples",
        "features",
        lambda x, measures: x["d_over_n"] > MANY and any(one.biased for one in measures),
        "{d_over_n:.3g} features a sample: {biased} tells of much similarity between independent features, too",
        f"d/n above {MANY:g}, with a measure that is biased",
        "independent Gaussians: d/(n + d), Murphy et al. 2024, openreview E1NRrGtIHG; the line: netassay",
        "only calibrated values, or differences between like layers, are read",
        "take measure='cka', read the calibrated value, or give more samples",
    ),
    Concern(
        "few directions",
        "features",
        lambda x, measures: x["effective_rank"] < FLAT,
        "an effective rank of {effective_rank:.3g}: nearly all variance lies along one or two directions",
        f"effective rank below {FLAT:g}",
        "Roy & Vetterli 2007, EUSIPCO, (3); the line: netassay",
        "those directions are what is asked about",
        "compare with a measure that weighs directions alike, e.g. cca, or standardise the features",
    ),
    Concern(
        "one direction dominates",
        "features",
        lambda x, measures: x["first_share"] > FIRST,
        "the first principal direction has {first_share:.1%} of the variance: CKA sees little else",
        f"first share above {FIRST:g}",
        "CKA weighs directions by squared variance: Cloos et al. 2025, arXiv 2407.07059; the line: netassay",
        "that direction is what is asked about",
        "take nbs or cca beside it",
    ),
    Concern(
        "one sample dominates",
        "features",
        lambda x, measures: x["leverage"] > max(ONE, 4 / x["n"]),
        "sample {whose:.0f} carries {leverage:.1%} of the squared norm: moving it moves the value",
        f"leverage above {ONE:g}, and above four times 1/n",
        "one moved sample moves CKA at will: Davari et al. 2023, arXiv 2210.16156; the line: netassay",
        "the sample is as good as the others",
        "look at the sample; compare without it, or take rsa with ranks or mutual_knn",
    ),
    Concern(
        "one class only",
        "samples",
        lambda x, measures: x["classes"] == 1 and x["n"] > 1,
        "all {n:.0f} samples are of one class: layers are told apart worse than by samples of all",
        "one class",
        "netassay: identification of a Tiny-10 net's layers falls from 0.97 to 0.84",
        "the class itself is what is asked about",
        "shuffle the data before you take a part of it",
    ),
    Concern(
        "sorted classes",
        "samples",
        lambda x, measures: x["runs"] < RUNS * x["expected"] and x["z"] < -SURE,
        "classes lie together: {runs:.0f} runs where a random order has {expected:.0f}",
        f"fewer than {RUNS:g} of the runs of a random order, and {SURE:g} deviations below",
        "Barton & David 1957, Biometrika 44:168; batches of one class shift minibatch CKA; the line: netassay",
        "all samples go into one estimate, and none were left out",
        "shuffle the data once, with a seed, for both sides alike",
    ),
)
"""Each warns of one thing; a number that is NaN fires nothing."""


def warn(
    of: Literal["features", "samples"], numbers: Numbers, layer: str = "", measures: Collection[Measure] = ()
) -> Iterator[Verdict]:
    """Return the warnings that apply to what `diagnose` (of "features") or `sortedness` (of "samples") found.

    >>> [str(told) for told in warn("features", diagnose(torch.ones(9, 4)), "fc1")]
    ['fc1: no feature changes over 9 samples: nothing to compare']
    """
    for row in CONCERNS:
        if row.of == of and row.test(numbers, measures):
            biased = " and ".join(one.name for one in measures if one.biased)
            cause, n = row.cause.format(**numbers, biased=biased), int(numbers["n"])
            told = (row.threshold, row.source, n, row.wrong_if, row.next)
            yield Verdict(row.name, layer, cause, "warning", dict(numbers), *told)
