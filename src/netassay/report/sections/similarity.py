"""Similarity: which layers of which networks carry the same, beside what chance gives, and what pattern that has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netassay.figures import Figure, figure, figures
from netassay.figures.similarity_told import errs_at, itself, models
from netassay.report.sections.section import Section, notes, of_study, when
from netassay.result import Result, Table, Verdict
from netassay.store import Run


def similarity(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell which layers are alike: of two networks, or of one at two times."""
    named = of_study(results, "similarity_map")
    if not named:
        return None
    return Section(
        key="similarity",
        title="Which layers are alike",
        lead=" ".join(filter(None, (_lead(name, one) for name, one in named.items()))),
        verdicts=_verdicts(named),
        claims=tuple(claim for one in named.values() for claim in one.claims),
        notes=notes(named),
        figures=tuple(made for name, one in named.items() for made in _drawn(name, one)),
        tables={
            when(table, name): once(one, table)
            for table in SHOWN
            for name, one in named.items()
            if len(one.tables.get(table, ()))
        },
        definitions=words(max(map(errs_at, named.values()))),
    )


SHOWN = ("best", "patterns", "layers", "measures")
"""Tables under the figures."""


def once(result: Result, table: str) -> Table:
    """Return a table without the rows that a network with itself would show twice."""
    rows = result.tables[table]
    side = {"best": "of", "layers": "side"}.get(table)
    if side is None or not itself(result):
        return rows
    keep = rows.columns[side] == "a"
    return Table({name: values[keep] for name, values in rows.columns.items()})


def _verdicts(named: Mapping[str, Result]) -> tuple[Verdict, ...]:
    """Return what may mislead, each once."""
    return tuple({(said.rule, said.layer): said for one in named.values() for said in one.verdicts}.values())


def _lead(name: str, result: Result) -> str:
    """Say what was held against what."""
    if "layers" not in result.tables:
        return ""
    told, layers = result.provenance, result.tables["layers"].columns
    count = {side: int((layers["side"] == side).sum()) for side in "ab"}
    sides = " against ".join(
        [f"{count['a']} layers of {models(result, 'a')}", "each other"]
        if itself(result)
        else [f"{count[side]} layers of {side} ({models(result, side)})" for side in "ab"]
    )
    seen = f", {told['samples']:,} samples of {told.get('data', 'data')}" if "samples" in told else ""
    return f"{f'{name}: ' if name else ''}{sides}{seen}."


def _drawn(name: str, result: Result) -> list[Figure]:
    """Return the figures of one map, the maps of further measures after that of the first."""
    made = figures({name: result})
    if not made:
        return []
    others = result.tables["measures"].columns["measure"].tolist()[1:]
    more = [replace(figure({name: result}, "map", measure=one), name=f"map_{i}") for i, one in enumerate(others, 1)]
    return [_named(name, result, one) for one in (made[0], *more, *made[1:])]


def _named(name: str, result: Result, one: Figure) -> Figure:
    """Say of which of several maps a figure is."""
    of = f"a: {models(result, 'a')}, b: {models(result, 'b')}"
    of = name if itself(result) or not one.name.startswith("map") else of
    return replace(one, name=f"{one.name}-{name}", title=f"{one.title} ({of})") if name else one


def sizes(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell at which size of a family of networks the pattern of its map changes."""
    named = of_study(results, "similarity_trend")
    lead = "In each network, the layers of two seeds against each other"
    said = words(max(map(errs_at, named.values()), default=0.0))
    return by_size("sizes", "At which size the pattern changes", lead, named, {name: said[name] for name in TREND})


def by_size(
    key: str, title: str, lead: str, named: Mapping[str, Result], definitions: Mapping[str, str]
) -> Section | None:
    """Show the last of trends."""
    if not named:
        return None
    last = list(named.values())[-1]
    return Section(
        key=key,
        title=title,
        lead=f"{lead}, on {last.provenance.get('data', '')}; then the pattern of that map, size by size.",
        verdicts=last.verdicts,
        claims=last.claims,
        notes=notes(named),
        figures=tuple(figures(named)),
        tables={name: last.tables[name] for name in ("trends", "sizes") if name in last.tables},
        definitions=definitions,
    )


def words(level: float) -> dict[str, str]:
    """Say what words mean where tests err at this level."""
    return {**WORDS, "calibrated": CALIBRATED.format(f"{100 - 100 * level:g}", f"{100 * level:g}")}


CALIBRATED = (
    "The share of the way from the {} % point of chance to equal: 0 is not told from chance at {} %, 1 is equal."
)
WORDS = {
    "similarity": "How alike two sets of features of the same samples are, by the measure that is named. Debiased CKA "
    "compares which pairs of samples are alike; it is 1 for equal features, near 0 for independent ones, and may be "
    "negative.",
    "by chance": "The mean of the same numbers with the samples of one side in another order, the same order for all "
    "layers: what sizes of layers and of the sample give without any relation (Gröger, Wen & Brbić 2026, arXiv "
    "2602.14486).",
    "calibrated": CALIBRATED,
    "best match": "For each layer, the layer of the other network with the highest similarity. Its p is over all "
    "layers of the other network (maxT): how often chance alone gives a maximum as high.",
    "relative depth": "(i + 1/2) / I for layer i of I, in order of execution: the middle of its share of the network.",
    "diagonal, triangle, block, flat": "Patterns of a map, beyond what each layer is like on average: layers of equal "
    "relative depth are more alike; a layer is more alike to all that are relatively earlier (or later); layers within "
    "a stretch are more alike; or most of the map is none of these. What is said of rows and columns as a whole, as "
    "that late layers are unlike everything, is taken out first: a pattern can hold where the eye sees another.",
    "alike": "Similar features are not the same function, and networks with the same function may have features that "
    "differ: a map speaks of these samples, this measure, and how positions and tokens were taken.",
}
TREND = ("similarity", "calibrated", "relative depth", "diagonal, triangle, block, flat")
