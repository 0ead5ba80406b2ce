"""Headline: what the page says first, and whether that is good, bad or neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from netassay.report.sections import Section, seen
from netassay.report.sections.stitching import answered
from netassay.result import Claim, Result, Verdict

GOOD, BAD, PLAIN = "good", "bad", "plain"
LONG = 120
"""Letters from which on a headline is set smaller."""


class Said(NamedTuple):
    """A headline and its tone: good only where a page looked for faults and found none."""

    words: str
    tone: str = PLAIN


def headline(built: Sequence[Section], results: Mapping[str, Result]) -> dict[str, Any]:
    """Say first what was found."""
    verdicts = [verdict for section in built for verdict in section.verdicts]
    findings = [verdict for verdict in verdicts if verdict.severity == "finding"]
    rest = [verdict for verdict in verdicts if verdict.severity != "finding"]
    look = seen(results)
    said = Said(_sentence(findings), BAD) if findings else _nothing(rest, look, results)
    told = {"said": said.words, "tone": said.tone, "long": len(said.words) > LONG}
    return {**told, "findings": findings, "rest": rest, "seen": look}


def _nothing(rest: Sequence[Verdict], look: str, results: Mapping[str, Result]) -> Said:
    """Say that nothing was found, or that nothing could be, or what the page answers instead."""
    if any(verdict.rule == "too few samples" for verdict in rest):
        return Said("No finding, but too few samples to tell.")
    if look:
        return Said("No finding: its channels work.", GOOD)
    studies = [result for result in results.values() if result.study == "init_study"]
    if studies:
        return Said(_counted(studies[-1].claims))
    answers = [ANSWERS[one.study](one) for one in results.values() if one.study in ANSWERS]
    told = [Said(SAID[one.study], GOOD) for one in results.values() if one.study in SAID]
    if answers or told:
        return Said(answers[-1]) if answers else told[-1]
    kept = Said("No finding in any checkpoint.", GOOD)
    return kept if "checkpoints" in results else Said("This run holds no channel profile.")


def _counted(claims: Sequence[Claim]) -> str:
    """Say how many claims hold."""
    if not claims:
        return "What was drawn, and what training made of it."
    count = Counter[str](claim.decision for claim in claims)
    rest = [f"{count[said]} {told}" for said, told in DECISIONS.items() if count[said]]
    return f"Of {len(claims)} claims about initialisations {', '.join(rest)}."


def _answered(result: Result) -> str:
    """Return the first sentence of what a study answers.

    >>> _answered(Result("flow_study", provenance={"answer": "skip=none: +8.5 decades. Together: none."}))
    'skip=none: +8.5 decades.'
    """
    notes = result.notes or ("",)
    first, _, more = str(result.provenance.get("answer") or notes[0]).partition(". ")
    return f"{first}." if more else first or f"What {result.study} found."


def _differing(result: Result) -> str:
    """Say how many of the numbers that two runs share are not the same."""
    told = result.tables["overview"].columns
    counts = {name: int(told[name].sum()) if name in told else 0 for name in ("numbers", "differ")}
    beyond = f"the interval of {len(result.tables['largest']):,} excludes 0, not corrected for how many there are"
    return f"{counts['differ']:,} of {counts['numbers']:,} numbers differ; {beyond}. No finding in b that a has not."


def _alike(result: Result) -> str:
    """Return the first claim of a study that was decided, in words, or its last."""
    told = sorted(result.claims, key=lambda claim: claim.decision == "undecided")
    word = "compatible" if result.study == "stitch_trend" else "alike"
    return f"{told[0].statement}: {told[0].decision}." if told else f"Which layers are {word}."


ANSWERS = {
    "flow_study": _answered,
    "prescribe": _answered,
    "compare": _differing,
    "similarity_map": _alike,
    "similarity_trend": _alike,
    "stitch_grid": answered,
    "stitch_trend": _alike,
}
"""Studies that answer a question, and what they answer."""
SAID = {
    "exchange_map": "No finding in how its channels exchange gradient.",
    "flow": "No finding in how gradient flows.",
}
"""What is said first of a study that looks for faults, where nothing was found."""
DECISIONS = {"holds": "hold", "does not hold": "do not hold", "undecided": "stay undecided"}


def _sentence(findings: Sequence[Verdict]) -> str:
    more = f" And {len(findings) - 1} more." if len(findings) > 1 else ""
    return f"{findings[0]}.{more}"
