"""How channels exchange gradient: what each emits and absorbs, and how much of it survives interference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netassay.figures import figures
from netassay.report.sections.section import Section, chosen, notes, of_study, when
from netassay.result import Result
from netassay.store import Run


def exchange(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell how gradient goes from every layer's output channels back to its input channels."""
    named = of_study(results, "exchange_map")
    if not named:
        return None
    last = list(named.values())[-1]
    told, inputs = last.provenance, last.tables["inputs"]
    tables = {when("layers", name): one.tables["layers"] for name, one in named.items()}
    tables |= {"claims": last.tables["claims"]} if "claims" in last.tables else {}
    left_out = np.flatnonzero(np.isin(inputs.columns["state"], ("starved", "cancelled")))
    return Section(
        key="exchange",
        title="How channels exchange gradient",
        lead="In each layer, the gradient that leaves through output channels and arrives at input channels, for "
        f"{told.get('samples', 0):,} samples of {told.get('data', '')} (objective {told.get('objective', '')}).",
        verdicts=last.verdicts,
        claims=last.claims,
        notes=notes(named),
        figures=tuple(figures(named)),
        tables=tables | chosen("input channels that are starved or cancelled", inputs, left_out),
        definitions=EXCHANGE_WORDS,
    )


EXCHANGE_WORDS = {
    "block": "For one sample, the norm of the gradient that goes from one output channel of a layer back to one of its "
    "input channels.",
    "emission": "How much gradient leaves through an output channel: the sum of its blocks over input channels.",
    "absorption": "How much gradient arrives at an input channel: the sum of its blocks over output channels.",
    "coherence": "How much of what arrives at an input channel survives interference: the norm of its gradient over "
    "its absorption, 1 where everything adds up and 0 where it cancels. A layer's is pooled over channels and samples.",
    "share": "Which part of the gradient at an input channel came through an output channel; negative where that works "
    "against the rest. Shares sum to 1.",
    "starved, cancelled": "A channel at which less than a tenth of its layer's mean gradient comes out: starved if "
    "little arrived, cancelled if enough arrived and interfered away.",
    "through, around": "The mean over samples of the norm of what comes back through a residual block's branch, "
    "and of that which its skip connection lets by.",
}
