"""Linear rules of the tape: products with weights, where every step of a kernel counts only as often as it is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netassay.studies.tape_step import Field, Made, Step, moment

FAR = 1e-9
"""Chance below which sums of rows are not put down to independent weights."""


@dataclass(frozen=True)
class Fans:
    """Weights that an output entry and an input entry meet, in the mean over places, and what meets them.

    `energy` is the mean over output entries of the sum of squares that the weights meet; `rows` the mean square, and
    `row` the mean, of the sum of weights that an output entry meets.
    """

    into: float
    out: float
    energy: float
    rows: float
    row: float


def linear(step: Step) -> Made:
    """Multiply by a matrix: every output entry meets every input entry."""
    weight = step.args[1].detach()
    fan_out, fan_in = weight.shape
    sums = moment(weight.double().sum(1))
    return _weighted(step, Fans(fan_in, fan_out, fan_in * step.field.q, sums.q, sums.m))


def convolution(step: Step) -> Made:
    """Convolve: padding takes from the fan-in, strides from the fan-out; of a given input, the borders count."""
    x, weight = step.args[0].detach(), step.args[1].detach().double()
    if x.dim() != weight.dim():
        return Made(None, (math.nan,) * len(step.given))
    groups = int(step.argument(6, "groups", 1))
    if "transpose" in step.name:
        kernels = weight.unflatten(0, (groups, -1)).sum(1).flatten(0, 1)[None]
        ins, outs = weight.shape[0] // groups, weight.shape[1]
    else:
        kernels, ins, outs = weight.sum(1, keepdim=True), weight.shape[1], weight.shape[0] // groups
    flat, ones = x.new_ones((1, 1, *x.shape[2:]), dtype=torch.float64), torch.ones_like(kernels[:1, :1])
    steps = float(_by(step, flat, ones).sum())
    places_in, places_out = math.prod(x.shape[2:]), math.prod(step.out.shape[2:])
    energy = steps * step.field.q
    if step.made[0].measured:
        energy = float(_by(step, x.double().square().mean((0, 1))[None, None], ones).sum())
    sums = moment(_by(step, flat, kernels))
    fans = Fans(ins * steps / places_out, outs * steps / places_in, ins * energy / places_out, sums.q, sums.m)
    return _weighted(step, fans)


def _by(step: Step, x: Tensor, kernels: Tensor) -> Tensor:
    """Run the same convolution with other kernels, on one channel."""
    args: list[Any] = [x, kernels, None, *step.args[3:]]
    if len(args) > 6:
        args[6] = 1
    more = {name: value for name, value in step.kwargs.items() if name not in ("bias", "groups")}
    made: Tensor = step.func(*args, **more)
    return made


def _weighted(step: Step, fans: Fans) -> Made:
    """Multiply by weights as if independent; where their rows sum to what such would not, the mean is by these sums."""
    weight, bias = step.args[1], step.argument(2, "bias")
    if len(step.given) != 1 or step.given[0] is not step.args[0]:
        return Made(None, (math.nan,) * len(step.given))  # the weight varies, too: a product of two signals
    square = moment(weight).q
    q, p, m = step.field
    odd = _dependent(fans.rows, square * fans.into, weight.shape[0])
    common = m * m * (fans.rows - square * fans.into) if odd else 0.0
    varying = square * fans.energy
    made = Field(varying + common, varying * (p / q if q else 0.0) + common, m * fans.row if odd else 0.0)
    return Made(
        made if bias is None else made.plus(moment(bias)),
        (square * fans.out,),
        linear=True,
        sigma_w2=square * fans.into,
        note="sums of rows" if odd else "",
    )


def _dependent(rows: float, expected: float, n: int) -> bool:
    """Tell whether the mean square of `n` sums of rows is one that independent weights would not have.

    Their mean square over the expected is chi-squared over n; Chernoff's bound on its tails is (r e^(1 - r))^(n / 2).
    """
    if not expected > 0:
        return False
    r = rows / expected
    return r == 0 or n / 2 * (r - 1 - math.log(r)) > -math.log(FAR)


def joined(step: Step) -> Made:
    """Put tensors beside each other: the mean over entries; constants count too."""
    parts = step.args[0]
    fields = iter(step.fields)
    varying = {id(one) for one in step.given}
    field = Field(0.0, 0.0, 0.0)
    for part in parts:
        one = next(fields) if id(part) in varying else moment(part)
        share = part.numel() / step.out.numel()
        field = Field(*(a + share * b for a, b in zip(field, one, strict=True)))
    return Made(field, (1.0,) * len(step.given), slope=math.nan)
