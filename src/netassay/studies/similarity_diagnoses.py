"""Similarity, doubted: what about features and samples would make a map say less than it seems to."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def diagnose(x: Tensor) -> dict[str, float]:
    x = x.double() - x.double().mean(0)
    return from_gram(x @ x.T, x)


def from_gram(k: Tensor, x: Tensor) -> dict[str, float]:
    """Diagnose features `(n, d)` whose centred Gram matrix is known."""
    total = float(k.trace())
    dead = float((x == x[:1]).all(0).double().mean())
    if not total > 0:
        nothing = dict.fromkeys(("effective_rank", "first_share", "leverage", "whose"), math.nan)
        return {"n": float(len(x)), "d_over_n": x.shape[1] / len(x), **nothing, "dead": dead}
    values = torch.linalg.eigvalsh(k / total).clamp(min=0)
    shares = values / values.sum()
    carried = k.diagonal()
    return {
        "n": float(len(x)),
        "d_over_n": x.shape[1] / len(x),
        "effective_rank": math.exp(-float(torch.xlogy(shares, shares).sum())),
        "first_share": float(shares[-1]),
        "leverage": float(carried.max()) / total,
        "whose": float(carried.argmax()),
        "dead": dead,
    }
