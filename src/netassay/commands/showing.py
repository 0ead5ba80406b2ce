"""Showing: what commands share once there is a result, or before there is a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netassay import report, store, terminal
from netassay.errors import BadInput
from netassay.objectives import logits
from netassay.options import FailOn, Made, Shown
from netassay.quiet import quiet
from netassay.result import Result, Verdict
from netassay.spec import parse


def weighted(made: Made, model: str) -> Callable[[Path], nn.Module]:
    """Return what builds the model with the weights of a file."""
    return lambda file: replace(made, weights=file).model(model)


def fitting(data: str, model: nn.Module) -> str:
    """Give noise the size and classes of a model that knows its input; leave every other data set as it is."""
    spec, shape = parse(data), getattr(model, "input_shape", None)
    if spec.name != "noise" or shape is None:
        return data
    channels, size = (shape[0], shape[-1]) if len(shape) == 3 else (math.prod(shape), 1)
    with quiet(model), torch.no_grad():
        classes = logits(model(torch.zeros(1, channels, size, size))).shape[1]
    return str(spec.including(size=size, channels=channels, classes=classes))


def show(result: Result, shown: Shown, table: str, meta: Mapping[str, Any]) -> int:
    """Show a result, keep it as a run with its page where one is asked for, and return the exit code."""
    terminal.show_result(result, table, json=shown.json, csv=shown.csv)
    if shown.out is not None:
        with store.create(shown.out, study=result.study, **meta) as writer:
            writer.add(result.study, result)
        page = report.write_page(store.open_run(shown.out))
        terminal.say(f"page: {page}", beside=shown.json or shown.csv)
    return code(result.verdicts, shown.fail_on)


def code(verdicts: Sequence[Verdict], fail_on: FailOn) -> int:
    """Return 1 where a verdict is as severe as `fail_on` or worse."""
    severities = {None: (), "finding": ("finding",), "warning": ("finding", "warning")}[fail_on]
    return int(any(verdict.severity in severities for verdict in verdicts))


def kept_ledger(folder: Path | None) -> Path | None:
    """Make the folder that keeps a ledger, and clear what a process that was killed left of the run itself."""
    if folder is None:
        return None
    file = folder / "grid.db"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"it cannot be made ({error.strerror})"
        raise BadInput(f"begin a run in {str(folder)!r}", found, "give a folder you can write to") from error
    if file.exists():
        store.clear(folder)
    return file


def alone(command: str, **given: Any) -> None:
    """Refuse what a trend has no use for."""
    if asked := _asked(given):
        found = f"{asked} beside it; its networks are trained here"
        raise BadInput(f"{command} --trend", found, "name all networks after --trend, and leave the others out")


def named(command: str, a: str | None, **given: Any) -> str:
    """Return the first network; refuse none, and what only a trend has a use for."""
    if a is None:
        raise BadInput(command, "no network", f"name one or two: netassay {command} A B, or --trend A B C")
    if asked := _asked(given):
        raise BadInput(f"{command} {a}", f"{asked}, for a trend only", f"leave it out, or {command} --trend A B C")
    return a


def _asked(given: Mapping[str, Any]) -> str:
    names = [name if len(name) == 1 else f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    return " and ".join(names)


def written(file: Path, text: str) -> None:
    """Write a text file, or say why not."""
    try:
        file.write_text(text)
    except OSError as error:
        found = f"it cannot be written ({error.strerror})"
        raise BadInput(f"write {str(file)!r}", found, "give a file in a folder you can write to") from error
