"""Norm rules of the tape: what takes out a mean and a variance, and the same from the gradient."""

from __future__ import annotations

import math

from netassay.studies.tape_step import Field, Made, Step, moment, unknown


def batch_normalised(step: Step) -> Made:
    """Bring every channel to its gain: by constants, the running statistics, or by those of the batch."""
    mean, variance = step.argument(1, "running_mean"), step.argument(2, "running_var")
    gain, bias = _affine(step, 3)
    q, _, m = step.field
    spread = max(q - m * m, 0.0)
    slope = gain.q / spread if spread else math.nan
    if variance is not None and not step.argument(5, "training", False):
        weight = step.argument(3, "weight")
        constants = (1 if weight is None else weight.detach().double()) / (
            variance.detach().double() + _eps(step, 7)
        ).sqrt()
        slope = moment(constants).q
        if bool((mean == 0).all() and (variance == 1).all()):
            made = step.field.scaled(slope, moment(constants).m).plus(bias)
            return Made(made, (slope,), slope=slope)
    # The mean over samples is taken out, and with it what samples share; over places too, what they share there is not.
    shared = bias.q if step.out.dim() == 2 else math.nan
    return Made(Field(gain.q + bias.q, shared, bias.m), (slope,), slope=slope)


def layer_normalised(step: Step) -> Made:
    """Bring every sample to its gain: the mean over entries is taken out, and the variance with it."""
    return _normalised(step, 2, 4)


def group_normalised(step: Step) -> Made:
    """Bring every group of channels of every sample to its gain."""
    return _normalised(step, 2, 4)


def root_normalised(step: Step) -> Made:
    """Bring every sample to its gain, its mean included."""
    return _normalised(step, 2, 3, centred=False)


def _normalised(step: Step, weight: int, eps: int, *, centred: bool = True) -> Made:
    gain, bias = _affine(step, weight, biased=centred)
    q, p, m = step.field
    mean = m if centred else 0.0
    variance = max(q - mean * mean, 0.0) + _eps(step, eps)
    if not variance:
        return unknown(step)
    scale = gain.q / variance
    made = Field(q - mean * mean, p - mean * mean, m - mean).scaled(scale).plus(bias)
    # Of n entries, the gradient loses its mean and its part along the signal, 2 / n; that 1 / variance is larger in
    # the mean than 1 over the mean gives 3 / n back: what is left of both is no more than 1 / n.
    return Made(made, (scale,), slope=scale)


def _affine(step: Step, place: int, *, biased: bool = True) -> tuple[Field, Field]:
    weight = step.argument(place, "weight")
    bias = step.argument(place + 1, "bias") if biased else None
    return moment(1.0 if weight is None else weight), moment(0.0 if bias is None else bias)


def _eps(step: Step, place: int) -> float:
    return float(step.argument(place, "eps") or 0.0)
