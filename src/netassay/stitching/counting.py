"""Counting: the multiply-adds of what ran, forward and backward, counted once for each kind of step."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Made = TypeVar("Made")


class Meter:
    """Adds up the multiply-adds of matrix products and convolutions, in both directions; other operations are free.

    `run(kind, step, *given)` runs a step; the first of a kind is counted, and those after it, which do the same work
    on other numbers, are taken to cost as much.

    >>> import torch
    >>> meter = Meter()
    >>> for _ in range(3):
    ...     y = meter.run("product", torch.mm, torch.ones(2, 5), torch.ones(5, 7))
    >>> meter.madds
    210
    """

    def __init__(self) -> None:
        self.madds = 0
        self.costs: dict[Hashable, int] = {}

    def run(self, kind: Hashable, step: Callable[..., Made], *given: Any) -> Made:
        """Run a step of a kind and count it."""
        if kind in self.costs:
            made = step(*given)
        else:
            # Fused attention has no entry in torch's counter and would be 0; as plain products it has.
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                made = step(*given)
            self.costs[kind] = counter.get_total_flops() // 2
        self.madds += self.costs[kind]
        return made
