"""Reader: what goes through the layers of a network, forward and back, at the steps that are read."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netassay.capturing import watchable
from netassay.layers import Layer, has_weight
from netassay.reactions import recomputing
from netassay.records import first_tensor, tensors
from netassay.watching.cells import Cell, Column, Key, Pass, Tally
from netassay.watching.guard import Guard
from netassay.watching.handles import Handles
from netassay.watching.plan import Plan
from netassay.watching.pulse import COUNTS, Scratch, pulse
from netassay.watching.recomputed import Waiting
from netassay.watching.roles import bound, chosen, role
from netassay.watching.signals import batch, signals
from netassay.watching.stretches import Stretches
from netassay.watching.views import view

INPUT: Key = ("", 0)


class Reader:
    """Reads a network while `on`; `take` hands over what the passes since the last one left.

    `layers` are patterns; by default weights, norms, activations and blocks. A forward pass counts once a gradient
    comes back through it to parameters, and stays there; others leave no trace. Several passes add up.
    `on_begin(differentiable)` is called before each forward pass of the model. Whatever fails inside is kept in
    `guard.faults`, never raised.

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
        self.on_begin = on_begin
        self.guard = guard or Guard()
        self.on, self.plan, self.scratch = True, Plan(), Scratch()
        self.stretches: dict[Key, Stretches] = {}
        self.handles = Handles(model, self.layers, self)
        self.rooted, self.round, self.thread = False, 0, threading.get_ident()
        self.inside: bool | None = None
        self._forget()

    def _forget(self) -> None:
        self.current: Pass | None = None
        self.round += 1
        self.tally = Tally(self.model, self.guard.fault)
        self.waiting = Waiting()
        self._last: tuple[Any, int, Cell] | None = None

    def open(self) -> None:
        """Register the hooks; forward passes count in this thread only."""
        self.thread = threading.get_ident()
        self.handles.open()
        self.turn(self.on)

    def close(self) -> None:
        """Remove every hook, those on a graph that still stands included."""
        self.handles.close()
        self._forget()
        self.on = False

    def turn(self, on: bool) -> None:
        """Read from here on, or no longer."""
        self.on = on
        self.handles.turn(on or not self.rooted, on and not self.plan.complete)

    # What the hooks call.

    def begin(self, args: Any, kwargs: Any) -> None:
        """A forward pass of the model begins."""
        self.inside = self.guard.differentiable
        self.rooted = self.rooted or self.inside
        self._start((args, kwargs), self.inside)

    def _start(self, given: Any, differentiable: bool) -> None:
        if self.on_begin is not None:
            self.on_begin(differentiable)
        if not (self.on and differentiable):
            return
        self.tally.begin()
        self.handles.forget(self.current is None or self.current.reached)
        self.waiting.settle()
        self.current, self._last = Pass(batch(given), self.round), None
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
        if recomputing():
            again = self.waiting.next(layer.name, first_tensor(given)) if y is not None and y.requires_grad else None
            if again is not None and y is not None:
                self.tally.nested = True
                self._hook(again, y)
            return
        if self.inside is None and self.guard.differentiable and (self.current is None or self.current.reached):
            self._start(given, True)  # Somebody calls the layers of the model, and not the model.
        current = self.current
        if not self.on or current is None or self.inside is False or not (self.inside or self.guard.differentiable):
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
            self.waiting.add(cell)
        self._last = (weakref.ref(y), y._version, cell)

    def _cell(self, current: Pass, key: Key, layer: Layer | None, x: Tensor | None, y: Tensor) -> Cell:
        channel = self.plan.axis(key, layer, x, y, current.samples)
        seen, found = view(y.detach(), current.samples, channel)
        flat = None if layer is None else bound(layer.module)
        active = layer is not None and role(layer.module) == "activation"
        told = pulse(seen, self.scratch, spread=found, size=active, bound=flat)
        if not found:
            told.channels, told.counts[COUNTS.index("places")] = {}, 0.0
        cell = Cell(key, layer, channel, current.samples, y.numel(), told, home=current)
        current.cells.append(cell)
        self.plan.note(cell, current.weights, x, y)
        return cell

    def _hook(self, cell: Cell, y: Tensor) -> None:
        cell.hooked = True
        self.handles.at_gradient(y, cell)

    def back(self, cell: Cell, gradient: Tensor) -> None:
        """Read the gradient at what a layer made."""
        home = cell.home
        if not self.on or home is None or home.round != self.round:
            return
        seen, found = view(gradient.detach(), cell.samples, cell.channel)
        told = pulse(seen, self.scratch, spread=False, size=False)
        told.channels = told.channels if found else {}
        self.tally.arrive(cell, home, told)

    # What is handed over.

    @property
    def samples(self) -> int:
        """Samples of the passes that count in the step that is made."""
        self.guard("gradients", self.tally.finish)
        return self.tally.samples

    def take(self, scale: float) -> dict[str, np.ndarray]:
        """Return `SIGNALS` of the passes that counted, `(L,)`, and forget them; gradients are multiplied by `scale`.

        NaN where a call did not happen. One transfer from the device. `scale` makes each sample's gradient that of its
        own loss: the samples of the step under a mean loss, 1 under a sum, over the gradient scaler's scale.
        """
        samples, columns = self.samples, self.tally.columns
        self.drop()  # At once: what fails from here on must not go into the next step.
        if not any(one.gy.entries for one in columns.values()):
            self.guard.unread()
        self.plan.add(columns)
        keys = list(self.plan.keys)
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        rows = [columns.get(key, Column()) for key in keys]
        counts = torch.stack([one.vector(device) for one in rows]).cpu().numpy() if rows else np.zeros((0, 16))
        for key, column in columns.items():
            self._stretch(key, column)
        return signals(counts, rows, [self._bounded(key) for key in keys], samples, scale)

    def drop(self) -> None:
        """Forget what was read since the last `take`."""
        self._forget()

    def _bounded(self, key: Key) -> bool:
        layer = self.plan.layers[key]
        return layer is not None and bound(layer.module) is not None

    def _stretch(self, key: Key, column: Column) -> None:
        kind = self.plan.role(key)
        if kind in ("weight", "norm", "activation") and column.y.channels:
            kept = self.stretches.setdefault(key, Stretches(kind == "activation", self._bounded(key)))
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
