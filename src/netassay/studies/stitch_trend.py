"""Stitch trend: at what size of a family of networks the pattern of what is compatible changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from netassay.data import Data
from netassay.engine import Payload
from netassay.result import Result
from netassay.stitching import DEFAULT
from netassay.studies.stitch_asked import opened
from netassay.studies.stitch_cell import METHOD
from netassay.studies.stitch_checks import plainly
from netassay.studies.stitch_controls import NONE
from netassay.studies.stitch_grid import DRAWN, answerable, stitch_grid
from netassay.studies.stitch_halves import Bench
from netassay.studies.stitch_tables import PLACE, RECEIVER, SENDER
from netassay.studies.trend import trended
from netassay.studies.trend_asked import Kind, training
from netassay.studies.trend_cell import compared

STITCH = ("adapter", "matching", "layers", "fit", "samples", "batch_size", "device", "seed", "level")
FIXED = {"ridge": None, "batch": DEFAULT.batch, "allow_skips": False}
"""What a trend leaves as it is in a grid."""


def stitch_trend(
    specs: str | Sequence[str],
    data: str = "digits:size=8",
    *,
    seeds: int | Sequence[int] = 3,
    epochs: int = 3,
    steps: int | None = None,
    family: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    adapter: str = DEFAULT.adapter,
    matching: str | None = None,
    fit: int = 500,
    samples: int = 360,
    batch_size: int = 64,
    optimizer: str = "adam",
    lr: float = 1e-3,
    schedule: str = "cosine",
    device: str | None = None,
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    workers: int = 2,
    seed: int = 0,
    level: float = 0.95,
) -> Result:
    """Train networks of growing size, stitch seed into seed, and say which pattern of compatible layers each has.

    Networks, families, training, `ledger`, `executor` and `workers` are as in `similarity_trend`. Every layer of a seed
    is stitched into every layer of each later seed as in `stitch_grid` (`adapter`, `matching`, `fit`, `samples`):
    `layers` are patterns, or patterns for each family; by default every activation. Layers that a skip goes around
    are no clean cuts, and stay out; a note names them.

    The map is the accuracy of stitches, rows senders and columns receivers. A stitch has a direction, so that a
    triangle can be found: above 0 where a layer goes into relatively earlier ones with a higher accuracy.

    Tables "sizes" ("size" counts the layers stitched, "accuracy" is that of the networks, "stitched" that of all their
    stitches and "random_receiver" that of the same stitches into receivers drawn anew, each a mean), "trends" and
    "nets", arrays "map/<spec>", the mean accuracy of each stitch, and claims are those of `similarity_trend`. No
    stitch is judged by itself: `stitch_grid` does, with every control.

    Raises `BadInput` for specs, families, seeds or adapters that do not fit, before anything is trained.

    >>> how = {"matching": "closed_form", "fit": 60, "samples": 40, "workers": 0}
    >>> found = stitch_trend(["mlp[8,8,8]", "mlp[8,8,8,8]"], steps=2, **how)
    >>> [(row["family"], row["size"], row["pairs"]) for row in found.table("sizes")]
    [('mlp', 3, 3), ('mlp', 4, 3)]
    """
    asked = training(
        {
            "data": data, "epochs": epochs, "steps": steps, "adapter": adapter, "matching": matching, "fit": fit,
            "samples": samples, "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "schedule": schedule,
            "device": device, "level": level, "seed": seed,
        },
        "fit",
    )  # fmt: skip
    others = {"controls": DRAWN, "ranks": (), "receiver_layers": None, "ledger": ledger, "executor": executor}
    known = plainly("stitch_trend", {**FIXED, **asked}, layers=layers, **others)
    asked |= {"method": METHOD, **{name: known[name] for name in ("adapter", "matching")}}
    return trended(STITCHES, asked, specs, family, layers, seeds, ledger=ledger, executor=executor, workers=workers)


def cell(asked: Mapping[str, Any]) -> Payload:
    """Train networks, and stitch each into those after it."""
    return compared(asked, stitched)


def stitched(nets: Mapping[str, nn.Module], asked: Mapping[str, Any], _: Data) -> Payload:
    """Stitch every network into those after it, at the layers that are clean cuts of all of them."""
    names, how = list(nets), {name: asked[name] for name in STITCH}
    known: dict[tuple[str, ...], float] = {}
    notes: dict[str, None] = {}
    for i, name in enumerate(names[:-1]):
        others = {other: nets[other] for other in names[i + 1 :]}
        found = stitch_grid({name: nets[name]}, others, asked["data"], controls=DRAWN, **how)
        notes |= dict.fromkeys(re.sub(r"^\d+: ", "", note) for note in found.notes)
        known |= {tuple(row[one] for one in ("control", *PLACE)): row["accuracy"] for row in found.table("cells")}
    every = dict.fromkeys(place[2] for place in known)
    layers = [one for one in every if all((NONE, names[0], one, name, one) in known for name in names[1:])]
    pairs = list(combinations(names, 2))
    maps, random = (
        np.array([[[known[control, a, i, b, j] for j in layers] for i in layers] for a, b in pairs])
        for control in (NONE, DRAWN)
    )
    return {
        "maps": maps,
        "stitched": maps,
        DRAWN: random,
        "pairs": np.array(pairs).astype(int),
        "layers": np.array(layers),
        "notes": np.array(list(notes), dtype=str),
    }


def cuttable(_: nn.Module, asked: Mapping[str, Any], __: Data) -> Sequence[str]:
    """Return the clean cuts of a network that can be stitched, and drawn anew, or refuse."""
    question = {**asked, **FIXED}
    bench = Bench(question, 0)
    net = opened(asked["model"], asked["model"], asked["layers"], question, bench, [DRAWN])
    answerable([net], bench.classes)
    return net.layers


STITCHES = Kind("stitch_trend", cell, (SENDER, RECEIVER), cuttable, "are clean cuts")
