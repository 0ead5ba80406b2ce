"""Frozen: a twin that shares a model's tensors and learns nothing, and the modules that run half of one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netassay.capturing import watchable
from netassay.errors import BadInput
from netassay.layers import shaped
from netassay.quiet import quiet

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def frozen(model: nn.Module) -> nn.Module:
    """Return a twin in eval mode: modules of its own over the model's own tensors, which take no gradient there.

    No weight is copied, and no hook that was put on the model: they would note runs that are not the caller's. Whatever
    is done to the twin's modules, flags and hooks leaves the model's alone.
    """
    shaped(model, "cut")
    named = [one for module in watchable(model).modules() for one in _held(module)]
    memo: dict[int, Any] = {id(one): one.detach() for one in named}
    memo |= {id(one): nn.Parameter(one.detach(), requires_grad=False) for one in model.parameters()}
    try:
        return unhooked(copy.deepcopy(model, memo)).eval()
    except Exception as error:
        found = f"a model that cannot be copied: {type(error).__name__}: {error}"
        raise BadInput(f"cut {type(model).__name__}", found, "keep what cannot be copied out of the model") from error


def unhooked(copied: nn.Module) -> nn.Module:
    """Take hooks off a copy, but for torch's own, such as old weight norms: they are part of what it computes."""
    for module in copied.modules():
        for kind in HOOKS if not isinstance(module, torch.jit.ScriptModule) else ():
            hooks = getattr(module, kind)
            for key in [key for key, hook in hooks.items() if not str(hook.__module__).startswith("torch.")]:
                del hooks[key]
    return copied


def _held(module: nn.Module) -> list[Tensor]:
    """List a module's buffers and the plain tensors among its attributes, such as what weight norm computes."""
    return [one for one in [*module._buffers.values(), *vars(module).values()] if isinstance(one, Tensor)]


class Half(nn.Module):
    """Runs a part of a frozen model; in eval mode whatever is called on it, or on what contains it.

    The model's modules are none of its submodules: `.train()`, optimizers and `.to()` of what contains a half pass
    them by, and a copy of that shares the half. Gradient flows through it to what it is given; none arrives at the
    model's parameters.
    """

    def __init__(self, twin: nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self._within = (twin, run)  # in a tuple: nn.Module registers no submodule
        self.training = False

    def train(self, mode: bool = True) -> Half:
        """Stay in eval mode."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Half:
        return self

    def forward(self, *given: Any) -> Any:
        """Run the part; random generators and buffers are left as they were found."""
        twin, run = self._within
        with still(twin):
            return run(*given)


@contextmanager
def still(twin: nn.Module) -> Iterator[None]:
    """Run a twin so that nothing changes, by the same kernels whether hooks are on it or not."""
    fast = torch.backends.mha.get_fastpath_enabled()
    # Torch's fused transformer layer steps aside where a hook is, and rounds otherwise than its parts do.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with quiet(twin, training=None):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def same_bits(a: Any, b: Any) -> bool:
    """Tell whether two outputs hold the same tensors, bit by bit."""
    ours, theirs = leaves(a), leaves(b)
    return len(ours) == len(theirs) and all(map(_same, ours, theirs))


def leaves(tree: Any) -> list[Tensor]:
    """List the tensors in an output, integers included."""
    return [one for one in tree_leaves(_opened(tree)) if isinstance(one, Tensor)]


def _opened(tree: Any) -> Any:
    return vars(tree) if hasattr(tree, "__dict__") and not isinstance(tree, Tensor) else tree


def _same(a: Tensor, b: Tensor) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    plain = [one.detach().contiguous().reshape(-1).view(torch.uint8) for one in (a, b)]
    return torch.equal(*plain)
