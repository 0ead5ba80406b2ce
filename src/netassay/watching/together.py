"""Together: what a step did to many small parameters, in one pass over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from netassay.watching.steps import NUMBERS, Step

TINY = torch.finfo(torch.float32).tiny
ADDED = NUMBERS[: NUMBERS.index("adam")]


def together(steps: Sequence[Step]) -> Tensor:
    """Return `NUMBERS` of each step, `(P, numbers)`, all in float64; they are small, float32, and have a gradient."""
    now, was, g = (_joined([getattr(one, name) for one in steps]) for name in ("now", "was", "gradient"))
    with np.errstate(invalid="ignore"):
        told = _added(now, was, g, _starts([one.now for one in steps])) | {"adam": _adam(steps)}
    for i, one in enumerate(steps):
        told["state_nan"][i] = float(one.state_nan({name: column[i] for name, column in told.items()}))
    return torch.from_numpy(np.stack([told[name] for name in NUMBERS], axis=1))


def _added(now: np.ndarray, was: np.ndarray, g: np.ndarray, starts: np.ndarray) -> dict[str, np.ndarray]:
    finite, stayed, zero = np.where(np.isfinite(g), g, 0.0), now - was == 0, g == 0
    apart = np.where(np.isfinite(now - was), now - was, 0.0)
    entries = {
        "gradient_squares": finite**2,
        "weight_squares": was**2,
        "update_squares": apart**2,
        "product": finite * was,
        "gradient_zero": zero,
        "gradient_subnormal": (np.abs(g) < TINY) & ~zero,
        "gradient_nan": np.isnan(g),
        "gradient_inf": np.isinf(g),
        "weight_nan": np.isnan(now),
        "weight_inf": np.isinf(now),
        "unchanged": stayed,
        "lost": stayed & ~zero,
    }
    sums = np.add.reduceat(np.stack([entries[name] for name in ADDED], dtype=np.float64), starts, axis=1)
    return dict(zip(ADDED, sums, strict=True)) | {"state_nan": np.zeros(len(starts))}


def _adam(steps: Sequence[Step]) -> np.ndarray:
    """Return Adam's factor of each step, NaN without one."""
    out, found = np.full(len(steps), np.nan), [one.moment() for one in steps]
    have = [i for i, one in enumerate(found) if one is not None]
    moments = [one for one in found if one is not None]
    if have:
        sizes = [len(v) for v, _, _ in moments]
        corrected, epsilon = (np.repeat([float(one[k]) for one in moments], sizes) for k in (1, 2))
        root = np.sqrt(_joined([v for v, _, _ in moments])) / corrected
        out[have] = np.add.reduceat(root / (root + epsilon), _starts([v for v, _, _ in moments])) / sizes
    return out


def _joined(parts: Sequence[Tensor]) -> np.ndarray:
    joined: np.ndarray = torch.cat(list(parts)).double().numpy()
    return joined


def _starts(parts: Sequence[Tensor]) -> np.ndarray:
    return np.cumsum([0, *map(len, parts[:-1])])
