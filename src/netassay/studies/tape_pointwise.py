"""Pointwise rules of the tape: activations by Gaussian averages, sums, and products with constants."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from netassay.meanfield import Activation, activation, moments, pair
from netassay.studies.tape_step import Field, Made, Step, moment, unknown

NEGLIGIBLE = 1e-6
"""Share of the second moment below which a squared mean is taken for 0, where averages have closed forms."""
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "leaky_relu": ("negative_slope",),
    "elu": ("alpha",),
    "celu": ("alpha",),
    "gelu": ("approximate",),
    "softplus": ("beta", "threshold"),
    "hardtanh": ("min_val", "max_val"),
}
"""Parameters of activations, in torch's order after the input."""


def activated(step: Step) -> Made:
    """Apply an activation to what is taken for a Gaussian of that mean and variance."""
    name = step.name.replace("log_sigmoid", "logsigmoid")
    given = {key: step.argument(1 + i, key) for i, key in enumerate(PARAMETERS.get(name, ()))}
    return _activated(step, activation(name, **{key: value for key, value in given.items() if value is not None}))


def _activated(step: Step, phi: Activation) -> Made:
    q, p, m = step.field
    m = 0.0 if m * m <= NEGLIGIBLE * q else m
    variance = q - m * m
    there = moments(phi, variance, m)
    correlation = min(max((p - m * m) / variance, -1.0), 1.0) if variance > 0 else 1.0
    both = pair(phi, variance, correlation, m) if correlation == correlation else math.nan
    return Made(Field(there.second, both, there.mean), (there.slope,), slope=there.slope)


def clamped(step: Step) -> Made:
    """Cut at one or two bounds that are numbers."""
    low, high = step.argument(1, "min"), step.argument(2, "max")
    bounds = {"min_val": -math.inf if low is None else float(low), "max_val": math.inf if high is None else float(high)}
    return _activated(step, activation("hardtanh", **bounds))


def one_leak(step: Step) -> Made:
    """Apply a leaky ReLU whose slope is learned: one for all channels."""
    return _activated(step, activation("leaky_relu", negative_slope=float(step.args[1])))


def added(step: Step) -> Made:
    """Add signals that are independent, a signal to itself, or a constant; what is smaller is repeated."""
    return _sum(step, float(step.argument(2, "alpha", 1)))


def subtracted(step: Step) -> Made:
    """Subtract."""
    return _sum(step, -float(step.argument(2, "alpha", 1)))


def _sum(step: Step, factor: float) -> Made:
    a, b = step.args[:2]
    factors = (-1.0, 1.0) if step.name == "rsub" else (1.0, factor)
    if len(step.given) == 2:
        field = step.fields[0].plus(step.fields[1], factor)
        if step.same:
            field = step.field.scaled((1 + factor) ** 2, 1 + factor)
        elif not step.independent:
            return unknown(step)
        # A tensor that is added to itself is one node with two ways in, whose gradients are alike, not independent.
        gains = ((1 + factor) ** 2, 0.0) if step.same else (step.share(0), factor**2 * step.share(1))
        return Made(field, gains, slope=math.nan)
    mine, other = factors if step.given[0] is a else factors[::-1]
    field = step.field.scaled(1.0, mine).plus(moment(b if step.given[0] is a else a), other)
    return Made(field, (mine**2 * step.share(),), slope=mine**2)


def scaled(step: Step) -> Made:
    """Multiply by a constant."""
    a, b = step.args[:2]
    return _times(step, moment(b if step.given[0] is a else a))


def divided(step: Step) -> Made:
    """Divide by a constant."""
    a, b = step.args[:2]
    if step.given[0] is not a:
        return unknown(step)
    return _times(step, moment(1 / b.detach().double() if isinstance(b, Tensor) else 1 / b))


def negated(step: Step) -> Made:
    """Turn the sign."""
    return _times(step, moment(-1))


def _times(step: Step, constant: Field) -> Made:
    if len(step.given) != 1:
        return unknown(step)
    return Made(step.field.scaled(constant.q, constant.m), (constant.q * step.share(),), slope=constant.q)
