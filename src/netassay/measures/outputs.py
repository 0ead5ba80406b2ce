"""Outputs: how often two models decide otherwise, and how far apart their probabilities are."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from netassay.errors import BadInput, UnknownName
from netassay.measures.measure import Measure
from netassay.measures.reducing import taken

Outputs = Literal["auto", "logits", "probabilities"]
OUTPUTS = get_args(Outputs)
SUMS = 0.01
"""By how much probabilities may fail to sum to 1; bfloat16 has steps of 0.4 %."""
_OUTPUTS = partial(Measure, direction="distance", lowest=0.0, highest=1.0, on="outputs", smallest=lambda d, e: 1)


def disagreement() -> Measure:
    """Share of the samples for which two models choose another class: 0 to 1, a metric.

    Of logits or probabilities `(n, classes)`, the first of equal ones; one column is the logit of yes. NaN where an
    output is NaN. Madani, Pennock & Flake 2004, NeurIPS 17, section 2.

    >>> measure = disagreement()
    >>> measure.compare(measure.prepare(torch.eye(4)), measure.prepare(torch.eye(4).flip(0)[:, [3, 2, 0, 1]]), None)
    0.5
    """

    def compare(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
        a, b = _alike("disagreement", a, taken(b, order))
        return torch.nan if _holes(a, b) else float((a.argmax(1) != b.argmax(1)).double().mean())

    source = "Madani, Pennock & Flake 2004, NeurIPS 17, section 2"
    return _OUTPUTS(
        name="disagreement",
        title="Disagreement",
        invariances=frozenset({"scale"}),
        metric=True,
        arranged=_two_columns,
        compare=compare,
        source=source,
    )


def jsd(*, root: bool = False, of: Outputs = "auto") -> Measure:
    """Jensen-Shannon divergence of the predicted probabilities, in bits, mean over samples: 0 to 1.

    `H((p + q) / 2) - (H(p) + H(q)) / 2` with p, q the softmax of each sample's outputs, where they are logits, or the
    outputs over their sum, where they are probabilities; `of` says which. By default they are probabilities where none
    is below 0 and most rows sum to 1 within 1 %, which half precision keeps. `root` takes each sample's square root
    before the mean: a metric (Endres & Schindelin 2003). Lin 1991, (4.1).
    """

    def compare(a: Tensor, b: Tensor, order: Tensor | None = None) -> float:
        p, q = _alike("jsd", a, taken(b, order))
        half = (p + q) / 2
        # As relative entropies to the middle: a difference of entropies would lose the digits of small divergences.
        bits = (_relative(p, half) + _relative(q, half)) / (2 * math.log(2))
        bits = torch.where(bits < 0, 0.0, bits)
        return float((bits.sqrt() if root else bits).mean())

    source = "Lin 1991, IEEE Trans. Inf. Theory 37:145, (4.1); the root: Endres & Schindelin 2003, 49:1858"
    if of not in OUTPUTS:
        raise UnknownName("of", of, OUTPUTS)
    title = "Jensen-Shannon divergence" + ", root" * root + f", of {of}" * (of != "auto")
    return _OUTPUTS(
        name="jsd",
        title=title,
        invariances=frozenset(),
        metric=root,
        arranged=partial(_probabilities, of=of),
        compare=compare,
        source=source,
    )


def _two_columns(x: Tensor) -> Tensor:
    x = x.double()
    return x if x.shape[1] != 1 else torch.cat([torch.zeros_like(x), x], 1)


def _probabilities(x: Tensor, of: Outputs) -> Tensor:
    if of == "probabilities" and x.shape[1] == 1:
        x = torch.cat([1 - x.double(), x.double()], 1)
    x = _two_columns(x)
    sums = x.sum(1, keepdim=True)
    seem = bool((x >= 0).all()) and float((sums - 1).abs().median()) < SUMS
    return x / sums if of == "probabilities" or (of == "auto" and seem) else x.softmax(1)


def _relative(p: Tensor, half: Tensor) -> Tensor:
    """Return the relative entropy of each row in nats; what has no probability adds nothing."""
    return torch.xlogy(p, p / torch.where(half > 0, half, 1.0)).sum(1)


def _holes(a: Tensor, b: Tensor) -> bool:
    return bool((a.isnan() | b.isnan()).any())


def _alike(name: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape:
        found = f"outputs {tuple(a.shape)} and {tuple(b.shape)}"
        raise BadInput(name, found, "compare models of the same classes on the same samples")
    return a, b
