"""Figures as data: what is drawn, what it says, and what healthy looks like. Drawn by `plots` and by the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.channels import (
    SHADES,
    activity,
    gradient_by_layer,
    input_dependence,
    output_quantiles,
    signal_by_layer,
)
from netassay.figures.effects import cells, cells_learning, curves, differences, effects, effects_learning
from netassay.figures.exchange import blocks, coherence_by_layer, panel, variation_by_layer
from netassay.figures.figure import BOX, Figure
from netassay.figures.frames import histograms
from netassay.figures.gradients import heat, series, told_loss, updates
from netassay.figures.initialisation import (
    depth,
    features,
    features_before,
    own_shift,
    own_weights,
    shift,
    weights,
)
from netassay.figures.law import law, law_start
from netassay.figures.layers import Results
from netassay.figures.loss import accuracy, loss
from netassay.figures.remedies import before_after, chi, first_steps, ranking
from netassay.figures.residual import sankey
from netassay.figures.signal import backward_by_layer, correlation_by_layer, moment_by_layer
from netassay.figures.similarity import best, best_of_b, similarity_map
from netassay.figures.similarity_trend import maps, trend
from netassay.figures.stitching import grids, pairs
from netassay.figures.stitching_cells import decoded, warning
from netassay.figures.structure import parameters_by_layer

__all__ = ["BOX", "FIGURES", "SHADES", "Figure", "Results", "figure", "figures"]

FIGURES: Mapping[str, Mapping[str, Callable[..., Figure]]] = {
    "channel_profile": {
        "gradient": gradient_by_layer,
        "signal": signal_by_layer,
        "dependence": input_dependence,
        "activity": activity,
        "outputs": output_quantiles,
    },
    "exchange_map": {
        "coherence": coherence_by_layer,
        "variation": variation_by_layer,
        "panel": panel,
        "blocks": blocks,
        "sankey": sankey,
    },
    "signal": {
        "signal": moment_by_layer,
        "correlation": correlation_by_layer,
        "backward": backward_by_layer,
    },
    "init_study": {
        "weights": weights,
        "features": features,
        "features_before": features_before,
        "loss": loss,
        "accuracy": accuracy,
        "depth": depth,
        "shift": shift,
    },
    "init_profile": {"weights": own_weights, "shift": own_shift},
    "flow": {
        "law": law,
        "law_start": law_start,
        "loss": told_loss,
        "series": series,
        "heat": heat,
        "updates": updates,
        "histograms": histograms,
    },
    "flow_study": {
        "effects": effects,
        "effects_learning": effects_learning,
        "cells": cells,
        "cells_learning": cells_learning,
        "curves": curves,
    },
    "prescribe": {"before_after": before_after, "ranking": ranking, "chi": chi, "loss": first_steps},
    "similarity_map": {"map": similarity_map, "best": best, "best_of_b": best_of_b},
    "similarity_trend": {"trend": trend, "maps": maps},
    "stitch_trend": {"trend": trend, "maps": maps},
    "stitch_grid": {"grids": grids, "warning": warning, "pairs": pairs, "decoded": decoded},
    "compare": {"differences": differences},
    "summary": {"structure": parameters_by_layer},
}


def figures(results: Results) -> list[Figure]:
    """Make every figure of one study's results that has something to show."""
    study = next(iter(results.values())).study
    made = [_made(make, results) for make in FIGURES.get(study, {}).values()]
    return [one for one in made if one is not None and (one.parts or (len(one.x) and one.series))]


def _made(make: Callable[[Results], Figure], results: Results) -> Figure | None:
    try:
        return make(results)
    except NothingToDraw:
        return None


def figure(results: Results, name: str | None, **options: Any) -> Figure:
    """Make one figure by name, the study's first by default; some take options, such as `layer`."""
    study = next(iter(results.values())).study
    known = FIGURES.get(study, {})
    if not known:
        raise NothingToDraw(name or study, f"no figures of {study}", "read its tables: result.table(name)")
    wanted = name or next(iter(known))
    if wanted not in known:
        raise UnknownName(f"figure of {study}", wanted, known)
    takes = [one for one in signature(known[wanted]).parameters if one != "results"]
    for option in options:
        if option not in takes:
            raise UnknownName(f"option of figure {wanted!r}", option, takes)
    return known[wanted](results, **options)
