"""Trend: networks of growing size trained, mapped seed against seed, and the pattern of each told, whatever the map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from netassay.engine import grid
from netassay.errors import BadInput
from netassay.patterns import PATTERNS, Pattern, pattern
from netassay.result import Array, Result
from netassay.studies.init_asked import seeds_of
from netassay.studies.init_claims import FEWEST
from netassay.studies.trend_asked import Kind, Layers, Question, begun, families_of
from netassay.studies.trend_tables import NONE, Size, claims, sizes, trends


def trended(
    kind: Kind,
    asked: Question,
    specs: Any,
    family: Any,
    layers: Layers,
    seeds: Any,
    *,
    ledger: str | Path | None,
    executor: Executor | None,
    workers: int,
) -> Result:
    """Train, map and say which pattern the map of each size has, and at which size it changes."""
    seed, level = asked["seed"], asked["level"]
    named, numbers = families_of(specs, family), seeds_of(seeds)
    about, every = begun(kind, asked, named, layers, numbers, None if ledger is None else f"{ledger}.nets")
    question = {**asked, **about}
    given = grid(kind.cell, every, ledger=ledger, question=question, executor=executor, workers=workers, task="trend")
    found: list[Size] = []
    for one, made in zip(every, given, strict=True):
        maps, pairs = made["maps"], made["pairs"].tolist()
        told = _pattern(list(maps), [tuple(pair) for pair in pairs], seed, level)
        found.append(Size(named[one["model"]], one["model"], maps.shape[1], len(maps), told, made))
    found.sort(key=lambda one: (list(named.values()).index(one.family), one.size))
    arrays = {f"map/{one.spec}": _mean(one, kind.axes) for one in found}
    tables = {"sizes": sizes(found), **trends(found, numbers, level)}
    told_too = {**question, "specs": list(named), "seeds": numbers}
    notes = _notes(found, numbers)
    return Result(kind.study, tables, arrays, claims(found, level), notes=notes, provenance=told_too)


def _pattern(maps: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]], seed: int, level: float) -> Pattern:
    """Return the pattern of maps; one named "none" where too few layers of a network vary at all."""
    names = {name for pair in pairs for name in pair}
    try:
        return pattern(maps, pairs=pairs, seed=seed, level=level)
    except BadInput:
        row = {"index": math.nan, "low": math.nan, "high": math.nan, "p": math.nan}
        rows = tuple({"pattern": name, **row, "told": False} for name in PATTERNS)
        return Pattern(NONE, "", rows, "undefined", ((math.nan,) * len(PATTERNS),) * len(names))


def _mean(one: Size, axes: Sequence[str]) -> Array:
    labels = [str(label) for label in one.made["layers"]]
    return Array(np.mean(one.made.get("calibrated", one.made["maps"]), 0), **dict.fromkeys(axes, labels))


def _notes(found: Sequence[Size], seeds: Sequence[int]) -> tuple[str, ...]:
    few = [f"fewer than {FEWEST} seeds: nothing is decided"] if len(seeds) < FEWEST else []
    ended = [
        f"{one.spec}, seed {seed}: diverged at step {step}; compared with its last finite weights"
        for one in found
        for seed, step in zip(seeds, one.made["diverged"].tolist(), strict=True)
        if step >= 0
    ]
    empty = [f"{one.spec}: no pattern, a map has too few numbers" for one in found if one.told.name == NONE]
    inner = [f"{one.spec}: {note}" for one in found for note in one.made.get("notes", ())]
    return (*few, *ended, *empty, *inner)
