"""Small networks for small machines: a plain CNN, Tiny-10, and multi-layer perceptrons."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from torch import nn

from netassay.errors import BadInput
from netassay.zoo.parts import ACTS, Act, Chain, counts, positive

# (output channels, kernel, stride) of Tiny-10's convolutions: Kornblith et al. 2019 (arXiv 1905.00414).
TINY10 = ((16, 3, 1), (16, 3, 1), (32, 3, 2), (32, 3, 1), (32, 3, 1), (64, 3, 2), (64, 3, 1), (64, 1, 1))
MLP_NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def cnn(*, input: int = 32, channels: int = 3, classes: int = 10) -> Chain:
    """Build three 3x3 convolutions of 16 channels, two poolings and two linear layers, in torch's own init.

    Every activation is a module of its own and not in place: `conv1` is read before it, `relu1` after it.
    """
    positive("cnn", input=input, channels=channels, classes=classes)
    if input < 4:
        raise BadInput(f"cnn:input={input}", "two poolings need 4 pixels", "cnn:input=4")
    layers: dict[str, nn.Module] = {}
    for i in (1, 2, 3):
        layers[f"conv{i}"] = nn.Conv2d(channels if i == 1 else 16, 16, 3, 1, 1)
        layers[f"relu{i}"] = nn.ReLU()
        if i < 3:
            layers[f"pool{i}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(16 * (input // 4) ** 2, 512)
    layers["relu4"] = nn.ReLU()
    layers["fc2"] = nn.Linear(512, classes)
    return _chain(layers, (channels, input, input))


def tiny10(*, input: int = 32, channels: int = 3, classes: int = 10) -> Chain:
    """Build Tiny-10: eight convolutions without padding, each with norm and ReLU, then the mean."""
    positive("tiny10", input=input, channels=channels, classes=classes)
    layers: dict[str, nn.Module] = {}
    C, size = channels, input
    for i, (width, kernel, stride) in enumerate(TINY10, 1):
        if size < kernel:
            found = f"conv{i} of {kernel}x{kernel} meets {size} pixels"
            raise BadInput(f"tiny10:input={input}", found, "tiny10:input=32")
        layers[f"conv{i}"] = nn.Conv2d(C, width, kernel, stride)
        layers[f"bn{i}"] = nn.BatchNorm2d(width)
        layers[f"relu{i}"] = nn.ReLU()
        C, size = width, (size - kernel) // stride + 1
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(C, classes)}
    return _chain(layers, (channels, input, input))


def mlp(
    *widths: int,
    input: int = 64,
    classes: int = 10,
    act: Act = "relu",
    norm: Literal["none", "batch", "layer"] = "none",
    init: Literal["he", "default"] = "he",
) -> Chain:
    """Build a perceptron with hidden layers of `widths`; the input is flattened to `input` features.

    `init=he`: every weight, the head's too, is normal with variance 2 / fan-in and every bias is zero (He et
    al. 2015, arXiv 1502.01852, equation 10); `init=default` is torch's own.
    """
    counts("mlp", "hidden widths", widths, "mlp[256,256]")
    positive("mlp", input=input, classes=classes)
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    features = input
    for i, width in enumerate(widths, 1):
        layers[f"fc{i}"] = nn.Linear(features, width)
        if norm != "none":
            layers[f"norm{i}"] = MLP_NORMS[norm](width)
        layers[f"act{i}"] = ACTS[act]()
        features = width
    layers["head"] = nn.Linear(features, classes)
    if init == "he":
        _he(layers)
    return _chain(layers, (input,))


def _he(layers: dict[str, nn.Module]) -> None:
    for layer in layers.values():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


def _chain(layers: dict[str, nn.Module], input_shape: tuple[int, ...]) -> Chain:
    chain = Chain(OrderedDict(layers))
    chain.input_shape = input_shape
    return chain
