"""Cuts: any model in two at a layer, where nothing else goes around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from netassay.counting import counting
from netassay.cutting.crossing import Crossing, around, makers
from netassay.cutting.frozen import Half, same_bits
from netassay.cutting.layout import Layout
from netassay.cutting.model import Halves, Model, Spot, sentence
from netassay.errors import BadInput
from netassay.records import first_tensor

ELSEWHERE = "cut at another layer"


@dataclass(frozen=True, eq=False)
class Cut:
    """A model in two: `front(x)` gives what a layer makes and stops there, `rest(y)` runs only what follows.

    `layer`: its name, `name#call` where it is called more than once, "" for the input. `kind` and `shape` of y:
    "image" (N, C, H, W), "tokens" (N, T, C) or "vector" (N, C); samples first, and not in `shape`. `how`: "graph"
    (torch.fx) or "hooks". `skips` names what goes around the layer and, since that was allowed, comes from the model's
    own run on `x`: `rest(y, x)` then. The halves share the model's tensors: train it, and
    they follow.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    how: str
    front: Half
    rest: Half
    skips: str
    example: Tensor = field(repr=False)

    def whole(self, x: Tensor) -> Any:
        """Give the model's output by way of y."""
        y = self.front(x)
        return self.rest(y, x) if self.skips else self.rest(y)

    @cached_property
    def multiply_adds(self) -> int:
        """Multiply-adds of the front, for one sample."""
        with torch.no_grad(), counting() as counter:
            self.front(self.example)
        return int(counter.get_total_flops() // 2 // len(self.example))


@dataclass(frozen=True)
class Refused:
    """A layer that is no place to cut at, what was found there, and what to do instead."""

    layer: str
    found: str
    next: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.found}; {self.next}"


def cut(model: nn.Module, layer: str, example: Tensor, *, allow_skips: bool = False) -> Cut:
    """Cut a model at a layer's output.

    `layer` is a dotted name, with `#call` where the layer is called more than once, or "" for the input; `example` is
    an input of a few samples, (N, ...). `rest(front(x))` is bit by bit what the model gives in eval mode with frozen
    weights and without torch's fused transformer layers; that is checked on the example. The model is not touched.

    Raises `BadInput` where something goes around the layer, unless `allow_skips`: then `rest(y, x)` takes that from
    the model's own run on `x`. Raises `LayerNotFound` for a name that the model lacks.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> at = cut(model, "1", torch.ones(4, 2))
    >>> at.kind, at.shape, at.how, at.multiply_adds
    ('vector', (3,), 'graph', 6)
    >>> bool((at.rest(at.front(torch.ones(4, 2))) == model(torch.ones(4, 2))).all())
    True
    """
    opened = Model(model, example)
    found = _at(opened, opened.spot(layer), allow_skips)
    if isinstance(found, Refused):
        raise BadInput(f"cut {opened.name} at {layer!r}", found.found, found.next)
    return found


def cuts(
    model: nn.Module | Model, example: Tensor, layers: str | Sequence[str] | None = None, *, allow_skips: bool = False
) -> list[Cut | Refused]:
    """Cut a model at each layer that matches, each call by itself, in order of execution; None: at every layer.

    A layer that is no place to cut at is `Refused`, with a sentence. Patterns as in `select`; "" is the input. What is
    cut again and again is opened once: `Model(model, example)`.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Flatten(0))
    >>> [one.shape if isinstance(one, Cut) else str(one) for one in cuts(model, torch.ones(4, 2))]
    [(3,), (3,), '2: its output (12,) has no axis for the 4 samples; cut at another layer']
    """
    opened = model if isinstance(model, Model) else Model(model, example)
    return [_at(opened, spot, allow_skips) for spot in opened.spots(layers)]


