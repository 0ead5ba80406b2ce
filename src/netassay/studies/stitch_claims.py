"""Stitch claims: compatible beyond what the controls reach, in what pattern, and where the representation says no."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from netassay.inference import binomial_interval, fisher_tail, holm
from netassay.patterns import LEAST, Pattern, fewest_known, pattern
from netassay.result import Claim
from netassay.studies.similarity_patterns import patterned
from netassay.studies.stitch_asked import Net
from netassay.studies.stitch_controls import NONE
from netassay.studies.stitch_tables import BESIDE, Grid, Row

LIMITS = {"mse": (0.5, 1), "cka": (0.5, -1), "ood": (0.95, 1)}
"""Beyond these, upwards or downwards, a distance to the representation that the receiver expects says no: half of its
variance is missed, CKA below a half, farther out than its own activations in 19 of 20 comparisons."""
COMPATIBLE, NOT, OPEN = "compatible", "not compatible", "undecided"
SIGNS = {"accuracy": 1, "penalty": -1}
ALL = "all"
MEANS = {
    "diagonal": "stitches between equal depths are more accurate",
    "triangle": "stitches on one side of equal depth are more accurate",
    "block": "stitches within a stretch are more accurate",
}
"""What a pattern says."""


def judged(grid: Grid, level: float) -> None:
    """Write into each row what is claimed of it, its controls beside it: compatible, not compatible, or undecided.

    Compatible: its accuracy is above the highest of the random and shuffled controls' at the same place, by Fisher's
    exact test of the two shares (conservative: they are of the same samples), corrected by Holm over the cells of a
    pair of networks. Not compatible: not above it at all. Noise knows the label, and is no chance: where it reaches as
    much, the note says so.
    """
    beside = {control: grid.of(control) for control in BESIDE}
    noise = {key: row["accuracy"] for key, row in beside["noise"].items()}
    families: dict[tuple[str, str], list[tuple[Row, float]]] = {}
    for key, row in grid.of(NONE).items():
        controls = {name: rows[key]["accuracy"] for name, rows in beside.items() if key in rows}
        chance = {name: accuracy for name, accuracy in controls.items() if name != "noise"}
        best = max(chance, key=lambda name: chance[name], default=None)
        p = np.nan if best is None else _chance(row, controls[best])
        told = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in controls.items())
        row["claim"] = f" (penalty {row['penalty']:.3f}; {told or 'no control'})"
        families.setdefault((row["sender"], row["receiver"]), []).append((row, p))
    for cells in families.values():
        for (row, p), adjusted in zip(cells, holm([p for _, p in cells]), strict=True):
            word = COMPATIBLE if adjusted <= 1 - level else NOT if p >= 1 else OPEN
            row["claim"] = ("not judged" if np.isnan(row["accuracy"]) else word) + row["claim"]
            if word == COMPATIBLE and (against := saying_no(row)):
                row["note"] = f"the representation says no ({', '.join(against)}); {row['note']}"
            if word == COMPATIBLE and row["accuracy"] <= noise.get(_key(row), -1.0):
                row["note"] = f"noise that knows the label reaches as much; {row['note']}"


def _key(row: Row) -> tuple[str, str, str, str]:
    return row["sender"], row["sender_layer"], row["receiver"], row["receiver_layer"]


def saying_no(row: Mapping[str, Any]) -> list[str]:
    """Name the distances that say that what arrives is not what the receiver expects."""
    return [name for name, (limit, sign) in LIMITS.items() if sign * row[name] > sign * limit]


def compatible(row: Mapping[str, Any]) -> bool:
    """Tell whether a row was claimed compatible."""
    return str(row["claim"]).startswith(COMPATIBLE)


def _chance(row: Row, other: float) -> float:
    n = row["n_test"]
    if np.isnan(row["accuracy"]) or np.isnan(other):
        return np.nan
    right, theirs = round(row["accuracy"] * n), round(other * n)
    return 1.0 if right <= theirs else _fisher(right, n, theirs)


@cache
def _fisher(right: int, n: int, other: int) -> float:
    return fisher_tail(right, n, other, n)


def patterns(grid: Grid, seed: int, level: float) -> dict[tuple[str, str, str], Pattern]:
    """Name the pattern of each pair's map, and of all pairs of different networks together."""
    found = {}
    for measure, sign in SIGNS.items():
        maps = {(one.name, other.name): sign * grid.map(measure, NONE, one, other) for one, other in _pairs(grid)}
        maps = {pair: values for pair, values in maps.items() if fewest_known(values) >= LEAST}
        for pair, values in maps.items():
            found[*pair, measure] = pattern(values, seed=seed, level=level)
        others = {pair: values for pair, values in maps.items() if pair[0] != pair[1]}
        if len(others) > 1:
            found[ALL, ALL, measure] = pattern(list(others.values()), pairs=list(others), seed=seed, level=level)
    return found


