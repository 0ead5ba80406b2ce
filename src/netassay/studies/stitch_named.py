"""Stitch named: the networks of a grid by name, each told from all others whatever their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import count
from types import BuiltinFunctionType, FunctionType
from typing import Any

from torch import nn

from netassay.errors import BadInput
from netassay.layers import shaped
from netassay.studies.init_asked import several
from netassay.studies.provenance import makeup_hash
from netassay.studies.stitch_halves import HELD

PLAIN = str | int | float | None | FunctionType | BuiltinFunctionType


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
    shaped(one, "stitch")
    tokens = (f"<model {_told(one)} {type(one).__name__}{f' {n}' if n else ''}>" for n in count())
    token = next(token for token in tokens if HELD.get(token, one) is one)
    HELD[token] = one
    return token


def _told(model: nn.Module) -> str:
    """Hash a model with what its modules do not print: plain attributes, and functions by name."""
    own = [
        f"{name}.{key}={getattr(value, '__qualname__', value)}"
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_") and key != "training" and isinstance(value, PLAIN)
    ]
    return hashlib.sha256(f"{makeup_hash(model)} {own}".encode()).hexdigest()[:16]
