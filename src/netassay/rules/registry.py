"""Registry: which rule makes the blocks of a layer, and the guard that the layer is what the rule was written for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch, wraps
from typing import Any, Literal, TypeVar

from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.rules import convolution, linear, normalisation, pointwise
from netassay.rules.tiles import Tiles

Layout = Literal["first", "last", "any"]
METHODS = ("forward", "_conv_forward")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Rule:
    """How the blocks of a layer of one class are made.

    `tiles(layer, x, gy)` makes them; `overlap(layer, x, gy, gx)`, where there is one, the sums of
    `<LG(n, o, i), gx[n, i]>` over samples. `layout` says where channels are: "first" `(N, C, ...)`, "last"
    `(N, ..., C)`, "any" where the study finds them, brought to axis 1. `reads_x`: values of the input are needed, not
    only its shape. `diagonal`: channels do not mix, so that `gx` says it all.
    `gx(layer, x, gy)`: what flows back, where the graph does not show it; `inner`: it never does, since blocks are
    those of a part of the layer. `front(layer, tensor)` brings samples to the front where the layer has them elsewhere.
    """

    kind: type[nn.Module]
    tiles: Callable[[Any, Tensor, Tensor], Tiles]
    overlap: Callable[[Any, Tensor, Tensor, Tensor], Tensor] | None = None
    layout: Layout = "first"
    reads_x: bool = True
    diagonal: bool = False
    gx: Callable[[Any, Tensor, Tensor], Tensor] | None = None
    inner: bool = False
    front: Callable[[Any, Tensor], Tensor] | None = None


@singledispatch
def _rule(layer: nn.Module) -> Rule | None:
    return None


def rule(kind: type[nn.Module], *, layout: Layout = "first") -> Callable[[F], F]:
    """Register a rule for layers of a class: a function `(layer, x, gy) -> (N, O, I)`, the blocks.

    `x` and `gy` are the layer's input and the gradient at its output, with samples in front; `layout` says where the
    channels are, "first" `(N, C, ...)` or "last" `(N, ..., C)`. `netassay.testing.check_rule` holds a rule against the
    definition.

    >>> import torch
    >>> class Scale(nn.Module):
    ...     def __init__(self, factors):
    ...         super().__init__()
    ...         self.factors = nn.Parameter(factors)
    ...     def forward(self, x):
    ...         return x * self.factors
    >>> @rule(Scale, layout="last")
    ... def scale(layer, x, gy):
    ...     sizes = gy.reshape(len(gy), -1, gy.shape[-1]).norm(dim=1)  # over tokens, where there are any
    ...     return torch.diag_embed(sizes * layer.factors.detach().abs())
    >>> from netassay.rules import blocks
    >>> blocks(Scale(torch.tensor([1.0, -2.0])), torch.ones(1, 2), torch.ones(1, 2)).tolist()
    [[[1.0, 0.0], [0.0, 2.0]]]
    """

    if not (isinstance(kind, type) and issubclass(kind, nn.Module)) or layout not in ("first", "last"):
        raise BadInput(f"rule({kind!r}, layout={layout!r})", "no class of layers, or no layout", "rule(MyLayer)")

    def register(function: F) -> F:
        _register(Rule(kind, _checked(function, kind, layout), layout=layout))
        return function

    return register


def _checked(function: Callable[[Any, Tensor, Tensor], Any], kind: type[nn.Module], layout: Layout) -> Any:
    """Return the function with its result held against the shape of blocks; what it raises is its author's."""

    @wraps(function)
    def tiles(layer: nn.Module, x: Tensor, gy: Tensor) -> Tensor:
        asked, mend = (
            f"rule for {kind.__name__}",
            "mend it; netassay.testing.check_rule holds it against the definition",
        )
        try:
            made = function(layer, x, gy)
        except Exception as error:
            raise BadInput(asked, f"{type(error).__name__}: {error}", mend) from error
        O, I = (one.shape[1 if layout == "first" else -1] for one in (gy, x))  # noqa: E741
        if not isinstance(made, Tensor) or made.shape != (len(gy), O, I):
            found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise BadInput(asked, f"it returns {found}, not (N, O, I) = {(len(gy), O, I)}", mend)
        return made

    return tiles


def _register(one: Rule) -> None:
    _rule.register(one.kind)(lambda layer: one)


def find(layer: nn.Module, name: str = "") -> Rule:
    """Return the rule for a layer; refuse a class without one, and a layer that a rule was not written for."""
    found, kind = _rule(layer), type(layer)
    asked = f"blocks of layer {name!r} ({kind.__name__})" if name else f"blocks of {kind.__name__}"
    out = f"write a rule in ten lines (help(netassay.rules.rule)), or leave it out: skip={name or kind.__name__!r}"
    if found is None:
        raise BadInput(asked, f"no rule for {kind.__name__}", out)
    for method in METHODS:
        own = getattr(kind, method, None)
        if method in vars(layer) or own is not getattr(found.kind, method, None):
            what = f"its own {method}, while the rule was written for that of {found.kind.__name__}"
            raise BadInput(asked, what, out)
    return found


def known(layer: nn.Module) -> bool:
    """Tell whether there is a rule for a layer."""
    try:
        find(layer)
    except BadInput:
        return False
    return True


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
TOKENS = (nn.LayerNorm, nn.RMSNorm)
RULES = (
    *(
        Rule(kind, convolution.tiles, convolution.overlap, reads_x=False, gx=convolution.behind)
        for kind in CONVOLUTIONS
    ),
    Rule(nn.Linear, linear.tiles, linear.overlap, layout="last", reads_x=False, gx=linear.behind),
    Rule(
        nn.MultiheadAttention,
        linear.attention,
        linear.overlap_of_attention,
        layout="last",
        reads_x=False,
        gx=linear.behind_attention,
        inner=True,
        front=linear.samples_first,
    ),
    *(Rule(kind, normalisation.over_tokens, normalisation.overlap_of_tokens, layout="last") for kind in TOKENS),
    Rule(nn.GroupNorm, normalisation.over_groups, normalisation.overlap_of_groups),
    Rule(nn.modules.batchnorm._BatchNorm, normalisation.over_batches, diagonal=True),
    Rule(nn.modules.instancenorm._InstanceNorm, normalisation.over_instances, diagonal=True),
    *(Rule(kind, pointwise.diagonal, layout="any", diagonal=True) for kind in pointwise.ACTIVATIONS),
    *(Rule(kind, pointwise.diagonal, diagonal=True) for kind in pointwise.POOLS),
)
for one in RULES:
    _register(one)
