"""Stitch claims: compatible beyond what the controls reach, in what pattern, and where the representation says no."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from netassay.inference import fisher_tail, holm, paired_difference, prediction_tail
from netassay.patterns import LEAST, Pattern, fewest_known, pattern
from netassay.result import Claim
from netassay.studies.similarity_patterns import patterned
from netassay.studies.stitch_asked import Net
from netassay.studies.stitch_controls import CONTROLS, ITSELF, NONE
from netassay.studies.stitch_tables import BESIDE, Grid, Row

LIMITS = {"mse": (-np.inf, 0.5), "cka": (0.5, np.inf), "ood": (-np.inf, 0.95)}
"""Outside these a distance to the representation that the receiver expects says no: half of its variance is missed, CKA
below a half, farther out than its own activations in 19 of 20 comparisons. Nearer to the mean is no no: whatever is
matched by least squares is."""
TOLERATED = 0.1
"""Penalty that a compatible stitch is known to stay below."""
COMPATIBLE, BEYOND, NOT, OPEN, UNJUDGED = "compatible", "beyond chance", "not compatible", "undecided", "not judged"
SAYS_NO = "the representation says no"
SPREAD = "nearest value"
"""What the note says of a sender with fewer positions than the receiver has: it cannot give what is expected."""
ALL = "all"
MEANS = {
    "diagonal": "stitches between equal depths are more accurate",
    "triangle": "stitches on one side of equal depth are more accurate",
    "block": "stitches within a stretch are more accurate",
}
"""What a pattern says."""


def judged(grid: Grid, level: float) -> None:
    """Write into each row its penalty's interval, and what is claimed of it, its controls beside it.

    Beyond chance: its accuracy is above that of the random and shuffled controls at the same place (see `p_above`),
    corrected by Holm over the cells of a pair of networks. Compatible: that, and the upper limit of its penalty is at
    most `TOLERATED`. Not compatible: not that, and the lower limit of its penalty is above `TOLERATED`. Noise is told
    the label, and does not count. Not judged: without a control that counts, and where a random sender sends the same,
    since no parameter stands before the layer.
    """
    for row in grid.rows:
        row["penalty_low"], row["penalty_high"] = penalty_interval(row, level)
    beside = {control: grid.draws(control) for control in BESIDE}
    families: dict[tuple[str, str], list[Row]] = {}
    for key, row in grid.of(NONE).items():
        drawn = {name: rows[key] for name, rows in beside.items() if key in rows}
        controls = {name: [one["accuracy"] for one in rows] for name, rows in drawn.items()}
        chance = [found for name, found in controls.items() if name != "noise"]
        row["p"] = np.nan if _unlearned(row, drawn) else p_above(row, chance)
        told = ", ".join(f"{name} {np.mean(found):.3f}" for name, found in controls.items())
        low, high = row["penalty_low"], row["penalty_high"]
        row["claim"] = f" (penalty {row['penalty']:.3f}, {low:.3f} to {high:.3f}; {told or 'no control'})"
        families.setdefault((row["sender"], row["receiver"]), []).append(row)
    for cells in families.values():
        for row, adjusted in zip(cells, holm([row["p"] for row in cells]), strict=True):
            row["claim"] = _word(row, adjusted, 1 - level) + row["claim"]
            row["p"] = adjusted
            if compatible(row) and (against := saying_no(row)):
                row["note"] = f"{SAYS_NO} ({', '.join(against)}); {row['note']}"
            elif compatible(row) and SPREAD in row["note"]:
                row["note"] += "; distances do not count, since the sender has fewer positions"


def penalty_interval(row: Mapping[str, Any], level: float) -> tuple[float, float]:
    """Return the interval of a penalty; NaN for a receiver drawn anew, whose answers are not the receiver's.

    Stitch and receiver answer the same samples. How many only one of them has right is not kept, but at most those on
    which they disagree, which makes the interval wider than it need be.
    """
    if CONTROLS[row["control"]].receiver != ITSELF or np.isnan(row["penalty"]):
        return np.nan, np.nan
    n = row["n_test"]
    lost, apart = round(n * row["penalty"]), round(n * (1 - row["agreement"]))
    return paired_difference((apart + lost) / 2, (apart - lost) / 2, n, level)


def _unlearned(row: Row, controls: Mapping[str, Sequence[Row]]) -> bool:
    """Tell whether a random sender sends what the sender does: bit by bit the same stitch came of it."""
    random = controls.get("random_sender", [{}])[0]
    return all(row[name] == random.get(name) for name in ("accuracy", "mse", "cka"))


def _word(row: Row, adjusted: float, alpha: float) -> str:
    if np.isnan(adjusted):
        return UNJUDGED
    if adjusted > alpha:
        return NOT if row["penalty_low"] > TOLERATED else OPEN
    return COMPATIBLE if row["penalty_high"] <= TOLERATED else BEYOND


def saying_no(row: Mapping[str, Any]) -> list[str]:
    """Name the distances that say that what arrives is not what the receiver expects, where it could be."""
    beyond = [name for name, (low, high) in LIMITS.items() if row[name] < low or row[name] > high]
    return [] if SPREAD in row["note"] else beyond


def compatible(row: Mapping[str, Any]) -> bool:
    """Tell whether a row was claimed compatible."""
    return str(row["claim"]).startswith(COMPATIBLE)


def p_above(row: Row, controls: Sequence[Sequence[float]]) -> float:
    """Return the chance of an accuracy like this or higher under the control where it is highest; NaN without any.

    `controls` are accuracies, those of several draws together. Under each: Fisher's exact test of two shares, against
    the mean of draws (conservative: both are of the same samples); where there are several, also that one more draw
    is as high (see `prediction_tail`), since the samples say nothing of how draws differ.
    """
    found = [_fisher_above(row, float(np.mean(drawn))) for drawn in controls]
    found += [prediction_tail(row["accuracy"], drawn) for drawn in controls if len(drawn) > 1]
    return float(np.max(found)) if found else np.nan


def _fisher_above(row: Row, other: float) -> float:
    n = row["n_test"]
    if np.isnan(row["accuracy"]) or np.isnan(other):
        return np.nan
    right, theirs = round(row["accuracy"] * n), round(other * n)
    return 1.0 if right <= theirs else _fisher(right, n, theirs)


@cache
def _fisher(right: int, n: int, other: int) -> float:
    return fisher_tail(right, n, other, n)


def patterns(grid: Grid, seed: int, level: float) -> dict[tuple[str, str], Pattern]:
    """Name the pattern of each pair's map of accuracies, and of all pairs of different networks together.

    A map of penalties has the same: it is a constant less that of accuracies.
    """
    maps = {(one.name, other.name): grid.map("accuracy", NONE, one, other) for one, other in _pairs(grid)}
    maps = {pair: values for pair, values in maps.items() if fewest_known(values) >= LEAST}
    found = {pair: pattern(values, seed=seed, level=level) for pair, values in maps.items()}
    others = {pair: values for pair, values in maps.items() if pair[0] != pair[1]}
    if len(others) > 1:
        found[ALL, ALL] = pattern(list(others.values()), pairs=list(others), seed=seed, level=level)
    return found


def _pairs(grid: Grid) -> list[tuple[Net, Net]]:
    return [(one, other) for one in grid.senders for other in grid.receivers]


def pattern_rows(found: Mapping[tuple[str, str], Pattern]) -> list[Row]:
    """One row for each pair of networks and pattern."""
    return [
        {"sender": one, "receiver": other, **row, "side": told.side}
        for (one, other), told in found.items()
        for row in told.rows
    ]


def claims(grid: Grid, found: Mapping[tuple[str, str], Pattern], level: float) -> Iterator[Claim]:
    """Claim of each pair that some cells are compatible, where distances say no, and what the pattern is.

    A network into itself is no finding where there are other pairs.
    """
    told = [pair for pair in _pairs(grid) if pair[0].name != pair[1].name] or _pairs(grid)
    every: dict[tuple[str, str], list[Row]] = {(one.name, other.name): [] for one, other in told}
    for row in grid.of(NONE).values():
        every.get((row["sender"], row["receiver"]), []).append(row)
    counts = len(told), sum(not np.isnan(row["p"]) for rows in every.values() for row in rows)
    for (one, other), rows in every.items():
        yield from _pair(f"{one} into {other}", [row for row in rows if not np.isnan(row["p"])], counts, level)
    yield from _patterned(grid, {pair: one for pair, one in found.items() if pair in {*every, (ALL, ALL)}}, level)


def _pair(who: str, rows: list[Row], counts: tuple[int, int], level: float) -> Iterator[Claim]:
    hits = [row for row in rows if compatible(row)]
    against = [row for row in hits if saying_no(row)]
    if rows:
        yield _some(f"{who}: some layers are compatible ({len(hits)} of {len(rows)} cells)", rows, counts, level)
    if against:
        said = f"{who}: accuracy says compatible and representation distance says no"
        yield _some(f"{said} ({len(against)} of these {len(hits)} cells)", against, counts, level)


def _some(statement: str, rows: list[Row], counts: tuple[int, int], level: float) -> Claim:
    """Claim that one of these cells is compatible; the effect is the penalty of the one that is surest.

    Cells are of the same samples, so that a share of them has no interval; a penalty has one, corrected for all cells.
    """
    pairs, cells = ((1 - level) / count for count in counts)
    bounds = [(row, *penalty_interval(row, 1 - cells)) for row in rows]
    row, low, high = min(bounds, key=lambda one: (one[0]["p"] > pairs, one[2]))
    sure = row["p"] <= pairs and high <= TOLERATED
    never = all(low > TOLERATED for _, low, _ in bounds)
    ends = " into ".join(row[side] or "the input" for side in ("sender_layer", "receiver_layer"))
    return Claim(
        statement=statement,
        effect=row["penalty"],
        interval=(low, high),
        n=row["n_test"],
        counted="samples",
        decision="holds" if sure else "does not hold" if never else "undecided",
        unit=f"penalty of {ends}",
        level=level,
        tests=counts[1],
        correction="Bonferroni over cells",
    )


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
