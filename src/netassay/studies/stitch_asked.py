"""Stitch asked: which networks, layers and controls make the cells of a grid, refused before anything is stitched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netassay.cutting import Cut, Refused, cuts
from netassay.errors import BadInput, UnknownName
from netassay.layers import exactly, named_layers
from netassay.quiet import quiet, state_hash
from netassay.records import first_tensor
from netassay.stitching import adapter, form
from netassay.studies.channel_streams import nonlinearities
from netassay.studies.forward import device_of
from netassay.studies.init_asked import several, whole
from netassay.studies.similarity_claims import nearest
from netassay.studies.stitch_cell import CLOSED
from netassay.studies.stitch_controls import CONTROLS, NONE, RANDOM, redrawn
from netassay.studies.stitch_halves import HELD, TRIED, Bench, network

Patterns = str | Sequence[str] | None
Question = dict[str, Any]
MATCHINGS = (CLOSED, "task", "soft")
COUNTS = ("fit", "samples", "batch_size", "epochs", "batch")
ALWAYS = ("identity", "self")
"""Controls of a network with itself: its own layers, one by one."""


@dataclass(frozen=True, eq=False)
class Net:
    """A network: its name, what it is made from, its hash, the cuts asked for, clean and refused, and its accuracy."""

    name: str
    source: str
    hash: str
    found: list[Cut | Refused]
    spec: str = ""
    accuracy: float = math.nan

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


def plainly(asked: Mapping[str, Any]) -> Question:
    """Return what all cells share as values that JSON carries, or refuse."""
    made = {**asked, **{name: whole(name, asked[name]) for name in COUNTS}}
    if made["matching"] not in MATCHINGS:
        raise UnknownName("matching", str(made["matching"]), MATCHINGS)
    made["adapter"] = _tried(made["adapter"], made["matching"])
    ridge = made["ridge"]
    if ridge is not None and not 0 <= ridge < math.inf:
        raise BadInput(f"stitch_grid with ridge={ridge}", "a penalty is 0 or more", "ridge=0, or None to choose it")
    if not 0 < made["level"] < 1:
        raise BadInput(f"stitch_grid with level={made['level']}", "a level is between 0 and 1", "level=0.95")
    if made["allow_skips"] and made["matching"] != CLOSED:
        found = "training shuffles samples, and what goes around a cut belongs to one"
        raise BadInput(f"stitch_grid with allow_skips and matching={made['matching']!r}", found, f"matching={CLOSED!r}")
    return made | {"ridge": None if ridge is None else float(ridge), "lr": float(made["lr"])}


def _tried(name: str, matching: str) -> str:
    made = adapter(name, (2,), (2,))
    if matching == CLOSED and made.recipe.solve is None:
        raise BadInput(f"adapter {name!r} in closed form", "it has none", "matching='task', or adapter='affine'")
    if matching != CLOSED and not made.recipe.trained:
        raise BadInput(f"adapter {name!r} with matching={matching!r}", "it is not trained", f"matching={CLOSED!r}")
    return made.name


def controls_of(given: Any) -> list[str]:
    """Return the controls asked for: all, none, or those named."""
    if isinstance(given, bool):
        return [name for name in CONTROLS if name != NONE] if given else []
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in CONTROLS or name == NONE:
            raise UnknownName("control", str(name), [one for one in CONTROLS if one != NONE])
    return names


def named(sides: Sequence[Any]) -> list[dict[str, str]]:
    """Name the networks of each side, and hold those that no spec makes again; name -> source."""
    names: dict[str, str] = {}
    return [{_free(name, source, names): source for name, source in _sources(side)} for side in sides]


def _free(name: str, source: str, names: dict[str, str]) -> str:
    """Return a name that no other network has; a network keeps its first."""
    if source not in names:
        names[source] = name if name not in names.values() else f"{name} ({len(names) + 1})"
    return names[source]


def _sources(side: Any) -> list[tuple[str, str]]:
    if isinstance(side, Mapping):
        found = [(str(name), _source(one)) for name, one in side.items()]
    else:
        each = [side] if isinstance(side, str | nn.Module) else several(side)
        found = [(_name(one), _source(one)) for one in each]
    if not found:
        raise BadInput("stitch_grid of no network", "nothing to stitch", "give a model or a spec")
    sources = [source for _, source in found]
    twice = [name for i, (name, source) in enumerate(found) if source in sources[:i]]
    if twice:
        found_twice = f"{twice[0]!r} is there twice"
        raise BadInput("the networks of stitch_grid", found_twice, "give each once; receivers=None takes the senders")
    return found


def _name(one: Any) -> str:
    return one if isinstance(one, str) else str(getattr(one, "spec", type(one).__name__))


def _source(one: Any) -> str:
    if isinstance(one, str):
        return one
    named_layers(one)  # refuses what is no model
    token = f"<model {state_hash(one)} {type(one).__name__}>"
    HELD[token] = one
    return token


def opened(source: str, name: str, layers: Patterns, asked: Question, bench: Bench, controls: Sequence[str]) -> Net:
    """Build a network, cut it where asked, and make sure that it answers classes and can be drawn anew."""
    model = network(source, bench.data, asked["device"])
    example = bench.parts["fit"].x[:TRIED].to(device_of(model))
    found = _cut(model, example, layers, asked["allow_skips"])
    if not any(isinstance(one, Cut) for one in found):
        raise BadInput(f"stitch {name}", f"no clean cut; {found[0]}", "name other layers, or allow_skips=True")
    with quiet(model), torch.no_grad():
        out = first_tensor(model(example.clone()))
    if out is None or out.dim() != 2:
        shape = None if out is None else tuple(out.shape)
        raise BadInput(f"stitch {name}", f"it answers {shape}, not (N, classes)", "wrap it so that it gives logits")
    if any(RANDOM in CONTROLS[one] for one in controls):
        redrawn(model, asked["seed"])
    return Net(name, source, state_hash(model), found, str(getattr(model, "spec", source)), _accuracy(model, bench))


@torch.no_grad()
def _accuracy(model: nn.Module, bench: Bench) -> float:
    """Return the share of right answers on the samples judged on."""
    part, right = bench.parts["test"], 0
    with quiet(model):
        for x, y in zip(*(torch.split(each, bench.asked["batch_size"]) for each in (part.x, part.y)), strict=True):
            out = first_tensor(model(x.to(device_of(model))))
            assert out is not None
            right += int((out.argmax(1).cpu() == y).sum())
    return right / len(part.y)


def _cut(model: nn.Module, example: Tensor, layers: Patterns, allow_skips: bool) -> list[Cut | Refused]:
    """Cut at the layers asked for; by default at every activation, or, where none is clean, at every layer."""
    if layers is not None:
        return cuts(model, example, layers, allow_skips=allow_skips)
    patterns = [exactly(name) for name in nonlinearities(model)]
    found = cuts(model, example, patterns, allow_skips=allow_skips) if patterns else []
    clean = any(isinstance(one, Cut) for one in found)
    return found if clean else cuts(model, example, allow_skips=allow_skips)


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
                changed = {"adapter": "identity"} if control == "identity" else {}
                # A network on both sides may give other layers to each.
                new = [one for one in net.layers if (net.name, one, control) not in given]
                given.update((net.name, one, control) for one in new)
                yield from ({**how, **changed, **_cell(net, one, net, [one], control)} for one in new)
    for receiver in receivers:
        for random in (False, True):
            mine = [name for name in beside if (CONTROLS[name].receiver == RANDOM) is random]
            for sender, layer, control in _product(senders, mine):
                yield {**how, **_cell(sender, layer, receiver, receiver.layers, control)}
        if "capacity" in controls:
            yield from (one for sender in senders for one in _capacity(sender, receiver, how, ranks))


def _product(senders: Sequence[Net], controls: Sequence[str]) -> Iterator[tuple[Net, str, str]]:
    return ((net, layer, control) for net in senders for layer in net.layers for control in controls)


def _cell(sender: Net, layer: str, receiver: Net, layers: Sequence[str], control: str) -> Question:
    told = {"sender": sender.named, "sender_layer": layer, "receiver": receiver.named}
    return {**told, "receiver_layers": list(layers), "control": control}


def _capacity(sender: Net, receiver: Net, how: Question, ranks: Sequence[int]) -> Iterator[Question]:
    """Stitch the middle layer of a sender into the nearest relative position, through so many channels."""
    i = len(sender.layers) // 2
    one, other = sender.clean[i], receiver.clean[nearest(len(sender.layers), len(receiver.layers))[i]]
    widest = min(form(one.shape).channels, form(other.shape).channels)
    told = _cell(sender, one.layer, receiver, [other.layer], "capacity")
    for rank in dict.fromkeys(min(rank, widest) for rank in ranks):
        yield {**how, **told, "adapter": f"low_rank:rank={rank}"}
