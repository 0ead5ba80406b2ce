"""Prescribe: remedies tried on copies of a network, a law and a few steps each, ranked by what they do for learning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from netassay.capturing import watchable
from netassay.data import Batch, load_data, splits
from netassay.errors import BadInput, UnknownName
from netassay.layers import shaped
from netassay.objectives import Objective, find, values
from netassay.progress import hushed
from netassay.progress import steps as progress
from netassay.quiet import modes
from netassay.result import Result
from netassay.seeds import seeded
from netassay.studies.forward import checked, device_of, failed, forward, tried
from netassay.studies.init_asked import seeds_of, whole
from netassay.studies.prescribe_law import law
from netassay.studies.prescribe_tables import Law, Trial, claims, notes, tables
from netassay.studies.provenance import describe
from netassay.studies.remedies import OPTIMIZERS, Case, Remedy, statistics
from netassay.studies.remedies_offered import as_it_is, chosen


def prescribe(
    model: nn.Module | str,
    data: Any,
    *,
    objective: str | Objective = "cross_entropy",
    optimizer: str = "adam",
    lr: float = 1e-3,
    steps: int = 60,
    seeds: int | Sequence[int] = 3,
    batch_size: int = 32,
    remedies: Sequence[str] | None = None,
    device: str | None = None,
) -> Result:
    """Try remedies on copies of a network, and rank them by how far the loss falls in the first steps.

    `model` is a spec, fitted to the data and drawn by every seed, or a module: it is copied, never touched, and seeds
    then order the data, and draw what a remedy draws. Tried are, beside leaving all as it is: other initialisations,
    LSUV, standardised input, ten times and a tenth of the rate, the other optimizer, a smaller epsilon of Adam, and for
    networks of the zoo normalisation, skips, both, and skips around branches that begin at 0; `remedies` names some.
    Each is measured before its first step, in train mode, and trained for `steps` steps on the mean of `objective`
    over a batch.

    Table "remedies", the best first: `what` to type; `chi` and `attenuation` (gradient at the output end over that at
    the input end of the trunk) at the start; `loss_start`, `loss_end` (mean of the last tenth of the steps) and
    `loss_fall`, the loss before the first step of the network as it is, less `loss_end`: a start that a remedy itself
    made worse is no fall. Means over seeds, with 95 % intervals by Student's t; `together` marks what is not told
    apart from the best; `diverged` counts seeds whose loss was not finite. Tables "before_after" (gradient at every
    layer at the start) and "curves"; a claim for each remedy, corrected for their number. Data of a spec is its train
    split.

    Raises `BadInput` for a model that cannot be copied, data or settings that do not fit, `UnknownName` for a remedy
    that there is not.

    >>> found = prescribe("mlp[32,32,32]:init=default", "digits", steps=10, seeds=2, remedies=["kaiming_normal"])
    >>> sorted(row["remedy"] for row in found.table("remedies"))
    ['as it is', 'kaiming_normal']
    """
    case, numbers = _case(model, data, optimizer, lr, batch_size, device), seeds_of(seeds)
    whole("steps", steps, 2)
    asked, goal = chosen(case, remedies), find(objective)
    trials, refused = _all(case, asked, numbers, steps, goal)
    told: dict[str, Any] = {
        **describe(case.network(asked[0], numbers[0])),
        "data": case.learn.spec,
        "objective": objective if isinstance(objective, str) else getattr(objective, "__qualname__", repr(objective)),
        "optimizer": optimizer,
        "lr": lr,
        "steps": steps,
        "seeds": numbers,
        "batch_size": batch_size,
    }
    return Result(
        "prescribe", tables(trials), {}, claims(trials), notes=(*notes(trials, case), *refused), provenance=told
    )


def _case(model: nn.Module | str, data: Any, optimizer: str, lr: float, batch_size: int, device: str | None) -> Case:
    """Resolve what is asked, and refuse what does not fit before anything is drawn."""
    if optimizer not in OPTIMIZERS:
        raise UnknownName("optimizer", optimizer, OPTIMIZERS)
    if not 0 < lr < math.inf:
        raise BadInput(f"prescribe with lr={lr}", "the rate must be positive and finite", "lr=1e-3")
    learn = splits(data, batch_size=batch_size)[0] if isinstance(data, str) else load_data(data, batch_size=batch_size)
    if not isinstance(model, str):
        shaped(model, "prescribe for")
        watchable(model)
    case = Case(model, learn, optimizer, lr, device, statistics(learn))
    made = case.network(as_it_is(case), 0)
    tried(made, learn)
    if not any(p.requires_grad for p in made.parameters()):
        raise BadInput("prescribe", "the model has no parameter that takes a gradient", "set requires_grad on some")
    return case


def _all(
    case: Case, asked: Sequence[Remedy], seeds: Sequence[int], steps: int, objective: Objective
) -> tuple[list[Trial], list[str]]:
    """Try every remedy under every seed; return what came of it, and why a remedy could not be tried."""
    laws: dict[tuple[Any, int], Law] = {}
    trials, refused = list[Trial](), list[str]()
    with progress("prescribe", len(asked) * len(seeds)) as advance:
        for remedy in asked:
            try:
                found = []
                for seed in seeds:
                    advance(remedy.name)
                    found.append(_tried(case, remedy, seed, steps, objective, laws))
                trials += found
            except BadInput as error:
                if remedy is asked[0]:
                    raise
                refused.append(f"{remedy.name} could not be tried: {error.found}")
    return trials, refused


def _tried(
    case: Case, remedy: Remedy, seed: int, steps: int, objective: Objective, laws: dict[tuple[Any, int], Law]
) -> Trial:
    """Measure a remedy at its start, train it, and keep what came of it; one law for remedies of one network."""
    model = case.network(remedy, seed)
    key = (remedy.network, seed)
    if key not in laws:
        with hushed(), seeded(seed):
            laws[key] = law(model, case, remedy, seed, objective)
    losses, hits = _trained(model, case, remedy, seed, steps, objective)
    return Trial(remedy, seed, laws[key], losses, hits)


def _trained(
    model: nn.Module, case: Case, remedy: Remedy, seed: int, steps: int, objective: Objective
) -> tuple[list[float], list[float]]:
    """Return the loss before each step, and the share of hits; they end with a loss that is not finite."""
    losses, hits = list[float](), list[float]()
    algorithm = remedy.algorithm(model)
    with seeded(seed), modes(model, True), torch.inference_mode(False), torch.enable_grad():
        for batch in case.batches(seed, steps):
            here = checked(batch, len(losses), device_of(model))
            output = forward(model, case.inputs(here.x, remedy), here)
            loss = values(objective, output, here.y, len(here.x)).mean()
            losses.append(loss.item())
            hits.append(_hits(output, here))
            if not math.isfinite(losses[-1]):
                break
            algorithm.zero_grad()
            try:
                loss.backward()  # type: ignore[no-untyped-call]
            except Exception as error:
                raise failed(model, "backward", here, error) from error
            algorithm.step()
    return losses, hits


def _hits(output: Any, batch: Batch) -> float:
    classes = isinstance(output, torch.Tensor) and output.dim() == 2 and batch.y is not None and batch.y.dim() == 1
    if not classes or batch.y is None or batch.y.is_floating_point():
        return math.nan
    return float((output.argmax(1) == batch.y).double().mean())
