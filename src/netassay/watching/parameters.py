"""Parameters: which a model has, whose they are, and which optimizer moves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from netassay.shape import distinct_channels
from netassay.watching.roles import parameter_role

WIDEST = 1 << 24
"""Entries of a weight matrix beyond which copies among its channels are not looked for."""
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass
class Parameter:
    """A parameter of the model, and the number of its optimizer (-1: none)."""

    name: str
    tensor: Tensor
    layer: str
    module: nn.Module
    role: str
    optimizer: int

    @cached_property
    def symmetric(self) -> int:
        """Count output channels that are copies of each other, less one, as they are when first asked for."""
        return _symmetric(self.module, self.tensor, self.role)

    @property
    def size(self) -> int:
        """Count its entries, of a complex one the real and the imaginary parts."""
        return self.tensor.numel() * (1 + self.tensor.is_complex())

    def facts(self) -> dict[str, Any]:
        """Return the facts of `Readings.parameters`."""
        return {
            "parameter": self.name,
            "layer": self.layer,
            "kind": type(self.module).__name__,
            "role": self.role,
            "size": self.size,
            "dtype": str(self.tensor.dtype).removeprefix("torch."),
            "trained": self.tensor.requires_grad,
            "optimizer": self.optimizer,
            "symmetric": self.symmetric,
        }


def listed(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> list[Parameter]:
    """List the parameters of a model, each once, in order of definition."""
    owner = {id(p): i for i, one in enumerate(optimizers) for group in one.param_groups for p in group["params"]}
    modules = dict(model.named_modules())
    return [_one(name, tensor, modules, owner) for name, tensor in model.named_parameters()]


def _one(name: str, tensor: Tensor, modules: dict[str, nn.Module], owner: dict[int, int]) -> Parameter:
    path, _, own = name.rpartition(".")
    if ".parametrizations." in f".{path}.":
        path, _, own = name.partition("parametrizations.")
        path = path.rstrip(".")
    module = modules[path]
    role = parameter_role(module, own, tensor.dim())
    return Parameter(name, tensor, path, module, role, owner.get(id(tensor), -1))


def _symmetric(module: nn.Module, tensor: Tensor, role: str) -> int:
    """Count output channels that are copies of each other, less one; -1 where that says nothing."""
    if role != "matrix" or is_lazy(tensor) or not 0 < tensor.numel() <= WIDEST or tensor.is_complex():
        return -1
    rows = tensor.detach().transpose(0, 1) if isinstance(module, TRANSPOSED) else tensor.detach()
    bias = getattr(module, "bias", None)
    bias = bias.detach() if isinstance(bias, Tensor) and bias.shape == rows.shape[:1] else None
    return len(rows) - distinct_channels(rows.contiguous(), bias)
