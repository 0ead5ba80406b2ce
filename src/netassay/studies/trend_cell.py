"""Trend cell: the networks of one spec, one for each seed, trained, kept, and mapped against each other."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from netassay.data import Data, splits
from netassay.engine import Payload
from netassay.errors import BadInput
from netassay.studies.flow_cell import ALONE, Feed
from netassay.training import Diverged, evaluate, length, train
from netassay.zoo import built
from netassay.zoo.weights import load

HOW = ("optimizer", "lr", "schedule")
TRAINED = (*HOW, "model", "data", "epochs", "steps", "batch_size", "device", "hash")
"""What a trained network depends on, beside its seed."""
Mapped = Callable[[Mapping[str, nn.Module], Mapping[str, Any], Data], Payload]


def compared(asked: Mapping[str, Any], mapped: Mapped) -> Payload:
    """Train a network for each seed, or take it from where it was kept, and map every pair of them.

    One at a time in a process: networks may draw from torch's global generator, which threads share.
    """
    with ALONE:
        learn, test = splits(asked["data"], batch_size=asked["batch_size"])
        nets, ends, hits = {}, [], []
        for seed in asked["seeds"]:
            nets[str(seed)], end = kept(asked, seed, learn)
            ends.append(end)
            hits.append(evaluate(nets[str(seed)], test).accuracy)
        made = mapped(nets, asked, test.first(asked["samples"]))
        return made | {"diverged": np.array(ends), "accuracy": np.array(hits)}


def kept(asked: Mapping[str, Any], seed: int, learn: Data) -> tuple[nn.Module, int]:
    """Return a trained network, and the step at which it diverged (-1: it did not); keep it where asked to."""
    model = built(asked["model"], learn.input_shape, learn.classes, seed=seed, device=asked["device"])
    if asked["keep"] is None:
        return model, trained(model, asked, seed, learn)
    told = json.dumps({**{name: asked[name] for name in TRAINED}, "seed": seed}, sort_keys=True)
    file = Path(asked["keep"]) / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.safetensors"
    if file.is_file():
        with suppress(BadInput):  # a file cut off is made again
            load(model, file)
            return model, int(_facts(file)["diverged"])
    end = trained(model, asked, seed, learn)
    _keep(model, file, {"diverged": str(end), "asked": told})
    return model, end


def _facts(file: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return dict(opened.metadata())


def _keep(model: nn.Module, file: Path, facts: dict[str, str]) -> None:
    from safetensors.torch import save_model

    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")  # whoever is killed while it writes leaves no half of a file
    save_model(model, str(part), metadata=facts)
    with part.open("rb+") as written:
        os.fsync(written.fileno())  # or a loss of power could leave the name and not what it names
    part.replace(file)


def trained(model: nn.Module, asked: Mapping[str, Any], seed: int, learn: Data) -> int:
    """Train; return the step at which the loss was no longer finite, -1 where it stayed so."""
    steps = asked["steps"] or asked["epochs"] * length(learn)
    try:
        train(model, Feed(learn, steps), epochs=1, seed=seed, **{name: asked[name] for name in HOW})
    except Diverged as error:
        return error.step
    return -1
