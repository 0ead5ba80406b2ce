"""Asked: the switches of a gradient-flow study as models, data and trainings, refused where they do not fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from netassay.data import splits
from netassay.errors import BadInput
from netassay.inits import INITS
from netassay.spec import Spec, parse
from netassay.studies.flow_cell import HOW, made
from netassay.studies.flow_tables import told
from netassay.studies.init_asked import basics, identity, whole, words
from netassay.training import Diverged, train
from netassay.zoo import expanded

COUNTS, NUMBERS = ("epochs", "batch_size", "batches"), ("lr",)
SWITCHES: Mapping[str, Sequence[str]] = {
    "skip": ("residual", "none"),
    "norm": ("batch", "none"),
    "init": ("he", "default"),
}
"""What is switched unless others are named: the first level of each is the one that others are compared with."""

Question = dict[str, Any]
"""A model, its data and its training, in values that JSON carries."""


def plainly(asked: Mapping[str, Any]) -> Question:
    """Return what all cells share as values that JSON carries, or refuse."""
    question = basics(asked, COUNTS, NUMBERS)
    steps = question["steps"]
    return question | {"steps": None if steps is None else whole("steps", steps), "scheme": None}


def switches_of(given: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """Return the levels of each switch, each once, two or more, the reference first."""
    if given is not None and (not isinstance(given, Mapping) or not given):
        found = "no mapping of names to levels" if given else "nothing to switch"
        raise BadInput(f"a flow study with switches={given!r}", found, "switches={'skip': ['residual', 'none']}")
    switches = {}
    for name, levels in (SWITCHES if given is None else given).items():
        switches[str(name)] = words(str(name), levels, f"{name}=['none', ...]")
        if len(switches[str(name)]) < 2:
            asked = f"a flow study with {name}={levels!r}"
            raise BadInput(asked, "one level, which has nothing to be compared with", "give two levels or more")
    return switches


def cells(asked: Question, switches: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> list[Question]:
    """Return a question for every combination of levels and every seed; the seed runs fastest."""
    combinations = (dict(zip(switches, levels, strict=True)) for levels in itertools.product(*switches.values()))
    return [{**switched(asked, levels), "levels": levels, "seed": seed} for levels in combinations for seed in seeds]


def switched(asked: Question, levels: Mapping[str, str]) -> Question:
    """Return the question with every switch on its level; a depth first, since it unfolds the model's name."""
    for name in sorted(levels, key=lambda one: one != "depth"):
        asked = OWN[name](asked, levels[name]) if name in OWN else _option(asked, name, levels[name])
    return asked


def begun(every: Sequence[Question]) -> tuple[dict[str, Any], list[Question]]:
    """Build each combination and train it on a batch, so that what does not fit is refused; say what they are about.

    Each cell takes a hash of its network as the factory makes it and of its first batches: another factory or file
    under the same name is another cell of a ledger.
    """
    about: dict[str, Any] = {}
    hashes: dict[str, str] = {}
    for cell in every:
        if cell["seed"] == every[0]["seed"]:
            learn, test = splits(cell["data"], batch_size=cell["batch_size"])
            with suppress(Diverged):
                train(made(cell, learn), [next(iter(learn))], epochs=1, **{name: cell[name] for name in HOW})
            about = identity(cell["model"], learn, test) | {"split": learn is not test}
            hashes[told(cell["levels"])] = about.pop("model_hash") + about.pop("data_hash")
    return about, [{**cell, "hash": hashes[told(cell["levels"])]} for cell in every]


def _option(asked: Question, name: str, level: str) -> Question:
    return {**asked, "model": _with(parse(asked["model"]), name, level)}


def _with(spec: Spec, name: str, value: str) -> str:
    return str(spec.without(name).including(**{name: value}))


def _depth(asked: Question, level: str) -> Question:
    spec = expanded(parse(asked["model"]))
    other = expanded(parse(spec.name + level if level.startswith("[") else level))
    if other.name != spec.name or not other.sizes:
        found = f"no sizes of {spec.name!r}"
        raise BadInput(f"a flow study with depth={level!r}", found, f"sizes as in {spec.name}[1,1,1]: depth='[1,1,1]'")
    return {**asked, "model": str(replace(spec, sizes=other.sizes))}


def _input(asked: Question, level: str) -> Question:
    spec = parse(asked["data"])
    known = {"raw": "none", "standard": "train" if spec.name == "digits" else "cifar10"}
    return {**asked, "data": _with(spec, "normalize", known.get(level, level))}


def _init(asked: Question, level: str) -> Question:
    return {**asked, "scheme": level} if level in INITS else _option(asked, "init", level)


def _optimizer(asked: Question, level: str) -> Question:
    name, at, rate = level.partition("@")
    own = asked["lr"] if name == asked["optimizer"] else None
    try:
        return {**asked, "optimizer": name, "lr": float(rate) if at else own}
    except ValueError:
        raise BadInput(f"a flow study with optimizer={level!r}", f"{rate!r} is no rate", f"{name}@0.01") from None


OWN: Mapping[str, Callable[[Question, str], Question]] = {
    "depth": _depth,
    "input": _input,
    "init": _init,
    "optimizer": _optimizer,
}
"""Switches that are no plain option of the model's spec."""
