"""Hooks: the only file that registers any, and what they see of a model. The doors are in `capturing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from netassay.layers import Layer, Place, has_weight, label, places
from netassay.records import Entry, Record, first_tensor, tensors, vector_jacobian

Callback = Callable[[Record], object]


class Watch:
    """What is seen of a model while its hooks are on: the calls of the last forward pass, in order."""

    def __init__(
        self, layers: Sequence[Layer], on_forward: Callback | None, on_backward: Callback | None, keep: bool
    ) -> None:
        self.layers = {layer.name: layer for layer in layers}
        self.on_forward, self.on_backward, self.keep = on_forward, on_backward, keep
        self.paused = False
        self.handles: list[Any] = []
        self.graph_handles: list[Any] = []
        self.reset()

    def reset(self) -> None:
        """Forget the last forward pass; a new one begins."""
        self.forward: list[Record] = []
        self.backward: list[Record] = []
        self.entries: dict[str, list[Entry]] = {}
        self.cursor = -1
        self._let_go(self.graph_handles)

    def open(self, model: nn.Module) -> None:
        """Register the hooks."""
        self.handles.append(model.register_forward_pre_hook(_Reset(self)))
        for layer in self.layers.values():
            self.handles.append(layer.module.register_forward_pre_hook(_Enter(self, layer), with_kwargs=True))
            self.handles.append(layer.module.register_forward_hook(_Leave(self, layer), with_kwargs=True))

    def close(self) -> None:
        """Remove every hook, those on a graph that still stands included."""
        self._let_go(self.handles)
        self._let_go(self.graph_handles)

    @staticmethod
    def _let_go(handles: list[Any]) -> None:
        while handles:
            handles.pop().remove()

    def label(self, record: Record) -> str:
        """Name a record: `name`, or `name#call` where the layer was called more than once."""
        calls = sum(other.layer.name == record.layer.name for other in self.forward)
        return label(record.layer.name, record.call, calls)

    @property
    def never_ran(self) -> list[str]:
        """Layers asked for that the last forward pass did not call."""
        ran = {record.layer.name for record in self.forward}
        return [name for name in self.layers if name not in ran]

    def places(self, output: Any, inputs: Sequence[Tensor]) -> dict[Any, Place]:
        """Find depth and path of every call of the last forward pass, while its graph still stands.

        Where no input takes a gradient, as with integers, ways begin at the outputs where gradient ends.
        """
        sources = [get_gradient_edge(tensor).node for tensor in inputs if tensor.requires_grad]
        sources = sources or [record.root.node for record in self.forward if record.root is not None]
        seen = [record for record in self.forward if record.node is not None]
        return places(tensors(output), sources, {r.key: (r.node, has_weight(r.layer.module)) for r in seen})

    def enter(self, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note a layer's input before the layer can overwrite it."""
        entry = Entry(args, kwargs, self.keep)
        self.entries.setdefault(layer.name, []).append(entry)
        if self.keep and entry.edge is not None and entry.x is not None:
            self._hook(entry.x, _Total(self, entry))

    def leave(self, layer: Layer, output: Any) -> None:
        """Make the record of a call, or recognise the recomputation of one."""
        entry = self.entries[layer.name].pop()
        again = torch._C._current_graph_task_id() != -1
        record = self._recomputed(layer, entry) if again else self._called(layer, entry, output)
        if record is not None and record.node is None:
            entry.record = record
            self._attach(record, entry, output)

    def _called(self, layer: Layer, entry: Entry, output: Any) -> Record:
        record = Record(layer, sum(other.layer.name == layer.name for other in self.forward))
        record.start, record.returned = entry.start, type(output).__name__
        self.forward.append(record)
        record.x_shape = None if entry.x is None else entry.x.shape
        y = first_tensor(output)
        record.x, record.y = entry.input(), None if y is None else self.copy(y)
        if self.on_forward is not None:
            self.on_forward(record)
        if not self.keep:
            record.x = record.y = None
        return record

    # Note [recomputation]. Checkpointing runs a segment's forward again during backward. Without reentry the graph
    # is that of the first run, and the second is ignored. With reentry the first run had no graph, so its records
    # get their gradient hooks from the second: the segment's first layer is known by its input, which is the same
    # memory, and the others follow it in the order of the first run.
    def _recomputed(self, layer: Layer, entry: Entry) -> Record | None:
        waiting = [i for i, r in enumerate(self.forward) if r.layer.name == layer.name and r.node is None]
        following = [i for i in waiting if i == self.cursor + 1]
        same = [i for i in waiting if self.forward[i].start == entry.start]
        candidates = following or same or waiting
        if not candidates:
            return None
        self.cursor = candidates[-1]
        return self.forward[self.cursor]

    def _attach(self, record: Record, entry: Entry, output: Any) -> None:
        made = [tensor for tensor in tensors(output) if tensor.requires_grad]
        if not made:
            return
        y = made[0]
        edge = get_gradient_edge(y)
        record.root = edge if entry.edge is None else None
        record.node = node = edge.node
        if y.grad_fn is None or entry.passed(y):
            self._hook(y, _Handed(self, record))
            return
        through = entry.through(node)
        if record.root is not None:
            self._hook(y, _Ended(self, record))
        else:
            self._hook(node, _Arrived(self, record, y.output_nr, last=through is None))
        if through is not None:
            self._hook(through[0], _Passed(self, record, through[1]))
        if self.keep:
            record.others = [None] * len(made[1:])
            for i, other in enumerate(made[1:]):
                self._hook(other, _Other(self, record, i))
            record.compute_gx = lambda record: self._alone(record, entry)

    def _alone(self, record: Record, entry: Entry) -> Tensor | None:
        self.paused = True
        try:
            gradients = [record.gy, *record.others]
            return vector_jacobian(record.layer, entry.args, entry.kwargs, entry.copy, gradients)
        finally:
            self.paused = False

    def _hook(self, place: Any, hook: _Hook) -> None:
        """Set a hook on a tensor or a node; it goes with the next forward pass, or when the watch closes."""
        self.graph_handles.append(place.register_hook(hook))

    def arrived(self, record: Record, gradient: Tensor | None) -> None:
        """Keep the gradient at a layer's output."""
        if gradient is not None:
            record.gy, record.seen_gx = self.copy(gradient), None
            self.backward.append(record)

    def finished(self, record: Record) -> None:
        """Hand over a record with all of its gradients."""
        if self.on_backward is not None and record.gy is not None:
            self.on_backward(record)
        if not self.keep:
            record.gy = record.seen_gx = None

    def copy(self, tensor: Tensor) -> Tensor:
        """Clone where tensors are kept, else pass on."""
        return tensor.detach().clone() if self.keep else tensor.detach()


