"""Similarity trend: at what size of a family of networks the pattern of its layer by layer map changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from netassay.engine import grid
from netassay.errors import BadInput
from netassay.patterns import PATTERNS, Pattern, pattern
from netassay.result import Array, Result
from netassay.studies.init_asked import seeds_of
from netassay.studies.init_claims import FEWEST
from netassay.studies.similarity_trend_asked import begun, families_of, plainly
from netassay.studies.similarity_trend_cell import cell
from netassay.studies.similarity_trend_tables import NONE, Size, claims, sizes, trends

A, B = "layer of the first seed", "layer of the second seed"


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
    asked = plainly(
        {
            "data": data, "epochs": epochs, "steps": steps, "measure": measure, "positions": positions,
            "tokens": tokens, "samples": samples, "permutations": permutations, "batch_size": batch_size,
            "optimizer": optimizer, "lr": lr, "schedule": schedule, "device": device, "level": level,
            "seed": seed, "memory": memory,
        }
    )  # fmt: skip
    named, numbers = families_of(specs, family), seeds_of(seeds)
    about, every = begun(asked, named, layers, numbers, None if ledger is None else f"{ledger}.nets")
    question = {**asked, **about}
    given = grid(cell, every, ledger=ledger, question=question, executor=executor, workers=workers, task="trend")
    found: list[Size] = []
    for one, made in zip(every, given, strict=True):
        maps, pairs = made["maps"], made["pairs"].tolist()
        told = _pattern(list(maps), [tuple(pair) for pair in pairs], seed, level)
        found.append(Size(named[one["model"]], one["model"], maps.shape[1], len(maps), told, made))
    found.sort(key=lambda one: (list(named.values()).index(one.family), one.size))
    arrays = {f"map/{one.spec}": _mean(one) for one in found}
    tables = {"sizes": sizes(found), **trends(found, numbers, level)}
    told_too = {**question, "specs": list(named), "seeds": numbers}
    notes = _notes(found, numbers)
    return Result("similarity_trend", tables, arrays, claims(found, level), notes=notes, provenance=told_too)


def _pattern(maps: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]], seed: int, level: float) -> Pattern:
    """Return the pattern of maps; one named "none" where too few layers of a network vary at all."""
    names = {name for pair in pairs for name in pair}
    try:
        return pattern(maps, pairs=pairs, seed=seed, level=level)
    except BadInput:
        row = {"index": math.nan, "low": math.nan, "high": math.nan, "p": math.nan}
        rows = tuple({"pattern": name, **row, "told": False} for name in PATTERNS)
        return Pattern(NONE, "", rows, "undefined", ((math.nan,) * len(PATTERNS),) * len(names))


def _mean(one: Size) -> Array:
    labels = [str(label) for label in one.made["layers"]]
    return Array(np.mean(one.made["calibrated"], 0), **{A: labels, B: labels})


def _notes(found: Sequence[Size], seeds: Sequence[int]) -> tuple[str, ...]:
    few = [f"fewer than {FEWEST} seeds: nothing is decided"] if len(seeds) < FEWEST else []
    ended = [
        f"{one.spec}, seed {seed}: diverged at step {step}; compared with its last finite weights"
        for one in found
        for seed, step in zip(seeds, one.made["diverged"].tolist(), strict=True)
        if step >= 0
    ]
    empty = [f"{one.spec}: no pattern, a map has too few numbers" for one in found if one.told.name == NONE]
    return (*few, *ended, *empty)
