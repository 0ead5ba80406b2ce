"""Model: what is known of a model before it is cut: its calls on an example, in order, and what each makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from netassay.axes import NOWHERE, Axes, grown
from netassay.capturing import visit
from netassay.cutting import graph, hooked
from netassay.cutting.crossing import Crossing
from netassay.cutting.frozen import frozen, still
from netassay.cutting.graph import End, traced
from netassay.cutting.layout import KINDS, Layout
from netassay.errors import BadInput, LayerNotFound
from netassay.layers import Layer, label, select
from netassay.records import Record


@dataclass(frozen=True)
class Spot:
    """One call of one layer: what it makes, or, without a layout, why no cut can be there."""

    layer: Layer
    call: int
    label: str
    returned: str
    shape: tuple[int, ...]
    layout: Layout | None = None
    found: str = ""


class Halves(NamedTuple):
    """What runs on either side of a cut, by which means, over which modules, and what goes around it."""

    how: str
    twin: nn.Module
    front: Callable[[Tensor], Any]
    rest: Callable[[Tensor, Tensor | None], Any]
    crossings: list[Crossing]


class Model:
    """A frozen twin, its calls, its operations where torch.fx finds them, and its output for the example."""

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.name = type(model).__name__
        self.twin = frozen(model)
        _checked(self.name, example)
        self.example = example.detach()
        rows, self.output = self._run(self.example)
        more, _ = self._run(torch.cat([self.example, self.example[:1]]))
        shapes = {record.key: shape for record, shape, _ in more}
        calls = [record.layer.name for record, *_ in rows]
        self.all = [self._input()] + [
            self._spot(record, calls.count(record.layer.name), shape, shapes.get(record.key), channels)
            for record, shape, channels in rows
        ]
        self.graph = traced(frozen(model), self.example, self.output)

    def _run(self, x: Tensor) -> tuple[list[tuple[Record, tuple[int, ...] | None, int]], Any]:
        rows: list[tuple[Record, tuple[int, ...] | None, int]] = []
        axes = Axes(len(x))

        def note(record: Record) -> None:
            rows.append((record, None if record.y is None else tuple(record.y.shape), axes.note(record)))

        try:
            with still(self.twin), torch.no_grad(), visit(self.twin, on_forward=note):
                return rows, self.twin(x.clone())
        except Exception as error:
            found = f"on inputs {tuple(x.shape)} it raises {sentence(error)}"
            raise BadInput(f"cut {self.name}", found, "an example that its forward takes alone") from error

    def _input(self) -> Spot:
        shape = tuple(self.example.shape)
        layer = Layer("", self.twin)
        if not self.example.is_floating_point() or len(shape) not in KINDS:
            return Spot(layer, 0, "", "Tensor", (), None, f"inputs {shape} of {self.example.dtype} are no features")
        layout = Layout.of(shape, 0, 1 if len(shape) == 4 else len(shape) - 1)
        return Spot(layer, 0, "", "Tensor", _bare(shape, layout), layout)

    def _spot(
        self, record: Record, calls: int, shape: tuple[int, ...] | None, more: tuple[int, ...] | None, channels: int
    ) -> Spot:
        known = record.layer, record.call, label(record.layer.name, record.call, calls), record.returned
        found, samples = _odd(record, shape, more, len(self.example))
        if found or shape is None:
            return Spot(*known, shape or (), None, found)
        layout = Layout.of(shape, samples, channels)
        return Spot(*known, _bare(shape, layout), layout)

    def halves(self, spot: Spot) -> Halves:
        """Give what runs up to a call's end, what runs from there, and what goes around it."""
        end = self._end(spot)
        if self.graph is not None and end is not None:
            crossings = self.graph.crossing(end)
            tensors = [one for one in crossings if one.tensor]
            # Where sizes alone go around: the fake front of hooks has them, operations have not.
            if tensors or not crossings:
                front, rest = graph.Front(self.graph, end), graph.Rest(self.graph, end)
                return Halves("graph", self.graph.twin, front, rest, tensors)
        at = hooked.Front(self.twin, spot.layer, spot.call), self._hooked(spot)
        return Halves("hooks", self.twin, *at, hooked.crossing(*at, self.example))

    def passing(self, at: Spot, how: str, later: Sequence[Spot]) -> tuple[nn.Module, Callable[[Tensor], list[Any]]]:
        """Give what runs from a clean cut on: it returns copies of what later calls make, and the model's output."""
        begin, ends = self._end(at), [self._end(one) for one in later]
        known = [end for end in ends if end is not None]
        if self.graph is not None and begin is not None and how == "graph" and known == ends:
            return self.graph.twin, partial(graph.Rest(self.graph, begin).passing, later=known)
        calls = [(one.layer, one.call) for one in later]
        return self.twin, partial(self._hooked(at).passing, later=calls)

    def _hooked(self, spot: Spot) -> hooked.Rest:
        axis = 0 if spot.layout is None else spot.layout.order[0]
        return hooked.Rest(self.twin, spot.layer, spot.call, self.example, axis)

    def _end(self, spot: Spot) -> End | None:
        """Find where a call ends among the operations; None where they do not show it as one tensor."""
        if self.graph is None or spot.returned not in ("Tensor", "Parameter"):
            return None
        ends = self.graph.ends.get(spot.layer.name, [])
        return ends[spot.call] if spot.call < len(ends) else None

    def spots(self, layers: str | Sequence[str] | None) -> list[Spot]:
        """List the calls of the layers that match, in order of execution; None: of all."""
        if layers is None:
            return self.all[1:]
        asked = [layers] if isinstance(layers, str) else list(layers)
        patterns = [one for one in asked if one]
        names = {layer.name for layer in select(self.twin, patterns)} if patterns else set()
        return [spot for spot in self.all if spot.layer.name in names or (not spot.label and "" in asked)]

    def spot(self, wanted: str) -> Spot:
        """Find one call by its label."""
        named = {spot.label: spot for spot in self.all}
        if wanted in named:
            return named[wanted]
        asked = f"cut {self.name} at {wanted!r}"
        calls = [spot.label for spot in self.all if spot.layer.name == str(wanted).split("#")[0]]
        if calls:
            raise BadInput(asked, f"a layer that is called {len(calls)} times", f"use one of {', '.join(calls)}")
        if wanted in dict(self.twin.named_modules()):
            raise BadInput(asked, "a layer that the forward pass does not call", f"e.g. {self.all[-1].label!r}")
        raise LayerNotFound(wanted, self.name, list(named)[1:])


def _checked(name: str, example: Any) -> None:
    if not isinstance(example, Tensor):
        found = f"an example that is a {type(example).__name__}"
        raise BadInput(f"cut {name}", found, "a tensor; wrap a model of several inputs so that it takes one")
    if example.dim() < 2 or not len(example):
        raise BadInput(f"cut {name}", f"an example {tuple(example.shape)}", "a few samples, (N, ...)")


def _bare(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in layout.order[1:])


def _odd(record: Record, shape: tuple[int, ...] | None, more: tuple[int, ...] | None, samples: int) -> tuple[str, int]:
    """Say why a call's output is nothing to cut at ("": it is), and which axis holds its samples."""
    if shape is None:
        return f"it returns {record.returned}, without a floating tensor that has a sample axis", NOWHERE
    axis = None if more is None else grown(shape, more, samples)
    if axis == NOWHERE:
        return "what it makes is the same for any number of samples", NOWHERE
    if axis is None or shape[axis] != samples:
        return f"its output {shape} has no axis for the {samples} samples", NOWHERE
    if len(shape) not in KINDS:
        return f"its output {shape} is no image, no tokens and no vector", NOWHERE
    return "", axis


def sentence(error: Exception) -> str:
    """Give an error's class and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
