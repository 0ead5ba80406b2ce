"""Sections: what the page says about a run, question by question. A study joins by a line in `SECTIONS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netassay.report.sections.channels import channels, seen
from netassay.report.sections.exchange import exchange
from netassay.report.sections.flow import comparison, flow, remedies, switches
from netassay.report.sections.initialisation import initialisation, schemes
from netassay.report.sections.learning import learning
from netassay.report.sections.section import LISTED, Section
from netassay.report.sections.similarity import similarity, sizes
from netassay.report.sections.stitching import stitch_sizes, stitching
from netassay.report.sections.structure import others, structure
from netassay.result import Result
from netassay.store import Run

__all__ = ["LISTED", "Section", "sections", "seen"]

SECTIONS: tuple[Callable[[Run, Mapping[str, Result]], Section | None], ...] = (
    comparison,
    learning,
    remedies,
    switches,
    schemes,
    sizes,
    stitch_sizes,
    channels,
    flow,
    exchange,
    similarity,
    stitching,
    initialisation,
    others,
    structure,
)
"""The page, top to bottom, below the findings."""


def sections(run: Run, results: Mapping[str, Result]) -> list[Section]:
    """Build every section that the run has something for."""
    built = (build(run, results) for build in SECTIONS)
    return [section for section in built if section is not None]
