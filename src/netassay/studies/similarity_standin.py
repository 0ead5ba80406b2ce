"""Stand-ins for what `measures` will bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.measures.measure import Measure, inner


def _prepare(x: Tensor) -> Tensor:
    x = x.double()
    x = x - x.mean(0)
    k = x @ x.T
    n = len(k)
    k.fill_diagonal_(0)
    rows = k.sum(1) / (n - 2)
    k = k - rows[:, None] - rows + k.sum() / ((n - 1) * (n - 2))
    k.fill_diagonal_(0)
    return k / k.norm()


def named(name: str) -> Measure:
    return Measure(
        name,
        "linear CKA, debiased",
        "similarity",
        -1.0,
        1.0,
        frozenset(["offset", "scale", "orthogonal"]),
        False,
        True,
        "features",
        True,
        _prepare,
        inner,
        lambda d, e: 4,
        "Song et al. 2012; Kornblith et al. 2019",
    )


class Calibrated:
    def __init__(self, observed: np.ndarray, permuted: np.ndarray, direction: str, best: float, level: float) -> None:
        every = np.concatenate([observed[None], permuted])
        self.threshold = np.quantile(every, 1 - level, axis=0, method="higher")
        self.p = (every >= observed).mean(0)
        self.calibrated = np.maximum((observed - self.threshold) / (best - self.threshold), 0)
        self.p_row_max = (every.max(2) >= observed.max(1)).mean(0)
        self.p_col_max = (every.max(1) >= observed.max(0)).mean(0)
        self.p_max = float((every.max((1, 2)) >= observed.max()).mean())


def calibrate(
    observed: np.ndarray, permuted: np.ndarray, direction: str = "similarity", best: float = 1.0, level: float = 0.05
) -> Calibrated:
    return Calibrated(observed, permuted, direction, best, level)


def diagnose(x: Tensor) -> dict[str, Any]:
    x = x.double() - x.double().mean(0)
    g = x @ x.T if len(x) < x.shape[1] else x.T @ x
    lam = torch.linalg.eigvalsh(g).clamp(min=0)
    lev = x.square().sum(1)
    total = float(lam.sum())
    return {
        "d_over_n": x.shape[1] / len(x),
        "effective_rank": total**2 / float(lam.square().sum()) if total else float("nan"),
        "first_share": float(lam.max()) / total if total else float("nan"),
        "leverage": float(lev.max()) / total if total else float("nan"),
        "dead": total == 0,
    }
