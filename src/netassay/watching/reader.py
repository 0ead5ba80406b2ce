"""Reader: what goes through the layers of a network, forward and back, at the steps that are read."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves

from netassay.capturing import watchable
from netassay.flow import SIGNALS
from netassay.hooks import at_gradient, at_inputs, at_layers, at_passes
from netassay.layers import Layer, has_weight
from netassay.records import first_tensor, tensors
from netassay.watching.cells import Cell, Column, Key, Pass
from netassay.watching.guard import Guard
from netassay.watching.plan import Plan
from netassay.watching.pulse import COUNTS, Scratch, pulse
from netassay.watching.roles import bound, chosen
from netassay.watching.stretches import Stretches
from netassay.watching.views import view

INPUT: Key = ("", 0)
WAITING = 4096
"""Calls without a graph that may yet get one by recomputation."""


class Reader:
    """Reads a network while `on`; `take` hands over what the passes since the last one left.

    `layers` are patterns; by default weights, norms, activations and blocks. A forward pass counts once a gradient
    comes back to it; passes without gradient leave no trace. Several passes add up. `on_begin(differentiable)` is
    called before each forward pass of the model. Whatever fails inside is kept in `guard.faults`, never raised.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> reader = Reader(model)
    >>> reader.open()
    >>> model(torch.ones(4, 2)).sum().backward()
    >>> reader.take(scale=1.0)["entries"].tolist(), reader.calls()["layer"].tolist()
    ([8.0, 12.0, 12.0], ['input', '0', '1'])
    >>> reader.close()
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str] | None = None,
        *,
        on_begin: Callable[[bool], object] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.model, self.layers = watchable(model), chosen(model, layers)
        self.on_begin, self.guarded = on_begin, guard or Guard()
        self.on, self.plan, self.scratch = True, Plan(), Scratch()
        self.stretches: dict[Key, Stretches] = {}
        self._handles: list[Any] = []
        self._layer_handles: list[Any] = []
        self._input_handles: list[Any] = []
        self.rooted, self.round = False, 0
        self.inside: bool | None = None
        self._forget()

    def _forget(self) -> None:
        self.current: Pass | None = None
        self.samples, self.round = 0, self.round + 1
        self.columns: dict[Key, Column] = {}
        self.waiting: list[Cell] = []
        self._last: tuple[Any, int, Cell] | None = None
        self._gradients: list[Any] = []
        self.cursor = -1

    @property
    def guard(self) -> Callable[..., None]:
        """What every hook runs through."""
        return self.guarded

    @property
    def device(self) -> torch.device:
        """Where the model's first parameter lies."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def open(self) -> None:
        """Register the hooks."""
        self._handles += at_passes(self.model, self)
        self.turn(self.on)

    def close(self) -> None:
        """Remove every hook, those on a graph that still stands included."""
        _let_go(self._handles, self._layer_handles, self._input_handles, self._gradients)
        self.drop()
        self.on = False

    def turn(self, on: bool) -> None:
        """Read from here on, or no longer; layers that are not read have no hooks, once the model itself is called."""
        self.on = on
        if not self._handles:
            return
        if not on and self.rooted:
            _let_go(self._layer_handles)
        elif not self._layer_handles:
            self._layer_handles += at_layers(self.layers, self)
        if not on or self.plan.complete:
            _let_go(self._input_handles)
        elif not self._input_handles:
            leaves = [one for one in self.model.modules() if has_weight(one) or next(one.children(), None) is None]
            self._input_handles += at_inputs(leaves, self)

    # What the hooks call.

    def begin(self, args: Any, kwargs: Any) -> None:
        """A forward pass of the model begins."""
        self.inside = self.guarded.differentiable
        self.rooted = self.rooted or self.inside
        self._start((args, kwargs), self.inside)

    def _start(self, given: Any, differentiable: bool) -> None:
        if self.on_begin is not None:
            self.on_begin(differentiable)
        if not (self.on and differentiable):
            return
        if self.current is not None and self.current.counted:
            self._gradients.clear()
        self.waiting = [cell for cell in self.waiting if not cell.hooked][-WAITING:]
        self.current, self._last = Pass(_batch(given), self.round), None
        x = first_tensor(given)
        if x is not None:
            self._cell(self.current, INPUT, None, x, x)

    def end(self, output: Any) -> None:
        """The model's forward pass is over."""
        inside, self.inside = self.inside, None
        if self.on and inside:
            self.plan.settle(tensors(output))

    def took(self, module: nn.Module, args: Any) -> None:
        """Note which module takes what a layer made."""
        if self.on and args and isinstance(args[0], Tensor):
            self.plan.took(module, args[0])

    def read(self, layer: Layer, given: Any, output: Any) -> None:
        """Read what a layer made."""
        y = first_tensor(output)
        if torch._C._current_graph_task_id() != -1:
            self._again(layer, first_tensor(given), y)
            return
        if self.inside is None and self.guarded.differentiable and (self.current is None or self.current.counted):
            self._start(given, True)  # Somebody calls the layers of the model, and not the model.
        current = self.current
        if not self.on or current is None or self.inside is False or not (self.inside or self.guarded.differentiable):
            return
        number = current.calls.get(layer.name, 0)
        current.calls[layer.name] = number + 1
        current.weights += has_weight(layer.module)
        if y is not None:
            self._made(current, (layer.name, number), layer, first_tensor(given), y)

    def _made(self, current: Pass, key: Key, layer: Layer, x: Tensor | None, y: Tensor) -> None:
        if self._last is not None and self._last[0]() is y and self._last[1] == y._version:
            twin = self._last[2]
            cell = Cell(key, layer, twin.channel, twin.samples, twin.entries, twin.pulse, home=current)
            twin.twins.append(cell)
            current.cells.append(cell)
            self.plan.note(cell, current.weights, x, y)
            return
        cell = self._cell(current, key, layer, x, y)
        cell.start = 0 if x is None else x.data_ptr()
        if y.requires_grad:
            self._hook(cell, y)
        else:
            self.waiting.append(cell)
        self._last = (weakref.ref(y), y._version, cell)

    def _cell(self, current: Pass, key: Key, layer: Layer | None, x: Tensor | None, y: Tensor) -> Cell:
        channel = self.plan.axis(key, layer, x, y, current.samples)
        seen, found = view(y.detach(), current.samples, channel)
        flat = None if layer is None else bound(layer.module)
        told = pulse(seen, self.scratch, spread=found, bound=flat)
        if not found:
            told.channels, told.counts[COUNTS.index("places")] = {}, 0.0
        cell = Cell(key, layer, channel, current.samples, y.numel(), told, home=current)
        current.cells.append(cell)
        self.plan.note(cell, current.weights, x, y)
        return cell

    def _hook(self, cell: Cell, y: Tensor) -> None:
        cell.hooked = True
        self._gradients.append(at_gradient(y, self, cell))

    # Note [recomputation]. Under checkpointing without reentry the graph is that of the first run, which has its hooks:
    # nothing waits, and the second run is passed over. With reentry the first run had no graph, so its cells wait, and
    # get their hooks from the second: the first by its input's memory, the others in the order of the first run.
    def _again(self, layer: Layer, x: Tensor | None, y: Tensor | None) -> None:
        mine = [i for i, cell in enumerate(self.waiting) if cell.name == layer.name and not cell.hooked]
        start = 0 if x is None else x.data_ptr()
        following = [i for i in mine if i == self.cursor + 1]
        same = [i for i in mine if self.waiting[i].start == start]
        if y is not None and y.requires_grad and mine:
            self.cursor = (following or same or mine)[-1]
            self._hook(self.waiting[self.cursor], y)

    def back(self, cell: Cell, gradient: Tensor) -> None:
        """Read the gradient at what a layer made."""
        home = cell.home
        if not self.on or home is None or home.round != self.round:
            return
        if not home.counted:
            self._count(home)
        if cell.arrived:
            self.guarded.fault("gradient", "several backward passes through one forward pass: their squares add up")
        seen, found = view(gradient.detach(), cell.samples, cell.channel)
        told = pulse(seen, self.scratch, spread=False)
        told.channels = told.channels if found else {}
        for one in (cell, *cell.twins):
            one.arrived = True
            self.column(one.key).gy.add(told, one.samples, one.entries)

    def _count(self, home: Pass) -> None:
        home.counted = True
        self.samples += home.samples
        for cell in home.cells:
            if cell.pulse is not None:
                self.column(cell.key).y.add(cell.pulse, cell.samples, cell.entries)
            cell.pulse = None
        home.cells.clear()

    def column(self, key: Key) -> Column:
        """Return the sums of a call."""
        return self.columns.setdefault(key, Column())

    # What is handed over.

    def take(self, scale: float) -> dict[str, np.ndarray]:
        """Return `SIGNALS` of the passes that counted, `(L,)`, and forget them; gradients are multiplied by `scale`.

        NaN where a call did not happen. One transfer from the device. `scale` makes each sample's gradient that of its
        own loss: the samples of the step under a mean loss, 1 under a sum, over the gradient scaler's scale.
        """
        for key in self.columns:
            self.plan.add(key)
        keys, device = list(self.plan.keys), self.device
        rows = [self.columns.get(key, Column()) for key in keys]
        counts = torch.stack([one.vector(device) for one in rows]).cpu().numpy() if rows else np.zeros((0, 16))
        for key, column in self.columns.items():
            self._stretch(key, column)
        told = _signals(counts, rows, [self._bounded(key) for key in keys], self.samples, scale)
        self.drop()
        return told

    def drop(self) -> None:
        """Forget what was read since the last `take`."""
        self._forget()

    def _bounded(self, key: Key) -> bool:
        layer = self.plan.layers[key]
        return layer is not None and bound(layer.module) is not None

    def _stretch(self, key: Key, column: Column) -> None:
        role = self.plan.role(key)
        if role in ("weight", "norm", "activation") and column.y.channels:
            kept = self.stretches.setdefault(key, Stretches(role == "activation", self._bounded(key)))
            y = column.y
            each = y.entries // max(len(y.channels["squares"]), 1)
            kept.add(y.channels, column.gy.channels, y.samples, each)

    def calls(self) -> dict[str, np.ndarray]:
        """Return the facts of every call so far, in order of execution, each `(L,)`; see `Readings`."""
        return self.plan.facts()

    def channels(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return numbers by channel under each call's label: of the first stretch, and of the latest."""
        labels = self.plan.labels()
        both = {labels[key]: one.numbers() for key, one in self.stretches.items() if key in labels}
        return {k: v[0] for k, v in both.items()}, {k: v[1] for k, v in both.items()}

    @property
    def never_ran(self) -> list[str]:
        """Layers asked for that no pass that counted has called."""
        ran = {name for name, _ in self.plan.keys}
        return [layer.name for layer in self.layers if layer.name not in ran]


def _signals(
    counts: np.ndarray, columns: list[Column], bounded: list[bool], samples: int, scale: float
) -> dict[str, np.ndarray]:
    y, gy = ({name: side[:, i] for i, name in enumerate(COUNTS)} for side in np.split(counts, 2, axis=1))
    entries = np.array([one.y.entries for one in columns], dtype=float)
    arrived = np.array([one.gy.entries for one in columns], dtype=float)
    called, reached = entries > 0, arrived > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        told = {
            "gradient": np.where(reached, np.sqrt(gy["squares"]) * scale / np.sqrt(max(samples, 1)), np.nan),
            "second_moment": y["squares"] / (entries - y["nan"] - y["inf"]),
            "variance": y["spread"] / y["places"],
            "entries": entries,
            **{name: np.where(called, y[name], np.nan) for name in ("zero", "subnormal", "nan", "inf")},
            "flat": np.where(bounded, y["flat"] / entries, np.nan),
            "gradient_entries": np.where(called, arrived, np.nan),
        }
    told |= {f"gradient_{name}": np.where(called, gy[name], np.nan) for name in ("zero", "subnormal", "nan", "inf")}
    told["entries"] = np.where(called, entries, np.nan)
    return {name: told[name] for name in SIGNALS}


def _batch(given: Any) -> int:
    """Return the samples of what a model was called with: the length of its first tensor."""
    for leaf in tree_leaves(given, is_leaf=lambda one: isinstance(one, PackedSequence)):
        if isinstance(leaf, PackedSequence):
            return int(leaf.batch_sizes[0])
        if isinstance(leaf, Tensor) and leaf.dim():
            return len(leaf)
    return 1


def _let_go(*handles: list[Any]) -> None:
    for some in handles:
        while some:
            with suppress(Exception):
                some.pop().remove()
