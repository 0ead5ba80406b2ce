"""Linear rules of the tape: products with weights, where every step of a kernel counts only as often as it is taken."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from netassay.studies.tape_step import Field, Made, Step, moment

FAR = 6.0
"""Standard errors beyond which a mean weight is not taken for 0."""


def linear(step: Step) -> Made:
    """Multiply by a matrix: q W's mean square times fan-in, plus the bias's mean square."""
    weight, bias = step.args[1], step.argument(2, "bias")
    fan_out, fan_in = weight.shape
    return _weighted(step, weight, bias, (fan_in, fan_out), 1.0)


def convolution(step: Step) -> Made:
    """Convolve: padding takes from the fan-in, strides from the fan-out; of a given input, the borders count."""
    x, weight, bias = step.args[0], step.args[1], step.argument(2, "bias")
    if x.dim() != weight.dim():
        return Made(None, (math.nan,))
    transposed = "transpose" in step.name
    groups = int(step.argument(6, "groups", 1))
    first, second = (weight.shape[0] // groups, weight.shape[1]), (weight.shape[1], weight.shape[0] // groups)
    ins, outs = first if transposed else second
    ones = weight.new_ones((1, 1, *weight.shape[2:]), dtype=torch.float64)
    steps = float(_by_ones(step, x.new_ones((1, 1, *x.shape[2:]), dtype=torch.float64), ones).sum())
    places_in, places_out = math.prod(x.shape[2:]), math.prod(step.out.shape[2:])
    covered = steps
    if step.made[0].measured and step.field.q > 0:
        energy = x.detach().double().square().mean((0, 1))[None, None]
        covered = float(_by_ones(step, energy, ones).sum()) / step.field.q
    return _weighted(step, weight, bias, (ins * steps / places_out, outs * steps / places_in), covered / steps)


def _by_ones(step: Step, x: Tensor, ones: Tensor) -> Tensor:
    """Run the same convolution with a kernel of ones, on one channel."""
    args: list[Any] = [x, ones, None, *step.args[3:]]
    if len(args) > 6:
        args[6] = 1
    more = {name: value for name, value in step.kwargs.items() if name not in ("bias", "groups")}
    made: Tensor = step.func(*args, **more)
    return made


def _weighted(step: Step, weight: Tensor, bias: Tensor | None, fans: tuple[float, float], covered: float) -> Made:
    if len(step.given) != 1 or step.given[0] is not step.args[0]:
        return Made(None, (math.nan,) * len(step.given))  # the weight varies, too: a product of two signals
    square, mean = moment(weight)[0], moment(weight).m
    into = step.field.scaled(square * fans[0] * covered, 0.0)
    made = into if bias is None else into.plus(moment(bias))
    error = math.sqrt(max(square - mean**2, 0.0) / weight.numel())
    note = "weights whose mean is not 0, which the prediction takes them to have" if abs(mean) > FAR * error else ""
    return Made(made, (square * fans[1],), linear=True, sigma_w2=square * fans[0], note=note)


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
