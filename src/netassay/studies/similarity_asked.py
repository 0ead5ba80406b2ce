"""Similarity, asked: which networks on which data make the rows and the columns of a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from torch import nn

from netassay import spec as specs
from netassay.capturing import watchable
from netassay.data import Data, load_data
from netassay.errors import BadInput
from netassay.layers import Layer, named_layers, select, shaped
from netassay.studies.channel_streams import telling
from netassay.studies.checkpoints import natural
from netassay.studies.survey import Call, Key, Outcome
from netassay.studies.twins import settle, untrained
from netassay.zoo import build

Patterns = str | Sequence[str] | None


@dataclass(frozen=True, eq=False)
class Run:
    """One network on one of the data sets, and what the first batch shows of it."""

    name: str
    model: nn.Module
    data: int
    layers: list[Layer]
    outcome: Outcome = field(default_factory=Outcome)


@dataclass(frozen=True, eq=False)
class Tap:
    """One call of one layer of one run: a row or a column of the map.

    `d` features, `rows` of them for each sample, `size` bytes each; `how` says what was made of the output.
    """

    run: Run
    key: Key
    d: int
    rows: int
    size: int
    how: str

    @property
    def call(self) -> Call:
        """The call as the first batch showed it."""
        return self.run.outcome.calls[self.key]


@dataclass(frozen=True)
class Asked:
    """The runs of both sides, the data of each, and what is to be said about them. `b` is `a` in a self-map."""

    a: list[Run]
    b: list[Run]
    data: list[Data]
    notes: list[str]

    @property
    def sides(self) -> tuple[list[Run], list[Run]]:
        """Both sides."""
        return self.a, self.b

    @property
    def runs(self) -> list[Run]:
        """Every run once."""
        return list(dict.fromkeys([*self.a, *self.b]))


def asked(a: Any, b: Any, data: Any, data_b: Any, layers: Patterns, batch_size: int) -> Asked:
    """Resolve both sides; a model that stands on both, on the same data, is one run."""
    loaded = [load_data(one, batch_size=batch_size) for one in (data, data_b) if one is not None]
    first = _models(a)
    second = first if b is None else _models(b)
    where = len(loaded) - 1
    known: dict[tuple[int, int, str], Run] = {}
    sides = []
    for models, number in ((first, 0), (second, where)):
        side = []
        for name, model in models.items():
            key = (id(model), number, name)
            side.append(known.setdefault(key, Run(name, model, number, chosen(model, layers))))
        sides.append(side)
    return Asked(sides[0], sides[1], loaded, [])


def twins(asked: Asked, layers: Patterns) -> Asked:
    """Return the same map of untrained twins; networks that differ get twins that differ."""
    firsts = list({id(run.model): run for run in reversed(asked.runs)}.values())[::-1]
    notes, made = [], {}
    for i, run in enumerate(firsts):
        twin, told = untrained(run.model, 1 + i)
        settle(twin, asked.data[run.data])
        made[id(run.model)] = twin
        notes.append(told)
    again = {
        run: Run(run.name, made[id(run.model)], run.data, chosen(made[id(run.model)], layers)) for run in asked.runs
    }
    told = f"untrained: twins, {'; '.join(dict.fromkeys(notes))}"
    return Asked([again[run] for run in asked.a], [again[run] for run in asked.b], asked.data, [told])


def chosen(model: nn.Module, layers: Patterns) -> list[Layer]:
    """Return the layers asked for; by default every layer with a weight matrix and every activation."""
    shaped(watchable(model), "compare the layers of")
    if layers is not None:
        return select(model, layers)
    found = telling(model)
    if not found:
        raise BadInput(f"layers of {type(model).__name__}", "no layer with a weight", "name layers: layers='*'")
    return found


def _models(side: Any) -> dict[str, nn.Module]:
    """Name the models of one side: a model, a spec, a pattern of checkpoints in a spec, or several of them."""
    if isinstance(side, Mapping):
        return {str(name): _model(one) for name, one in side.items()}
    if isinstance(side, str):
        return checkpoints(side)
    if not isinstance(side, list | tuple):
        return {_name(side): _model(side)}
    if not side:
        raise BadInput("similarity_map of no network", "an empty list", "give a model or a spec")
    found: dict[str, nn.Module] = {}
    for one in side:
        for name, model in (checkpoints(one) if isinstance(one, str) else {_name(one): _model(one)}).items():
            found[name if name not in found else f"{name} ({len(found) + 1})"] = model
    return found


def checkpoints(text: str) -> dict[str, nn.Module]:
    """Build a spec; one whose weights are a pattern, as in `weights=run/*.safetensors`, once for each file."""
    spec = specs.parse(text)
    pattern = spec.options.get("weights", "")
    if not has_magic(pattern):
        return {text: build(text)}
    files = sorted(glob(pattern), key=natural)
    if not files:
        raise BadInput(f"checkpoints {pattern!r}", "no file of that name", "quote the pattern: 'run/*.safetensors'")
    stems = {Path(file).stem for file in files}
    return {
        Path(file).stem if len(stems) == len(files) else file: build(
            str(spec.without("weights").including(weights=file))
        )
        for file in files
    }


def _model(one: Any) -> nn.Module:
    model = build(one) if isinstance(one, str) else one
    named_layers(model)
    return model


def _name(model: Any) -> str:
    return str(getattr(model, "spec", type(model).__name__))
