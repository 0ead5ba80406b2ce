"""Layers: what can be asked for, by which name, and where it stands in the graph that was executed."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netassay.errors import BadInput, LayerNotFound

Path = Literal["trunk", "branch", "unknown"]
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
COMPUTED = re.compile(r"(^|\.)parametrizations(\.|$)")
"""Where torch keeps what weights are computed by: modules that no sample goes through."""


@dataclass(frozen=True)
class Layer:
    """A module of a model under its dotted name; a module that is used twice is one layer with two calls."""

    name: str
    module: nn.Module = field(repr=False, compare=False)

    @property
    def kind(self) -> str:
        """The module's class name."""
        return type(self.module).__name__


@dataclass(frozen=True)
class Place:
    """Where a call stands in the executed graph.

    `depth`: weight layers on the longest way from the input to the call, itself included. `path`: "trunk" if
    every way from input to output leads through the call, "branch" if some way leads around it. Both are unknown
    (-1, "unknown") where autograd kept no graph, as inside reentrant checkpoints.
    """

    depth: int = -1
    path: Path = "unknown"


def named_layers(model: nn.Module) -> list[Layer]:
    """List every submodule once, in order of definition; a model without any is its own only layer, "model"."""
    if not isinstance(model, nn.Module):
        raise BadInput(
            "look into a model",
            f"{type(model).__name__}, which is no torch.nn.Module",
            "pass a module, or a spec to na.build",
        )
    layers = [Layer(name, module) for name, module in model.named_modules() if name and not COMPUTED.search(name)]
    return layers or [Layer("model", model)]


def select(model: nn.Module, pattern: str | Sequence[str] = "*", *, order: Sequence[str] = ()) -> list[Layer]:
    """Return the layers of `model` that match, each once.

    A pattern is `fnmatch` on the whole dotted name (`*` crosses dots), `re:` a regular expression on the whole
    name, `type:` `fnmatch` on the class or one of its bases. Layers come in order of definition; names or labels
    in `order`, such as `records.forward_order`, come first and in that order.

    Raises `LayerNotFound` for a pattern that matches nothing.

    >>> [layer.name for layer in select(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "type:Linear")]
    ['0']
    """
    layers = named_layers(model)
    chosen: set[str] = set()
    for one in [pattern] if isinstance(pattern, str) or not isinstance(pattern, Iterable) else pattern:
        matches = _matcher(one)
        found = {layer.name for layer in layers if matches(layer)}
        if not found:
            raise LayerNotFound(one, type(model).__name__, [layer.name for layer in layers])
        chosen |= found
    rank = {name: i for i, name in reversed(list(enumerate(label.split("#")[0] for label in order)))}
    return sorted((layer for layer in layers if layer.name in chosen), key=lambda one: rank.get(one.name, len(rank)))


def exactly(name: str) -> str:
    """Return the pattern that matches one name only, whatever stands in it.

    >>> exactly("0.*")
    're:0\\\\.\\\\*'
    """
    return f"re:{re.escape(name)}"


def shaped(model: nn.Module, asked: str) -> None:
    """Refuse what is no model, and a lazy one: its first batch would give it weights, which is no look."""
    named_layers(model)
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        found = f"parameter {lazy[0]!r} has no shape yet"
        raise BadInput(f"{asked} {type(model).__name__}", found, "run one batch through the model first")


def _matcher(pattern: str) -> Callable[[Layer], bool]:
    if not isinstance(pattern, str):
        raise BadInput(f"layers {pattern!r}", f"a {type(pattern).__name__}, not a pattern", 'e.g. "layer1.*"')
    head, _, rest = pattern.partition(":")
    if head == "re":
        try:
            expression = re.compile(rest)
        except re.error as error:
            raise BadInput(f"layers {pattern!r}", f"no regular expression: {error}", "e.g. re:layer[12]\\..*") from None
        return lambda layer: expression.fullmatch(layer.name) is not None
    if head == "type":
        return lambda layer: any(fnmatchcase(base.__name__, rest) for base in type(layer.module).__mro__)
    return lambda layer: fnmatchcase(layer.name, pattern)


def label(name: str, call: int, calls: int) -> str:
    """Name one call: the layer's name, with `#call` where it was called more than once."""
    return name if calls == 1 else f"{name}#{call}"


def has_weight(module: nn.Module) -> bool:
    """Tell whether a module multiplies by a matrix of its own: convolutions, linear layers, embeddings, attention.

    A matrix that is computed from others (spectral norm, say) is the module's own; the gains of a norm are no matrix.
    """
    computed = getattr(module, "parametrizations", {}).values()
    own = [*module.parameters(recurse=False), *(p for one in computed for p in one.parameters(recurse=False))]
    return any(is_lazy(p) or p.dim() >= 2 for p in own) and not isinstance(module, NORMS)


Node = Any
"""A node of the autograd graph; torch has no public type for its C++ nodes."""


def places(
    outputs: Iterable[Tensor], sources: Iterable[Node], calls: Mapping[Hashable, tuple[Node, bool]]
) -> dict[Hashable, Place]:
    """Find depth and path of calls from the graph that made `outputs`.

    `sources` are the nodes that stand for the input; `calls` maps each call to the node that made its output and
    whether it counts towards depth. Every way from input to output leads through a node exactly when the ways that
    do are as many as the ways there are.
    """
    ends = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
    order = _topological(ends)
    sources, weighted = set(sources), {node for node, counts in calls.values() if counts}
    depth: dict[Node, int] = {}
    ways_in: dict[Node, int] = {}
    for node in order:
        parents = _parents(node)
        depth[node] = max((depth[p] for p in parents), default=0) + (node in weighted)
        ways_in[node] = int(node in sources) or sum(ways_in[p] for p in parents)
    ways_out: dict[Node, int] = dict.fromkeys(order, 0)
    for node in reversed(order):
        ways_out[node] += ends.count(node)
        for parent in _parents(node):
            ways_out[parent] += ways_out[node]
    total = sum(ways_in[node] for node in ends)
    return {
        key: Place(depth[node], "trunk" if 0 < ways_in[node] * ways_out[node] == total else "branch")
        for key, (node, _) in calls.items()
        if node in depth
    }


def _parents(node: Node) -> list[Node]:
    return [parent for parent, _ in node.next_functions if parent is not None]


def _topological(ends: Sequence[Node]) -> list[Node]:
    """List the graph behind `ends`, parents before children."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(node, False) for node in ends]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in _parents(node) if parent not in seen)
    return order
