"""Sections: what the page says about a run, question by question. A study joins by a line in `SECTIONS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from netassay.figures import Figure, figures
from netassay.result import Claim, Result, Table, Verdict
from netassay.store import Run

Tables = Mapping[str, Table]
LISTED = 200
"""Channels listed on the page; all of them are in the run."""


@dataclass(frozen=True)
class Section:
    """One question: what was found and claimed, on what conditions, figures with their tables, and the words used."""

    key: str
    title: str
    lead: str
    verdicts: tuple[Verdict, ...] = ()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: Tables = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=dict)


def sections(run: Run, results: Mapping[str, Result]) -> list[Section]:
    """Build every section that the run has something for."""
    built = (build(run, results) for build in SECTIONS)
    return [section for section in built if section is not None]


def learning(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell how training went and what it changed."""
    drawn = _curves(run)
    examined = results.get("examine", Result("examine", provenance={"how": "The run ended before it was judged."}))
    if "examine" not in results and not drawn:
        return None
    return Section(
        key="learning",
        title="What learning did",
        lead=str(examined.provenance.get("how", "")),
        claims=examined.claims,
        notes=examined.notes,
        figures=drawn,
        tables=examined.tables,
        definitions={
            "claim": "A statement put to the test: the size of the effect, its interval (so wide that all of them "
            "together hold with 95 %) and the number of things counted. It holds if the whole interval lies above "
            "no effect (0, or 1 for a ratio), does not hold if it lies below, and is undecided otherwise.",
            "start, end": "The network before it learned anything, and the network that was examined.",
        },
    )


ACCURACY = {"test accuracy": "Accuracy on data it does not learn from", "accuracy": "Accuracy on what it learns from"}


def _curves(run: Run) -> tuple[Figure, ...]:
    """Draw the training curves, thinned to what a screen can show."""
    names = [one.name for one in run.series_names]
    if "training loss" not in names:
        return ()
    loss = run.series("training loss").columns
    keep = np.unique(np.linspace(0, len(loss["step"]) - 1, 600).astype(int))
    curves = Figure(
        name="loss",
        title="Training loss",
        healthy="Healthy: falls quickly, then slowly; no jumps upwards that stay.",
        kind="lines",
        x=loss["step"][keep],
        series={"loss": loss["value"][keep]},
        x_label="step",
        y_label="mean cross-entropy of the batch",
        log=True,
    )
    name = next((name for name in ACCURACY if name in names), None)
    if name is None:
        return (curves,)
    tested = run.series(name).columns
    accuracy = Figure(
        name="accuracy",
        title=ACCURACY[name],
        healthy="Healthy: rises and stays; a fall while the loss still falls is overfitting.",
        kind="lines",
        x=tested["step"],
        series={name: tested["value"]},
        x_label="step",
        y_label="share of samples it gets right",
    )
    return curves, accuracy


def channels(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell what every channel carries and receives."""
    named = {label.partition("/")[2]: result for label, result in results.items() if result.study == "channel_profile"}
    if not named:
        return None
    last = list(named.values())[-1]
    table, told = last.tables["channels"].columns, last.provenance
    unhealthy = np.flatnonzero(table["state"] != "healthy")
    shown = Table({name: values[unhealthy[:LISTED]] for name, values in table.items()})
    tables = {f"layers, {when}" if when else "layers": one.tables["layers"] for when, one in named.items()}
    if len(unhealthy):
        more = f" (the first {LISTED} of {len(unhealthy)})" if len(unhealthy) > LISTED else ""
        tables[f"channels that are not healthy{more}"] = shown
    return Section(
        key="channels",
        title="What every channel carries",
        lead="Each layer's output y, and the gradient gy that arrives there, for "
        f"{told.get('samples', 0):,} samples of {told.get('data', '')} (objective {told.get('objective', '')}).",
        verdicts=last.verdicts,
        notes=tuple(f"{when}: {note}" if when else note for when, one in named.items() for note in one.notes),
        figures=tuple(figures(named)),
        tables=tables,
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


SECTIONS: tuple[Callable[[Run, Mapping[str, Result]], Section | None], ...] = (learning, channels, others, structure)
"""The page, top to bottom, below the findings."""
