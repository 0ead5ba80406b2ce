"""VGG networks by convolutions per stage, under torchvision's parameter names.

Simonyan & Zisserman 2014, Very Deep Convolutional Networks (arXiv 1409.1556), table 1. VGG38 is VGG19 with
each convolution followed by one of equal input and output channels: twice as many per stage.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.zoo.parts import counts, positive

WIDTHS = (64, 128, 256, 512, 512)
HIDDEN = 4096


def vgg(
    *convs: int,
    input: int = 224,
    channels: int = 3,
    classes: int = 1000,
    norm: Literal["none", "batch"] = "none",
    init: Literal["he", "default"] = "he",
) -> VGG:
    """Build a VGG network with `convs` convolutions in each of its five stages, each stage pooled.

    `init=he` draws as torchvision does: convolutions with variance 2 / fan-out, linear layers with standard
    deviation 0.01, biases zero; `init=default` leaves torch's own.
    """
    asked = f"vgg[{','.join(map(str, convs))}]"
    counts("vgg", "convolutions per stage", convs, "vgg[2,2,4,4,4], or vgg19")
    positive(asked, input=input, channels=channels, classes=classes)
    if len(convs) != len(WIDTHS):
        raise BadInput(asked, f"{len(convs)} stages; a VGG network has {len(WIDTHS)}", "vgg[2,2,4,4,4], or vgg19")
    least = 2 ** len(WIDTHS)
    if input < least:
        raise BadInput(f"{asked}:input={input}", f"five poolings need {least} pixels", f"{asked}:input={least}")
    model = VGG(convs, (channels, input, input), classes, norm == "batch")
    if init == "he":
        _initialize(model)
    return model


class VGG(nn.Module):
    """Convolutions and poolings, pooled to 7x7, then three linear layers with dropout."""

    def __init__(self, convs: tuple[int, ...], input_shape: tuple[int, int, int], classes: int, norm: bool) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.features = nn.Sequential(*_features(convs, input_shape[0], norm))
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(WIDTHS[-1] * 7 * 7, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


def _features(convs: tuple[int, ...], C: int, norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for count, width in zip(convs, WIDTHS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(C, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if norm else []
            layers.append(nn.ReLU(inplace=True))
            C = width
        layers.append(nn.MaxPool2d(2, 2))
    return layers


def _initialize(model: VGG) -> None:
    # torchvision's scheme, drawn in its order: models/vgg.py.
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
