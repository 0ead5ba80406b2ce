"""Exactly: sums in the precision they are written in, whatever the process allows for speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exactly() -> Iterator[None]:
    """Switch off, until the end, autograd, autocast and products in fewer bits than float32 has (TF32, bfloat16)."""
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)
