"""Handles: which hooks of a reader are on, and how they all go."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from netassay.hooks import at_gradient, at_inputs, at_layers, at_passes, prune
from netassay.layers import Layer, has_weight


class Handles:
    """Hooks at passes while open; at layers and their inputs only while they are needed; at gradients on a graph."""

    def __init__(self, model: nn.Module, layers: Sequence[Layer], reader: Any) -> None:
        self.model, self.layers, self.reader = model, layers, reader
        self._passes: list[Any] = []
        self._layers: list[Any] = []
        self._inputs: list[Any] = []
        self._gradients: list[Any] = []

    def open(self) -> None:
        """Register the hooks at passes."""
        self._passes += at_passes(self.model, self.reader)

    def turn(self, layers: bool, inputs: bool) -> None:
        """Register or remove the hooks at layers, and at what modules take."""
        if not self._passes:
            return
        if not layers:
            _let_go(self._layers)
        elif not self._layers:
            self._layers += at_layers(self.layers, self.reader)
        if not inputs:
            _let_go(self._inputs)
        elif not self._inputs:
            leaves = [one for one in self.model.modules() if has_weight(one) or next(one.children(), None) is None]
            self._inputs += at_inputs(leaves, self.reader)

    def at_gradient(self, y: Tensor, cell: Any) -> None:
        """Register a hook at a tensor of the graph."""
        self._gradients.append(at_gradient(y, self.reader, cell))

    def forget(self, differentiated: bool) -> None:
        """Forget the hooks of a graph that was differentiated; of others, those that went with it."""
        if differentiated:
            self._gradients.clear()
        prune(self._gradients)

    def close(self) -> None:
        """Remove every hook, those on a graph that still stands included."""
        _let_go(self._passes, self._layers, self._inputs, self._gradients)


def _let_go(*handles: list[Any]) -> None:
    for some in handles:
        while some:
            with suppress(Exception):
                some.pop().remove()