class _Hook:
    """A hook that pickles and copies as one that does nothing, so that a watched model saves and copies as usual.

    The stand-in is `contextlib.nullcontext().__exit__`: it takes anything, returns None, and needs no netassay to load.
    """

    def __init__(self, watch: Watch, subject: Any = None, index: int = 0, last: bool = False) -> None:
        self.watch, self.subject, self.index, self.last = watch, subject, index, last

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")


class _Reset(_Hook):
    def __call__(self, module: nn.Module, args: Any) -> None:
        if not self.watch.paused and torch._C._current_graph_task_id() == -1:
            self.watch.reset()


class _Enter(_Hook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.watch.paused:
            self.watch.enter(self.subject, args, kwargs)


class _Leave(_Hook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not self.watch.paused:
            self.watch.leave(self.subject, output)


class _Arrived(_Hook):
    """On the node that made an output: its gradient, exactly as it is before any later in-place operation."""

    def __call__(self, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> None:
        self.watch.arrived(self.subject, outputs[self.index])
        if self.last:
            self.watch.finished(self.subject)


class _Ended(_Hook):
    """On an output that leads no further back: where it is what autograd is asked for, its node does not run."""

    def __call__(self, gradient: Tensor) -> None:
        self.watch.arrived(self.subject, gradient)
        self.watch.finished(self.subject)


class _Passed(_Hook):
    """On the last node of a layer: the gradient that leaves it towards the input."""

    def __call__(self, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> None:
        gradient = inputs[self.index]
        self.subject.seen_gx = None if gradient is None else self.watch.copy(gradient)
        self.watch.finished(self.subject)


class _Handed(_Hook):
    """On a tensor that a layer handed on untouched: gy and gx are one."""

    def __call__(self, gradient: Tensor) -> None:
        self.watch.arrived(self.subject, gradient)
        self.subject.seen_gx = self.subject.gy
        self.watch.finished(self.subject)


class _Total(_Hook):
    def __call__(self, gradient: Tensor) -> None:
        if self.subject.record is not None:
            self.subject.record.gx_total = self.watch.copy(gradient)


class _Other(_Hook):
    def __call__(self, gradient: Tensor) -> None:
        self.subject.others[self.index] = None if gradient is None else self.watch.copy(gradient)
