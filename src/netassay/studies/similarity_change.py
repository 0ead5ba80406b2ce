"""Similarity, examined: a network against itself before it learned, and against a second seed that learned the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import nn

from netassay.errors import BadInput
from netassay.result import Result
from netassay.studies.change import END, START, Pair
from netassay.studies.similarity_map import similarity_map

NAMES = {START: START, "seed": "second seed"}
"""What each map is called, and the other network in it."""
SAMPLES, ORDERS = 256, 100
"""Samples by which layers are compared, and orders of them: enough to tell layers from chance in little time."""


def similarity(pair: Pair) -> Mapping[str, Result]:
    """Map the network against itself before learning, and against a second seed where one was asked for."""
    others: dict[str, Callable[[], nn.Module]] = {START: lambda: pair.start}
    others |= {} if pair.second is None else {"seed": pair.second}
    return {f"similarity/{name}": _alike(pair, name, other) for name, other in others.items()}


def _alike(pair: Pair, name: str, other: Callable[[], nn.Module]) -> Result:
    """Map the network against another; where that cannot be done say why, as an examination has more to tell."""
    try:
        made = similarity_map(
            {END: pair.end}, {NAMES[name]: other()}, pair.data.first(SAMPLES), layers=pair.layers, permutations=ORDERS
        )
    except BadInput as reason:
        return Result("similarity_map", notes=(f"no map: {reason.found}",))
    told = tuple(replace(one, statement=f"{END} against {NAMES[name]}: {one.statement}") for one in made.claims)
    return replace(made, claims=told, provenance={**made.provenance, "data": pair.data.spec})
