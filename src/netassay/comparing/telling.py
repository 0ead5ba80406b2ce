"""Telling: what two sides did otherwise, claimed and found, and what differs most."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from netassay.comparing.rows import OWN, Key, Matched
from netassay.comparing.sides import Pair, Side
from netassay.errors import listing
from netassay.result import Result, Table, Verdict, plain

ALWAYS = ("model", "data", "seed")
CHANCE = 0.05
CAVEATS = {
    "limits": "intervals from limits speak of what these were taken over, such as samples, and not of other seeds",
    "stretches": "intervals over stretches tell how steady these two trainings are, not what other seeds would give",
}
CHANNEL = "channel"
DRAWN = ("seed", "model_hash", "hash", "weights")
"""What tells of the weights a network began with."""
UNORDERED = "the networks were drawn apart, so that channels are in no common order: no channel is in 'largest'"
BOTH, ONLY_A, ONLY_B = "both", "only a", "only b"
NUMBERS = ("a", "b", "difference", "difference_low", "difference_high", "ratio", "n")


def setup(a: Side, b: Side, both: Sequence[Pair]) -> Table:
    """List model, data and seed, and everything else that provenance tells otherwise of a and b."""
    one, two = (_told(side, [(pair.a, pair.b)[i] for pair in both]) for i, side in enumerate((a, b)))
    names = [*(name for name in ALWAYS if name in one or name in two), *(n for n in {**one, **two} if n not in ALWAYS)]
    known = [(name, one.get(name, ""), two.get(name, "")) for name in names]
    rows = [{"name": name, "differs": said != other, "a": said, "b": other} for name, said, other in known]
    return _table([row for row in rows if row["differs"] or row["name"] in ALWAYS], name="", differs=False, a="", b="")


def drawn_apart(setup: Table) -> bool:
    """Tell whether two networks began with other weights, as far as is known."""
    told = zip(setup.columns["name"].tolist(), setup.columns["differs"].tolist(), strict=True)
    return any(differs and name.rpartition(".")[2] in DRAWN for name, differs in told)


def _told(side: Side, results: Iterable[Result]) -> dict[str, str]:
    """Return as text what a run and its results say of how they were made; several answers one after the other."""
    every: dict[str, dict[str, None]] = {}
    for told in (side.told, *(one.provenance for one in results)):
        for name, value in _flat(told):
            every.setdefault(name, {})[value] = None
    return {name: " | ".join(values) for name, values in every.items()}


def _flat(told: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value if isinstance(value, str) else json.dumps(plain(value))


def overview(found: Mapping[str, Matched]) -> Table:
    """Count, table by table, the rows that were matched, the numbers that differ, and those told apart from 0."""
    rows = []
    for name, one in found.items():
        columns = one.table.columns
        told = _excludes(columns)
        numbers = {"numbers": len(told), "differ": int((columns["difference"] != 0).sum() - _both_nan(columns))}
        known = {"with_interval": int(np.isfinite(columns["difference_low"]).sum()), "exclude_0": int(told.sum())}
        only = {"only_a": len(one.only_a), "only_b": len(one.only_b)}
        rows.append({"table": name, "identified_by": ", ".join(one.keys), **numbers, **known, **only})
    return Table.of(rows)


def _both_nan(columns: Mapping[str, np.ndarray]) -> int:
    return int((np.isnan(columns["a"]) & np.isnan(columns["b"])).sum())


def _excludes(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray((columns["difference_low"] > 0) | (columns["difference_high"] < 0))


def largest(long: Mapping[str, Table], apart: bool = False) -> Table:
    """List the rows whose interval excludes 0; `size` is the difference over the reach of its interval towards 0.

    Rows of single channels are left out where networks were drawn apart: there channels are in no common order.
    """
    rows = []
    for name, table in long.items():
        if apart and CHANNEL in table.columns:
            continue
        keys = [column for column in table.columns if column not in OWN]
        for at in np.flatnonzero(_excludes(table.columns)):
            row = {column: values[at] for column, values in table.columns.items()}
            where = ", ".join(f"{key}={row[key]}" for key in keys)
            near = row["difference_low"] if row["difference"] > 0 else row["difference_high"]
            reach = abs(row["difference"] - near)
            size = abs(row["difference"]) / reach if reach else np.inf
            told = {"table": name, "where": where, "size": size}
            rows.append({**told, **{column: row[column] for column in OWN}})
    rows.sort(key=lambda row: -row["size"])
    return _table(rows, table="", where="", size=0.0, quantity="", **dict.fromkeys(NUMBERS, 0.0), evidence="")


def verdicts(both: Sequence[Pair]) -> Table:
    """List every verdict, and on which side it was given; those of one rule and layer are one."""
    rows = []
    for pair in both:
        one, two = _ruled(pair.a), _ruled(pair.b)
        for key in {**one, **two}:
            where = BOTH if key in one and key in two else ONLY_A if key in one else ONLY_B
            said = two.get(key) or one[key]
            told = {"rule": said.rule, "layer": said.layer, "severity": said.severity, "given": where}
            rows.append({"result": pair.label, **told, "cause": said.cause})
    return _table(rows, result="", rule="", layer="", severity="", given="", cause="")


def only_b(both: Sequence[Pair]) -> tuple[Verdict, ...]:
    """Return the verdicts of b that a has not."""
    return tuple(said for pair in both for key, said in _ruled(pair.b).items() if key not in _ruled(pair.a))


def _ruled(result: Result) -> dict[tuple[str, str, str], Verdict]:
    # With its severity: a warning that has become a finding is a finding that was not there.
    return {(said.rule, said.layer, said.severity): said for said in result.verdicts}


def claims(both: Sequence[Pair]) -> Table:
    """List every statement that was put to the test, and how it was decided on each side; "" where it was not."""
    rows = []
    for pair in both:
        one, two = ({claim.statement: claim for claim in result.claims} for result in (pair.a, pair.b))
        for statement in {**one, **two}:
            row: dict[str, Any] = {"result": pair.label, "statement": statement}
            for name, known in (("a", one), ("b", two)):
                claim = known.get(statement)
                row |= {name: claim.decision if claim else "", f"effect_{name}": claim.effect if claim else np.nan}
            rows.append({**row, "differs": row["a"] != row["b"]})
    return _table(rows, result="", statement="", a="", effect_a=0.0, b="", effect_b=0.0, differs=False)


def notes(a: Side, b: Side, both: Sequence[Pair], found: Mapping[str, Matched]) -> tuple[str, ...]:
    """Say what stands on one side only, what words differ, and what intervals are of."""
    lines = [f"a: {a.name}; b: {b.name}; every difference is b - a, its interval at 95 %"]
    lines += [
        f"{pair.labels[0]} of a is compared with {pair.labels[1]} of b" for pair in both if len({*pair.labels}) > 1
    ]
    for i, told in enumerate(("a", "b")):
        lines += _lacking(told, "results", (a, b)[i].results, [pair.labels[i] for pair in both])
    for pair in both:
        for kind in ("tables", "arrays"):
            one, two = getattr(pair.a, kind), getattr(pair.b, kind)
            lines += _lacking("a", f"{kind} of {pair.label}", one, two) + _lacking(
                "b", f"{kind} of {pair.label}", two, one
            )
    for name, one in found.items():
        for told, keys in (("a", one.only_a), ("b", one.only_b)):
            lines += _lacking(told, f"{len(keys)} rows of {name}", map(_spelt, keys), ())
        if one.unlike:
            lines.append(f"{name}: {one.unlike} rows of one name are of another kind, and not compared")
        lines += [f"{name}: {column!r} differs in {count} rows" for column, count in one.reworded]
    apart = drawn_apart(setup(a, b, both))
    kept = {name: one for name, one in found.items() if not (apart and CHANNEL in one.table.columns)}
    return (*lines, *([UNORDERED] if len(kept) < len(found) else []), *_chance(kept))


def _lacking(told: str, what: str, one: Iterable[str], other: Iterable[str]) -> list[str]:
    missing = [name for name in one if name not in set(other)]
    return [f"only in {told}: {what}: {listing(missing)}"] if missing else []


def _spelt(key: Key) -> str:
    return ", ".join(map(str, key))


def _chance(found: Mapping[str, Matched]) -> list[str]:
    every = [one.table.columns for one in found.values()]
    known = sum(int(np.isfinite(columns["difference_low"]).sum()) for columns in every)
    if not known:
        return ["no number has limits, replicates or steps: no difference has an interval"]
    said = f"{known} differences have an interval; with nothing to find, about {CHANCE * known:.3g} would exclude 0"
    seen = {str(one) for columns in every for one in columns["evidence"]}
    return [said, *(caveat for evidence, caveat in CAVEATS.items() if evidence in seen)]


def _table(rows: Sequence[Mapping[str, Any]], **empty: Any) -> Table:
    """Return rows as a table whose columns are there without any row, too."""
    return Table.of(rows) if rows else Table({name: np.array([], dtype=type(one)) for name, one in empty.items()})
