"""Stitch halves: networks cut at layers, their activations and what they expect, made once for many stitches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from netassay.cutting import Cut, Refused, cuts, passing
from netassay.cutting.frozen import unhooked
from netassay.cutting.model import Model
from netassay.data import Data, load_data, splits
from netassay.errors import BadInput
from netassay.layers import exactly
from netassay.quiet import state_hash
from netassay.stitching import Expected, answers
from netassay.studies.channel_streams import nonlinearities
from netassay.studies.forward import device_of
from netassay.studies.provenance import makeup_hash
from netassay.studies.stitch_answers import Later, Rest, scored
from netassay.studies.stitch_controls import ITSELF, NOISE, RANDOM, SHUFFLED, noise, redrawn, shuffled
from netassay.studies.stitch_kept import Kept, Store
from netassay.studies.twins import settle
from netassay.zoo import built

HELD: dict[str, Any] = {}
"""Models and data of the caller's that no spec can make again, by their token; in this process only."""
TRIED = 4
"""Samples that a cut is tried on."""
NETS, RECEIVERS = 8, 64
"""Networks and receivers' halves that are kept ready; the others are made again."""
PARTS = ("fit", "test")
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Samples to match on, or to judge on."""

    x: Tensor
    y: Tensor


@dataclass(eq=False)
class Side:
    """A network, its variant, its cuts so far, and which of them it has by default, once that was looked for."""

    key: tuple[str, str, str, int]
    model: nn.Module
    hash: str
    opened: Model
    cuts: dict[str, Cut] = field(default_factory=dict)
    usual: list[str] | None = None


class Bench:
    """All that cells share in one process: the samples, networks, activations, and what receivers expect."""

    def __init__(self, asked: Mapping[str, Any], budget: int) -> None:
        self.asked = asked
        self.data, self.parts = parts(asked)
        self.classes = 1 + max(int(part.y.max()) for part in self.parts.values())
        self.store = Store(budget)
        self._sides: OrderedDict[Hashable, Side] = OrderedDict()
        self._expected: OrderedDict[Hashable, Expected] = OrderedDict()
        self._right: dict[tuple[str, ...], Tensor] = {}

    def side(self, named: Sequence[str], variant: str, draw: int = 0) -> Side:
        """Return a network, or one of its random twins; `named` is what it is made from, and its hash."""
        variant, draw = (RANDOM, draw) if variant == RANDOM else ("", 0)
        source, known = named
        key = source, known, variant, draw
        return _recent(self._sides, key, NETS, lambda: self._side(*key))

    def _side(self, source: str, known: str, variant: str, draw: int) -> Side:
        model = network(source, self.data, self.asked["device"])
        if makeup_hash(model) != known:
            found = "other modules or weights than when the grid began"
            raise BadInput(f"stitch {source}", found, "give a spec that makes the same each time, or start anew")
        if variant == RANDOM:
            model = unhooked(redrawn(model, self.asked["seed"], draw))
            settle(model, load_data(self.parts["fit"].x, batch_size=self.asked["batch_size"]))
        example = self.parts["fit"].x[:TRIED].to(device_of(model))
        return Side((source, known, variant, draw), model, state_hash(model), Model(model, example))

    @torch.no_grad()
    def right(self, named: Sequence[str]) -> Tensor:
        """Tell which of the samples to match on a network itself answers right."""
        key = tuple(named)
        if key not in self._right:
            model, part = self.side(named, ITSELF).model, self.parts["fit"]
            self._right[key] = answers(scored(model, part.x, self.asked["batch_size"])) == part.y
        return self._right[key]

    def prepare(self, side: Side, layers: Sequence[str]) -> None:
        """Cut a network at layers, where that was not done before."""
        if missing := [exactly(layer.split("#")[0]) if layer else "" for layer in layers if layer not in side.cuts]:
            self.cut(side, missing)

    def cut(self, side: Side, layers: str | Sequence[str] | None) -> list[Cut | Refused]:
        """Cut a network at the layers that match, and keep what is clean.

        By default at every activation, or, where none of these is clean, at every layer.
        """
        if layers is None and (names := nonlinearities(side.model)):
            found = self.cut(side, [exactly(name) for name in names])
            if any(isinstance(one, Cut) for one in found):
                return found
        found = cuts(side.opened, side.opened.example, layers, allow_skips=self.asked["allow_skips"])
        side.cuts.update({one.layer: one for one in found if not isinstance(one, Refused)})
        return found

    def sent(self, side: Side, variant: str, layer: str, part: str) -> Kept:
        """Return a sender's activations of a part's samples, or what a control sends in their place."""
        samples, size, seed = self.parts[part], self.asked["batch_size"], self.asked["seed"]
        at, key = side.cuts[layer], self.named(side, variant, layer, part)
        if variant == NOISE:
            number = PARTS.index(part)
            return self.store.get(key, lambda: noise(at, samples.y, self.classes, seed, number, size))
        if variant == SHUFFLED and part == "fit":
            return self.store.get(key, lambda: self._front(at, shuffled(samples.x, seed)))
        return self.store.get(key, lambda: self._front(at, samples.x))

    def named(self, side: Side, variant: str, layer: str, part: str) -> tuple[Hashable, ...]:
        """Return what a sender's activations are kept under: the same for the same numbers."""
        at = side.cuts[layer]
        if variant == NOISE:
            return (NOISE, at.kind, at.shape, part)
        return (side.key, layer, SHUFFLED if variant == SHUFFLED and part == "fit" else part)

    @torch.no_grad()
    def _front(self, at: Cut, x: Tensor) -> Iterator[Tensor]:
        for batch in torch.split(x, self.asked["batch_size"]):
            yield at.front(batch.to(at.example.device)).cpu()

    def rest(self, side: Side, layer: str) -> Callable[[Tensor], Tensor]:
        """Return what follows a cut, from activations to answers."""
        batches = torch.split(self.parts["test"].x, self.asked["batch_size"])
        return Rest(side.cuts[layer], batches, self._dtype(side, layer))

    def later(self, side: Side, layer: str) -> Callable[[Tensor], list[Tensor]]:
        """Return what follows a cut, from activations to those of its usual layers that come later, and answers."""
        if side.usual is None:
            side.usual = [one.layer for one in self.cut(side, None) if isinstance(one, Cut)]
        labels = [spot.label for spot in side.opened.all]
        after = labels[labels.index(layer) + 1 :]
        half = passing(side.opened, side.cuts[layer], [one for one in side.usual if one in after])
        return Later(side.cuts[layer], half, self._dtype(side, layer))

    def _dtype(self, side: Side, layer: str) -> torch.dtype:
        return self.sent(side, "", layer, "fit").batches[0].dtype

    def expected(self, side: Side, layer: str) -> Expected:
        """Return what a receiver expects at a cut; what goes around it begins with the first sample."""
        made = _recent(self._expected, (side.key, layer), RECEIVERS, lambda: self._expects(side, layer))
        made.rest = self.rest(side, layer)
        return made

    def _expects(self, side: Side, layer: str) -> Expected:
        fit, held = (self.sent(side, "", layer, part) for part in PARTS)
        return Expected(self.rest(side, layer), fit, held, self.parts["test"].y, side.cuts[layer].shape)


