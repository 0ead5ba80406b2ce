"""Residual networks with switches, under torchvision's parameter names.

Inputs of 64 pixels and more get the ImageNet form (7x7 stride 2, then pooling), smaller ones the CIFAR form
(3x3, no pooling). He et al. 2015, Deep Residual Learning (arXiv 1512.03385), sections 3.3, 4.1 and 4.2; in
bottlenecks the stride sits on the 3x3 convolution, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.zoo.parts import LARGE, NORMS, Act, Norm, activation, counts, grouped, halvings, positive

Norms = Callable[[int], nn.Module]
Shortcut = Callable[[int, int, int, Norms], nn.Module]


class Kit(NamedTuple):
    """What every block is made of; no shortcut means no skip."""

    norm: Norms
    act: Act
    shortcut: Shortcut | None


def resnet(
    *blocks: int,
    input: int = 224,
    channels: int = 3,
    classes: int = 1000,
    width: int = 64,
    block: Literal["basic", "bottleneck"] = "basic",
    skip: Literal["residual", "none"] = "residual",
    shortcut: Literal["A", "B"] | None = None,
    norm: Norm = "batch",
    act: Act = "relu",
    init: Literal["he", "default"] = "he",
    head: Literal["linear", "none"] = "linear",
) -> ResNet:
    """Build a residual network with `blocks` per stage; widths double and sizes halve from stage to stage.

    `shortcut` where shapes change: A subsamples and pads channels with zeros, B (the default) is a 1x1
    convolution and norm. `head=none` ends after the pooling with (N, C, 1, 1); `classes` then says nothing.
    `init=he` draws convolutions with variance 2 / fan-out as torchvision does, `init=default` leaves torch's
    own. Convolutions have no bias, whatever the norm. Whatever `act` is, its modules are called `relu`.
    """
    asked = f"resnet[{','.join(map(str, blocks))}]"
    counts("resnet", "blocks per stage", blocks, "resnet[2,2,2,2]")
    positive(asked, input=input, channels=channels, classes=classes, width=width)
    halvings(asked, input, len(blocks))
    if skip == "none" and shortcut:
        raise BadInput(f"{asked}:skip=none,shortcut={shortcut}", "there is no shortcut", f"{asked}:skip=none")
    grouped(asked, norm, width)
    kit = Kit(NORMS[norm], act, SHORTCUTS[shortcut or "B"] if skip == "residual" else None)
    model = ResNet(BLOCKS[block], blocks, (channels, input, input), width, kit)
    if head == "linear":
        model.fc = nn.Linear(model.features, classes)
    if init == "he":
        _initialize(model)
    return model


class ResNet(nn.Module):
    """Stem, stages of blocks, pooling, and a linear head where `fc` is set."""

    def __init__(
        self,
        block: type[Basic] | type[Bottleneck],
        blocks: tuple[int, ...],
        input_shape: tuple[int, int, int],
        width: int,
        kit: Kit,
    ) -> None:
        super().__init__()
        self.input_shape = input_shape
        large = input_shape[1] >= LARGE
        kernel, stride, padding = (7, 2, 3) if large else (3, 1, 1)
        self.conv1 = nn.Conv2d(input_shape[0], width, kernel, stride, padding, bias=False)
        self.bn1 = kit.norm(width)
        self.relu = activation(kit.act)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else None
        self.stages = [f"layer{i + 1}" for i in range(len(blocks))]
        self.features = width
        for i, (name, count) in enumerate(zip(self.stages, blocks, strict=True)):
            stage = nn.Sequential()
            for b in range(count):
                stage.append(block(self.features, width << i, 2 if i and not b else 1, kit))
                self.features = (width << i) * block.expansion
            self.add_module(name, stage)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc: nn.Linear | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to logits (N, classes), or to pooled features (N, C, 1, 1)."""
        x = self.relu(self.bn1(self.conv1(x)))
        if self.maxpool is not None:
            x = self.maxpool(x)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        x = self.avgpool(x)
        return x if self.fc is None else self.fc(torch.flatten(x, 1))


class Basic(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, C: int, width: int, stride: int, kit: Kit) -> None:
        super().__init__()
        self.skip = kit.shortcut is not None
        self.conv1 = nn.Conv2d(C, width, 3, stride, 1, bias=False)
        self.bn1 = kit.norm(width)
        self.relu = activation(kit.act)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = kit.norm(width)
        self.downsample = _shortcut(kit, C, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, width, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        return _joined(self, self.bn2(self.conv2(y)), x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the last one widens four times."""

    expansion = 4

    def __init__(self, C: int, width: int, stride: int, kit: Kit) -> None:
        super().__init__()
        wide = width * self.expansion
        self.skip = kit.shortcut is not None
        self.conv1 = nn.Conv2d(C, width, 1, bias=False)
        self.bn1 = kit.norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = kit.norm(width)
        self.conv3 = nn.Conv2d(width, wide, 1, bias=False)
        self.bn3 = kit.norm(wide)
        self.relu = activation(kit.act)
        self.downsample = _shortcut(kit, C, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 4 * width, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return _joined(self, self.bn3(self.conv3(y)), x)


class PaddedShortcut(nn.Module):
    """Option A: take every stride-th pixel, and put channels of zeros before and after."""

    def __init__(self, C: int, wide: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (wide - C) // 2
        self.after = wide - C - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, wide, H / stride, W / stride)."""
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _shortcut(kit: Kit, C: int, wide: int, stride: int) -> nn.Module | None:
    if kit.shortcut is None or (wide == C and stride == 1):
        return None
    return kit.shortcut(C, wide, stride, kit.norm)


def _projection(C: int, wide: int, stride: int, norm: Norms) -> nn.Module:
    return nn.Sequential(nn.Conv2d(C, wide, 1, stride, bias=False), norm(wide))


def _padding(C: int, wide: int, stride: int, norm: Norms) -> nn.Module:
    return PaddedShortcut(C, wide, stride)


def _joined(block: Basic | Bottleneck, y: Tensor, x: Tensor) -> Tensor:
    # Out of place, unlike torchvision's: an observer of the last norm still sees that norm's output.
    if block.skip:
        y = y + (x if block.downsample is None else block.downsample(x))
    out: Tensor = block.relu(y)
    return out


def _initialize(model: ResNet) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


BLOCKS: dict[str, type[Basic] | type[Bottleneck]] = {"basic": Basic, "bottleneck": Bottleneck}
SHORTCUTS: dict[str, Shortcut] = {"A": _padding, "B": _projection}