def _pairs(grid: Grid) -> list[tuple[Net, Net]]:
    return [(one, other) for one in grid.senders for other in grid.receivers]


def pattern_rows(found: Mapping[tuple[str, str, str], Pattern]) -> list[Row]:
    """One row for each pair of networks, measure and pattern."""
    return [
        {"sender": one, "receiver": other, "measure": measure, **row, "side": told.side}
        for (one, other, measure), told in found.items()
        for row in told.rows
    ]


def claims(grid: Grid, found: Mapping[tuple[str, str, str], Pattern], level: float) -> Iterator[Claim]:
    """Claim of each pair how many cells are compatible, what their pattern is, and where distances say no."""
    every, corrected = grid.of(NONE), 1 - (1 - level) / len(_pairs(grid))
    for one, other in _pairs(grid):
        rows = [row for row in every.values() if (row["sender"], row["receiver"]) == (one.name, other.name)]
        yield from _pair(f"{one.name} into {other.name}", rows, corrected, len(_pairs(grid)))
    yield from _patterned(grid, {key[:2]: one for key, one in found.items() if key[2] == "accuracy"}, level)


def _pair(who: str, rows: list[Row], level: float, pairs: int) -> Iterator[Claim]:
    judged = [row for row in rows if np.isfinite(row["accuracy"])]
    hits = [row for row in judged if compatible(row)]
    against = [row for row in hits if saying_no(row)]
    limits = ", ".join(f"{name} {'>' if sign > 0 else '<'} {limit}" for name, (limit, sign) in LIMITS.items())
    statements = {
        f"{who}: most cells are compatible beyond the random controls": (len(hits), len(judged), 0.5),
        f"{who}: accuracy says compatible and representation distance says no ({limits})": (
            len(against),
            len(hits),
            0.0,
        ),
    }
    for statement, (k, n, null) in statements.items():
        if n:
            low, high = binomial_interval(k, n, level)
            fields = {
                "effect": k / n,
                "interval": (low, high),
                "n": n,
                "counted": "cells",
                "unit": f"of the cells ({k})",
            }
            how = {"level": level, "tests": pairs, "correction": "Bonferroni over pairs, Holm over the cells of each"}
            yield Claim.above(null, statement=statement, **fields, **how)


def _patterned(grid: Grid, found: Mapping[tuple[str, str], Pattern], level: float) -> Iterator[Claim]:
    """Claim the pattern of each pair, and that of all pairs of different networks together."""
    adjusted = holm([one.row(one.name)["p"] for one in found.values()])
    every, different = grid.of(NONE).values(), sum(one.name != other.name for one, other in _pairs(grid))
    for (pair, told), p in zip(found.items(), adjusted, strict=True):
        n, counted, who = different, "pairs of networks", f"all {different} pairs of different networks"
        if pair != (ALL, ALL):
            n = sum((row["sender"], row["receiver"]) == pair for row in every)
            counted, who = "cells", " into ".join(pair)
        claim = patterned("accuracy", told, p, len(found), n, "", level, MEANS)
        yield replace(claim, statement=f"{who}: {claim.statement}", counted=counted)
