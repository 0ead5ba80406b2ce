"""Window: the device form of one log histogram a channel, 32 octaves fixed where the first batch lies."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from netassay.streams.histogram import ABOVE, BELOW, PER_OCTAVE, SHIFT, LogHistogram

OCTAVES, HEADROOM = 32, 8
WINDOW = OCTAVES * PER_OCTAVE
"""Bins of a window; the first batch's largest value lies HEADROOM octaves below its upper end."""


def fill_window(row: Tensor, values: Tensor) -> None:
    """Count non-negative float64 `values` `(N, C)` in each channel's window, row `(C, WINDOW + 4)`, int32.

    Columns: the window's lowest key, fixed by the first batch with a value above 0; values below the window and
    zeros together; the window; values above it; zeros. A channel may count 2**31 - 1 samples.
    """
    if not len(values):
        return
    keys = values.T.contiguous().view(torch.int64) >> SHIFT
    top = keys.amax(1)
    start = (top + 1 + HEADROOM * PER_OCTAVE - WINDOW).clamp(min=BELOW)
    row[:, 0] = torch.where((row[:, 0] == 0) & (top > 0), start, row[:, 0])
    # A channel without a window yet has seen only zeros, which count as below any window.
    column = (keys - row[:, :1].clamp(min=BELOW)).clamp_(-1, WINDOW).add_(2)
    row.scatter_add_(1, column, torch.ones((), dtype=row.dtype, device=row.device).expand_as(column))
    row[:, -1] += (keys == 0).sum(1)


def read_window(row: np.ndarray) -> LogHistogram:
    """Bring windows to signed keys; what lay outside is counted at the keys BELOW and ABOVE."""
    row = row.astype(np.int64)
    lowest, under, inside, over, zero = row[:, 0], row[:, 1], row[:, 2:-2], row[:, -2], row[:, -1]
    used = np.flatnonzero(inside.any(1))
    start, stop = (lowest[used].min(), lowest[used].max() + WINDOW) if len(used) else (BELOW, BELOW)
    counts = np.zeros((len(row), stop - start), dtype=np.int64)
    for channel in used:
        at = lowest[channel] - start
        counts[channel, at : at + WINDOW] = inside[channel]
    ends = LogHistogram(np.array([0, BELOW, ABOVE]), np.stack([zero, under - zero, over], axis=1))
    return LogHistogram(np.arange(start, stop), counts).trimmed().merge(ends).trimmed()
