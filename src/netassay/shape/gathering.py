"""Gathering: the distribution of all numbers of one or many tensors, in memory that does not grow with them.

`begin` allocates, `add` folds in a batch on its own device, `end` brings the distribution to its value form. About
6 ns a value on one thread, of which the histogram is two thirds.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from netassay.errors import BadInput
from netassay.shape.distribution import FEW, Distribution
from netassay.streams.rows import Rows, make, observe, read

# The histogram first: it alone refuses a tensor of another width, before any other row has taken it in.
STREAMS = ("quantiles", "moments", "extremes", "counts")
RUN = 1 << 15
"""Values in a line: short enough for a block of the streams to stay in the cache, whatever the tensor's shape."""


def begin(x: Tensor, memory: Tensor | None = None) -> Rows:
    """Allocate for tensors of the dtype and on the device of `x`, of any shape; `x` itself is not counted.

    `memory` is what `streams.blocks.scratch` made for this device: one for all rows that are filled in turn.
    """
    _check(x)
    return make(STREAMS, x.detach().reshape(-1)[:1].view(-1, 1, 1), memory=memory)


def add(rows: Rows, x: Tensor) -> None:
    """Fold all numbers of a tensor of any shape into rows that `begin` made."""
    _check(x)
    flat = _in_memory_order(x.detach())
    whole = len(flat) // RUN * RUN
    for part in (flat[:whole].view(-1, 1, RUN), flat[whole:].view(1, 1, -1)):
        if part.numel():
            observe(rows, part)


def end(rows: Rows) -> Distribution:
    """Bring what was folded in to its value form: one transfer a row."""
    found = read(rows)
    zero, nan, inf = (int(getattr(found["counts"], name)[0]) for name in ("zero", "nan", "inf"))
    few = None if found["moments"].n[0] else np.zeros(0)
    return Distribution(found["moments"], found["quantiles"], found["extremes"], zero, nan, inf, few)


def measure(x: Tensor) -> Distribution:
    """Return the distribution of all numbers of one tensor, e.g. the weights of a layer."""
    if x.numel() <= FEW:
        _check(x)
        return Distribution.of(x.detach().double().cpu().numpy())
    rows = begin(x)
    add(rows, x)
    return end(rows)


def _in_memory_order(x: Tensor) -> Tensor:
    """Flatten without a copy where the memory has no holes; the order of a population is nobody's business."""
    return x.permute(sorted(range(x.ndim), key=x.stride().__getitem__, reverse=True)).reshape(-1)


def _check(x: Tensor) -> None:
    if not x.is_floating_point():
        raise BadInput("the distribution of a tensor", f"dtype {x.dtype}", "give real numbers, e.g. `x.float()`")