def network(source: str, data: Data, device: str | None) -> nn.Module:
    """Return the network of a spec, or the caller's own."""
    if not source.startswith("<"):
        return built(source, data.input_shape, data.classes, device=device)
    if source not in HELD:
        found = "a model in memory, which this process does not have"
        raise BadInput(f"stitch {source}", found, "give specs, e.g. 'resnet18:weights=PATH', or workers=0")
    model: nn.Module = HELD[source]
    if device is not None and device_of(model).type != torch.device(device).type:
        found = f"a model on {device_of(model)}"
        raise BadInput(f"stitch {source} with device={device!r}", found, f"model.to({device!r}), or leave device out")
    return model


def parts(asked: Mapping[str, Any]) -> tuple[Data, dict[str, Part]]:
    """Return the data, and the samples to match and to judge on: of the train and the test split where there are two.

    Else the first are matched on and those after them judged on.
    """
    source, size, fit, test = (asked[name] for name in ("data", "batch_size", "fit", "samples"))
    if source.startswith("<") and source not in HELD:
        found = "data in memory, which this process does not have"
        raise BadInput(f"stitch on {source}", found, "give a spec, e.g. 'digits', or workers=0")
    one = load_data(HELD[source], batch_size=size) if source in HELD else None
    learn, other = (one, one) if one is not None else splits(source, batch_size=size)
    if learn is not other:
        made = {"fit": _part(learn, fit), "test": _part(other, test)}
    else:
        whole = _part(learn, fit + test)
        first = min(fit, len(whole.y) * fit // (fit + test))
        made = {"fit": Part(whole.x[:first], whole.y[:first]), "test": Part(whole.x[first:], whole.y[first:])}
    counts = [len(part.y) for part in made.values()]
    if counts[0] < 2 or not counts[1]:
        told = f"{counts[0]} samples to match on and {counts[1]} to judge on"
        raise BadInput(f"stitch on {learn.spec}", told, "give more samples, or ask for fit=2 and samples=1 at least")
    return learn, made


def _part(data: Data, samples: int) -> Part:
    batches = list(data.first(samples))
    for batch in batches:
        if batch.y is None or batch.y.is_floating_point() or batch.y.dim() != 1:
            raise BadInput(f"stitch on {data.spec}", "samples without a class each", "give (x, y), y of integers (N,)")
        if bool((batch.y < 0).any()):
            found = f"a label {int(batch.y.min())}"
            raise BadInput(f"stitch on {data.spec}", found, "leave such samples out; classes count from 0")
    return Part(torch.cat([one.x for one in batches]), torch.cat([one.y for one in batches if one.y is not None]))


def _recent(known: OrderedDict[Hashable, T], key: Hashable, most: int, make: Callable[[], T]) -> T:
    """Return what is known under a key, or make it; the one used longest ago goes where there are too many."""
    if key not in known:
        while len(known) >= most:
            known.popitem(last=False)
        known[key] = make()
    known.move_to_end(key)
    return known[key]
