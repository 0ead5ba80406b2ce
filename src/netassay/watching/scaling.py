"""Scaling: what a gradient scaler did, asked of the device only at steps that are read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netassay.watching.windows import Window


class Scaling:
    """The scale of gradients, and the steps that a gradient scaler has left out.

    A scaler that leaves a step out tells by `update()` without a step. On an accelerator its scale is a tensor there:
    to fetch it waits for all work that is queued, so what is asked at every step is the tensor's version, which each
    `update()` raises.
    """

    def __init__(self, scaler: Any) -> None:
        self.scaler = scaler
        self.unread: Tensor | None = None

    def mark(self) -> float:
        """Return a number that is lower once the scaler has left out a step, and nobody else has stepped since."""
        if self.scaler is None:
            return 0.0
        if not hasattr(self.scaler, "_scale"):
            return float(self.scaler.get_scale())
        scale = self.scaler._scale
        return -float(scale._version) if isinstance(scale, Tensor) else 0.0

    def left_out(self, window: Window) -> bool:
        """Tell whether the step of a window was left out."""
        return window.void or (not window.stepped and self.mark() < window.mark)

    def stepping(self, window: Window, optimizer: torch.optim.Optimizer) -> None:
        """Take note of the scale before a step, and of what a fused optimizer is told: to leave the step out."""
        if window.on:
            window.scale = self.scale()
        found = getattr(optimizer, "found_inf", None)
        if not isinstance(found, Tensor):
            return
        if window.on or found.device.type == "cpu":
            window.void = float(found) > 0
        else:
            self.unread = (found > 0) + (0 if self.unread is None else self.unread)

    def scale(self) -> float:
        """Fetch the scale."""
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def missed(self) -> int:
        """Fetch and forget how many steps were left out on an accelerator while nothing was read."""
        unread, self.unread = self.unread, None
        return 0 if unread is None else int(unread)
