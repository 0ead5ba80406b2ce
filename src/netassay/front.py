"""The front door in Python: examine a network, or watch one that trains; keep what is seen, write its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer

from netassay.objectives import Objective
from netassay.report import write_page
from netassay.result import Verdict
from netassay.store import Run, Writer, create, fresh, open_run
from netassay.studies.examine import Plan, examine_into
from netassay.studies.flow_theory import expected
from netassay.watching import Monitor


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
    second: bool = True,
) -> Run:
    """Examine a network end to end, and return the run that was stored; its `.page` is the file to open.

    A spec without weights is fitted to `data`, trained on its train split for `epochs`, and profiled on its test
    split before and after; without a model it is a small ResNet. A spec with `weights`, or a module, is compared with
    an untrained twin. What is trained is trained a second time with the next seed, to see which layers come out alike;
    `second=False` leaves that out. `out` is the folder of the run, by default a fresh one under `runs/`.

    Raises `BadInput` for a spec, file, label or input that does not fit; what was measured before stays in the run.

    >>> import tempfile
    >>> run = examine("mlp[16]", "digits", epochs=1, out=tempfile.mkdtemp() + "/first")
    >>> run.labels, run.page.name
    (('summary', ..., 'flow/training', 'similarity/start', 'similarity/seed', 'examine'), 'index.html')
    """
    plan = Plan(model, data, weights, layers, objective, epochs, lr, seed, batch_size, device, second)
    folder = Path(out) if out is not None else fresh("runs", "examine")
    told = {"model": _told(model), "data": _told(data), "weights": None if weights is None else str(weights)}
    with create(folder, study="examine", seed=seed, **told) as writer:
        examine_into(writer, plan)
    run = open_run(folder)
    write_page(run)
    return run


def watch(
    model: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    reduction: Literal["mean", "sum"] = "mean",
    scaler: Any = None,
    layers: str | Sequence[str] | None = None,
    every: int = 10,
    budget: str | float | None = None,
    on_verdict: Callable[[Verdict], object] | None = None,
    out: str | Path | Literal[False] | None = None,
    example: Any = None,
) -> Monitor:
    """Watch a training: read gradients, signals and updates as it steps, and raise an alarm when it sickens.

    Open it around any loop: `with watch(model, optimizer) as seen: ...`. The optimizer's own step hooks do the
    reading, after unscaling, clipping and accumulation, every `every` steps, or as often as `budget` ("1%" of the
    time) allows. `reduction` says whether the loss is a mean or a sum over samples, `scaler` is a
    `torch.amp.GradScaler`; both only set the scale of gradients, and stand in the result. `seen.step(loss)` notes
    the loss. A finding or warning goes to `on_verdict` and to the log as soon as it is found. Nothing that fails in
    here reaches the training; `seen.faults` and the result tell of it.

    What is read is kept in the run folder `out`, by default a fresh one under `runs/`, and its page is written when the
    context closes, also when the training raised; `out=False` keeps nothing. `example`, a batch (x, y), adds what
    mean-field theory expects of the start. `seen.result()`, `.verdicts()` and `.state_dict()` work at any time.

    Raises `BadInput` for what cannot be watched, before the training begins.

    >>> import torch, netassay as na
    >>> model, (x, y) = na.build("mlp[32,32]"), next(iter(na.load_data("digits")))[:2]
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> with watch(model, optimizer, every=1, out=False) as seen:
    ...     for _ in range(3):
    ...         loss = nn.functional.cross_entropy(model(x), y)
    ...         optimizer.zero_grad(), loss.backward(), optimizer.step()
    ...         seen.step(loss)
    (...)
    >>> seen.result().array("gradient").shape, seen.verdicts()
    ((3, 6), ())
    """
    theory = None if example is None else expected(model, [example])
    options: dict[str, Any] = {
        "reduction": reduction, "scaler": scaler, "layers": layers, "every": every, "budget": budget,
        "on_verdict": on_verdict, "predicted": theory,
    }  # fmt: skip
    monitor = Monitor(model, optimizer, **options)  # refuses what cannot be watched before a folder is made
    if out is not False:
        folder = Path(out) if out is not None else fresh("runs", "watch")
        keep = create(folder, study="watch", model=_told(getattr(model, "spec", model)))
        monitor.keeping.keep, monitor.on_exit = keep, Ending(keep)
    return monitor


class Ending:
    """Closes a run when its watch closes: adds the result, marks how the training ended, writes the page."""

    def __init__(self, keep: Writer) -> None:
        self.keep = keep

    def __call__(self, monitor: Monitor, error: BaseException | None) -> None:
        """Add, close, and write."""
        try:
            self.keep.add("flow", monitor.result())
        finally:
            self.keep.__exit__(type(error) if error else None, error, None)
        write_page(open_run(self.keep.path))


def _told(source: Any) -> str:
    return source if isinstance(source, str) else f"<{type(source).__name__}>"
