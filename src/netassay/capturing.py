"""Capture and visit: the two doors to a model while it runs, for looking and for studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from netassay.errors import BadInput, LayerNotFound
from netassay.hooks import Callback, Watch
from netassay.layers import Layer, select
from netassay.records import Record


@contextmanager
def visit(
    model: nn.Module,
    layers: str | Sequence[str] | Sequence[Layer] = "*",
    *,
    on_forward: Callback | None = None,
    on_backward: Callback | None = None,
    on_total: Callback | None = None,
) -> Iterator[Watch]:
    """Hand each call's tensors to callbacks while they are alive, and keep nothing.

    `on_forward(record)` sees `record.x` (None where the layer has overwritten it) and `record.y`; `on_backward(record)`
    sees `record.gy` and, where the graph shows it, `record.gx`; `on_total(record)`, later, `record.gx_total`. Reduce
    inside the callback: what comes later may overwrite these tensors. Yields the `Watch`, whose `forward`, `never_ran`
    and `places` tell what ran.

    >>> model, sizes = nn.Sequential(nn.Linear(2, 3), nn.ReLU()), []
    >>> with visit(model, "*", on_forward=lambda record: sizes.append(tuple(record.y.shape))):
    ...     _ = model(torch.ones(4, 2))
    >>> sizes
    [(4, 3), (4, 3)]
    """
    watch = Watch(_resolve(model, layers), on_forward, on_backward, on_total, keep=False)
    try:
        watch.open(watchable(model))
        yield watch
    finally:
        watch.close()


class Records:
    """The last forward and backward pass of the layers asked for, cloned; use as a context manager.

    `records["conv1"]` is the `Record` of a layer that was called once; `records["relu#0"]` one call of several.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer]) -> None:
        self._model, self._watch = model, Watch(layers, keep=True)

    def __enter__(self) -> Records:
        try:
            self._watch.open(self._model)
        except BaseException:
            self._watch.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()

    @property
    def forward_order(self) -> list[str]:
        """Labels in the order in which outputs were made."""
        return [self._watch.label(record) for record in self._watch.forward]

    @property
    def backward_order(self) -> list[str]:
        """Labels in the order in which gradients arrived at outputs."""
        return [self._watch.label(record) for record in self._watch.backward]

    @property
    def never_ran(self) -> list[str]:
        """Layers asked for that the last forward pass did not call."""
        return self._watch.never_ran

    def __getitem__(self, wanted: str) -> Record:
        known = {self._watch.label(record): record for record in self._watch.forward}
        if wanted in known:
            return _shown(wanted, known[wanted])
        calls = [one for one in known if one.split("#")[0] == wanted]
        if calls:
            raise BadInput(f"record {wanted!r}", f"a layer that was called {len(calls)} times", f"use {calls[0]!r}")
        if wanted in self._watch.layers:
            raise BadInput(f"record {wanted!r}", _why_never(self._model, wanted), "see records.forward_order")
        raise LayerNotFound(wanted, type(self._model).__name__, known or self._watch.layers)

    def __iter__(self) -> Iterator[str]:
        return iter(self.forward_order)

    def __len__(self) -> int:
        return len(self._watch.forward)

    def __contains__(self, wanted: object) -> bool:
        return wanted in self.forward_order


def capture(model: nn.Module, patterns: str | Sequence[str] = "*") -> Records:
    """Keep what goes through the layers of `model` while the context is open, for looking.

    The model's own calls are watched: run it, and call backward if gradients are wanted. See `Record` for what is
    kept; gradients are of whatever was differentiated, with its scaling.

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU())
    >>> with capture(model, "type:Linear") as records:
    ...     model(torch.ones(1, 2)).sum().backward()
    >>> records["0"].y.shape, records.forward_order, records.backward_order
    (torch.Size([1, 1]), ['0'], ['0'])
    """
    return Records(watchable(model), select(model, patterns))


def _resolve(model: nn.Module, layers: str | Sequence[str] | Sequence[Layer]) -> list[Layer]:
    if not isinstance(layers, str) and layers and all(isinstance(one, Layer) for one in layers):
        return [one for one in layers if isinstance(one, Layer)]
    return select(model, layers)  # type: ignore[arg-type]


def watchable(model: nn.Module) -> nn.Module:
    """Refuse models whose hooks would be passed over in silence."""
    parts = list(model.modules())
    if any(hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None for part in parts):
        raise BadInput(
            "watch a compiled model",
            "hooks that are set after torch.compile never run",
            "pass the model as it was before torch.compile (model._orig_mod)",
        )
    if any(isinstance(part, torch.jit.ScriptModule) for part in parts):
        raise BadInput("watch a scripted model", "torch.jit runs no such hooks", "pass the model before torch.jit")
    return model


def _shown(wanted: str, record: Record) -> Record:
    if record.y is None:
        raise BadInput(
            f"record {wanted!r}",
            f"a layer that returns {record.returned}, without a tensor that has a sample axis",
            "pad sequences instead of packing them, or capture a layer that returns a tensor",
        )
    return record


def _why_never(model: nn.Module, name: str) -> str:
    parent = model.get_submodule(name.rpartition(".")[0])
    if isinstance(parent, nn.MultiheadAttention):
        return "never ran: nn.MultiheadAttention uses its weight without calling it"
    return "never ran: the last forward pass did not call it"
