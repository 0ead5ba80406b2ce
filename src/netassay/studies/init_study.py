"""Initialisation study: what each scheme does at the start, and what training makes of it, over several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from netassay.data import splits
from netassay.engine import grid
from netassay.errors import BadInput, UnknownName
from netassay.inits import INITS
from netassay.result import Result
from netassay.studies.forward import tried
from netassay.studies.init_cell import HOW, cell, drawn, source
from netassay.studies.init_claims import claims
from netassay.studies.init_payload import Outcome
from netassay.studies.init_tables import arrays, tables
from netassay.studies.provenance import describe
from netassay.training import Diverged, train

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
INPUTS = ("train", "valid", "noise")


def init_study(
    model: str = "cnn",
    schemes: Sequence[str] = COMPARED,
    data: str = "digits:normalize=half",
    epochs: int = 10,
    seeds: int | Sequence[int] = 3,
    inputs: Sequence[str] = INPUTS,
    *,
    at: Sequence[int] = (),
    samples: int = 1000,
    batch_size: int = 64,
    optimizer: str = "adam",
    lr: float = 1e-4,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    workers: int = 2,
) -> Result:
    """Draw a network by every scheme and seed, train each, and compare what was there at the start and at the end.

    `model` and `data` are specs, since processes of their own build them; `seeds` are numbers, or how many from 0.
    Looks are taken at the start, after the epochs `at`, and at the end: of each parameter, all of it; of the features,
    over the first `samples` of each of `inputs` ("train", "valid", "noise" for N(0, 1), or any data spec). Defaults are
    Adam at 1e-4 without decay, batches of 64. `ledger` names a file that keeps what is done, so that the same call
    goes on where a killed one stopped; `executor` is any of `concurrent.futures`, by default `workers` processes.

    Tables "scores", "weights", "features", "shift", "feature_shift", "curves", "signal", "symmetry" and "movement";
    arrays "weights/density" (scheme, parameter, when, bin) and "features/density" (scheme, place, input, when, bin)
    with their "edges". Two calls with the same arguments give the same tables bit for bit, also over another executor.

    Raises `BadInput` for a spec, scheme, epoch or seed that does not fit, before anything is trained.

    >>> result = init_study("mlp[8]", ["ones", "orthogonal"], epochs=1, seeds=1, samples=50, workers=0)
    >>> [(row["scheme"], row["distinct_end"]) for row in result.table("symmetry") if row["layer"] == "fc1"]
    [('ones', 1), ('orthogonal', 8)]
    """
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    asked = {
        "model": model, "data": data, "epochs": epochs, "inputs": list(inputs), "at": sorted(set(at)),
        "samples": samples, "batch_size": batch_size, "optimizer": optimizer, "lr": lr,
        "weight_decay": weight_decay, "schedule": schedule,
    }  # fmt: skip
    cells: list[dict[str, Any]] = [{**asked, "scheme": scheme, "seed": seed} for scheme in schemes for seed in numbers]
    _check(asked, schemes, numbers)
    made = _tried(cells[0])
    found = grid(cell, cells, ledger=ledger, question=asked, executor=executor, workers=workers, task="initialise")
    outcomes = [Outcome(one["scheme"], one["seed"], payload) for one, payload in zip(cells, found, strict=True)]
    told = {**made, **asked, "schemes": list(schemes), "seeds": list(numbers), **_cost(outcomes)}
    return Result(
        "init_study", tables(outcomes), arrays(outcomes), claims(outcomes), notes=_notes(outcomes), provenance=told
    )


def _check(asked: Mapping[str, Any], schemes: Sequence[str], seeds: Sequence[int]) -> None:
    for name in ("model", "data"):
        if not isinstance(asked[name], str):
            found = f"a {type(asked[name]).__name__}, which another process cannot build"
            raise BadInput(f"study initialisations of {name}", found, f"give {name} as a spec, or 'module:factory'")
    for scheme in schemes:
        if scheme not in INITS:
            raise UnknownName("scheme", scheme, INITS)
    counts = {"schemes": len(schemes), "seeds": len(seeds), "epochs": asked["epochs"], "samples": asked["samples"]}
    for name, count in counts.items():
        if count < 1:
            raise BadInput(f"study initialisations with {name}={count}", "nothing to do", f"{name}: 1 or more")
    for epoch in asked["at"]:
        if not 0 < epoch < asked["epochs"]:
            found = f"a training of {asked['epochs']} epochs, looked at before and after it anyway"
            raise BadInput(f"look after epoch {epoch}", found, f"at=[{max(1, asked['epochs'] // 2)}]")


def _tried(first: Mapping[str, Any]) -> dict[str, Any]:
    """Build the first cell's network and data and train on a batch, so that what does not fit is refused at once."""
    learn, test = splits(first["data"], batch_size=first["batch_size"])
    network = drawn(first, learn)
    for name in first["inputs"]:
        tried(network, source(name, first, learn, test))
    how = {name: first[name] for name in HOW} | {"epochs": 1}
    with suppress(Diverged):
        train(network, [next(iter(learn))], **how)
    known = describe(network)
    return {"versions": known["versions"], "device": known["device"], "dtype": known["dtype"]}


def _cost(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return what the study took in all, and which share of it went into looking."""
    seconds = np.sum([one.arrays["seconds"] for one in outcomes], axis=0)
    return {"seconds": float(seconds[0]), "looking_share": float(seconds[1] / seconds[0])}


def _notes(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    stopped = [one for one in outcomes if one.diverged >= 0]
    return tuple(
        f"{one.scheme}, seed {one.seed}: the loss was not finite at step {one.diverged}; its end is the state then"
        for one in stopped
    )
