"""Hooks: the only file that registers any, and what they see of a model. The doors are in `capturing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from netassay.layers import Layer, Place, has_weight, label, places
from netassay.reactions import (
    After,
    Arrived,
    Back,
    Before,
    Begin,
    End,
    Ended,
    Enter,
    Handed,
    Hook,
    Leave,
    Other,
    Passed,
    Read,
    Reset,
    Swap,
    Took,
    Total,
    keep_from_compilers,
    recomputing,
)
from netassay.records import Entry, Record, first_tensor, tensors, vector_jacobian

Callback = Callable[[Record], object]


class Watch:
    """What is seen of a model while its hooks are on: the calls of the last forward pass, in order."""

    def __init__(
        self,
        layers: Sequence[Layer],
        on_forward: Callback | None = None,
        on_backward: Callback | None = None,
        on_total: Callback | None = None,
        *,
        keep: bool,
    ) -> None:
        self.layers = {layer.name: layer for layer in layers}
        self.on_forward, self.on_backward, self.on_total, self.keep = on_forward, on_backward, on_total, keep
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
        self.handles.append(model.register_forward_pre_hook(Reset(self)))
        for layer in self.layers.values():
            self.handles.append(layer.module.register_forward_pre_hook(Enter(self, layer), with_kwargs=True))
            self.handles.append(layer.module.register_forward_hook(Leave(self, layer), with_kwargs=True, prepend=True))

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
        if (self.keep or self.on_total) and entry.edge is not None and entry.x is not None:
            self._hook(entry.x, Total(self, entry))

    def leave(self, layer: Layer, output: Any) -> None:
        """Make the record of a call, or recognise the recomputation of one."""
        entry = self.entries[layer.name].pop()
        again = recomputing()
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
            self._hook(y, Handed(self, record))
            return
        through = entry.through(node)
        if record.root is not None:
            self._hook(y, Ended(self, record))
        else:
            self._hook(node, Arrived(self, record, y.output_nr, last=through is None))
        if through is not None:
            self._hook(through[0], Passed(self, record, through[1]))
        if self.keep:
            record.others = [None] * len(made[1:])
            for i, other in enumerate(made[1:]):
                self._hook(other, Other(self, record, i))
            record.compute_gx = lambda record: self._alone(record, entry)

    def _alone(self, record: Record, entry: Entry) -> Tensor | None:
        self.paused = True
        try:
            gradients = [record.gy, *record.others]
            return vector_jacobian(record.layer, entry.args, entry.kwargs, entry.copy, gradients)
        finally:
            self.paused = False

    def _hook(self, place: Any, hook: Hook) -> None:
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

    def totalled(self, record: Record, gradient: Tensor) -> None:
        """Hand over the gradient of a layer's input tensor, over everything that used it."""
        record.gx_total = self.copy(gradient)
        if self.on_total is not None:
            self.on_total(record)
        if not self.keep:
            record.gx_total = None

    def copy(self, tensor: Tensor) -> Tensor:
        """Clone where tensors are kept, else pass on."""
        return tensor.detach().clone() if self.keep else tensor.detach()


def at_passes(model: nn.Module, reader: Any) -> list[Any]:
    """Tell a reader when a forward pass of the model begins and ends."""
    keep_from_compilers()
    return [
        model.register_forward_pre_hook(Begin(reader), with_kwargs=True),
        model.register_forward_hook(End(reader)),
    ]


def at_layers(layers: Sequence[Layer], reader: Any) -> list[Any]:
    """Show a reader what layers make."""
    return [one.module.register_forward_hook(Read(reader, one), with_kwargs=True, prepend=True) for one in layers]


def at_inputs(modules: Sequence[nn.Module], reader: Any) -> list[Any]:
    """Show a reader what modules take."""
    return [module.register_forward_pre_hook(Took(reader)) for module in modules]


def at_outputs(layers: Sequence[Layer], swapper: Any) -> list[Any]:
    """Let a swapper stop the pass, or put something else, where a layer and the hooks before have made an output."""
    return [one.module.register_forward_hook(Swap(swapper, one)) for one in layers]


def at_gradient(tensor: Tensor, reader: Any, subject: Any) -> Any:
    """Show a reader the gradient at a tensor."""
    return tensor.register_hook(Back(reader, subject))  # type: ignore[no-untyped-call]


def at_steps(optimizer: torch.optim.Optimizer, number: int, watch: Any) -> list[Any]:
    """Tell a watch before and after each step of an optimizer."""
    return [
        optimizer.register_step_pre_hook(Before(watch, number)),
        optimizer.register_step_post_hook(After(watch, number)),
    ]


def prune(handles: list[Any]) -> None:
    """Let go of handles at tensors whose graph is gone."""
    handles[:] = [one for one in handles if one.hooks_dict_ref() is not None]
