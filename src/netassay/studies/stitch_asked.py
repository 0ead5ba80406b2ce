"""Stitch asked: which networks, layers and controls make the cells of a grid, refused before anything is stitched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from netassay.cutting import Cut, Refused
from netassay.errors import BadInput, LayerNotFound
from netassay.stitching import CLOSED, answers, form
from netassay.studies.provenance import makeup_hash
from netassay.studies.similarity_claims import nearest
from netassay.studies.stitch_answers import scored
from netassay.studies.stitch_controls import CONTROLS, ITSELF, NONE, RANDOM, draws, redrawn
from netassay.studies.stitch_halves import Bench, network

Patterns = str | Sequence[str] | None
Question = dict[str, Any]
ALWAYS = ("identity", "self")
"""Controls of a network with itself: its own layers, one by one."""


@dataclass(frozen=True, eq=False)
class Net:
    """A network: its name, what it is made from, its hash, the cuts asked for, clean and refused, and its accuracy."""

    name: str
    source: str
    hash: str
    found: list[Cut | Refused]
    spec: str
    accuracy: float
    answers: int

    @property
    def named(self) -> list[str]:
        """What a cell calls it."""
        return [self.source, self.hash]

    @property
    def clean(self) -> list[Cut]:
        """The places it can be cut at, in order of execution."""
        return [one for one in self.found if isinstance(one, Cut)]

    @property
    def layers(self) -> list[str]:
        """Their names."""
        return [one.layer for one in self.clean]


def opened(source: str, name: str, layers: Patterns, asked: Question, bench: Bench, controls: Sequence[str]) -> Net:
    """Build a network, cut it where asked, and make sure that it answers classes and can be drawn anew."""
    named = source, makeup_hash(network(source, bench.data, asked["device"]))
    side = bench.side(named, ITSELF)
    try:
        model, found = side.model, bench.cut(side, layers)
    except LayerNotFound as error:
        error.asked = f"{error.asked}, the network {name!r}"
        raise
    if not found:
        raise BadInput(f"stitch {name}", "no layer asked for", "name one at least, or leave layers out")
    if not any(isinstance(one, Cut) for one in found):
        raise BadInput(f"stitch {name}", f"no clean cut; {found[0]}", "name other layers, or allow_skips=True")
    scores = scored(model, bench.parts["test"].x, asked["batch_size"])
    if any(RANDOM in CONTROLS[one] for one in controls):
        redrawn(model, asked["seed"])
    right = float((answers(scores) == bench.parts["test"].y).double().mean())
    spec = str(getattr(model, "spec", source))
    return Net(name, *named, found, spec, right, scores.shape[1])


def cells(
    senders: Sequence[Net], receivers: Sequence[Net], asked: Question, controls: Sequence[str], ranks: Sequence[int]
) -> Iterator[Question]:
    """List the cells; those that share a receiver's half follow each other."""
    how = {name: value for name, value in asked.items() if name not in ("controls", "ranks")}
    beside = [name for name in CONTROLS if CONTROLS[name].beside and (name == NONE or name in controls)]
    given: set[tuple[str, str, str]] = set()
    for net in (*senders, *receivers):
        for control in ALWAYS:
            if control in controls and (control == "identity" or net in receivers):
                changed = {"adapter": "identity", "matching": CLOSED} if control == "identity" else {}
                # A network on both sides may give other layers to each.
                new = [one for one in net.layers if (net.name, one, control) not in given]
                given.update((net.name, one, control) for one in new)
                yield from ({**how, **changed, **_cell(net, one, net, [one], control)} for one in new)
    for receiver in receivers:
        for random in (False, True):
            mine = [name for name in beside if (CONTROLS[name].receiver == RANDOM) is random]
            for sender, control, draw, layer in _product(senders, mine):
                yield {**how, **_cell(sender, layer, receiver, receiver.layers, control, draw)}
        if "capacity" in controls:
            yield from (one for sender in senders for one in _capacity(sender, receiver, how, ranks))


def _product(senders: Sequence[Net], controls: Sequence[str]) -> Iterator[tuple[Net, str, int, str]]:
    return (
        (net, name, draw, layer) for net in senders for name in controls for draw in draws(name) for layer in net.layers
    )


def _cell(sender: Net, layer: str, receiver: Net, layers: Sequence[str], control: str, draw: int = 0) -> Question:
    told = {"sender": sender.named, "sender_layer": layer, "receiver": receiver.named}
    return {**told, "receiver_layers": list(layers), "control": control, "draw": draw}


def _capacity(sender: Net, receiver: Net, how: Question, ranks: Sequence[int]) -> Iterator[Question]:
    """Stitch the middle layer of a sender into the nearest relative position, through so many channels."""
    i = len(sender.layers) // 2
    one, other = sender.clean[i], receiver.clean[nearest(len(sender.layers), len(receiver.layers))[i]]
    widest = min(form(one.shape).channels, form(other.shape).channels)
    told = _cell(sender, one.layer, receiver, [other.layer], "capacity")
    for rank in dict.fromkeys(min(rank, widest) for rank in ranks):
        yield {**how, **told, "adapter": f"low_rank:rank={rank}"}
