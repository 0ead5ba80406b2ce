"""Steps: what one optimizer step did to one parameter, in one pass through its memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from netassay.watching.pulse import LARGEST, ROW, SMALLEST

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
BLOCK = 1 << 18
"""Entries that are read at a time, so that what is read twice is still in the cache."""
FAINT = 0.01
"""Adam's factor below which one less what epsilon takes has lost the digits that are promised."""
OTHER_EPSILON = ("RAdam", "SparseAdam")
"""Optimizers with the state of Adam and another denominator."""


class Step:
    """A parameter before and after a step, with its gradient, and its group and state in the optimizer."""

    def __init__(
        self, weight: Tensor, was: Tensor, gradient: Tensor | None, group: Mapping[str, Any], optimizer: Any
    ) -> None:
        self.now, self.was = _flat(weight.detach()), _flat(was)
        self.gradient = None if gradient is None else _gradient(gradient.detach())
        self.state = optimizer.state.get(weight, {})
        self.group, self.kind = group, type(optimizer).__name__
        self.stayed: list[float] = []

    def numbers(self) -> Tensor:
        """Return `NUMBERS`, float64, on the parameter's device; on the CPU in float32 wherever that is exact enough."""
        here, device = self.now.device.type == "cpu", self.now.device
        told: dict[str, Any] = dict.fromkeys(NUMBERS, float("nan"))
        told["adam"] = self._adam()
        parts = [self._weights, *([] if self.gradient is None else [self._gradients])]
        quick = [self._quick_weights, self._quick_gradients] if here and self.now.dtype == torch.float32 else []
        for i, exactly in enumerate(parts):
            told |= (quick[i]() if quick else None) or exactly()
        told["state_nan"] = self._state_nan(here, told)
        if here:
            return torch.tensor([float(told[name]) for name in NUMBERS], dtype=torch.float64)
        return torch.stack([torch.as_tensor(told[name], dtype=torch.float64, device=device) for name in NUMBERS])

    def _weights(self) -> dict[str, Any]:
        apart = self.now - self.was
        return {
            "weight_squares": self.was.double().square().sum(),
            "update_squares": _squares(apart),
            "unchanged": (apart == 0).sum(),
            "weight_nan": self.now.isnan().sum(),
            "weight_inf": self.now.isinf().sum(),
        }

    def _gradients(self) -> dict[str, Any]:
        gradient = self._found()
        zero = gradient == 0
        finite = torch.where(gradient.isfinite(), gradient, 0).double()
        return {
            "gradient_squares": finite.square().sum(),
            "product": (finite * self.was.double()).sum(),
            "gradient_zero": zero.sum(),
            "gradient_subnormal": ((gradient.abs() < torch.finfo(gradient.dtype).tiny) & ~zero).sum(),
            "gradient_nan": gradient.isnan().sum(),
            "gradient_inf": gradient.isinf().sum(),
            "lost": ((self.now == self.was) & ~zero).sum(),
        }

    def _found(self) -> Tensor:
        assert self.gradient is not None
        return self.gradient

    def _quick_weights(self) -> dict[str, Any] | None:
        """The same in float32, by blocks; None where float32 is not enough."""
        weight, update = 0.0, 0.0
        self.stayed = []
        for now, was in zip(_blocks(self.now), _blocks(self.was), strict=True):
            apart, room = torch.sub(now, was, out=_room(0, len(now))), _room(1, len(now))
            weight += _squared(was, room)
            update += _squared(apart, room)
            self.stayed.append(len(now) - float(torch.ne(apart, 0, out=room).sum()))
        size, unchanged = len(self.now), sum(self.stayed)
        if not (_safe(weight, size) and (_safe(update, size) or unchanged == size)):
            return None
        told = {"weight_squares": weight, "update_squares": update, "unchanged": unchanged}
        return told | {"weight_nan": 0.0, "weight_inf": 0.0}

    def _quick_gradients(self) -> dict[str, Any] | None:
        gradient, squares, product, zero, faint, lost = self._found(), 0.0, 0.0, 0.0, 0.0, 0.0
        tiny = torch.finfo(gradient.dtype).tiny
        parts = zip(_blocks(self.now), _blocks(self.was), _blocks(gradient), self.stayed, strict=True)
        for now, was, g, stayed in parts:
            room = _room(1, len(now))
            squares += _squared(g, room)
            product += float(torch.dot(g, was))
            dense = float(torch.abs(g, out=room).amin()) >= tiny
            normal = len(g) if dense else float(torch.ge(room, tiny, out=room).sum())
            some = normal if normal == len(g) else float(torch.ne(g, 0, out=room).sum())
            zero, faint = zero + len(g) - some, faint + some - normal
            if stayed:
                lost += float(((now == was) & (g != 0)).sum())
        if gradient.dtype != torch.float32 or not (_safe(squares, len(gradient)) or zero == len(gradient)):
            return None
        told = {"gradient_squares": squares, "product": product, "gradient_zero": zero, "gradient_subnormal": faint}
        return told | {"gradient_nan": 0.0, "gradient_inf": 0.0, "lost": lost}

    def _adam(self) -> Any:
        """Return the mean of sqrt(v) / (sqrt(v) + eps), v bias-corrected: Kingma & Ba 2015, algorithm 1."""
        v = self.state.get("max_exp_avg_sq", self.state.get("exp_avg_sq"))
        step = self.state.get("step", self.group.get("step"))
        if v is None or step is None or self.kind in OTHER_EPSILON or not {"betas", "eps"} <= set(self.group):
            return float("nan")
        step = step.double() if isinstance(step, Tensor) else step
        corrected, entries = (1 - self.group["betas"][1] ** step) ** 0.5, _flat(v)
        if v.device.type == "cpu" and v.dtype == torch.float32:
            factor = 1 - _taken(entries, float(self.group["eps"] * corrected))
            if factor > FAINT:
                return factor
        total: Any = 0.0
        for part in _blocks(entries):
            # Half precision has neither room for the sum nor for epsilon; the root first, as v itself may overflow.
            root = (part if part.dtype.itemsize > 2 else part.double()).sqrt().div_(corrected)
            total = total + root.div_(root + self.group["eps"]).sum(dtype=torch.float64)
        return total / max(len(entries), 1)

    def _state_nan(self, here: bool, told: Mapping[str, Any]) -> Any:
        # What is not finite in a moment of Adam's shows in its factor or, in the same step, in the weight.
        if here and math.isfinite(float(told["adam"])) and not float(told["weight_nan"]) + float(told["weight_inf"]):
            return 0.0
        kept = [one for one in self.state.values() if isinstance(one, Tensor) and one.is_floating_point()]
        if here:
            kept = [one for one in kept if not math.isfinite(float(one.sum()))]
        return sum((~one.isfinite()).sum() for one in kept) if kept else 0.0


