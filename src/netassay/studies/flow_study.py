"""Flow study: which switch of a network it is that makes gradient vanish, or keeps it from learning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from netassay.engine import grid
from netassay.result import Result
from netassay.studies.flow_answer import answer
from netassay.studies.flow_asked import begun, cells, plainly, switches_of
from netassay.studies.flow_cell import cell
from netassay.studies.flow_effects import claims, effects, table
from netassay.studies.flow_tables import Trial, tables
from netassay.studies.init_asked import seeds_of
from netassay.studies.init_claims import FEWEST


def flow_study(
    model: str = "resnet[1,1,1]:width=8",
    switches: Mapping[str, Sequence[str]] | None = None,
    data: str = "digits:size=16",
    epochs: int = 1,
    seeds: int | Sequence[int] = 3,
    *,
    steps: int | None = None,
    batch_size: int = 16,
    batches: int = 8,
    optimizer: str = "adam",
    lr: float = 1e-3,
    device: str | None = None,
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    workers: int = 2,
) -> Result:
    """Build a network with every combination of switches and seeds, measure, train, and say which switch it was.

    `switches` maps a factor to its levels, of which the first is the reference; by default skip (residual, none), norm
    (batch, none) and init (he, default). "init" takes schemes of `INITS` or the model's own; "depth" sizes such as
    "[2,2,2]", or a model of the same kind such as "vgg38"; "input" raw, half or standard, or a `normalize` of the data;
    "optimizer" adam or sgd, with a rate as "sgd@0.05"; any other factor is an option of the model. Trainings last
    `epochs`, or `steps` where given, at a constant rate. `ledger`, `executor`, `workers`: as in `init_study`.

    At the start, in train mode over `batches` batches: `chi`, and `decades`, log10 of the attenuation (the gradient at
    the output end of the trunk over that at the input end, by the law's slope); `ratio_decades` compares the last
    weight layer with the first without a fit. Of the training: `fall`, the loss at the start less the mean of the last
    tenth of the steps, NaN where it diverged; `learned`, by how much that mean is below the loss of guessing, ln
    classes (0 where it is not, or the training diverged): a loss that falls from 200 to 3 has learned nothing; and
    `accuracy` on test, of a diverged training with its last weights.

    Tables "cells", "runs", "curves", and "effects": main effects, interactions of two and three switches, each switch
    within each level of another ("simple"), and one change alone from the cell whose gradient is farthest from kept
    ("single"). Every seed is a block: it is used in every cell, an effect is computed within it, and the interval is
    Student's t over seeds, corrected for all effects of its family on one outcome. The first note answers in words.
    Same arguments, same bits.

    Raises `BadInput` for specs, switches, levels or seeds that do not fit, before anything is trained.

    >>> found = flow_study("mlp[8,8]", {"act": ["relu", "tanh"]}, "digits:n=60", seeds=1, steps=2, workers=0)
    >>> [(row["outcome"], row["change"]) for row in found.table("effects") if row["kind"] == "main"][:2]
    [('decades', 'act=tanh'), ('learned', 'act=tanh')]
    """
    asked = plainly(
        {
            "model": model, "data": data, "epochs": epochs, "steps": steps, "batch_size": batch_size,
            "batches": batches, "optimizer": optimizer, "lr": lr, "device": device,
        }
    )  # fmt: skip
    levels, numbers = switches_of(switches), seeds_of(seeds)
    about, every = begun(cells(asked, levels, numbers))
    question = {**asked, **about}
    given = grid(cell, every, ledger=ledger, question=question, executor=executor, workers=workers, task="flow study")
    trials = [Trial(one["levels"], one["seed"], payload) for one, payload in zip(every, given, strict=True)]
    found = effects(trials, levels)
    said = answer(found)
    made = {**tables(trials), "effects": table(found)}
    told = {**question, "switches": levels, "seeds": numbers, "answer": said}
    return Result(
        "flow_study", made, claims=claims(found), notes=(said, *_notes(trials, len(numbers))), provenance=told
    )


def _notes(trials: Sequence[Trial], seeds: int) -> tuple[str, ...]:
    few = [f"fewer than {FEWEST} seeds: nothing is decided"] if seeds < FEWEST else []
    ends = [(one, f"diverged at step {one.diverged}") for one in trials if one.diverged >= 0]
    lawless = [(one, "no law fits: its gradient is 0, not finite, or of fewer than 3 layers") for one in trials]
    lawless = [(one, why) for one, why in lawless if not math.isfinite(one.number("decades"))]
    return (*few, *(f"{one.name}, seed {one.seed}: {why}" for one, why in (*ends, *lawless)))
