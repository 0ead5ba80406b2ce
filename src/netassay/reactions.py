"""Reactions: what each hook does when it fires: it tells the watch. Registered by `hooks`, which is the watch."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import cache
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn


class Hook:
    """A hook that pickles and copies as one that does nothing, so that a watched model saves and copies as usual.

    The stand-in is `contextlib.nullcontext().__exit__`: it takes anything, returns None, and needs no netassay to load.
    """

    def __init__(self, watch: Any, subject: Any = None, index: int = 0, last: bool = False) -> None:
        self.watch, self.subject, self.index, self.last = watch, subject, index, last

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")


class Reset(Hook):
    """On the model: a new forward pass begins, unless it is the recomputation of one."""

    def __call__(self, module: nn.Module, args: Any) -> None:
        if not self.watch.paused and not recomputing():
            self.watch.reset()


class Enter(Hook):
    """Before a layer: what it is called with, while that is as it was."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.watch.paused:
            self.watch.enter(self.subject, args, kwargs)


class Leave(Hook):
    """After a layer: what it returned."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if not self.watch.paused:
            self.watch.leave(self.subject, output)


class Arrived(Hook):
    """On the node that made an output: its gradient, exactly as it is before any later in-place operation."""

    def __call__(self, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> None:
        self.watch.arrived(self.subject, outputs[self.index])
        if self.last:
            self.watch.finished(self.subject)


class Ended(Hook):
    """On an output that leads no further back: where it is what autograd is asked for, its node does not run."""

    def __call__(self, gradient: Tensor) -> None:
        self.watch.arrived(self.subject, gradient)
        self.watch.finished(self.subject)


class Passed(Hook):
    """On the last node of a layer: the gradient that leaves it towards the input."""

    def __call__(self, inputs: tuple[Tensor | None, ...], outputs: tuple[Tensor | None, ...]) -> None:
        gradient = inputs[self.index]
        self.subject.seen_gx = None if gradient is None else self.watch.copy(gradient)
        self.watch.finished(self.subject)


class Handed(Hook):
    """On a tensor that a layer handed on untouched: gy and gx are one."""

    def __call__(self, gradient: Tensor) -> None:
        self.watch.arrived(self.subject, gradient)
        self.subject.seen_gx = self.subject.gy
        self.watch.finished(self.subject)


class Total(Hook):
    """On a layer's input tensor: its gradient, over everything that used it."""

    def __call__(self, gradient: Tensor) -> None:
        if self.subject.record is not None:
            self.watch.totalled(self.subject.record, gradient)


class Other(Hook):
    """On a layer's second and later outputs."""

    def __call__(self, gradient: Tensor) -> None:
        self.subject.others[self.index] = None if gradient is None else self.watch.copy(gradient)


def _plain() -> bool:
    """Tell whether what runs has values to read: under a transform of `torch.func` it has none."""
    return torch._C._functorch.maybe_current_level() is None


def recomputing() -> bool:
    """Tell whether this is the recomputation of a forward pass, in whatever thread autograd runs it."""
    return torch._C._current_graph_task_id() != -1


class Begin(Hook):
    """On the model: a forward pass begins, unless it is the recomputation of one, or another thread's."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if get_ident() == self.watch.thread and not recomputing() and _plain():
            self.watch.guard("forward", self.watch.begin, args, kwargs)


class End(Hook):
    """On the model: its forward pass is over, and the graph stands."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if get_ident() == self.watch.thread and not recomputing() and _plain():
            self.watch.guard("graph", self.watch.end, output)


class Read(Hook):
    """After a layer: what it made, before anything can overwrite it."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if (get_ident() == self.watch.thread or recomputing()) and _plain():
            self.watch.guard(self.subject.name, self.watch.read, self.subject, (args, kwargs), output)


class Took(Hook):
    """Before a module: which tensor it takes."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if get_ident() == self.watch.thread and _plain():
            self.watch.guard("graph", self.watch.took, module, args)


class Swap(Hook):
    """After a layer: what the watch gives takes the place of what the layer made; None leaves it."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return self.watch.swap(self.subject, output)


class Back(Hook):
    """On an output: the gradient that arrives there, in a thread of autograd's choice."""

    # A user may save a tensor that is watched: this says that the hook need not be saved with it.
    __torch_unserializable__ = True

    def __call__(self, gradient: Tensor) -> None:
        if _plain():
            self.watch.guard(self.subject.name, self.watch.back, self.subject, gradient)


class Before(Hook):
    """Before an optimizer's step."""

    def __call__(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.watch.guard("optimizer", self.watch.before, self.subject)


class After(Hook):
    """After an optimizer's step."""

    def __call__(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.watch.guard("optimizer", self.watch.after, self.subject)


@cache
def _uncompiled(kind: type[Hook]) -> None:
    kind.__call__ = torch.compiler.disable(kind.__call__)  # type: ignore[method-assign, no-untyped-call]


def keep_from_compilers() -> None:
    """Make `torch.compile` call the hooks of a reader as they stand: to trace through them takes it half a minute.

    Whoever compiles a training has loaded torch's compiler, with the optimizer; it is not loaded for this alone.
    """
    if "torch._dynamo" in sys.modules:
        for kind in (Begin, End, Read, Took, Back, Before, After):
            _uncompiled(kind)
