"""Similarity trend cell: the trained networks of one spec, mapped against each other by similarity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from torch import nn

from netassay.data import Data
from netassay.engine import Payload
from netassay.errors import BadInput
from netassay.layers import exactly
from netassay.measures import named
from netassay.studies.channel_streams import nonlinearities
from netassay.studies.similarity_asked import asked as sides
from netassay.studies.similarity_gathering import Policy
from netassay.studies.similarity_look import Ask, Look
from netassay.studies.similarity_tables import judged
from netassay.studies.trend_cell import compared

TRIED = 32
"""Samples of a first map, by which what does not fit is refused."""


def cell(asked: Mapping[str, Any]) -> Payload:
    """Train networks, and map every pair of them by similarity."""
    return compared(asked, mapped)


def mapped(nets: Mapping[str, nn.Module], asked: Mapping[str, Any], data: Data) -> Payload:
    """Map every pair of networks: "maps" (pair, layer, layer), more is nearer; "calibrated"; "pairs"; "layers"."""
    names, measure = list(nets), named(asked["measure"])
    layers = asked["layers"] or activations(nets[names[0]])
    policy, how = Policy(asked["positions"], asked["tokens"]), ("permutations", "seed", "level", "memory")
    ask = Ask(policy, {"": measure}, "auto", *(asked[name] for name in how))
    look = Look(sides(nets, None, data, None, layers, asked["batch_size"]), ask)
    whole, fair = look.found[""].value, judged(measure, look.found[""], asked["level"]).calibrated
    labels = [tap.call.label for tap in look.a if tap.run is look.a[0].run]
    size = len(labels)
    places = list(combinations(range(len(names)), 2))
    cut = [(slice(a * size, (a + 1) * size), slice(b * size, (b + 1) * size)) for a, b in places]
    sign = 1.0 if measure.direction == "similarity" else -1.0
    return {
        "maps": sign * np.array([whole[one] for one in cut]).reshape(-1, size, size),
        "calibrated": np.array([fair[one] for one in cut]).reshape(-1, size, size),
        "pairs": np.array([[int(names[a]), int(names[b])] for a, b in places]).reshape(-1, 2),
        "layers": np.array(labels),
    }


def tried(network: nn.Module, asked: Mapping[str, Any], data: Data) -> Sequence[str]:
    """Map a network against itself; return its layers, or refuse."""
    few = data.first(min(asked["samples"], TRIED))
    return mapped({"0": network}, {**asked, "permutations": 0}, few)["layers"].tolist()  # type: ignore[no-any-return]


def activations(model: nn.Module) -> list[str]:
    """Return patterns of all activations of a network; what is compared unless layers are named."""
    names = nonlinearities(model)
    if not names:
        found = "no module of it is an activation"
        raise BadInput(f"the activations of {type(model).__name__}", found, "name layers: layers='type:Conv2d'")
    return [exactly(name) for name in names]
