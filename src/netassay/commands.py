"""Commands: what each word of the command line does. Arguments in, an exit code out; printing is `terminal`'s."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from torch import nn

from netassay import front, report, store, terminal
from netassay.objectives import logits
from netassay.options import MADE, SHOWN, AtOnce, Differentiated, FailOn, Made, Numbers, Patterns, Shown
from netassay.quiet import quiet
from netassay.result import Result, Verdict
from netassay.spec import parse
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
    return _show(result, shown, "layers", {"model": model, "seed": made.seed})


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
    result = one_batch(network, _fitting(data, network), layers, objective=objective, batch_size=batch_size)
    return _show(result, shown, "forward", {"model": model, "data": data, "seed": made.seed})


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
        result = over_checkpoints(_weighted(made, model), checkpoints, channel_profile, data, **options)
        return _show(result, shown, "checkpoints", {"model": model, "data": data, "seed": made.seed})
    result = channel_profile(made.model(model), data, **options)
    return _show(result, shown, "layers", {"model": model, "data": data, "seed": made.seed})


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
        result = over_checkpoints(_weighted(made, model), checkpoints, exchange_map, data, also=also, **options)
        return _show(result, shown, "checkpoints", {"model": model, "data": data, "seed": made.seed})
    network = made.model(model)
    result = exchange_map(network, _fitting(data, network), also=also, **options)
    return _show(result, shown, "layers", {"model": model, "data": data, "seed": made.seed})


def examine(
    model: str | None = None,
    /,
    *,
    data: str = "digits:size=16",
    layers: Patterns = (),
    objective: Differentiated = "cross_entropy",
    epochs: int = 10,
    lr: float = 0.05,
    batch_size: AtOnce = 128,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Examine a network end to end: train it if it has no weights, profile it before and after, write the page.

    Parameters
    ----------
    model
        A spec; by default a small ResNet that fits the data.
    data
        A spec; the network learns from its train split and is looked at with its test split.
    layers
        Patterns; by default every layer with weights and every activation.
    epochs
        Passes over the training data, for a model without weights.
    lr
        Largest learning rate.
    """
    shown.check()
    run = front.examine(
        model,
        data,
        out=shown.out,
        weights=made.weights,
        layers=layers or None,
        objective=objective,
        epochs=epochs,
        lr=lr,
        seed=made.seed,
        batch_size=batch_size,
        device=made.device,
    )
    terminal.show_run(run, json=shown.json, csv=shown.csv)
    return _code(run.verdicts, shown.fail_on)


def report_(run: Path, /, *, out: Path | None = None) -> int:
    """Write the page of a run again.

    Parameters
    ----------
    run
        The folder of a run.
    out
        The file to write; by default index.html in the run's folder.
    """
    print(report.write_page(store.open_run(run), out))
    return 0


def runs(folder: Path = Path("runs"), /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the runs of a folder, the newest first.

    Parameters
    ----------
    folder
        Where runs are kept.
    json
        One JSON document on standard output.
    """
    terminal.show_runs(store.runs(folder), json=json)
    return 0


def _weighted(made: Made, model: str) -> Callable[[Path], nn.Module]:
    """Return what builds the model with the weights of a file."""
    return lambda file: replace(made, weights=file).model(model)


def _fitting(data: str, model: nn.Module) -> str:
    """Give noise the size and classes of a model that knows its input; leave every other data set as it is."""
    spec, shape = parse(data), getattr(model, "input_shape", None)
    if spec.name != "noise" or shape is None:
        return data
    channels, size = (shape[0], shape[-1]) if len(shape) == 3 else (math.prod(shape), 1)
    with quiet(model), torch.no_grad():
        classes = logits(model(torch.zeros(1, channels, size, size))).shape[1]
    return str(spec.including(size=size, channels=channels, classes=classes))


def _show(result: Result, shown: Shown, table: str, meta: Mapping[str, Any]) -> int:
    terminal.show_result(result, table, json=shown.json, csv=shown.csv)
    if shown.out is not None:
        with store.create(shown.out, study=result.study, **meta) as writer:
            writer.add(result.study, result)
        page = report.write_page(store.open_run(shown.out))
        terminal.say(f"page: {page}", beside=shown.json or shown.csv)
    return _code(result.verdicts, shown.fail_on)


def _code(verdicts: Sequence[Verdict], fail_on: FailOn) -> int:
    severities = {None: (), "finding": ("finding",), "warning": ("finding", "warning")}[fail_on]
    return int(any(verdict.severity in severities for verdict in verdicts))
