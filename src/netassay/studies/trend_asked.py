"""Asked: the networks of a trend, by family, refused where they do not fit before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from torch import nn

from netassay.data import Data, splits
from netassay.engine import Payload
from netassay.errors import BadInput, UnknownName
from netassay.patterns import LEAST
from netassay.spec import Spec, parse
from netassay.studies.init_asked import basics, identity, whole, words
from netassay.studies.trend_cell import HOW
from netassay.training import Diverged, train
from netassay.zoo import built, expanded

Question = dict[str, Any]
Layers = str | Sequence[str] | Mapping[str, str | Sequence[str]] | None


class Kind(NamedTuple):
    """How a trend maps networks: its study, its cell, rows and columns, and the layers that a network would have."""

    study: str
    cell: Callable[[Mapping[str, Any]], Payload]
    axes: tuple[str, str]
    tried: Callable[[nn.Module, Question, Data], Sequence[str]]
    fit: str


def training(asked: Mapping[str, Any], *counts: str) -> Question:
    """Return what is asked with the counts and numbers of training, plain, or refuse."""
    question = basics({**asked, "model": ""}, ("epochs", "samples", "batch_size", *counts), ("lr", "level"))
    del question["model"]
    return question | {"steps": None if asked["steps"] is None else whole("steps", asked["steps"])}


def families_of(specs: Any, family: Any) -> dict[str, str]:
    """Return the family of each spec: as given, or its name with the options in which specs of the name differ.

    >>> families_of(["densenet[2,2]:growth=4", "densenet[2,2]:growth=4,skip=end"], None)
    {'densenet[2,2]:growth=4': 'densenet', 'densenet[2,2]:growth=4,skip=end': 'densenet:skip=end'}
    """
    wanted = [str(parse(one)) for one in words("specs", specs, "specs=['resnet[1,1]', 'resnet[2,2]']")]
    if family is None:
        full = {one: expanded(parse(one)) for one in wanted}
        return {one: _family(spec, list(full.values())) for one, spec in full.items()}
    names = [family] * len(wanted) if isinstance(family, str) else list(family)
    if len(names) != len(wanted):
        found = f"{len(names)} families for {len(wanted)} specs"
        raise BadInput("a trend", found, "name one family for each spec, or one for all")
    return dict(zip(wanted, names, strict=True))


def _family(spec: Spec, every: Sequence[Spec]) -> str:
    kin = [one.options.items() for one in every if one.name == spec.name]
    own = [f"{key}={value}" for key, value in spec.options.items() if any((key, value) not in one for one in kin)]
    return spec.name + (":" + ",".join(own) if own else "")


def begun(
    kind: Kind, asked: Question, families: Mapping[str, str], layers: Layers, seeds: Sequence[int], keep: str | None
) -> tuple[Question, list[Question]]:
    """Train each network on a batch and try its layers, so that what does not fit is refused; return the cells.

    Each cell takes a hash of its network as the factory makes it and of its first batches: another factory or file
    under the same name is another cell of a ledger.
    """
    if len(seeds) < 2:
        raise BadInput(f"a trend with seeds={list(seeds)}", "one network of each, and no pair", "seeds=3")
    about: Question = {}
    cells: list[Question] = []
    for spec, family in families.items():
        one = {**asked, "model": spec, "layers": _layers(layers, family, families), "seeds": list(seeds), "keep": keep}
        learn, test = splits(one["data"], batch_size=one["batch_size"])
        network = built(spec, learn.input_shape, learn.classes, seed=seeds[0], device=one["device"])
        with suppress(Diverged):
            train(network, [next(iter(learn))], epochs=1, **{name: one[name] for name in HOW})
        size = len(kind.tried(network, one, test))
        if size < LEAST:
            found = f"{size} of the layers asked for {kind.fit}"
            raise BadInput(
                f"the pattern of {spec}", found, f"compare {LEAST} layers or more, e.g. layers='type:Conv2d'"
            )
        about = identity(spec, learn, test) | {"split": learn is not test}
        cells.append({**one, "hash": about.pop("model_hash") + about.pop("data_hash")})
    return about, cells


def _layers(layers: Layers, family: str, families: Mapping[str, str]) -> list[str] | None:
    if isinstance(layers, Mapping):
        for name in layers:
            if name not in families.values():
                raise UnknownName("family of this trend", name, list(dict.fromkeys(families.values())))
        layers = layers.get(family)
    return None if layers is None else words("layers", layers, "layers='type:ReLU'")
