"""Graph: a model as operations in order, by torch.fx, and the two halves on either side of a layer's end."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from netassay.cutting.crossing import Crossing
from netassay.cutting.frozen import leaves, same_bits, still
from netassay.seeds import seeded

ELSE = 2**31 - 1
"""A seed that nobody begins with: numbers that were drawn while tracing, and so stay, are found out by it."""
End = tuple[fx.Node, int]
"""What a layer's call returned, and how many operations had run by then; later ones may work on it in place."""


class _Tracer(fx.Tracer):
    """Traces, and notes where each call of a module ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, list[End | None]] = {}

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = super().call_module(m, forward, args, kwargs)
        end = (made.node, len(self.graph.nodes)) if isinstance(made, fx.Proxy) else None
        self.ends.setdefault(self.path_of_module(m), []).append(end)
        return made


class Traced:
    """The operations of a twin in order; which of them depend on the input, and which make tensors."""

    def __init__(self, twin: nn.Module) -> None:
        tracer = _Tracer()
        others = list(inspect.signature(twin.forward).parameters.values())[1:]
        defaults = {one.name: one.default for one in others if one.default is not one.empty}
        self.twin, self.ends = twin, tracer.ends
        self.graph = tracer.trace(twin, concrete_args=defaults)
        self.nodes = list(self.graph.nodes)
        self.interpreter = fx.Interpreter(twin, graph=self.graph)
        self.input = self.nodes[0]
        self.ends[""] = [(self.input, 1)]
        self.fed: set[fx.Node] = set()
        for node in self.nodes:
            if node is self.input or not self.fed.isdisjoint(node.all_input_nodes):
                self.fed.add(node)
        self.tensors: set[fx.Node] = set()

    def run(
        self, nodes: Sequence[fx.Node], values: dict[fx.Node, Any], *inputs: Tensor, keep: Collection[fx.Node] = ()
    ) -> Any:
        """Run operations in order, each value let go of after its last use; return what the last one makes."""
        self.interpreter.env, self.interpreter.args_iter = values, iter(inputs)
        made = None
        try:
            for node in nodes:
                made = values[node] = self.interpreter.run_node(node)
                for last in self.interpreter.user_to_last_uses.get(node, ()):
                    if last not in keep:
                        values.pop(last, None)
        finally:
            self.interpreter.env = {}
        return made

    def output(self, x: Tensor) -> Any:
        """Run all operations, and note which make tensors."""
        values: dict[fx.Node, Any] = {}
        made = None
        for node in self.nodes:
            made = self.run([node], values, *([x] if node is self.input else []))
            if leaves(made):
                self.tensors.add(node)
        return made

    def crossing(self, end: End) -> list[Crossing]:
        """List what the operations behind a layer's end take from before it, past the layer."""
        node, position = end
        before = set(self.nodes[:position]) & self.fed - {node}
        pairs = [(made, user) for user in self.nodes[position:] for made in user.all_input_nodes if made in before]
        # What makes no tensor reads a size at most, or a value: the fake front of hooks tells which.
        return [
            Crossing(self._maker(made), _scope(user), made in self.tensors and user in self.tensors)
            for made, user in pairs
        ]

    def _maker(self, node: fx.Node) -> str:
        if node is self.input:
            return "the input"
        names = [name for name, ends in self.ends.items() for end in ends if end and end[0] is node]
        return names[0] if names else f"{node.name} in {_scope(node) or 'the model'}"

    def free(self, position: int) -> list[fx.Node]:
        """List what the operations from `position` on need that no input goes into, such as weights, in order."""
        needed = set(self.nodes[position:])
        for node in reversed(self.nodes):
            if node in needed:
                needed |= set(node.all_input_nodes) - self.fed
        return [node for node in self.nodes[:position] if node in needed]


def _scope(node: fx.Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return stack[-1][0] if stack else ""


def traced(twin: nn.Module, x: Tensor, output: Any) -> Traced | None:
    """Trace a twin; None where torch.fx cannot, or where what it traced gives other bits than the twin."""
    try:
        with still(twin), torch.no_grad(), seeded(ELSE):
            found = Traced(twin)
        # From the state the twin was in before it was traced, for a buffer that tracing has moved.
        with still(twin), torch.no_grad():
            return found if same_bits(found.output(x.clone()), output) else None
    except Exception:  # users' code meets stand-ins for tensors there, and may raise anything
        return None


class Front:
    """Runs the operations up to a layer's end."""

    def __init__(self, traced: Traced, end: End) -> None:
        self.traced, self.end = traced, end

    def __call__(self, x: Tensor) -> Any:
        """Return what the layer gives for `x`."""
        node, position = self.end
        values: dict[fx.Node, Any] = {}
        self.traced.run(self.traced.nodes[:position], values, x, keep=[node])
        return values[node]


class Rest:
    """Runs the operations behind a layer's end; with an `x`, what crosses comes from a run of the front on it."""

    def __init__(self, traced: Traced, end: End) -> None:
        self.traced, self.end = traced, end
        self.free = traced.free(end[1])

    def __call__(self, y: Tensor, x: Tensor | None = None) -> Any:
        """Return the model's output for `y` in the place of what the layer made."""
        return self.passing(y, x)[-1]

    def passing(self, y: Tensor, x: Tensor | None = None, later: Sequence[End] = ()) -> list[Any]:
        """Return a copy of what is there at each later end, in order, and the model's output."""
        node, position = self.end
        begun = self.free if x is None else self.traced.nodes[:position]
        values: dict[fx.Node, Any] = {}
        with torch.no_grad():
            self.traced.run(begun, values, *([] if x is None else [x]))
        values[node] = y
        made = []
        for one, stop in later:
            self.traced.run(self.traced.nodes[position:stop], values, keep=[kept for kept, _ in later])
            made.append(values[one].clone())
            position = stop
        return [*made, self.traced.run(self.traced.nodes[position:], values)]
