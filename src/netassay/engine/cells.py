"""Cells and questions as text: strict JSON, the same for the same values, and where two of them differ."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from netassay import __version__
from netassay.errors import BadInput

LONGEST = 400


def keys(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the canonical JSON of each cell; refuse a cell that is there twice.

    >>> keys([{"seed": 0, "scheme": "ones"}])
    ['{"scheme":"ones","seed":0}']
    """
    first: dict[str, int] = {}
    for n, cell in enumerate(cells):
        if not isinstance(cell, Mapping):
            raise BadInput(f"cell {n}", f"a {type(cell).__name__}", "give each cell as a mapping of names to values")
        key = text(cell, f"cell {n}")
        if key in first:
            raise BadInput(f"cell {n}: {told(key)}", f"cell {first[key]} is the same", "give each cell once")
        first[key] = n
    return list(first)


def text(value: Any, place: str) -> str:
    """Write canonical JSON: names sorted, no spaces, ASCII; `place` names the value in a refusal."""
    return json.dumps(_plain(value, place), sort_keys=True, separators=(",", ":"), allow_nan=False)


def told(key: str) -> str:
    """Return a cell as it is shown in a sentence.

    >>> told('{"scheme":"ones","seed":0}')
    '{"scheme": "ones", "seed": 0}'
    """
    shown = json.dumps(json.loads(key), ensure_ascii=False)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def identity(work: Callable[..., Any], question: Mapping[str, Any] | None) -> str:
    """Return what all cells of a grid share, as text: the question, the name of the work and netassay's version."""
    whole = {"question": question or {}, "work": ".".join(name(work)), "netassay": __version__}
    return text(whole, "the grid")


def name(work: Callable[..., Any]) -> tuple[str, str]:
    """Return the module and the name by which a worker finds `work`; refuse what it would not find there."""
    module, own = getattr(work, "__module__", None), getattr(work, "__qualname__", "")
    if module is None or "." in own or getattr(sys.modules.get(module), own, None) is not work:
        found = "no function that a worker process could import by name"
        raise BadInput(f"a grid of {own or repr(work)}", found, "define it with `def` at the top of a module")
    return module, own


def difference(there: str, here: str) -> str:
    """Say where two identities first differ.

    >>> difference('{"question":{"epochs":5}}', '{"question":{"epochs":3}}')
    'question.epochs is 5 there and 3 here'
    """
    return next(_differences(json.loads(there), json.loads(here), ""), "its identity is written differently")


def _differences(there: Any, here: Any, place: str) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            inner = f"{place}.{key}" if place else key
            if key in there and key in here:
                yield from _differences(there[key], here[key], inner)
            else:
                yield f"{inner} is {_value(there, key)} there and {_value(here, key)} here"
    elif json.dumps(there) != json.dumps(here):
        yield f"{place} is {_short(there)} there and {_short(here)} here"


def _value(values: dict[str, Any], key: str) -> str:
    return _short(values[key]) if key in values else "missing"


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= LONGEST // 4 else shown[: LONGEST // 4 - 1] + "…"


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        if odd:
            raise BadInput(place, f"the name {odd[0]!r}, a {type(odd[0]).__name__}", "give text as names")
        return {key: _plain(item, f"{place}, {key!r}") for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{place}, item {n}") for n, item in enumerate(value)]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    found = f"{value!r:.60}, a {type(value).__name__}, which JSON lacks"
    raise BadInput(place, found, "give text, finite numbers, truth values, None, lists or mappings")
