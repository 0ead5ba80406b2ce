"""Densely connected networks with switches, under torchvision's parameter names.

Huang et al. 2017, Densely Connected Convolutional Networks (arXiv 1608.06993), sections 3 and 4.2 and table 1.
Inputs of 64 pixels and more get the ImageNet form (7x7 stride 2, norm, pooling), smaller ones the CIFAR form
(one 3x3 convolution).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.zoo.parts import GROUPS, LARGE, NORMS, Chain, Norm, counts, halvings, positive

Skip = Literal["all", "end", "none"]

# Whether a layer sees all that its block has made so far or only the last of it, and what the block gives on.
SKIPS: dict[str, tuple[bool, bool]] = {"all": (True, True), "end": (False, True), "none": (False, False)}


@dataclass(frozen=True)
class Plan:
    """What every block and transition of a network shares; `asked` names the network in sentences."""

    asked: str
    growth: int
    bottleneck: int | None
    compression: float
    skip: Skip
    norm: Callable[[int], nn.Module]


def densenet(
    *layers: int,
    input: int = 224,
    channels: int = 3,
    classes: int = 1000,
    growth: int = 32,
    stem: int | None = None,
    bottleneck: int | None = 4,
    compression: float = 0.5,
    skip: Skip = "all",
    norm: Norm = "batch",
    init: Literal["he", "default"] = "he",
) -> DenseNet:
    """Build a dense network with `layers` per block; each layer adds `growth` channels, transitions halve the size.

    `stem` counts the first convolution's channels (None: 2 * growth). A layer is norm, ReLU and a 3x3 convolution,
    behind a 1x1 one to `bottleneck` * growth channels unless that is none. A transition leaves the integer part of
    `compression` times its channels. `skip=all`: a layer sees its block's input and all that was made since; `end`:
    it sees the last layer's output only, and all of it is joined for what follows the block; `none`: nothing is
    joined, so a block gives `growth` channels. `init=he` draws convolutions with variance 2 / fan-in and sets the
    head's bias to zero, as torchvision does; `init=default` leaves torch's own. Convolutions have no bias.

    >>> densenet(2, 2, input=32, growth=4, classes=3).classifier
    Linear(in_features=16, out_features=3, bias=True)
    """
    asked = f"densenet[{','.join(map(str, layers))}]"
    first, inner = 2 * growth if stem is None else stem, 1 if bottleneck is None else bottleneck
    counts("densenet", "layers per block", layers, "densenet[6,12,24,16]")
    positive(asked, input=input, channels=channels, classes=classes, growth=growth, stem=first, bottleneck=inner)
    halvings(asked, input, len(layers))
    if not 0 < compression <= 1:
        raise BadInput(f"{asked}:compression={compression}", "a share is above 0 and at most 1", "compression=0.5")
    plan = Plan(asked, growth, bottleneck, compression, skip, _dividing(asked) if norm == "group" else NORMS[norm])
    model = DenseNet(layers, (channels, input, input), first, classes, plan)
    if init == "he":
        _initialize(model)
    return model


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between them, norm, ReLU, pooling, and a linear head."""

    def __init__(
        self, layers: tuple[int, ...], input_shape: tuple[int, int, int], stem: int, classes: int, plan: Plan
    ) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.features = _stem(input_shape, stem, plan)
        C = stem
        for i, count in enumerate(layers, 1):
            block = DenseBlock(count, C, plan)
            self.features.add_module(f"denseblock{i}", block)
            C = block.channels
            if i < len(layers):
                less = _compressed(C, plan)
                self.features.add_module(f"transition{i}", _transition(C, less, plan))
                C = less
        # The name is torchvision's, whatever the number of blocks.
        self.features.add_module("norm5", plan.norm(C))
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(C, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to logits (N, classes)."""
        x = self.avgpool(self.relu(self.features(x)))
        logits: Tensor = self.classifier(torch.flatten(x, 1))
        return logits


class DenseBlock(nn.Sequential):
    """Layers of `growth` channels each; its skip says what a layer sees of those before it."""

    def __init__(self, count: int, C: int, plan: Plan) -> None:
        super().__init__()
        self.sees, self.gives = SKIPS[plan.skip]
        made = [C]
        for i in range(1, count + 1):
            self.add_module(f"denselayer{i}", _layer(sum(made) if self.sees else made[-1], plan))
            made.append(plan.growth)
        self.channels = sum(made) if self.gives else made[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, channels, H, W)."""
        made = [x]
        for layer in self:
            made.append(layer(torch.cat(made, 1) if self.sees else made[-1]))
        return torch.cat(made, 1) if self.gives else made[-1]


def _stem(input_shape: tuple[int, int, int], C: int, plan: Plan) -> Chain:
    if input_shape[1] < LARGE:
        return Chain(OrderedDict(conv0=nn.Conv2d(input_shape[0], C, 3, 1, 1, bias=False)))
    conv = nn.Conv2d(input_shape[0], C, 7, 2, 3, bias=False)
    return Chain(OrderedDict(conv0=conv, norm0=plan.norm(C), relu0=nn.ReLU(), pool0=nn.MaxPool2d(3, 2, 1)))


def _layer(C: int, plan: Plan) -> Chain:
    # No ReLU works in place: without norms it would overwrite what later layers see.
    layer = Chain(OrderedDict(norm1=plan.norm(C), relu1=nn.ReLU()))
    if plan.bottleneck is None:
        layer.add_module("conv1", nn.Conv2d(C, plan.growth, 3, 1, 1, bias=False))
        return layer
    inner = plan.bottleneck * plan.growth
    layer.add_module("conv1", nn.Conv2d(C, inner, 1, bias=False))
    layer.add_module("norm2", plan.norm(inner))
    layer.add_module("relu2", nn.ReLU())
    layer.add_module("conv2", nn.Conv2d(inner, plan.growth, 3, 1, 1, bias=False))
    return layer


def _transition(C: int, less: int, plan: Plan) -> Chain:
    conv = nn.Conv2d(C, less, 1, bias=False)
    return Chain(OrderedDict(norm=plan.norm(C), relu=nn.ReLU(), conv=conv, pool=nn.AvgPool2d(2, 2)))


def _compressed(C: int, plan: Plan) -> int:
    # Rounded first: 0.29 * 100 is a little less than 29.
    less = int(round(plan.compression * C, 6))
    if not less:
        asked = f"{plan.asked}:compression={plan.compression}"
        raise BadInput(asked, f"nothing is left of {C} channels", f"compression={math.ceil(100 / C) / 100} or more")
    return less


def _dividing(asked: str) -> Callable[[int], nn.Module]:
    def norm(C: int) -> nn.Module:
        if C % GROUPS:
            found = f"{GROUPS} groups do not divide {C} channels"
            raise BadInput(f"{asked}:norm=group", found, f"norm=layer, or sizes that {GROUPS} divides")
        return NORMS["group"](C)

    return norm


def _initialize(model: DenseNet) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.zeros_(model.classifier.bias)
