"""Similarity: which layers of which networks carry the same, beside what chance gives, and what pattern that has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netassay.figures import Figure, figure, figures
from netassay.figures.similarity import models
from netassay.report.sections.section import Section, notes, of_study, when
from netassay.result import Result, Verdict
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
            when(table, name): one.tables[table]
            for table in SHOWN
            for name, one in named.items()
            if len(one.tables.get(table, ()))
        },
        definitions=WORDS,
    )


SHOWN = ("best", "patterns", "layers", "measures")
"""Tables under the figures."""


def _verdicts(named: Mapping[str, Result]) -> tuple[Verdict, ...]:
    """Return what may mislead, each once."""
    return tuple({(said.rule, said.layer): said for one in named.values() for said in one.verdicts}.values())


def _lead(name: str, result: Result) -> str:
    """Say what was held against what."""
    if "layers" not in result.tables:
        return ""
    told, layers = result.provenance, result.tables["layers"].columns
    count = {side: int((layers["side"] == side).sum()) for side in "ab"}
    sides = " against ".join(f"{count[side]} layers of {side} ({models(result, side)})" for side in "ab")
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
    return replace(one, name=f"{one.name}-{name}", title=f"{one.title} ({of})") if name else one


def sizes(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell at which size of a family of networks the pattern of its map changes."""
    named = of_study(results, "similarity_trend")
    if not named:
        return None
    last = list(named.values())[-1]
    return Section(
        key="sizes",
        title="At which size the pattern changes",
        lead="In each network, the layers of two seeds against each other, on "
        f"{last.provenance.get('data', '')}; then the pattern of that map, size by size.",
        verdicts=last.verdicts,
        claims=last.claims,
        notes=notes(named),
        figures=tuple(figures(named)),
        tables={name: last.tables[name] for name in ("trends", "sizes") if name in last.tables},
        definitions={name: WORDS[name] for name in TREND},
    )


WORDS = {
    "similarity": "How alike two sets of features of the same samples are, by the measure that is named. Debiased CKA "
    "compares which pairs of samples are alike; it is 1 for equal features, near 0 for independent ones, and may be "
    "negative.",
    "by chance": "The mean of the same numbers with the samples of one side in another order, the same order for all "
    "layers: what sizes of layers and of the sample give without any relation (Gröger, Wen & Brbić 2026, arXiv "
    "2602.14486).",
    "calibrated": "The share of the way from the 95 % point of chance to equal: 0 is not told from chance at 5 %, 1 is "
    "equal.",
    "best match": "For each layer, the layer of the other network with the highest similarity. Its p is over all "
    "layers of the other network (maxT): how often chance alone gives a maximum as high.",
    "relative depth": "(i + 1) / I for layer i of I, in order of execution.",
    "diagonal, triangle, block, flat": "Patterns of a map: layers match those of equal relative depth; a layer "
    "matches all that are relatively earlier; a stretch of layers is alike; or none of these.",
    "alike": "Similar features are not the same function, and networks with the same function may have features that "
    "differ: a map speaks of these samples, this measure, and how positions and tokens were taken.",
}
TREND = ("similarity", "calibrated", "relative depth", "diagonal, triangle, block, flat")
