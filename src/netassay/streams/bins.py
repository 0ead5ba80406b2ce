"""Bins: the device form of the log histogram of a layer, indexed by the top bits of each entry itself.

float32 (and what widens to it): 2**15 bins of sign, exponent and six fraction bits, then the subnormals', which
get bins of their own so that their relative width is the same. float64: 2**18 bins.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from netassay.streams.histogram import ABOVE, PER_OCTAVE, SHIFT, LogHistogram

NARROW = 1 << 15
WIDE = 1 << 18
FAINT = 23 * PER_OCTAVE
"""Bins of one sign's float32 subnormals."""
FAINT_KEY = (1023 - 149) * PER_OCTAVE
"""The key of the smallest float32, 2**-149."""
REBIAS = (1023 - 127) * PER_OCTAVE
"""float32's exponent is biased by 127 where a double's is by 1023."""


def bins_for(dtype: torch.dtype) -> int:
    """Return how many bins the layer histogram of a dtype has."""
    return WIDE if dtype == torch.float64 else NARROW + 2 * FAINT


def bin_of(x: Tensor) -> Tensor:
    """Return each entry's bin."""
    if x.dtype == torch.float64:
        return (x.view(torch.int64) >> SHIFT) & (WIDE - 1)
    x = x.float()
    bins = (x.view(torch.int32) >> (SHIFT - 29)) & (NARROW - 1)
    faint = (bins & (NARROW // 2 - 1) < PER_OCTAVE) & (x != 0)
    if x.device.type == "cpu" and not faint.any():
        return bins
    key = (x.double().abs().view(torch.int64) >> SHIFT) - FAINT_KEY
    return torch.where(faint, (NARROW + FAINT * (x < 0) + key).int(), bins)


def read_bins(row: np.ndarray) -> LogHistogram:
    """Bring bins of bits to signed keys; NaN and Inf, which `Counts` has, are dropped, -0 joins 0."""
    index = np.flatnonzero(row)
    sign, key = _wide(index) if len(row) == WIDE else _narrow(index)
    finite = key < ABOVE
    keys, place = np.unique((sign * key)[finite], return_inverse=True)
    counts = np.zeros((1, len(keys)), dtype=np.int64)
    np.add.at(counts[0], place, row[index][finite])
    return LogHistogram(keys, counts)


def _wide(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(index >= WIDE // 2, -1, 1), index % (WIDE // 2)


def _narrow(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half, faint = NARROW // 2, index - NARROW
    key = index % half
    key = np.where(key >= PER_OCTAVE, key + REBIAS, 0)
    key = np.where(key >= 255 * PER_OCTAVE + REBIAS, ABOVE, key)
    key = np.where(faint >= 0, faint % FAINT + FAINT_KEY, key)
    return np.where(np.where(faint >= 0, faint >= FAINT, index >= half), -1, 1), key
