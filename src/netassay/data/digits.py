"""Digits: 1,797 handwritten digits inside the package, so that everything works offline.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, doi 10.24432/C50P49, CC BY 4.0; see
digits.LICENSE. The 13 writers appear in train and test alike.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from netassay.data.batches import Batch
from netassay.data.images import NORMALIZE, Constants, normalized
from netassay.data.passes import Data
from netassay.data.rows import Split, indexed, kept
from netassay.errors import BadInput

SIDE = 8
LEVELS = 16
# Mean and standard deviation of all pixels of the train split, in [0, 1]; a test computes them again.
TRAIN: Constants = ((0.3052,), (0.3763,))


def digits(
    *,
    size: int = SIDE,
    split: Split = "all",
    normalize: Literal["train", "half", "none"] = "train",
    n: int | None = None,
) -> Data:
    """Read the digits as x (N, 1, size, size), y 0 to 9; above 8 pixels they are enlarged bilinearly.

    Every fifth image, those whose id is divisible by five, is test. Pixels are scaled to [0, 1], then
    normalised by the train split's mean and standard deviation, or by 0.5 and 0.5, or not at all.
    """
    if size < SIDE:
        raise BadInput(f"digits:size={size}", f"the images are {SIDE} pixels wide", f"digits:size={SIDE}")
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"]).long()
    rows = kept("digits", len(images), split, n)
    constants = TRAIN if normalize == "train" else NORMALIZE[normalize]
    x = normalized(images.unsqueeze(1).to(torch.float32) / LEVELS, constants)
    names = tuple(str(digit) for digit in range(10))
    at = partial(_at, x, labels, size)
    return Data("", indexed(at, rows), len(rows), len(names), (1, size, size), names, "UCI digits, CC BY 4.0")


def _at(x: Tensor, y: Tensor, size: int, rows: Tensor) -> Batch:
    images = x[rows]
    if size != SIDE:
        images = nn.functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    return Batch(images, y[rows], None, rows)
