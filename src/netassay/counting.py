"""Counting: the multiply-adds of whatever runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Count the operations of matrix products and convolutions, two per multiply-add, wherever they happen.

    >>> with counting() as counter:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 5)
    >>> counter.get_total_flops() // 2
    30
    """
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _recurrent})
    # Attention as plain products: the fused kernels for CPUs have no entry in the counter and would be 0.
    with sdpa_kernel(SDPBackend.MATH), counter:
        yield counter


def _recurrent(x: Sequence[int], w_x: Sequence[int], w_h: Sequence[int], *_: Any, **__: Any) -> int:
    """Count oneDNN's fused recurrent layer: at each step of each sample, both weight matrices, two operations each."""
    return 2 * x[0] * x[1] * (math.prod(w_x) + math.prod(w_h))
