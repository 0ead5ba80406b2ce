"""Parts that the zoo's models share: norms by name, activations by name, named chains, checks of sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from netassay.errors import BadInput

Norm = Literal["batch", "none", "group", "layer"]
Act = Literal["relu", "tanh", "gelu", "sigmoid"]

# Wu & He 2018, Group Normalization, section 4: 32 groups. One group is layer norm over C, H and W.
GROUPS = 32
# From this many pixels on, a network begins as published for ImageNet: its stem divides the size by four.
LARGE = 64
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "none": lambda C: nn.Identity(),
    "group": lambda C: nn.GroupNorm(GROUPS, C),
    "layer": lambda C: nn.GroupNorm(1, C),
}
ACTS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
}


def activation(act: Act) -> nn.Module:
    """Return an activation by name; ReLU works in place, as in the published networks."""
    return nn.ReLU(inplace=True) if act == "relu" else ACTS[act]()


def grouped(asked: str, norm: Norm, width: int) -> None:
    """Refuse group norm over channels that its groups do not divide."""
    if norm == "group" and width % GROUPS:
        found = f"{GROUPS} groups do not divide {width} channels"
        raise BadInput(f"{asked}:norm=group,width={width}", found, f"width={GROUPS}, or norm=layer")


class Chain(nn.Sequential):
    """Named modules run in order; `input_shape` is one sample's shape, without the batch."""

    input_shape: tuple[int, ...] = ()


def positive(model: str, **values: int) -> None:
    """Refuse counts and sizes below one.

    >>> positive("mlp", classes=0)
    Traceback (most recent call last):
    netassay.errors.BadInput: asked: mlp with classes=0
      found: classes must be 1 or more
      next:  mlp:classes=1
    """
    for name, value in values.items():
        if value < 1:
            raise BadInput(f"{model} with {name}={value}", f"{name} must be 1 or more", f"{model}:{name}=1")


def counts(model: str, what: str, sizes: tuple[int, ...], example: str) -> None:
    """Refuse sizes in brackets that are missing or zero."""
    if not sizes or min(sizes) < 1:
        found = f"{what} {list(sizes)}" if sizes else f"no {what}"
        raise BadInput(f"{model}[{','.join(map(str, sizes))}]", f"{found}; each must be 1 or more", example)


def halvings(asked: str, input: int, stages: int) -> None:
    """Refuse inputs that halving from stage to stage, behind a stem, leaves without a pixel."""
    least = 1 << (stages - 1)
    if input >= LARGE or least >= LARGE:
        least *= 4
    if input < least:
        found = f"{stages} stages need {least} pixels, and {input} are too few"
        raise BadInput(f"{asked}:input={input}", found, f"input={least}, or fewer stages")
