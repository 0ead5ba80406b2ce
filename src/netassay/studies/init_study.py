"""Initialisation study: what each scheme does at the start, and what training makes of it, over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from netassay.engine import grid
from netassay.result import Result
from netassay.studies.init_asked import begun, plainly, schemes_of, seeds_of
from netassay.studies.init_cell import INPUTS, cell
from netassay.studies.init_claims import FEWEST, claims
from netassay.studies.init_payload import Outcome
from netassay.studies.init_tables import arrays, tables

COMPARED = (
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
    "orthogonal",
    "ones",
    "zeros",
)
"""The schemes that are compared unless others are named."""


def init_study(
    model: str = "cnn",
    schemes: str | Sequence[str] = COMPARED,
    data: str = "digits:normalize=half",
    epochs: int = 10,
    seeds: int | Sequence[int] = 3,
    inputs: str | Sequence[str] = INPUTS,
    *,
    at: Sequence[int] = (),
    samples: int = 1000,
    batch_size: int = 64,
    optimizer: str = "adam",
    lr: float = 1e-4,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    device: str | None = None,
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    workers: int = 2,
) -> Result:
    """Draw a network by every scheme and seed, train each, and compare what was there at the start and at the end.

    `model` and `data` are specs, since processes of their own build them; `seeds` are numbers, or how many from 0.
    Looks are taken at the start, after the epochs `at`, and at the end: of each parameter, all of it; of the features,
    over the first `samples` of each of `inputs` ("train", "valid", "noise" for N(0, 1), or any data spec). Defaults are
    Adam at 1e-4 without decay, batches of 64. `ledger` names a file that keeps what is done, so that the same call
    goes on where a killed one stopped. By default `workers` processes train at the same time (0: this one alone);
    `executor` is any of `concurrent.futures`, then `workers` is how many cells it holds. Threads of one process take
    turns, since networks may draw from the generator that they share.

    Tables "schemes", "scores", "weights", "features", "shift", "feature_shift", "curves", "signal", "symmetry" and
    "movement"; arrays "weights/density" (scheme, parameter, when, bin) and "features/density" (scheme, place, input,
    when, bin) with their "edges". Two calls with the same arguments give the same tables bit for bit, also over
    another executor.

    Raises `BadInput` for a spec, scheme, epoch or seed that does not fit, before anything is trained.

    >>> result = init_study("mlp[8]", ["ones", "orthogonal"], epochs=1, seeds=1, samples=50, workers=0)
    >>> [(row["scheme"], row["distinct_end"]) for row in result.table("symmetry") if row["layer"] == "fc1"]
    [('ones', 1), ('orthogonal', 8)]
    """
    asked = plainly(
        {
            "model": model, "data": data, "epochs": epochs, "inputs": inputs, "at": at, "samples": samples,
            "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "weight_decay": weight_decay,
            "schedule": schedule, "device": device,
        }
    )  # fmt: skip
    chosen, numbers = schemes_of(schemes), seeds_of(seeds)
    about = begun(asked, chosen, numbers)
    cells: list[dict[str, Any]] = [{**asked, "scheme": scheme, "seed": seed} for scheme in chosen for seed in numbers]
    question = {**asked, **about}
    found = grid(cell, cells, ledger=ledger, question=question, executor=executor, workers=workers, task="initialise")
    outcomes = [Outcome(one["scheme"], one["seed"], payload) for one, payload in zip(cells, found, strict=True)]
    told = {**question, "schemes": chosen, "seeds": numbers, **_cost(outcomes)}
    notes = _notes(outcomes, about["split"])
    return Result("init_study", tables(outcomes), arrays(outcomes), claims(outcomes), notes=notes, provenance=told)


def _cost(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return what the study took in all, and which share of it went into looking."""
    seconds = np.sum([one.arrays["seconds"] for one in outcomes], axis=0)
    return {"seconds": round(float(seconds[0]), 1), "looking_share": round(float(seconds[1] / seconds[0]), 3)}


def _notes(outcomes: Sequence[Outcome], split: bool) -> tuple[str, ...]:
    kept = {f"{one.scheme}: kept as built: {', '.join(one.untouched)}" for one in outcomes if one.untouched}
    stopped = [one for one in outcomes if one.diverged >= 0]
    ends = [
        f"{one.scheme}, seed {one.seed}: the loss was not finite at step {one.diverged}; its end is the state then"
        for one in stopped
    ]
    few = () if len({one.seed for one in outcomes}) >= FEWEST else (f"fewer than {FEWEST} seeds: no claim can hold",)
    same = () if split else ("the data has no split: valid and accuracy are of what the networks learned from",)
    return (*few, *same, *sorted(kept), *ends)
