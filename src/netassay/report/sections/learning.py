"""What learning did: claims, scores, and the curves of training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from netassay.figures import Figure
from netassay.report.sections.section import Section
from netassay.result import Result
from netassay.store import Run


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
