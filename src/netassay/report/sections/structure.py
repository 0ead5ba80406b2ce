"""What a network is made of, and the tables of studies that have no figures."""

from __future__ import annotations

from collections.abc import Mapping

from netassay.figures import figures
from netassay.report.sections.channels import CHANNEL_WORDS
from netassay.report.sections.section import Section
from netassay.result import Result
from netassay.store import Run


def structure(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell what the network is made of."""
    made = results.get("summary")
    if made is None:
        return None
    totals = made.table("totals")[0]
    return Section(
        key="structure",
        title="What it is made of",
        lead=f"{totals['parameters']:,} parameters, {totals['multiply_adds']:,} multiply-adds for one sample, "
        f"{totals['total_megabytes']:.4g} MB with activations kept for the backward pass.",
        verdicts=made.verdicts,
        notes=made.notes,
        figures=tuple(figures({"": made})),
        tables=made.tables,
        definitions={
            "multiply-adds": "Products in matrix multiplications and convolutions, each counted once.",
            "activation memory": "Outputs of layers with parameters, counted twice (forward and backward); a megabyte "
            "is 10**6 bytes.",
        },
    )


PLAIN = {"checkpoints": "Checkpoint by checkpoint", "one_batch": "One batch, layer by layer"}
"""Studies whose tables say everything, and the titles of their sections."""


def others(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Show the tables of studies that have no figures."""
    shown = [result for result in results.values() if result.study in PLAIN]
    if not shown:
        return None
    samples = f"{shown[0].provenance.get('samples', 0):,} samples of {shown[0].provenance.get('data', '')}"
    return Section(
        key="tables",
        title=PLAIN[shown[0].study],
        lead=f"As seen with {samples}.",
        verdicts=tuple(verdict for result in shown for verdict in result.verdicts),
        notes=tuple(note for result in shown for note in result.notes),
        tables={name: table for result in shown for name, table in result.tables.items()},
        definitions=CHANNEL_WORDS,
    )
