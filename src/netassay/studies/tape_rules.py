"""Rules of the tape: what each function of torch makes of a signal's size and correlation, and of its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from netassay.meanfield import Activation, activation, moments, pair
from netassay.studies.tape_linear import convolution, joined, linear
from netassay.studies.tape_step import Field, Made, Step, moment

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
SAMENESS = [
    "view",
    "reshape",
    "flatten",
    "unflatten",
    "permute",
    "transpose",
    "t",
    "contiguous",
    "squeeze",
    "unsqueeze",
    "clone",
    "to",
    "float",
    "double",
    "half",
    "type",
    "type_as",
    "movedim",
    "swapaxes",
    "chunk",
    "split",
    "unbind",
    "narrow",
    "select",
    "__getitem__",
    "__get__",
    "expand",
    "expand_as",
    "repeat",
    "roll",
    "flip",
    "channel_shuffle",
    "view_as",
    "reshape_as",
    "pixel_shuffle",
    "pixel_unshuffle",
]
ACTS = [
    "relu",
    "leaky_relu",
    "elu",
    "celu",
    "selu",
    "gelu",
    "silu",
    "mish",
    "tanh",
    "sigmoid",
    "softplus",
    "softsign",
    "erf",
    "hardtanh",
    "relu6",
    "hardsigmoid",
    "hardswish",
    "log_sigmoid",
]
DROPS = ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
MEANS = [
    "mean",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
]
MAXIMA = [
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "amax",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "max_pool1d_with_indices",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
]


def unknown(step: Step) -> Made:
    """Know nothing: the signal is measured, and the gradient is where it is next seen."""
    return Made(None, (math.nan,) * len(step.given), slope=math.nan)


def same(step: Step) -> Made:
    """Move entries, repeat or select some: the mean is the same; gradients of entries that are repeated add up."""
    return Made(step.field, (step.share(),))


def detached(step: Step) -> Made:
    """Pass the signal on, and no gradient back."""
    return Made(step.field, (0.0,))


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
    """Cut at one or two bounds that are numbers; at 0 alone it is a ReLU."""
    low, high = step.argument(1, "min"), step.argument(2, "max")
    if low == 0 and high is None:
        return _activated(step, activation("relu"))
    bounds = {"min_val": -math.inf if low is None else float(low), "max_val": math.inf if high is None else float(high)}
    return _activated(step, activation("hardtanh", **bounds))


def one_leak(step: Step) -> Made:
    """Apply a leaky ReLU whose slope is learned: one for all channels."""
    return _activated(step, activation("leaky_relu", negative_slope=float(step.args[1])))


def dropped(step: Step) -> Made:
    """Do nothing in eval mode."""
    training = step.argument(2, "training", True)
    return unknown(step) if training and step.argument(1, "p", 0.5) else same(step)


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


def padded(step: Step) -> Made:
    """Pad: zeros thin the signal out; what repeats entries leaves it, and adds up their gradients."""
    if step.argument(2, "mode", "constant") != "constant":
        return same(step)
    if step.argument(3, "value"):
        return unknown(step)
    thinner = 1 / step.share()
    if thinner > 1:
        return same(step)
    return Made(Field(*(thinner * each for each in step.field)), (1.0,))


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
    return _normalised(step, math.prod(step.args[1]), 2, 4)


def group_normalised(step: Step) -> Made:
    """Bring every group of channels of every sample to its gain."""
    entries = step.given[0][0].numel() // int(step.args[1])
    return _normalised(step, entries, 2, 4)


def root_normalised(step: Step) -> Made:
    """Bring every sample to its gain, its mean included."""
    return _normalised(step, math.prod(step.args[1]), 2, 3, centred=False)


def _normalised(step: Step, entries: int, weight: int, eps: int, *, centred: bool = True) -> Made:
    gain, bias = _affine(step, weight, biased=centred)
    q, p, m = step.field
    mean = m if centred else 0.0
    variance = max(q - mean * mean, 0.0) + _eps(step, eps)
    if not variance:
        return unknown(step)
    scale = gain.q / variance
    made = Field(q - mean * mean, p - mean * mean, m - mean).scaled(scale).plus(bias)
    # What is taken out of the signal is taken out of its gradient: the mean, and the part along the signal.
    slope = scale * max(1 - (2 if centred else 1) / entries, 0.0)
    return Made(made, (slope,), slope=slope)


def _affine(step: Step, place: int, *, biased: bool = True) -> tuple[Field, Field]:
    weight = step.argument(place, "weight")
    bias = step.argument(place + 1, "bias") if biased else None
    return moment(1.0 if weight is None else weight), moment(0.0 if bias is None else bias)


def _eps(step: Step, place: int) -> float:
    return float(step.argument(place, "eps") or 0.0)


def averaged(step: Step) -> Made:
    """Average places, whose correlation is not known: the signal is measured, while each place gets its share back."""
    each = 1 / step.share()
    size: Any = step.argument(1, "kernel_size") if step.name.startswith("avg") else None
    if size is not None:
        dims = int(step.name[-2])
        each = math.prod(size) if isinstance(size, tuple | list) else size**dims
    return Made(None, (step.share() / each,))


def summed(step: Step) -> Made:
    """Sum places: the signal is measured, while each place gets the whole gradient."""
    return Made(None, (1.0,))


def highest(step: Step) -> Made:
    """Take the largest: the signal is measured; gradient goes to it alone, and through a ReLU where it is above 0."""
    chosen = 1.0
    if step.names[0] == "relu" and step.made[0].slope > 0:
        chosen = float((step.out.detach() > 0).double().mean()) / step.made[0].slope
    return Made(None, (step.share() * chosen,))


RULES: Mapping[str, Callable[[Step], Made]] = {
    **dict.fromkeys(SAMENESS, same),
    **dict.fromkeys(ACTS, activated),
    **dict.fromkeys(DROPS, dropped),
    **dict.fromkeys(MEANS, averaged),
    **dict.fromkeys(MAXIMA, highest),
    **{f"conv{d}d": convolution for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": convolution for d in (1, 2, 3)},
    **dict.fromkeys(("cat", "concat", "stack"), joined),
    **dict.fromkeys(("add", "iadd", "radd"), added),
    **dict.fromkeys(("sub", "rsub"), subtracted),
    **dict.fromkeys(("mul", "multiply"), scaled),
    **dict.fromkeys(("div", "true_divide"), divided),
    "linear": linear,
    **dict.fromkeys(("clamp", "clip", "clamp_min"), clamped),
    "prelu": one_leak,
    "neg": negated,
    "detach": detached,
    "pad": padded,
    "sum": summed,
    "batch_norm": batch_normalised,
    "layer_norm": layer_normalised,
    "group_norm": group_normalised,
    "rms_norm": root_normalised,
}
