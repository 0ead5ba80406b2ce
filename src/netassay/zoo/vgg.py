"""VGG networks by convolutions per stage, under torchvision's parameter names.

Simonyan & Zisserman 2014, Very Deep Convolutional Networks (arXiv 1409.1556), table 1. VGG38 is VGG19 with
each convolution followed by one of equal input and output channels: twice as many per stage.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.zoo.parts import NORMS, Act, Norm, activation, counts, grouped, positive

WIDTH, HIDDEN = 64, 4096
WIDER = (1, 2, 4, 8, 8)
"""Width of each stage, in widths of the first."""
STD, FAN_IN = 0.01, (25_088, 4096, 4096)
"""Standard deviation of the linear layers as published, and what goes into them there."""


def vgg(
    *convs: int,
    input: int = 224,
    channels: int = 3,
    classes: int = 1000,
    width: int = WIDTH,
    hidden: int = HIDDEN,
    norm: Norm = "none",
    act: Act = "relu",
    init: Literal["he", "default"] = "he",
) -> VGG:
    """Build a VGG network with `convs` convolutions in each of its five stages, each stage pooled.

    Stages have 1, 2, 4, 8 and 8 times `width` channels; the two linear layers before the last have `hidden` units.
    `init=he` draws as torchvision does: convolutions with variance 2 / fan-out, linear layers with standard
    deviation 0.01, biases zero; narrower linear layers than the published ones have it larger, so that they pass on
    as much. `init=default` leaves torch's own.
    """
    asked = f"vgg[{','.join(map(str, convs))}]"
    counts("vgg", "convolutions per stage", convs, "vgg[2,2,4,4,4], or vgg19")
    positive(asked, input=input, channels=channels, classes=classes, width=width, hidden=hidden)
    grouped(asked, norm, width)
    if len(convs) != len(WIDER):
        raise BadInput(asked, f"{len(convs)} stages; a VGG network has {len(WIDER)}", "vgg[2,2,4,4,4], or vgg19")
    least = 2 ** len(WIDER)
    if input < least:
        raise BadInput(f"{asked}:input={input}", f"five poolings need {least} pixels", f"{asked}:input={least}")
    features = _features(convs, channels, width, norm, act)
    model = VGG(features, (channels, input, input), (width * WIDER[-1] * 7 * 7, hidden, hidden, classes), act)
    if init == "he":
        _initialize(model)
    return model


class VGG(nn.Module):
    """Convolutions and poolings, pooled to 7x7, then three linear layers with dropout."""

    def __init__(
        self, features: list[nn.Module], input_shape: tuple[int, int, int], sizes: tuple[int, int, int, int], act: Act
    ) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(sizes[0], sizes[1]),
            activation(act),
            nn.Dropout(),
            nn.Linear(sizes[1], sizes[2]),
            activation(act),
            nn.Dropout(),
            nn.Linear(sizes[2], sizes[3]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


def _features(convs: tuple[int, ...], C: int, width: int, norm: Norm, act: Act) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for count, wider in zip(convs, WIDER, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(C, width * wider, 3, padding=1))
            layers += [NORMS[norm](width * wider)] if norm != "none" else []
            layers.append(activation(act))
            C = width * wider
        layers.append(nn.MaxPool2d(2, 2))
    return layers


def _initialize(model: VGG) -> None:
    # torchvision's scheme, drawn in its order: models/vgg.py.
    for module in model.features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    linear = [module for module in model.classifier if isinstance(module, nn.Linear)]
    for module, published in zip(linear, FAN_IN, strict=True):
        nn.init.normal_(module.weight, 0, STD * sqrt(published / module.in_features))
        nn.init.zeros_(module.bias)
