"""Records: one call of one layer, its tensors, and how its input's gradient is had."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves, tree_map

from netassay.errors import BadInput
from netassay.layers import Layer, Node
from netassay.quiet import quiet

CHAIN, BRANCHES = 8, 16
"""How many nodes after one another, and how many behind a weight, a layer's forward may be made of for its gx to be
read off the graph; beyond, it is computed on request."""


class Record:
    """One call of one layer: its input `x` and output `y`, and the gradients there once backward has come by.

    `gy`: gradient at the output. `gx`: what flows back through this layer alone. `gx_total`: the gradient of the
    input tensor, over everything that used it. None where no gradient arrived. The objective's scaling is the
    caller's: gradients are of whatever was differentiated.
    """

    def __init__(self, layer: Layer, call: int) -> None:
        self.layer, self.call = layer, call
        self.x: Tensor | None = None
        self.x_shape: torch.Size | None = None
        self.y: Tensor | None = None
        self.gy: Tensor | None = None
        self.gx_total: Tensor | None = None
        self.root: GradientEdge | None = None
        self.node: Node | None = None
        self.start, self.returned = 0, ""
        self.others: list[Tensor | None] = []
        self.seen_gx: Tensor | None = None
        self.compute_gx: Callable[[Record], Tensor | None] = _not_kept

    @property
    def key(self) -> tuple[str, int]:
        """Layer name and number of the call."""
        return self.layer.name, self.call

    @property
    def gx(self) -> Tensor | None:
        """Gradient of the input through this layer, off its autograd node; else by running the layer once more."""
        if self.seen_gx is None and self.gy is not None:
            self.seen_gx = self.compute_gx(self)
        return self.seen_gx

    def __repr__(self) -> str:
        shape = None if self.y is None else tuple(self.y.shape)
        return f"Record({self.layer.name}#{self.call}, {self.layer.kind}, y={shape})"


def _identity(x: Tensor | None) -> tuple[int, int]:
    """Return how often a tensor was written to and where it lies; 0 where it cannot tell."""
    try:
        return (0, 0) if x is None else (x._version, x.data_ptr())
    except RuntimeError:  # in inference mode there are no versions, inside vmap and grad no memory
        return 0, 0


class Entry:
    """What a layer was called with, noted before it can overwrite it; `keep` clones the tensors."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], keep: bool) -> None:
        self.record: Record | None = None
        self.x = first_tensor((args, kwargs))
        self.version, self.start = _identity(self.x)
        self.edge = get_gradient_edge(self.x) if self.x is not None and self.x.requires_grad else None
        copies = {id(t): t.detach().clone() for t in tensors((args, kwargs))} if keep else {}
        self.copy = None if self.x is None else copies.get(id(self.x))
        self.args, self.kwargs = tree_map(lambda item: copies.get(id(item), item), (args, kwargs)) if keep else ((), {})

    def input(self) -> Tensor | None:
        """Return the input as it was; None where it was not cloned and has been overwritten."""
        if self.copy is not None:
            return self.copy
        return None if self.x is None or _identity(self.x)[0] != self.version else self.x.detach()

    def passed(self, y: Tensor) -> bool:
        """Tell whether the layer handed its input on untouched."""
        return y is self.x and _identity(y)[0] == self.version

    def through(self, node: Node) -> tuple[Node, int] | None:
        """Find the node whose gradient at `index` is the layer's gx: the graph from output to input is a line."""
        if self.edge is None:
            return None
        for _ in range(CHAIN):
            inputs = [
                (i, parent, number)
                for i, (parent, number) in enumerate(node.next_functions)
                if parent is not None and (self._is_input(parent, number) or not _is_weight(parent, self.edge.node))
            ]
            if len(inputs) != 1:
                return None
            index, parent, number = inputs[0]
            if self._is_input(parent, number):
                return node, index
            node = parent
        return None

    def _is_input(self, node: Node, number: int) -> bool:
        return self.edge is not None and node is self.edge.node and number == self.edge.output_nr


def _is_weight(node: Node, entry: Node) -> bool:
    """Tell whether only parameters lie behind a node: a leaf, or a transposed or parametrized weight.

    Behind the input's own node may lie nothing but parameters, too.
    """
    stack, seen = [node], 0
    while stack and seen < BRANCHES:
        one, seen = stack.pop(), seen + 1
        if one is entry:
            return False
        if not one.next_functions and not hasattr(one, "variable"):
            return False
        stack.extend(parent for parent, _ in one.next_functions if parent is not None)
    return not stack


def vector_jacobian(
    layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor | None, gradients: list[Tensor | None]
) -> Tensor | None:
    """Run `layer` alone on what it was called with, and pull `gradients` of its outputs back to `x`.

    Raises `BadInput` for a layer whose second run would not be its first.
    """
    if x is None:
        return None
    leaf = x.clone().requires_grad_()
    args, kwargs = tree_map(lambda item: leaf if item is x else item, (args, kwargs))
    with quiet(layer.module, training=None), torch.enable_grad():
        before = torch.get_rng_state()
        # A layer in place would overwrite the leaf it is differentiated at.
        args, kwargs = tree_map(lambda item: leaf.view_as(leaf) if item is leaf else item, (args, kwargs))
        outputs = [tensor for tensor in tensors(layer.module(*args, **kwargs)) if tensor.requires_grad]
        if not torch.equal(before, torch.get_rng_state()):
            raise BadInput(
                f"gx of layer {layer.name!r}",
                f"a {layer.kind} that draws random numbers, so that a second run is not the first",
                "use eval mode, or read gx of the layers inside it",
            )
    pairs = [(y, g) for y, g in zip(outputs, gradients, strict=False) if g is not None]
    return torch.autograd.grad([y for y, _ in pairs], leaf, [g for _, g in pairs], allow_unused=True)[0]


def tensors(tree: Any) -> list[Tensor]:
    """List the floating tensors in nested tuples, lists, dicts and plain objects such as dataclasses.

    Beside a packed sequence, whose rows are not samples, none is what it would be taken for.
    """
    found: list[Tensor] = []
    leaves = tree_leaves(tree, is_leaf=_is_packed)
    for leaf in leaves if not any(map(_is_packed, leaves)) else ():
        if isinstance(leaf, Tensor):
            found += [leaf] if leaf.is_floating_point() else []
        elif not isinstance(leaf, nn.Module | Mapping | type) and hasattr(leaf, "__dict__"):
            found += [t for t in vars(leaf).values() if isinstance(t, Tensor) and t.is_floating_point()]
    return found


def _is_packed(item: Any) -> bool:
    return isinstance(item, PackedSequence)


def first_tensor(tree: Any) -> Tensor | None:
    """Return the first floating tensor in a tree, or None."""
    return next(iter(tensors(tree)), None)


def _not_kept(record: Record) -> Tensor | None:
    return None
