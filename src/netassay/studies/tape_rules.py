"""Rules of the tape: what each function of torch makes of a signal's size and correlation, and of its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from netassay.studies.tape_linear import convolution, joined, linear
from netassay.studies.tape_norms import batch_normalised, group_normalised, layer_normalised, root_normalised
from netassay.studies.tape_pointwise import activated, added, clamped, divided, negated, one_leak, scaled, subtracted
from netassay.studies.tape_step import Field, Made, Step, unknown

SAMENESS = (
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "contiguous", "squeeze", "unsqueeze",
    "clone", "to", "float", "double", "half", "type", "type_as", "movedim", "swapaxes", "chunk", "split", "unbind",
    "narrow", "select", "__getitem__", "__get__", "expand", "expand_as", "repeat", "roll", "flip",
    "channel_shuffle", "view_as", "reshape_as", "pixel_shuffle", "pixel_unshuffle",
)  # fmt: skip
ACTS = (
    "relu", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "softsign",
    "erf", "hardtanh", "relu6", "hardsigmoid", "hardswish", "log_sigmoid",
)  # fmt: skip
DROPS = (
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
)  # fmt: skip
MEANS = (
    "mean", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
)  # fmt: skip
MAXIMA = (
    "max_pool1d", "max_pool2d", "max_pool3d", "amax", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
)  # fmt: skip


def same(step: Step) -> Made:
    """Move entries, repeat or select some: the mean is the same; gradients of entries that are repeated add up."""
    return Made(step.field, (step.share(),))


def detached(step: Step) -> Made:
    """Pass the signal on, and no gradient back."""
    return Made(step.field, (0.0,))


def dropped(step: Step) -> Made:
    """Do nothing in eval mode."""
    training = step.argument(2, "training", True)
    return unknown(step) if training and step.argument(1, "p", 0.5) else same(step)


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
