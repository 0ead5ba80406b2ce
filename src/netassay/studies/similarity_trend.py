"""Similarity trend: at what size of a family of networks the pattern of its layer by layer map changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from netassay.measures import check_chance, named
from netassay.result import Result
from netassay.studies.similarity_trend_cell import cell, tried
from netassay.studies.trend import trended
from netassay.studies.trend_asked import Kind, training

AXES = "layer of the first seed", "layer of the second seed"
SIMILARITY = Kind("similarity_trend", cell, AXES, tried, "run in it")


def similarity_trend(
    specs: str | Sequence[str],
    data: str = "digits:size=16",
    *,
    seeds: int | Sequence[int] = 3,
    epochs: int = 3,
    steps: int | None = None,
    family: str | Sequence[str] | None = None,
    layers: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    measure: str = "cka",
    positions: str = "flatten",
    tokens: str = "mean",
    samples: int = 512,
    permutations: int = 200,
    batch_size: int = 64,
    optimizer: str = "adam",
    lr: float = 1e-3,
    schedule: str = "cosine",
    device: str | None = None,
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    workers: int = 2,
    seed: int = 0,
    level: float = 0.95,
    memory: int = 2 << 30,
) -> Result:
    """Train networks of growing size with several seeds each, map seed against seed, and say which pattern each has.

    `specs` are models, one or several families of them; a `family` is named for each spec, or for all, by default its
    name with the options that differ between specs of that name. Every spec is trained with each of `seeds` on the
    train part of `data` for `epochs`, or `steps` where given. Pairs of seeds are compared over the first `samples` of
    the test part by `measure` (`positions`, `tokens`, `memory`: as in `similarity_map`). `layers` are patterns, or
    patterns for each family; by default all activations, in order of execution. `ledger` names a file
    that keeps what is done, and `ledger`.nets beside it the trained weights; `executor` and `workers` are as in
    `init_study`.

    The pattern is that of the measure as it is, above chance or not (`netassay.patterns`; of a distance, of less it):
    the mean index over pairs of seeds, with an interval over networks. Its test draws 1,000 fields with `seed`, from
    which the orders of samples are drawn, too.

    Tables "sizes" (a row for each spec: "size" counts the layers compared, "pairs" those of seeds), "trends" (the slope
    of each index per doubling of the size, with an interval over seeds, and the two specs between which the pattern
    changes) and "nets"; arrays "map/<spec>", the mean calibrated similarity. Claims, one for each family: that the
    pattern changes from one to another between two specs, or, where no one change says more than one pattern for all
    sizes, that this one grows with size. Seeds of one spec are exchangeable: a triangle can only be expected of a
    measure that is not symmetric.

    Raises `BadInput` for specs, families or seeds that do not fit, before anything is trained.

    >>> found = similarity_trend(["mlp[8,8,8]", "mlp[8,8,8,8]"], steps=2, samples=40, workers=0)
    >>> [(row["family"], row["size"], row["pairs"]) for row in found.table("sizes")]
    [('mlp', 3, 3), ('mlp', 4, 3)]
    """
    asked = training(
        {
            "data": data, "epochs": epochs, "steps": steps, "measure": measure, "positions": positions,
            "tokens": tokens, "samples": samples, "permutations": permutations, "batch_size": batch_size,
            "optimizer": optimizer, "lr": lr, "schedule": schedule, "device": device, "level": level,
            "seed": seed, "memory": memory,
        },
        "permutations",
    )  # fmt: skip
    named(measure)
    check_chance("similarity_trend", asked["level"], seed=seed, memory=memory)
    return trended(SIMILARITY, asked, specs, family, layers, seeds, ledger=ledger, executor=executor, workers=workers)
