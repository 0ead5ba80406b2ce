"""Steps: what one optimizer step did to one parameter, in one pass through its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from netassay.watching.pulse import LARGEST, SMALLEST

NUMBERS = (
    "gradient_squares",
    "weight_squares",
    "update_squares",
    "product",
    "gradient_zero",
    "gradient_subnormal",
    "gradient_nan",
    "gradient_inf",
    "weight_nan",
    "weight_inf",
    "unchanged",
    "lost",
    "adam",
    "state_nan",
)
BLOCK = 1 << 17
"""Entries that are read at a time, so that what is read twice is still in the cache."""
OTHER_EPSILON = ("RAdam", "SparseAdam")
"""Optimizers with the state of Adam and another denominator."""


@dataclass
class Before:
    """A parameter as it was, and the scale that a fused optimizer takes off the gradients itself."""

    weight: Tensor
    scale: Tensor | None = None


class Step:
    """A parameter before and after a step, with its gradient, and its group and state in the optimizer."""

    def __init__(
        self, weight: Tensor, before: Before, gradient: Tensor | None, group: Mapping[str, Any], optimizer: Any
    ) -> None:
        self.now, self.was = _flat(weight.detach()), _flat(before.weight)
        self.gradient = None if gradient is None else _gradient(gradient.detach(), before.scale)
        self.state = optimizer.state.get(weight, {})
        self.group, self.kind = group, type(optimizer).__name__

    def numbers(self) -> Tensor:
        """Return `NUMBERS`, float64, on the parameter's device."""
        here, device = self.now.device.type == "cpu", self.now.device
        told: dict[str, Any] = dict.fromkeys(NUMBERS, float("nan"))
        told |= {"adam": self._adam(), "state_nan": self._state_nan(), **self._weights(here)}
        if self.gradient is not None:
            told |= self._gradients(self.gradient, here)
        if here:
            return torch.tensor([float(told[name]) for name in NUMBERS], dtype=torch.float64)
        return torch.stack([torch.as_tensor(told[name], dtype=torch.float64, device=device) for name in NUMBERS])

    def _weights(self, here: bool) -> dict[str, Any]:
        pairs = zip(self.now.split(BLOCK), self.was.split(BLOCK), strict=True) if here else [(self.now, self.was)]
        sums = [0.0, 0.0, 0.0]
        for now, was in pairs:
            apart = now - was
            for i, one in enumerate((_squares(was, here), _squares(apart, here), (apart == 0).sum())):
                sums[i] = sums[i] + (float(one) if here else one)  # type: ignore[operator]
        told = {"weight_squares": sums[0], "update_squares": sums[1], "unchanged": sums[2]}
        return told | {"weight_nan": self.now.isnan().sum(), "weight_inf": self.now.isinf().sum()}

    def _gradients(self, gradient: Tensor, here: bool) -> dict[str, Any]:
        tiny = torch.finfo(gradient.dtype).tiny
        size, finite = gradient.abs(), gradient.isfinite()
        zero = gradient == 0
        told = {
            "gradient_squares": _squares(gradient, here),
            "product": (torch.where(finite, gradient, 0).double() * self.was.double()).sum(),
            "gradient_zero": zero.sum(),
            "gradient_subnormal": ((size < tiny) & ~zero).sum(),
            "gradient_nan": gradient.isnan().sum(),
            "gradient_inf": gradient.isinf().sum(),
        }
        return told | {"lost": ((self.now == self.was) & ~zero).sum()}

    def _adam(self) -> Any:
        """Return the mean of sqrt(v) / (sqrt(v) + eps), v bias-corrected: Kingma & Ba 2015, algorithm 1."""
        v = self.state.get("max_exp_avg_sq", self.state.get("exp_avg_sq"))
        if v is None or self.kind in OTHER_EPSILON or not {"betas", "eps"} <= set(self.group):
            return float("nan")
        corrected = 1 - self.group["betas"][1] ** self.state["step"]
        root = (_flat(v).double() / corrected).sqrt()
        return (root / (root + self.group["eps"])).mean()

    def _state_nan(self) -> Any:
        kept = [one for one in self.state.values() if isinstance(one, Tensor) and one.is_floating_point()]
        return sum((~one.isfinite()).sum() for one in kept) if kept else 0.0


def _squares(x: Tensor, here: bool) -> Tensor:
    """Return the sum of squares over finite entries, float64."""
    if here:
        total = (x * x).sum()
        if SMALLEST < float(total) / max(len(x), 1) < LARGEST:
            return total.double()
    return torch.where(x.isfinite(), x, 0).double().square().sum()


def _flat(x: Tensor) -> Tensor:
    return (torch.view_as_real(x) if x.is_complex() else x).reshape(-1)


def _gradient(gradient: Tensor, scale: Tensor | None) -> Tensor:
    gradient = gradient.coalesce().to_dense() if gradient.is_sparse else gradient
    return _flat(gradient if scale is None else gradient / scale)
