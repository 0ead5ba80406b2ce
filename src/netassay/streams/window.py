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
    """Count non-negative float64 `values` `(N, C)` in each channel's window, row `(C, 4 + WINDOW)`, int32.

    Columns: the window's lowest key, fixed by the first batch with a value above 0; zeros; zeros and values below the
    window together; the window; values above it. A channel may count 2**31 - 1 samples.
    """
    if not len(values):
        return
    values = values.T.contiguous()
    keys = values.view(torch.int64) >> SHIFT
    top = keys.amax(1)
    start = (top + 1 + HEADROOM * PER_OCTAVE - WINDOW).clamp(min=BELOW)
    row[:, 0] = torch.where((row[:, 0] == 0) & (top > 0), start, row[:, 0])
    row[:, 1] += (values == 0).sum(1)
    # A channel without a window yet has seen only zeros, which count as below any window.
    column = keys.sub_(row[:, :1].clamp(min=BELOW)).clamp_(-1, WINDOW).add_(3)
    row.scatter_add_(1, column, torch.ones_like(column, dtype=row.dtype))


def read_window(row: np.ndarray) -> LogHistogram:
    """Bring windows to signed keys; what lay outside is counted at the keys BELOW and ABOVE."""
    row = row.astype(np.int64)
    lowest, zero, under, over, inside = *row[:, :3].T, row[:, -1], row[:, 3:-1]
    used = np.flatnonzero(inside.any(1))
    start, stop = (lowest[used].min(), lowest[used].max() + WINDOW) if len(used) else (BELOW, BELOW)
    counts = np.zeros((len(row), stop - start), dtype=np.int64)
    for channel in used:
        at = lowest[channel] - start
        counts[channel, at : at + WINDOW] = inside[channel]
    ends = LogHistogram(np.array([0, BELOW, ABOVE]), np.stack([zero, under - zero, over], axis=1))
    return LogHistogram(np.arange(start, stop), counts).trimmed().merge(ends).trimmed()
