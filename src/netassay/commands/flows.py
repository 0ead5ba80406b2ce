"""Commands that ask how gradient flows: one training watched, a factorial over switches, remedies tried on copies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from netassay import store
from netassay.commands.showing import fitting, kept_ledger, show, written
from netassay.errors import BadInput
from netassay.options import MADE, SHOWN, AtOnce, Made, Patterns, Shown
from netassay.result import Result
from netassay.studies.examine import MODEL
from netassay.studies.flow_profile import flow_profile
from netassay.studies.flow_study import flow_study
from netassay.studies.flow_training import flow_training
from netassay.studies.prescribe import prescribe as prescribed


def flow(
    model: str = MODEL,
    /,
    *,
    data: str = "digits:size=16",
    epochs: int = 3,
    layers: Patterns = (),
    batch_size: AtOnce = 32,
    optimizer: str = "adam",
    lr: float | None = None,
    every: int = 1,
    switch: Patterns = (),
    prescribe: Annotated[bool, Parameter(negative="")] = False,
    seeds: int = 3,
    workers: int = 2,
    series: Path | None = None,
    gif: Path | None = None,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Watch gradient flow through a training, state its law, and say what is sick and why.

    With --switch, networks are trained over all combinations and the main effects are told apart; with --prescribe,
    remedies are tried on copies and ranked.

    Parameters
    ----------
    model
        A spec: resnet50:norm=none,skip=none, mlp[64,64], package.module:factory, ...
    data
        A spec; networks learn from its train split.
    epochs
        Passes over the training data; 0 looks at the network as it stands.
    layers
        Patterns; by default every layer with weights, norm, activation and block.
    optimizer
        adam or sgd.
    lr
        Learning rate; by default the optimizer's own.
    every
        Steps from one that is read to the next.
    switch
        Factors and their levels: --switch skip=residual,none norm=batch,none init=he,default
    prescribe
        Try remedies on copies, and rank them.
    seeds
        How many networks of each combination, or trials of each remedy.
    workers
        Processes that train at the same time; 0: this one.
    series
        File for the gradient of every layer at every step read, as JSON: {layer: [norm, ...]}.
    gif
        File for an animation: the norms of the steps' gradients, epoch by epoch.
    """
    shown.check()
    _files(switch, prescribe, series, gif)
    meta = {"model": model, "data": data, "seed": made.seed}
    how: dict[str, Any] = {"batch_size": batch_size, "optimizer": optimizer, "device": made.device}
    rate: dict[str, Any] = {} if lr is None else {"lr": lr}
    if switch:
        ledger = kept_ledger(shown.out)
        numbers = range(made.seed, made.seed + seeds)
        study = flow_study(model, levels(switch), data, epochs, numbers, **how, **rate, ledger=ledger, workers=workers)
        return show(study, shown, "cells", meta)
    if prescribe:
        network = model if made.weights is None else made.model(model)
        numbers = range(made.seed, made.seed + seeds)
        return show(prescribed(network, data, seeds=numbers, **how, **rate), shown, "remedies", meta)
    result = _watched(model, data, epochs, layers or None, every, made, how | rate)
    code = show(result, shown, "law", meta)
    if series is not None:
        written(series, store.series_json(result))
    if gif is not None:
        result.animate("histograms", gif)
    return code


def _files(switch: Patterns, prescribe: bool, series: Path | None, gif: Path | None) -> None:
    """Refuse what would not be written at the end, before anything is trained."""
    if switch and prescribe:
        raise BadInput("--switch with --prescribe", "two studies at once", "ask for one, and run twice")
    for name, file in (("--series", series), ("--gif", gif)):
        if file is None:
            continue
        if switch or prescribe:
            found = "a study of many networks, which has no single course"
            raise BadInput(f"{name} {file}", found, f"leave {name} out, or watch one training")
        if not file.absolute().parent.is_dir():
            raise BadInput(f"{name} {file}", "its folder does not exist", "give a file in a folder that is there")
    if gif is not None and gif.suffix.lower() != ".gif":
        raise BadInput(f"--gif {gif}", "its name does not end in .gif", f"--gif {gif.with_suffix('.gif')}")


def levels(switch: Sequence[str]) -> dict[str, list[str]]:
    """Read factors and their levels.

    >>> levels(["skip=residual,none"])
    {'skip': ['residual', 'none']}
    """
    found: dict[str, list[str]] = {}
    for one in switch:
        factor, sign, rest = one.partition("=")
        if not sign or not factor or not rest:
            raise BadInput(f"--switch {one}", "no factor with levels", "--switch skip=residual,none")
        found[factor] = re.split(r",(?![^\[]*\])", rest)
    return found


def _watched(
    model: str, data: str, epochs: int, layers: Patterns | None, every: int, made: Made, how: Mapping[str, Any]
) -> Result:
    """Watch a training, or with no epochs look at the network as it stands."""
    if made.weights is None and epochs:
        return flow_training(model, data, epochs=epochs, layers=layers, every=every, seed=made.seed, **how)
    network = made.model(model)
    if not epochs:
        return flow_profile(network, fitting(data, network), layers=layers, batch_size=how["batch_size"])
    return flow_training(network, data, epochs=epochs, layers=layers, every=every, seed=made.seed, **how)
