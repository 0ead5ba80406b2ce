"""Views: an output as `(N, A, C, P)` without a copy where its memory allows."""

from __future__ import annotations

from math import prod

from torch import Tensor


def sample_axis(shape: tuple[int, ...], samples: int) -> int | None:
    """Find the axis of samples: the first, unless only the second has the batch's length; None where neither fits.

    >>> sample_axis((8, 3), 8), sample_axis((5, 8, 3), 8), sample_axis((16, 3), 8), sample_axis((5, 3), 8)
    (0, 1, 0, None)
    """
    if not shape or not samples:
        return None
    if shape[0] == samples or (len(shape) > 1 and shape[1] != samples and shape[0] % samples == 0):
        return 0
    if len(shape) > 1 and shape[1] == samples:
        return 1
    return 0 if len(shape) == 1 and shape[0] % samples == 0 else None


def view(x: Tensor, samples: int, channel: int) -> tuple[Tensor, bool]:
    """View a tensor as `(N, A, C, P)`, and tell whether samples were found; else all of it is one sample's."""
    if x.dim() == 0:
        return x.reshape(1, 1, 1, 1), False
    first = sample_axis(tuple(x.shape), samples)
    found = first is not None
    if first == 1:
        x, channel = x.transpose(0, 1), channel if channel > 1 else 1 - channel
    if x.dim() == 1:
        return x.reshape(samples if found else 1, -1, 1, 1), found
    channel = max(channel, 1)
    if not x.is_contiguous() and x.movedim(channel, -1).is_contiguous():
        x, channel = x.movedim(channel, -1), x.dim() - 1
    before, C, after = x.shape[1:channel], x.shape[channel], x.shape[channel + 1 :]
    if not found:
        return x.reshape(1, prod(x.shape[:channel]), C, prod(after)), False
    return x.reshape(samples, x.shape[0] // samples * prod(before), C, prod(after)), True
