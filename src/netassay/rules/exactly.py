"""Exactly: sums in the precision they are written in, whatever the process allows for speed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_cudnn: Any = torch.backends.cudnn
_mkldnn: Any = torch.backends.mkldnn
OPS = (torch.backends.cuda.matmul, _cudnn.conv, _mkldnn.matmul, _mkldnn.conv)
"""Where torch's newer interface keeps what a product of float32 may be made in."""


@contextmanager
def exactly() -> Iterator[None]:
    """Switch off, until the end, autograd, autocast and products in fewer bits than float32 has (TF32, bfloat16).

    Inference mode, too, which lets nothing be differentiated.
    """
    plain = torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False)
    with _precise(), torch.inference_mode(False), torch.no_grad(), plain[0], plain[1]:
        yield


@contextmanager
def _precise() -> Iterator[None]:
    """Multiply in float32, by the one of torch's two interfaces that the process speaks: they do not mix."""
    try:
        precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        with _precise_one_by_one():
            yield
        return
    try:
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)


@contextmanager
def _precise_one_by_one() -> Iterator[None]:
    before = [one.fp32_precision for one in OPS]
    try:
        for one in OPS:
            one.fp32_precision = "ieee"
        yield
    finally:
        for one, precision in zip(OPS, before, strict=True):
            one.fp32_precision = precision
