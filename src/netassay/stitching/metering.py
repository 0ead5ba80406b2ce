"""Metering: the multiply-adds of many steps, forward and backward, each kind of step counted once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from netassay.counting import counting

Made = TypeVar("Made")


class Meter:
    """Adds up the multiply-adds of matrix products and convolutions, in both directions; other operations are free.

    `run(kind, step, *given)` runs a step; the first of a kind is counted, and those after it, which do the same work
    on other numbers, are taken to cost as much. `costs` are those of
    kinds that another meter has counted, to be shared.

    >>> import torch
    >>> meter = Meter()
    >>> for _ in range(3):
    ...     y = meter.run("product", torch.mm, torch.ones(2, 5), torch.ones(5, 7))
    >>> meter.madds
    210
    """

    def __init__(self, costs: dict[Hashable, int] | None = None) -> None:
        self.madds = 0
        self.costs = {} if costs is None else costs

    def run(self, kind: Hashable, step: Callable[..., Made], *given: Any) -> Made:
        """Run a step of a kind and count it."""
        if kind in self.costs:
            made = step(*given)
        else:
            with counting() as counter:
                made = step(*given)
            self.costs[kind] = int(counter.get_total_flops() // 2)
        self.madds += self.costs[kind]
        return made
