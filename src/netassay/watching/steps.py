"""Steps: what one optimizer step did to one parameter, in one pass through its memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
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
WEIGHTS = ("weight_squares", "update_squares", "unchanged", "weight_nan", "weight_inf")
GRADIENTS = (
    "gradient_squares",
    "product",
    "gradient_zero",
    "gradient_subnormal",
    "gradient_nan",
    "gradient_inf",
    "lost",
)
FEW = 1 << 12
"""Entries up to which a parameter costs more to call for than to read."""
ROW = 1024
"""Entries that float32 may square and add one after the other: beyond, it loses the sixth digit."""
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

    @property
    def small(self) -> bool:
        """Whether it is read together with others at less cost than alone."""
        if self.gradient is None or not 0 < len(self.now) <= FEW:
            return False
        return all(one.dtype == torch.float32 and one.device.type == "cpu" for one in (self.now, self.gradient))

    def numbers(self) -> Tensor:
        """Return `NUMBERS`, float64, on the parameter's device; on the CPU in float32 wherever that is exact enough."""
        here, device = self.now.device.type == "cpu", self.now.device
        told: dict[str, Any] = dict.fromkeys(NUMBERS, float("nan"))
        told["adam"] = self._adam()
        quick = self._quick() if here and self.now.dtype == torch.float32 else (None, None)
        told |= quick[0] or self._weights()
        if self.gradient is not None:
            told |= quick[1] or self._gradients(self.gradient)
        told["state_nan"] = self.state_nan(told)
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

    def _gradients(self, gradient: Tensor) -> dict[str, Any]:
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

    def _quick(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """The same in float32, by blocks that stay in the cache; None where float32 is not enough."""
        gradient, size = self.gradient, len(self.now)
        weights, gradients = dict.fromkeys(WEIGHTS, 0.0), dict.fromkeys(GRADIENTS, 0.0)
        parts = zip(
            _blocks(self.now), _blocks(self.was), _blocks(self.was if gradient is None else gradient), strict=True
        )
        for now, was, g in parts:
            stayed = _add_weights(weights, now, was)
            if gradient is not None:
                _add_gradients(gradients, g, now, was, stayed)
        update, squares = weights["update_squares"], gradients["gradient_squares"]
        safe = _safe(weights["weight_squares"], size) and (_safe(update, size) or weights["unchanged"] == size)
        exact = gradient is not None and gradient.dtype == torch.float32
        enough = exact and (_safe(squares, size) or gradients["gradient_zero"] == size)
        return (weights if safe else None), (gradients if enough else None)

    def moment(self) -> tuple[Tensor, Any, float] | None:
        """Return Adam's second moment, the root of what corrects its bias, and epsilon; None of other optimizers."""
        v = self.state.get("max_exp_avg_sq", self.state.get("exp_avg_sq"))
        step = self.state.get("step", self.group.get("step"))
        if v is None or step is None or self.kind in OTHER_EPSILON or not {"betas", "eps"} <= set(self.group):
            return None
        if isinstance(step, Tensor):
            step = float(step) if step.device.type == "cpu" else step.double()
        return _flat(v), (1 - self.group["betas"][1] ** step) ** 0.5, self.group["eps"]

    def _adam(self) -> Any:
        """Return the mean of sqrt(v) / (sqrt(v) + eps), v bias-corrected: Kingma & Ba 2015, algorithm 1."""
        found = self.moment()
        if found is None:
            return float("nan")
        v, corrected, epsilon = found
        if v.device.type == "cpu" and v.dtype == torch.float32:
            factor = 1 - _taken(v, float(epsilon * corrected))
            if factor > FAINT:
                return factor
        total: Any = 0.0
        for part in _blocks(v):
            # Half precision has neither room for the sum nor for epsilon; the root first, as v itself may overflow.
            root = (part if part.dtype.itemsize > 2 else part.double()).sqrt().div_(corrected)
            total = total + root.div_(root + epsilon).sum(dtype=torch.float64)
        return total / max(len(v), 1)

    def state_nan(self, told: Mapping[str, Any]) -> Any:
        """Count what is not finite in the state of the optimizer, given the other numbers."""
        here = self.now.device.type == "cpu"
        # What is not finite in a moment of Adam's shows in its factor or, in the same step, in the weight.
        if here and math.isfinite(float(told["adam"])) and not float(told["weight_nan"]) + float(told["weight_inf"]):
            return 0.0
        kept = [one for one in self.state.values() if isinstance(one, Tensor) and one.is_floating_point()]
        if here:
            kept = [one for one in kept if not math.isfinite(float(one.sum()))]
        return sum((~one.isfinite()).sum() for one in kept) if kept else 0.0


def _add_weights(told: dict[str, Any], now: Tensor, was: Tensor) -> float:
    """Add a block of weights; return how many stayed as they were."""
    apart, room = torch.sub(now, was, out=_room(0, len(now))), _room(1, len(now))
    told["weight_squares"] += _squared(was, room)
    told["update_squares"] += _squared(apart, room)
    stayed = len(now) - float(torch.ne(apart, 0, out=room).sum())
    told["unchanged"] += stayed
    return stayed


def _add_gradients(told: dict[str, Any], g: Tensor, now: Tensor, was: Tensor, stayed: float) -> None:
    """Add a block of gradients to what is told of all."""
    room, tiny = _room(1, len(g)), torch.finfo(g.dtype).tiny
    told["gradient_squares"] += _squared(g, room)
    told["product"] += float(torch.dot(g, was))
    dense = not len(g) or float(torch.abs(g, out=room).amin()) >= tiny
    normal = len(g) if dense else float(torch.ge(room, tiny, out=room).sum())
    some = normal if normal == len(g) else float(torch.ne(g, 0, out=room).sum())
    told["gradient_zero"] += len(g) - some
    told["gradient_subnormal"] += some - normal
    told["lost"] += stayed if some == len(g) or not stayed else float(((now == was) & (g != 0)).sum())


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
    """Return the mean of epsilon / (sqrt(v) + epsilon), what Adam's epsilon takes away; NaN where v is infinite."""
    total = 0.0
    for part in _blocks(v):
        root = torch.sqrt(part, out=_room(0, len(part)))
        total += float(root.add_(epsilon).reciprocal_().sum()) if math.isfinite(float(root.sum())) else math.nan
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
