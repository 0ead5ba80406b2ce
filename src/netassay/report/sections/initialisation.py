"""Initialisation: what schemes do at the start and training makes of it; and one network beside its own start."""

from __future__ import annotations

from collections.abc import Mapping

from netassay.figures import figures
from netassay.report.sections.section import Section, notes, of_study, when
from netassay.result import Result
from netassay.store import Run


def schemes(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell what a study of several schemes and seeds found."""
    named = of_study(results, "init_study")
    if not named:
        return None
    last = list(named.values())[-1]
    told = last.provenance
    how = f"{told['optimizer']} at {told['lr']:g}, {told['epochs']} epochs, batches of {told['batch_size']}"
    return Section(
        key="schemes",
        title="What each initialisation does, and what training makes of it",
        lead=f"{told['model']} on {told['data']}: {len(told['schemes'])} schemes of {len(told['seeds'])} seeds, {how}.",
        claims=last.claims,
        notes=notes(named),
        figures=tuple(figures(named)),
        tables={name: last.tables[name] for name in SHOWN if name in last.tables},
        definitions=SHAPE_WORDS | STUDY_WORDS,
    )


def initialisation(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell which scheme drew a network's weights, what training made of them, and what theory says of the start."""
    weights, theory = of_study(results, "init_profile"), of_study(results, "signal")
    if not weights and not theory:
        return None
    tables = {name: table for one in weights.values() for name, table in one.tables.items() if name != "weights"}
    tables |= {when("signal and theory", name): one.tables["layers"] for name, one in theory.items()}
    return Section(
        key="initialisation",
        title="What training made of the weights",
        lead="Each parameter at the start and at the end, and how far signal and gradient go at the start, "
        "beside what mean-field theory expects.",
        notes=notes(weights | theory),
        figures=tuple(one for named in (weights, theory) if named for one in figures(named)),
        tables=tables,
        definitions=SHAPE_WORDS | SIGNAL_WORDS,
    )


SHOWN = ("schemes", "shift", "feature_shift", "symmetry", "movement", "signal")
"""Tables that are not under a figure already."""
SHAPE_WORDS = {
    "skewness, kurtosis": "Third and fourth standardised moment; a Gaussian has 0 and 3, a uniform distribution 0 and "
    "1.8.",
    "distance to a Gaussian": "Wasserstein distance to the Gaussian of the same mean and variance, in standard "
    "deviations: 0 for a Gaussian, 0.154 for a uniform distribution.",
    "Wasserstein distance": "How far numbers must be moved on average to turn one distribution into the other.",
    "ln of the variance ratio": "Natural logarithm of the variance at the end over that at the start: 0.69 is twice "
    "as much.",
    "distinct channels": "Output channels; those whose weights and bias are the same, to 1e-5 of their norm, count "
    "as one.",
}
STUDY_WORDS = {
    "scheme": "What weights are drawn by, each network by one; biases are zero but for the scheme default.",
    "before, after": "A weight layer's output before the nonlinearity, and what the nonlinearity makes of it.",
    "penultimate, logits": "What goes into the last weight layer, and what comes out of it.",
    "interval": "Over seeds, by Student's t: the mean lies in it with 95 %, if seeds scatter as a Gaussian does.",
    "unmoved, zero gradient": "Share of a parameter's numbers that training left bit for bit as they were, and share "
    "whose gradient on the first batch was exactly 0.",
}
SIGNAL_WORDS = {
    "second moment": "Mean square of a layer's output, and of the gradient there, over channels, positions and "
    "samples.",
    "correlation": "Mean cosine between the outputs of two different samples.",
    "predicted": "Mean-field theory: wide layers with independent weights of the variance that they have.",
    "schemes": "Initialisations that predict the distribution a layer's weights have; several where they coincide.",
}
