"""The front door in Python: run an examination, keep it, write its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from netassay.objectives import Objective
from netassay.report import write_page
from netassay.store import Run, create, fresh, open_run
from netassay.studies.examine import Plan, examine_into


def examine(
    model: str | nn.Module | None = None,
    data: Any = "digits:size=16",
    *,
    out: str | Path | None = None,
    weights: str | Path | None = None,
    layers: str | Sequence[str] | None = None,
    objective: str | Objective = "cross_entropy",
    epochs: int = 10,
    lr: float = 0.05,
    seed: int = 0,
    batch_size: int = 128,
    device: str | None = None,
) -> Run:
    """Examine a network end to end, and return the run that was stored; its `.page` is the file to open.

    A spec without weights is fitted to `data`, trained on its train split for `epochs`, and profiled on its test
    split before and after; without a model it is a small ResNet. A spec with `weights`, or a module, is compared with
    an untrained twin. `out` is the folder of the run, by default a fresh one under `runs/`.

    Raises `BadInput` for a spec, file, label or input that does not fit; what was measured before stays in the run.

    >>> import tempfile
    >>> run = examine("mlp[16]", "digits", epochs=1, out=tempfile.mkdtemp() + "/first")
    >>> run.labels, run.page.name
    (('summary', ..., 'initialisation', 'signal/start', 'examine'), 'index.html')
    """
    plan = Plan(model, data, weights, layers, objective, epochs, lr, seed, batch_size, device)
    folder = Path(out) if out is not None else fresh("runs", "examine")
    told = {"model": _told(model), "data": _told(data), "weights": None if weights is None else str(weights)}
    with create(folder, study="examine", seed=seed, **told) as writer:
        examine_into(writer, plan)
    run = open_run(folder)
    write_page(run)
    return run


def _told(source: Any) -> str:
    return source if isinstance(source, str) else f"<{type(source).__name__}>"