def passing(opened: Model, at: Cut, later: Sequence[str]) -> Half:
    """Return a half that runs what follows a clean cut and tells what is made on the way: a list, the output last.

    `half(y)` gives a copy of what each cut of `later`, clean and in order of execution behind this one, would have
    from its front, and the model's output; gradient flows through all of them to y.

    Raises `BadInput` for a cut with skips, and for a layer that is no place to cut at or does not run behind the one
    before it.

    >>> opened = Model(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(4, 2))
    >>> first, *_ = cuts(opened, opened.example)
    >>> [tuple(one.shape) for one in passing(opened, first, ["1"])(torch.ones(4, 3))]
    [(4, 3), (4, 1)]
    """
    spots = [opened.spot(one) for one in (at.layer, *later)]
    places, asked = [opened.all.index(one) for one in spots], f"what passes from {at.layer!r} to {list(later)}"
    if at.skips:
        raise BadInput(asked, f"{at.skips} goes around the cut", "cut where nothing goes around")
    if sorted(set(places)) != places:
        raise BadInput(asked, "not each runs behind the one before it", "name each once, in order of execution")
    layouts = [one.layout for one in spots if one.layout is not None]
    if len(layouts) < len(spots):
        odd = next(one for one in spots if one.layout is None)
        raise BadInput(asked, f"{odd.label}: {odd.found}", "leave it out")
    twin, run = opened.passing(spots[0], at.how, spots[1:])
    return Half(twin, _Passing(run, layouts[0], layouts[1:]))


def _at(opened: Model, spot: Spot, allow_skips: bool) -> Cut | Refused:
    if spot.layout is None:
        return Refused(spot.label, spot.found, ELSEWHERE)
    try:
        with torch.no_grad():
            halves = opened.halves(spot)
            if halves.crossings and not allow_skips:
                return _skipped(spot, halves.crossings)
            made = _made(opened, spot, spot.layout, halves)
            same = same_bits(made.whole(opened.example), opened.output)
    except Exception as error:  # users' code meets tensors without values there, and may raise anything
        return Refused(spot.label, f"what follows cannot run alone: {sentence(error)}", ELSEWHERE)
    found = "its halves do not give the model's output: chance or a buffer goes around"
    return made if same else Refused(spot.label, found, ELSEWHERE)


def _made(opened: Model, spot: Spot, layout: Layout, halves: Halves) -> Cut:
    skips = makers(halves.crossings)
    front = Half(halves.twin, _Front(halves.front, layout))
    rest = Half(halves.twin, _Rest(halves.rest, layout, spot.label, skips))
    return Cut(spot.label, layout.kind, spot.shape, halves.how, front, rest, skips, opened.example)


def _skipped(spot: Spot, crossings: Sequence[Crossing]) -> Refused:
    owner = around(spot.layer.name, crossings)
    found = f"the skip of {owner or 'the model'} goes around it, from {makers(crossings)}"
    return Refused(spot.label, found, f"cut at {owner} or pass allow_skips=True" if owner else "pass allow_skips=True")


@dataclass(frozen=True)
class _Front:
    run: Callable[[Tensor], Any]
    layout: Layout

    def __call__(self, x: Tensor) -> Tensor:
        y = first_tensor(self.run(x.clone()))
        assert y is not None
        return self.layout.out(y)


@dataclass(frozen=True)
class _Passing:
    run: Callable[[Tensor], list[Any]]
    layout: Layout
    later: Sequence[Layout]

    def __call__(self, y: Tensor) -> list[Any]:
        *made, output = self.run(self.layout.back(y))
        return [*(layout.out(one) for layout, one in zip(self.later, made, strict=True)), output]


@dataclass(frozen=True)
class _Rest:
    run: Callable[[Tensor, Tensor | None], Any]
    layout: Layout
    label: str
    skips: str

    def __call__(self, y: Tensor, x: Tensor | None = None) -> Any:
        if self.skips and x is None:
            found = f"{self.skips} goes around the cut, and comes from the model's own run on x"
            raise BadInput(f"the rest behind {self.label!r} for y alone", found, "rest(y, x)")
        return self.run(self.layout.back(y), x.clone() if self.skips and x is not None else None)
