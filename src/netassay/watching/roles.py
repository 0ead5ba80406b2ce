"""Roles: what a module is for, and which are read unless others are named."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from torch import nn

from netassay.layers import NORMS, Layer, has_weight, named_layers, select
from netassay.watching.pulse import Bound

ACTIVATIONS: tuple[type[nn.Module], ...] = tuple(
    kind
    for name, kind in vars(nn.modules.activation).items()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and name not in ("Module", "MultiheadAttention")
)
NAMED = re.compile(r"relu|gelu|silu|swish|mish|elu|tanh|sigmoid|softplus|activation", re.IGNORECASE)
"""Class names of activations that users wrote themselves, with no weight of their own."""
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
EDGE = 1 - 1e-6
BOUNDS: Mapping[type[nn.Module], Bound] = {
    nn.Tanh: (0.0, math.sqrt(0.95)),
    nn.Sigmoid: (0.5, math.sqrt(0.2)),
    nn.Hardsigmoid: (0.5, 0.5 * EDGE),
    nn.Softsign: (0.0, 1 - math.sqrt(0.05)),
}
"""Where the slope of a bounded activation is 0.05, as seen from its output."""


def role(module: nn.Module) -> str:
    """Say what a module is for: "weight", "norm", "activation", "block" or "other".

    >>> [role(one) for one in (nn.Linear(1, 1), nn.BatchNorm1d(1), nn.ReLU(), nn.Flatten())]
    ['weight', 'norm', 'activation', 'other']
    """
    if is_norm(module):
        return "norm"
    if has_weight(module):
        return "weight"
    leaf = next(module.children(), None) is None
    if isinstance(module, ACTIVATIONS) or (leaf and NAMED.search(type(module).__name__)):
        return "activation"
    return "other" if leaf or isinstance(module, CONTAINERS) else "block"


def is_norm(module: nn.Module) -> bool:
    """Tell whether a module normalises: torch's own, and by name what others wrote."""
    own = (*NORMS, nn.modules.batchnorm._NormBase, nn.LocalResponseNorm)
    return isinstance(module, own) or (type(module).__name__.endswith("Norm") and not has_weight(module))


def bound(module: nn.Module) -> Bound | None:
    """Return where a bounded activation is flat, None for any other module."""
    if type(module) is nn.Hardtanh:
        low, high = float(module.min_val), float(module.max_val)
        return (low + high) / 2, EDGE * (high - low) / 2
    return BOUNDS.get(type(module))


def chosen(model: nn.Module, layers: str | Sequence[str] | None) -> list[Layer]:
    """Select layers; by default weights, norms, activations, blocks, and whatever has a forward that is not torch's."""
    if layers is not None:
        return select(model, layers)
    inside = {id(part) for one in model.modules() if isinstance(one, nn.MultiheadAttention) for part in one.children()}
    every = named_layers(model)
    known = [
        one for one in every if (role(one.module) != "other" or _written(one.module)) and id(one.module) not in inside
    ]
    return known or every


def _written(module: nn.Module) -> bool:
    """Tell whether users wrote a module: what it does is not known, and may be where something breaks."""
    return not type(module).__module__.startswith("torch.")


def parameter_role(layer: nn.Module, name: str, axes: int) -> str:
    """Say what a parameter is: "matrix", "gain", "bias", "embedding" or "other"."""
    if isinstance(layer, EMBEDDINGS):
        return "embedding"
    if "bias" in name:
        return "bias"
    if axes >= 2:
        return "matrix"
    return "gain" if is_norm(layer) else "other"
