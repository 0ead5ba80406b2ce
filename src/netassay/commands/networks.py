"""Commands that look at one network."""

from __future__ import annotations

from typing import Any

from netassay.commands.showing import fitting, show, weighted
from netassay.options import MADE, SHOWN, AtOnce, Differentiated, Made, Numbers, Patterns, Shown
from netassay.studies.channel_profile import channel_profile
from netassay.studies.checkpoints import over_checkpoints
from netassay.studies.exchange_map import exchange_map
from netassay.studies.one_batch import one_batch
from netassay.studies.summary import summary as summarize


def summary(model: str, /, *, input_size: Numbers = (), made: Made = MADE, shown: Shown = SHOWN) -> int:
    """List a model's layers with shapes, parameters, multiply-adds and memory.

    Parameters
    ----------
    model
        A spec: resnet18, resnet[1,1,1]:input=32, package.module:factory, ...
    input_size
        The input's size with the batch, e.g. --input-size 1 3 32 32; models of the zoo know theirs.
    """
    shown.check()
    result = summarize(made.model(model), input_size or None)
    return show(result, shown, "layers", {"model": model, "seed": made.seed})


def capture(
    model: str,
    /,
    *,
    data: str = "noise:uniform",
    layers: Patterns = ("*",),
    objective: Differentiated = "cross_entropy",
    batch_size: int = 1,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Show one batch at each layer: shapes and norms of input and output, forward and backward.

    Parameters
    ----------
    model
        A spec, as for summary.
    data
        A spec: digits, parquet:PATH, noise:uniform, ...; noise takes the model's input size.
    layers
        Patterns: fnmatch on the dotted name, re:..., type:...
    batch_size
        Samples to look at.
    """
    shown.check()
    network = made.model(model)
    result = one_batch(network, fitting(data, network), layers, objective=objective, batch_size=batch_size)
    return show(result, shown, "forward", {"model": model, "data": data, "seed": made.seed})


def channels(
    model: str,
    /,
    *,
    data: str,
    layers: Patterns = (),
    objective: Differentiated = "cross_entropy",
    batch_size: AtOnce = 128,
    checkpoints: str | None = None,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Profile every channel: what it carries, the gradient that arrives, and whether it is dead.

    Parameters
    ----------
    model
        A spec, as for summary.
    data
        A spec: digits:split=test, parquet:PATH, noise:uniform, ...
    layers
        Patterns; by default every layer with weights and every activation.
    checkpoints
        Pattern of weight files, e.g. 'run/*.safetensors': one row for each instead.
    """
    shown.check()
    options: dict[str, Any] = {"layers": layers or None, "objective": objective, "batch_size": batch_size}
    if checkpoints is not None:
        result = over_checkpoints(weighted(made, model), checkpoints, channel_profile, data, **options)
        return show(result, shown, "checkpoints", {"model": model, "data": data, "seed": made.seed})
    result = channel_profile(made.model(model), data, **options)
    return show(result, shown, "layers", {"model": model, "data": data, "seed": made.seed})


def exchange(
    model: str,
    /,
    *,
    data: str,
    layers: Patterns = (),
    skip: Patterns = (),
    also: Patterns = ("blocks",),
    objective: Differentiated = "cross_entropy",
    batch_size: AtOnce = 128,
    checkpoints: str | None = None,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Map how channels exchange gradient: how much each absorbs and emits, and how much survives interference.

    Parameters
    ----------
    model
        A spec, as for summary.
    data
        A spec: digits:split=test, parquet:PATH, noise:uniform, ...
    layers
        Patterns; by default every layer with weights.
    skip
        Patterns of layers to leave out.
    also
        More to measure: blocks, share, around, emission_norm, gradient_norm.
    checkpoints
        Pattern of weight files, e.g. 'run/*.safetensors': one row for each instead.
    """
    shown.check()
    options: dict[str, Any] = {"layers": layers or None, "skip": skip, "objective": objective, "batch_size": batch_size}
    if checkpoints is not None:
        result = over_checkpoints(weighted(made, model), checkpoints, exchange_map, data, also=also, **options)
        return show(result, shown, "checkpoints", {"model": model, "data": data, "seed": made.seed})
    network = made.model(model)
    result = exchange_map(network, fitting(data, network), also=also, **options)
    return show(result, shown, "layers", {"model": model, "data": data, "seed": made.seed})
