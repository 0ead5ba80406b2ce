"""What every channel carries: states, gradient and signal, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netassay.figures import figures
from netassay.report.sections.section import Section, chosen, notes, of_study, when
from netassay.result import Result
from netassay.store import Run


def channels(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell what every channel carries and receives."""
    named = of_study(results, "channel_profile")
    if not named:
        return None
    last = list(named.values())[-1]
    told, every = last.provenance, last.tables["channels"]
    tables = {when("layers", name): one.tables["layers"] for name, one in named.items()}
    unhealthy = np.flatnonzero(every.columns["state"] != "healthy")
    return Section(
        key="channels",
        title="What every channel carries",
        lead="Each layer's output y, and the gradient gy that arrives there, for "
        f"{told.get('samples', 0):,} samples of {told.get('data', '')} (objective {told.get('objective', '')}).",
        verdicts=last.verdicts,
        notes=notes(named),
        figures=tuple(figures(named)),
        tables=tables | chosen("channels that are not healthy", every, unhealthy),
        definitions=CHANNEL_WORDS,
    )


def seen(results: Mapping[str, Result]) -> str:
    """Say what was looked at, and how sure one can be of silence."""
    profiles = [result for result in results.values() if result.study == "channel_profile"]
    if not profiles:
        return ""
    result = profiles[-1]
    table = result.tables["channels"].columns
    healthy, total = int((table["state"] == "healthy").sum()), len(table["state"])
    calls = len(result.tables["layers"])
    samples = result.provenance.get("samples", 0)
    bound = 100 * (1 - 0.05 ** (1 / samples)) if samples else 100.0
    return (
        f"{healthy:,} of {total:,} channels in {calls} layers are healthy, as seen with {samples:,} samples; "
        f"a channel that stayed silent on all of them fires for fewer than {bound:.2g} % of such samples (95 % bound)."
    )


CHANNEL_WORDS = {
    "layer": "A module under its dotted name; name#0, name#1 are the calls of one that is used more than once.",
    "depth, path": "Layers with a weight matrix on the longest way from the input, this one included. Trunk: every way "
    "from input to output leads through; branch: some way leads around.",
    "gradient": "Of the objective's sum over samples with respect to the layer's output; a mean loss over N samples "
    "gives 1/N of it. gy_norm is the root mean square over samples of the norm of a sample's whole gradient.",
    "variance across samples": "At each position about that position's own mean, then averaged over positions: a fixed "
    "picture has none, whatever its mean square.",
    "dead": "No non-zero output of its activation (or, elsewhere, no gradient) in any of n samples; then it fires for "
    "fewer than about 3/n of such samples with 95 % confidence (rule of three).",
    "dormant": "Mean absolute output at most 0.025 of its layer's mean (Sokar et al. 2023, arXiv 2302.12902).",
    "constant": "The same non-zero output for every sample: variance across samples at most 1e-12 of the mean square.",
    "saturated": "More than half of the outputs of a bounded activation lie where its slope is below 0.05.",
    "sparse": "Non-zero in less than 1 % of its entries, and not dead.",
    "unobserved": "Fewer than 10 samples, or no gradient at the whole layer: no state can be named.",
    "finding": "A layer in which more than a quarter of the channels is dead or dormant, and more than its "
    "initialisation predicts.",
}
