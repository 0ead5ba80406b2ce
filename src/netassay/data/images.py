"""Images: from encoded bytes to normalised float tensors, and the constants they are normalised by."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput

Normalize = Literal["none", "half", "imagenet", "cifar10"]
Constants = tuple[tuple[float, ...], tuple[float, ...]]

# Mean and standard deviation per channel of pixels in [0, 1]. imagenet: torchvision's for its weights;
# cifar10: those of most published recipes (the exact standard deviations are 0.247, 0.243 and 0.262).
NORMALIZE: dict[str, Constants] = {
    "none": ((0.0,), (1.0,)),
    "half": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}
MODES = {1: "L", 3: "RGB"}


def normalized(x: Tensor, constants: Constants) -> Tensor:
    """Subtract the mean and divide by the standard deviation, channel by channel, of x (N, C, H, W).

    >>> normalized(torch.ones(1, 3, 1, 1), NORMALIZE["half"]).flatten()
    tensor([1., 1., 1.])
    """
    mean, std = (torch.tensor(values, dtype=x.dtype).view(1, -1, 1, 1) for values in constants)
    return (x - mean) / std


def check_channels(asked: str, channels: int, normalize: str) -> None:
    """Refuse numbers of channels that images have not, or that the constants do not fit."""
    if channels not in MODES:
        raise BadInput(f"{asked} with channels={channels}", "images are read as 3 channels or 1", "channels=3")
    constants = len(NORMALIZE[normalize][0])
    if constants not in (1, channels):
        found = f"{constants} constants for {channels} channel"
        raise BadInput(f"{asked} with normalize={normalize},channels={channels}", found, "normalize=half")


def decode(encoded: Any, channels: int, where: str) -> np.ndarray:
    """Decode one image to (H, W, channels) bytes; `where` names it in the sentence if that fails."""
    try:
        from PIL import Image
    except ImportError:
        raise BadInput(f"decode {where}", "pillow is not installed", "pip install 'netassay[data]'") from None
    if not isinstance(encoded, bytes):
        raise BadInput(f"decode {where}", "no bytes there", "store the encoded images in the file")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            pixels = np.asarray(image.convert(MODES[channels]))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        found = f"{len(encoded)} bytes that are no whole image"
        raise BadInput(f"decode {where}", found, "leave it out, or write the file again") from None
    return pixels.reshape(*pixels.shape[:2], channels)


def stacked(pictures: list[np.ndarray], constants: Constants) -> Tensor:
    """Stack (H, W, C) bytes of one size into normalised floats (N, C, H, W)."""
    return scaled(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(), constants)


def scaled(x: Tensor, constants: Constants) -> Tensor:
    """Scale bytes (N, C, H, W) to [0, 1] and normalise them.

    >>> scaled(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2), NORMALIZE["half"]).flatten()
    tensor([-1.,  1.])
    """
    return normalized(x.to(torch.float32).div_(255), constants)
