"""Hooked: the two halves of a model that torch.fx cannot trace: a hook stops the front, and begins the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_unflatten

from netassay.cutting.crossing import Crossing
from netassay.cutting.frozen import leaves, still
from netassay.hooks import at_outputs
from netassay.layers import Layer, named_layers
from netassay.records import first_tensor


class _Stopped(BaseException):
    """Carries a layer's output out of a forward pass, past any `except Exception` of the model's."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


class Crossed(Exception):
    """Behind the cut, an operation took a tensor that was made before it."""

    def __init__(self, taken: Any) -> None:
        super().__init__()
        self.taken = taken


class Front:
    """Runs a model until one call of a layer has returned."""

    def __init__(self, twin: nn.Module, layer: Layer, call: int) -> None:
        self.twin, self.layer, self.call = twin, layer, call

    def __call__(self, x: Tensor) -> Any:
        """Return what the layer gives for `x`; the input itself where no layer is named."""
        if not self.layer.name:
            return x
        self.left = self.call
        try:
            with _hooked([self.layer], self):
                self.twin(x)
        except _Stopped as stopped:
            return stopped.output
        raise RuntimeError(f"{self.layer.name} was not called {self.call + 1} times")

    def swap(self, layer: Layer, output: Any) -> None:
        """Stop at the call that is asked for."""
        if not self.left:
            raise _Stopped(output)
        self.left -= 1


# Note [fake front]. A hook cannot skip modules. What comes before the cut runs on fake tensors instead: they have
# shapes and no values, no product is computed, and sizes that the rest needs are right. Where the rest takes a
# tensor from before the cut, it is a fake one: that is how a crossing is found.
class Rest:
    """Runs a model so that one call of a layer gives `y`; with an `x`, what comes before it runs on that."""

    def __init__(self, twin: nn.Module, layer: Layer, call: int, example: Tensor, axis: int) -> None:
        self.twin, self.layer, self.call, self.axis = twin, layer, call, axis
        self.shape, self.dtype, self.device = example.shape[1:], example.dtype, example.device

    def __call__(self, y: Tensor, x: Tensor | None = None) -> Any:
        """Return the model's output for `y` in the place of what the layer made."""
        if not self.layer.name:
            return self.twin(y)
        with _hooked([self.layer], self), ExitStack() as behind, ExitStack() as before:
            before.enter_context(torch.no_grad())
            if x is None:
                before.enter_context(_disable_current_modes())
                before.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
                x = torch.empty((y.shape[self.axis], *self.shape), dtype=self.dtype, device=self.device)
            self.left, self.y, self.before, self.behind = self.call, y, before, behind
            return self.twin(x)

    def swap(self, layer: Layer, output: Any) -> Any:
        """Leave what held before the cut, and put y in the place of the first tensor."""
        self.left -= 1
        if self.left != -1:
            return None
        self.before.close()
        self.enter()
        return _replaced(output, self.y)

    def enter(self) -> None:
        """Begin what holds behind the cut: nothing."""


def _replaced(output: Any, y: Tensor) -> Any:
    flat, form = tree_flatten(output)
    first = first_tensor(output)
    return tree_unflatten([y if one is first else one for one in flat], form)


@contextmanager
def _hooked(layers: list[Layer], swapper: Any) -> Iterator[None]:
    handles = at_outputs(layers, swapper)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Strict(TorchDispatchMode):
    """Refuses operations on fake tensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        fake = [one for one in leaves((args, kwargs or {})) if isinstance(one, FakeTensor)]
        if fake:
            raise Crossed(fake[0])
        return func(*args, **(kwargs or {}))


class _Checking(Rest):
    """A rest that takes nothing from before the cut, or raises `Crossed`."""

    def __init__(self, rest: Rest) -> None:
        vars(self).update(vars(rest))

    def enter(self) -> None:
        """Refuse fake tensors from here on."""
        self.behind.enter_context(_Strict())


class _Makers:
    """Notes which layer made which tensor."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []

    def swap(self, layer: Layer, output: Any) -> None:
        """Note a layer's output."""
        self.made.append((layer.name, first_tensor(output)))

    def __getitem__(self, tensor: Any) -> str:
        return next((name for name, one in reversed(self.made) if one is tensor), "a tensor")


def crossing(front: Front, rest: Rest, x: Tensor) -> list[Crossing]:
    """Find what the rest takes from before the cut; the first suffices."""
    checking, makers = _Checking(rest), _Makers()
    with still(rest.twin):
        y = first_tensor(front(x.clone()))
        assert y is not None
        try:
            with _hooked(named_layers(rest.twin), makers):
                fake = [one for one in leaves(checking(y)) if isinstance(one, FakeTensor)]
            return [Crossing(makers[one], "") for one in fake]
        except Crossed as crossed:
            return [Crossing(makers[crossed.taken], _where(rest.twin, crossed.__traceback__))]


def _where(twin: nn.Module, trace: TracebackType | None) -> str:
    """Name the innermost module at work when an error was raised."""
    names, found = {id(module): name for name, module in twin.named_modules()}, ""
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found
