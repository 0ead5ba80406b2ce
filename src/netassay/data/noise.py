"""Noise: images without structure, the control for whatever is measured on real ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from netassay.data.batches import Batch
from netassay.data.passes import Data
from netassay.data.rows import indexed
from netassay.errors import BadInput
from netassay.seeds import WORD, mixed

DRAWS: dict[str, Callable[..., Tensor]] = {"uniform": torch.rand, "normal": torch.randn}


def noise(
    kind: Literal["uniform", "normal"],
    *,
    n: int = 512,
    size: int = 32,
    channels: int = 3,
    classes: int = 10,
    seed: int = 0,
) -> Data:
    """Draw images from U[0, 1) or N(0, 1), independent in every pixel, with labels drawn at random.

    A sample depends on the seed and its id only: not on the batch size, on n, or on what was drawn before.
    """
    for name, value in {"n": n, "size": size, "channels": channels, "classes": classes}.items():
        if value < 1:
            raise BadInput(f"noise:{kind},{name}={value}", f"{name} must be 1 or more", f"{name}=1")
    shape = (channels, size, size)
    at = partial(_drawn, DRAWS[kind], shape, classes, mixed(seed))
    note = f"{kind} noise; labels are random"
    return Data("", indexed(at, torch.arange(n)), n, classes, shape, note=note)


def _drawn(draw: Callable[..., Tensor], shape: tuple[int, ...], classes: int, first: int, ids: Tensor) -> Batch:
    x, y = torch.empty(len(ids), *shape), torch.empty(len(ids), dtype=torch.int64)
    for i, number in enumerate(ids.tolist()):
        # Running seeds cannot meet within one data set, hashed ones could: torch reads 32 bits of a seed.
        private = torch.Generator().manual_seed((first + number) % WORD)
        draw(*shape, generator=private, out=x[i])
        y[i] = torch.randint(classes, (), generator=private)
    return Batch(x, y, None, ids)