_ROOMS = threading.local()


def _room(number: int, size: int) -> Tensor:
    """Return memory that all blocks of a thread share."""
    if not hasattr(_ROOMS, "both"):
        _ROOMS.both = torch.empty(2, BLOCK, device="cpu", dtype=torch.float32)
    room: Tensor = _ROOMS.both[number, :size]
    return room


def _blocks(x: Tensor) -> Sequence[Tensor]:
    return torch.split(x, BLOCK) if x.device.type == "cpu" else (x,)


def _squared(x: Tensor, room: Tensor) -> float:
    """Return the sum of squares in float32, by rows that are short enough to add up one after the other."""
    if len(x) % ROW:
        return float(torch.mul(x, x, out=room).sum())
    return float(torch.linalg.vector_norm(x.view(-1, ROW), dim=1).double().square_().sum())


def _taken(v: Tensor, epsilon: float) -> float:
    """Return the mean of epsilon / (sqrt(v) + epsilon): what Adam's epsilon takes away."""
    total = 0.0
    for part in _blocks(v):
        total += float(torch.sqrt(part, out=_room(0, len(part))).add_(epsilon).reciprocal_().sum())
    return epsilon * total / max(len(v), 1)


def _safe(squares: float, size: int) -> bool:
    """Tell whether a float32 sum of squares has lost nothing."""
    return SMALLEST < squares / max(size, 1) < LARGEST


def _squares(x: Tensor) -> Tensor:
    """Return the sum of squares over finite entries, float64."""
    return torch.where(x.isfinite(), x, 0).double().square().sum()


def _flat(x: Tensor) -> Tensor:
    return (torch.view_as_real(x) if x.is_complex() else x).reshape(-1)


def _gradient(gradient: Tensor) -> Tensor:
    return _flat(gradient.coalesce().to_dense() if gradient.is_sparse else gradient)
