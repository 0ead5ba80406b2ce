"""Hooked: the two halves of a model that torch.fx cannot trace: a hook stops the front, and begins the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from netassay.errors import BadInput
from netassay.hooks import at_outputs
from netassay.layers import Layer, named_layers
from netassay.records import first_tensor


class _Stopped(BaseException):
    """Carries a layer's output out of a forward pass, past any `except Exception` of the model's."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


class _Crossed(Exception):
    """Behind the cut, an operation took a tensor that was made before it."""

    def __init__(self, taken: Any) -> None:
        super().__init__()
        self.taken = taken


class _Call:
    """Counts the calls of a layer, and acts when the one that is asked for has returned."""

    def __init__(self, call: int, act: Callable[[Any], Any]) -> None:
        self.left, self.act = call, act

    def swap(self, layer: Layer, output: Any) -> Any:
        """Leave all other calls."""
        self.left -= 1
        return self.act(output) if self.left == -1 else None


class Front:
    """Runs a model until one call of a layer has returned."""

    def __init__(self, twin: nn.Module, layer: Layer, call: int) -> None:
        self.twin, self.layer, self.call = twin, layer, call

    def __call__(self, x: Tensor) -> Any:
        """Return what the layer gives for `x`; the input itself where no layer is named."""
        if not self.layer.name:
            return x
        try:
            with _hooked([self.layer], _Call(self.call, _stop)):
                self.twin(x)
        except _Stopped as stopped:
            return stopped.output
        called = f"on inputs {tuple(x.shape)} it is called less than {self.call + 1} times"
        raise BadInput(f"the front of the cut at {self.layer.name!r}", called, "cut for such inputs")


def _stop(output: Any) -> None:
    raise _Stopped(output)


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
        with ExitStack() as before:
            return self.swapped(self.faked(y, before) if x is None else x, y, before)

    def passing(self, y: Tensor, later: Sequence[tuple[Layer, int]]) -> list[Any]:
        """Return a copy of what each later call of a layer made, in order, and the model's output."""
        made: list[Any] = []

        def note(output: Any) -> None:
            first = first_tensor(output)
            assert first is not None
            made.append(first.clone())

        with ExitStack() as noting:
            for layer, call in later:
                noting.enter_context(_hooked([layer], _Call(call, note)))
            output = self(y)
        return [*made, output]

    def faked(self, y: Tensor, before: ExitStack) -> Tensor:
        """Make tensors fake until `before` is closed, and give a fake input of as many samples as y."""
        before.enter_context(_disable_current_modes())
        before.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        return torch.empty((y.shape[self.axis], *self.shape), dtype=self.dtype, device=self.device)

    def swapped(self, x: Tensor, y: Tensor, before: ExitStack, begin: Callable[[], object] = int) -> Any:
        """Run on `x` without gradient until y takes the layer's place; then close `before` and call `begin`."""

        def act(output: Any) -> Any:
            before.close()
            begin()
            first, (flat, form) = first_tensor(output), tree_flatten(output)
            return tree_unflatten([y if one is first else one for one in flat], form)

        before.enter_context(torch.no_grad())
        with _hooked([self.layer], _Call(self.call, act)):
            return self.twin(x)


@contextmanager
def _hooked(layers: list[Layer], swapper: Any) -> Iterator[None]:
    handles = at_outputs(layers, swapper)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Strict(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operations on fake tensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        fake = [one for one in leaves((args, kwargs or {})) if isinstance(one, FakeTensor)]
        if fake:
            raise _Crossed(fake[0])
        return func(*args, **(kwargs or {}))


class _Makers:
    """Notes which layer made which tensors, beginning with the input."""

    def __init__(self, x: Tensor) -> None:
        self.made: list[tuple[str, Any]] = [("the input", x)]

    def swap(self, layer: Layer, output: Any) -> None:
        """Note a layer's output."""
        self.made += [(layer.name, one) for one in leaves(output)]

    def find(self, tensor: Any) -> str:
        """Name what made a tensor."""
        return next((name for name, one in self.made if one is tensor), "what no layer made")


def crossing(front: Front, rest: Rest, x: Tensor) -> list[Crossing]:
    """Find what the rest takes from before the cut; the first suffices."""
    if not front.layer.name:
        return []
    with still(rest.twin), ExitStack() as behind, ExitStack() as before:
        y = first_tensor(front(x.clone()))
        assert y is not None
        fake = rest.faked(y.clone(), before)
        makers = _Makers(fake)
        try:
            with _hooked(named_layers(rest.twin), makers):
                output = rest.swapped(fake, y, before, lambda: behind.enter_context(_Strict()))  # type: ignore[no-untyped-call]
        except _Crossed as crossed:
            return [Crossing(makers.find(crossed.taken), _where(rest.twin, crossed.__traceback__))]
    return [Crossing(makers.find(one), "") for one in leaves(output) if isinstance(one, FakeTensor)]


def _where(twin: nn.Module, trace: TracebackType | None) -> str:
    """Name the innermost module at work when an error was raised."""
    names, found = {id(module): name for name, module in twin.named_modules()}, ""
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found
