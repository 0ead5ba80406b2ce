"""Plan: the calls of a network in order of execution, and what is known of each."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from netassay.axes import Axes
from netassay.layers import Layer, Place, has_weight, label, places
from netassay.records import Record
from netassay.watching.cells import Cell, Key
from netassay.watching.roles import role


@dataclass
class Trace:
    """Where a tensor lay and how it was shaped, without its memory."""

    start: int
    shape: tuple[int, ...]

    def dim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def data_ptr(self) -> int:
        """Return where it began."""
        return self.start


class Plan:
    """Facts of calls, found while the first pass that shows each still has its graph."""

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.layers: dict[Key, Layer | None] = {}
        self.where: dict[Key, Place] = {}
        self.into: dict[Key, str] = {}
        self.channel: dict[tuple[Key, int], int] = {}
        self.loaded: dict[Key, dict[str, Any]] = {}
        self.complete = False
        self._axes: Axes | None = None
        self._nodes: dict[Key, tuple[Any, bool]] = {}
        self._sources: list[Any] = []
        self._order: list[Key] = []
        self._made: dict[int, tuple[Any, Key]] = {}

    def add(self, keys: Collection[Key]) -> None:
        """Calls count: they have a column from now on."""
        new = [key for key in keys if key not in self.keys]
        if new:
            order = {one: i for i, one in enumerate(self._order)}
            self.keys = dict.fromkeys(sorted([*self.keys, *new], key=lambda one: order.get(one, len(order))))
        self.complete = self.complete or bool(keys)

    def axis(self, key: Key, layer: Layer | None, x: Tensor | None, y: Tensor, samples: int) -> int:
        """Return the channel axis of an output."""
        known = self.channel.get((key, y.dim()))
        if known is not None:
            return known
        axes = self._axes = self._axes or Axes(samples)
        record = Record(layer or Layer("", nn.Identity()), key[1])
        record.x, record.y = _trace(x), _trace(y)  # type: ignore[assignment]
        axis = axes.note(record)
        self.channel[key, y.dim()] = axis
        return axis

    def note(self, cell: Cell, weights: int, x: Tensor | None, y: Tensor) -> None:
        """Note a call that is new: how deep it seems, which node made it, and the tensor that others may take."""
        key = cell.key
        if key in self.where:
            return
        self.where[key], self.layers[key] = Place(weights, "unknown"), cell.layer
        self._order.append(key)
        if self._made.get(id(y), (_nothing,))[0]() is not y:
            self._made[id(y)] = (weakref.ref(y), key)
        if cell.layer is None and y.requires_grad:
            self._sources.append(get_gradient_edge(y).node)
        elif y.grad_fn is not None:
            self._nodes[key] = (y.grad_fn, cell.layer is not None and has_weight(cell.layer.module))
            if x is None or not x.requires_grad:
                self._sources.append(y.grad_fn)

    def took(self, module: nn.Module, x: Tensor) -> None:
        """Note the module that takes a tensor first after it was made."""
        made = self._made.get(id(x))
        if made is not None and made[0]() is x:
            self.into.setdefault(made[1], type(module).__name__)

    def settle(self, outputs: list[Tensor]) -> None:
        """Find places from the graph, while it stands."""
        if self._nodes:
            calls: dict[Hashable, tuple[Any, bool]] = dict(self._nodes.items())
            found = places(outputs, self._sources, calls)
            self.where |= {key: found[key] for key in self._nodes if key in found}
        self._nodes, self._sources, self._made, self._axes = {}, [], {}, None

    def role(self, key: Key) -> str:
        """Say what the layer of a call is for."""
        layer = self.layers.get(key)
        if layer is not None:
            return role(layer.module)
        return str(self.loaded[key]["role"]) if key in self.loaded else "input"

    def labels(self) -> dict[Key, str]:
        """Name the calls: `name`, or `name#call` where a layer was called more than once."""
        many = {name for name, call in self.keys if call}
        return {(n, c): label(n, c, 2 if n in many else 1) if n else "input" for n, c in self.keys}

    def facts(self) -> dict[str, np.ndarray]:
        """Return the facts of `Readings.calls`."""
        labels = self.labels()
        rows = [{"layer": labels[key], **self._row(key)} for key in self.keys]
        names = ("layer", "name", "kind", "role", "depth", "path", "into")
        return {one: np.array([row[one] for row in rows], dtype=int if one == "depth" else str) for one in names}

    def _row(self, key: Key) -> dict[str, Any]:
        if key in self.loaded and key not in self.where:
            return self.loaded[key]
        layer, place = self.layers[key], self.where[key]
        return {
            "name": key[0] or "input",
            "kind": "" if layer is None else layer.kind,
            "role": self.role(key),
            "depth": place.depth,
            "path": "trunk" if layer is None and place.path == "unknown" else place.path,
            "into": self.into.get(key, ""),
        }


def _trace(x: Tensor | None) -> Trace | None:
    return None if x is None else Trace(x.data_ptr(), tuple(x.shape))


def _nothing() -> None:
    return None
