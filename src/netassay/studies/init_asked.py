"""Asked: the question of an initialisation study in plain values, refused where it does not fit before it begins."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from numbers import Real
from typing import Any

from netassay import seeds as random
from netassay.data import DATA, Data, splits
from netassay.data.fingerprint import fingerprint
from netassay.errors import BadInput, UnknownName
from netassay.inits import INITS
from netassay.spec import parse
from netassay.studies.forward import tried
from netassay.studies.init_cell import HOW, INPUTS, drawn, source
from netassay.studies.provenance import describe, makeup_hash
from netassay.training import Diverged, train
from netassay.zoo import built

NUMBERS = ("lr", "weight_decay")
COUNTS = ("epochs", "samples", "batch_size")
SPECS = {"model": "or 'package.module:factory'", "data": "e.g. 'digits' or 'parquet:PATH'"}


def plainly(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all cells share as values that JSON carries, or refuse."""
    made = basics(asked, COUNTS, NUMBERS)
    made["inputs"] = words("inputs", made["inputs"], "inputs=['train']")
    made["at"] = sorted({whole("at", epoch, 0) for epoch in several(made["at"])})
    for epoch in made["at"]:
        if not 0 < epoch < made["epochs"]:
            found = f"a training of {made['epochs']} epochs, looked at before and after it anyway"
            raise BadInput(f"look after epoch {epoch}", found, f"epochs from 1 to {made['epochs'] - 1}, or at=[]")
    return made


def basics(asked: Mapping[str, Any], counts: Sequence[str], numbers: Sequence[str]) -> dict[str, Any]:
    """Return `asked` with its model and data as specs, its counts whole and its numbers floats, or refuse."""
    made = dict(asked)
    for name, others in SPECS.items():
        if not isinstance(made[name], str):
            found = f"a {type(made[name]).__name__}, which another process cannot build"
            raise BadInput(f"a study of {name}", found, f"give {name} as a spec, {others}")
    made |= {name: whole(name, made[name]) for name in counts}
    for name in numbers:
        if isinstance(made[name], bool) or not isinstance(made[name], Real):
            raise BadInput(f"a study with {name}={made[name]!r}", "no number", f"{name}=1e-4")
    return made | {name: float(made[name]) for name in numbers}


def schemes_of(given: Any) -> list[str]:
    """Return names of schemes that there are, each once."""
    names = words("schemes", given, "schemes=['orthogonal']")
    for name in names:
        if name not in INITS:
            raise UnknownName("scheme", name, INITS)
    return names


def seeds_of(given: Any) -> list[int]:
    """Return seeds, each once: those given, or as many from 0."""
    if hasattr(given, "__len__"):
        numbers = [whole("seeds", one, 0) for one in several(given)]
    else:
        numbers = list(range(whole("seeds", given)))
    for number in numbers:
        random.check(number)
    return once("seeds", numbers, "seeds=3")


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number, not below `least`.

    >>> whole("epochs", 2)
    2
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        found = f"no whole number from {least} on"
        raise BadInput(f"a study with {name}={value!r}", found, f"{name}={least}")
    return number


def words(name: str, given: Any, example: str) -> list[str]:
    """Return a list of words, each once; one word is a list of one."""
    found = [given] if isinstance(given, str) else several(given)
    for one in found:
        if not isinstance(one, str):
            raise BadInput(f"a study with {name}={given!r}", f"{one!r} is no name", example)
    return once(name, found, example)


def several(given: Any) -> list[Any]:
    """Return what was given, one by one; what is no sequence is one."""
    try:
        return list(given)
    except TypeError:
        return [given]


def once(name: str, found: list[Any], example: str) -> list[Any]:
    """Refuse nothing at all, and what is there twice."""
    if not found:
        raise BadInput(f"a study with {name}={found}", "nothing to do", example)
    twice = [one for one, count in Counter(found).items() if count > 1]
    if twice:
        raise BadInput(f"a study with {name}={found}", f"{twice[0]!r} is there twice", "give each once")
    return found


def begun(asked: Mapping[str, Any], schemes: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Draw by every scheme, look and train on a batch, so that what does not fit is refused; return what it is about.

    Versions, and hashes of the network as its factory makes it and of the first batches: another torch, factory or file
    under the same name is another question.
    """
    learn, test = splits(asked["data"], batch_size=asked["batch_size"])
    for scheme in schemes:
        network, _ = drawn({**asked, "scheme": scheme, "seed": seeds[0]}, learn)
    for name in asked["inputs"]:
        if name not in INPUTS and parse(name).name not in DATA:
            raise UnknownName("input", name, [*INPUTS, *DATA])
        tried(network, source(name, {**asked, "seed": seeds[0]}, learn, test))
    with suppress(Diverged):
        how = {name: asked[name] for name in HOW if name != "seed"} | {"epochs": 1}
        train(network, [next(iter(learn))], **how)
    return identity(asked["model"], learn, test) | {"split": learn is not test}


def identity(model: str, learn: Data, test: Data) -> dict[str, Any]:
    """Return versions, and hashes of a network as its factory makes it and of the first batches."""
    fresh = built(model, learn.input_shape, learn.classes)
    seen = "".join(f"{fingerprint(next(iter(data))):016x}" for data in (learn, test))
    known = describe(fresh)
    same = {name: known[name] for name in ("versions", "dtype")}
    return {**same, "model_hash": makeup_hash(fresh), "data_hash": seen}
