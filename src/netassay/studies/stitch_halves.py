"""Stitch halves: networks cut at layers, their activations and what they expect, made once for many stitches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from netassay.cutting import Cut, Refused, cuts
from netassay.data import Data, load_data, splits
from netassay.errors import BadInput
from netassay.layers import exactly
from netassay.quiet import quiet, state_hash
from netassay.records import first_tensor
from netassay.stitching import Expected
from netassay.studies.forward import device_of
from netassay.studies.stitch_controls import ITSELF, NOISE, RANDOM, SHUFFLED, noise, redrawn, shuffled
from netassay.studies.stitch_kept import Kept, Store
from netassay.studies.twins import settle
from netassay.zoo import built

HELD: dict[str, Any] = {}
"""Models and data of the caller's that no spec can make again, by their token; in this process only."""
TRIED = 4
"""Samples that a cut is tried on."""
NETS, RECEIVERS = 4, 64
"""Networks and receivers' halves that are kept ready; the others are made again."""
PARTS = ("fit", "test")
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Samples to match on, or to judge on."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, eq=False)
class Side:
    """A network, its variant, and its cuts as far as they were asked for."""

    key: tuple[str, str]
    model: nn.Module
    hash: str
    cuts: dict[str, Cut] = field(default_factory=dict)


class Bench:
    """All that cells share in one process: the samples, networks, activations, and what receivers expect."""

    def __init__(self, asked: Mapping[str, Any], budget: int) -> None:
        self.asked = asked
        self.data, self.parts = parts(asked)
        self.classes = 1 + max(int(part.y.max()) for part in self.parts.values())
        self.store = Store(budget)
        self._sides: OrderedDict[Hashable, Side] = OrderedDict()
        self._expected: OrderedDict[Hashable, Expected] = OrderedDict()
        self._right: dict[str, Tensor] = {}

    def side(self, named: Sequence[str], variant: str) -> Side:
        """Return a network, or its random twin; `named` is what it is made from, and its hash."""
        source, known = named
        variant = RANDOM if variant == RANDOM else ""
        return _recent(self._sides, (known, variant), NETS, lambda: self._side(source, known, variant))

    def _side(self, source: str, known: str, variant: str) -> Side:
        model = network(source, self.data, self.asked["device"])
        if state_hash(model) != known:
            found = "other weights than when the grid began"
            raise BadInput(f"stitch {source}", found, "give a spec that makes the same each time, or start anew")
        if variant == RANDOM:
            model = redrawn(model, self.asked["seed"])
            settle(model, load_data(self.parts["fit"].x, batch_size=self.asked["batch_size"]))
            return Side((known, variant), model, state_hash(model))
        return Side((known, variant), model, known)

    @torch.no_grad()
    def right(self, named: Sequence[str]) -> Tensor:
        """Tell which of the samples to match on a network itself answers right."""
        if named[1] not in self._right:
            size = self.asked["batch_size"]
            model, part = self.side(named, ITSELF).model, self.parts["fit"]
            with quiet(model):
                found = [first_tensor(model(x.to(device_of(model)))) for x in torch.split(part.x, size)]
            self._right[named[1]] = torch.cat([one.argmax(1).cpu() for one in found if one is not None]) == part.y
        return self._right[named[1]]

    def prepare(self, side: Side, layers: Sequence[str]) -> None:
        """Cut a network at layers, where that was not done before."""
        missing = [layer for layer in layers if layer not in side.cuts]
        if missing:
            example = self.parts["fit"].x[:TRIED].to(device_of(side.model))
            patterns = [exactly(layer.split("#")[0]) if layer else "" for layer in missing]
            found = cuts(side.model, example, patterns, allow_skips=self.asked["allow_skips"])
            side.cuts.update({one.layer: one for one in found if not isinstance(one, Refused)})

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
        return _Rest(side.cuts[layer], torch.split(self.parts["test"].x, self.asked["batch_size"]))

    def expected(self, side: Side, layer: str) -> Expected:
        """Return what a receiver expects at a cut."""
        return _recent(self._expected, (side.key, layer), RECEIVERS, lambda: self._expects(side, layer))

    def _expects(self, side: Side, layer: str) -> Expected:
        fit, held = (self.sent(side, "", layer, part) for part in PARTS)
        return Expected(self.rest(side, layer), fit, held, self.parts["test"].y, side.cuts[layer].shape)


class _Rest:
    """Runs what follows a cut. What goes around it comes from the run on the samples judged on, in their order."""

    def __init__(self, at: Cut, batches: Sequence[Tensor]) -> None:
        self.at, self.batches = at, cycle(batches)

    def __call__(self, z: Tensor) -> Tensor:
        device = self.at.example.device
        given = (z.to(device), next(self.batches).to(device)) if self.at.skips else (z.to(device),)
        made = first_tensor(self.at.rest(*given))
        assert made is not None
        return made.cpu()


def network(source: str, data: Data, device: str | None) -> nn.Module:
    """Return the network of a spec, or the caller's own."""
    if not source.startswith("<"):
        return built(source, data.input_shape, data.classes, device=device)
    if source not in HELD:
        found = "a model in memory, which this process does not have"
        raise BadInput(f"stitch {source}", found, "give specs, e.g. 'resnet18:weights=PATH', or workers=0")
    model: nn.Module = HELD[source]
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
        return learn, {"fit": _part(learn, fit), "test": _part(other, test)}
    whole = _part(learn, fit + test)
    first = min(fit, len(whole.y) * fit // (fit + test))
    return learn, {"fit": Part(whole.x[:first], whole.y[:first]), "test": Part(whole.x[first:], whole.y[first:])}


def _part(data: Data, samples: int) -> Part:
    batches = list(data.first(samples))
    for batch in batches:
        if batch.y is None or batch.y.is_floating_point() or batch.y.dim() != 1:
            raise BadInput(f"stitch on {data.spec}", "samples without a class each", "give (x, y), y of integers (N,)")
    return Part(torch.cat([one.x for one in batches]), torch.cat([one.y for one in batches if one.y is not None]))


def _recent(known: OrderedDict[Hashable, T], key: Hashable, most: int, make: Callable[[], T]) -> T:
    """Return what is known under a key, or make it; the one used longest ago goes where there are too many."""
    if key not in known:
        while len(known) >= most:
            known.popitem(last=False)
        known[key] = make()
    known.move_to_end(key)
    return known[key]
