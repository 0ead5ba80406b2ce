"""One net of the bench, where it runs: drawn from its seed, trained under watch, and what was said of it."""

from __future__ import annotations

import json
import logging
import random
import time
import warnings

import numpy as np
import torch

from labelled import healthy, sabotaged
from labelled.training import train
from netassay.seeds import seeded
from netassay.watching import Monitor

SIDES = {"healthy": healthy.KINDS, "sabotaged": sabotaged.KINDS}


def trial(cell):
    """Run a cell of `side`, `kind`, `seed` and `number`; return its outcome as JSON in an array."""
    torch.set_num_threads(1)
    logging.getLogger("netassay").setLevel(logging.CRITICAL)
    draw = random.Random(" ".join(str(cell[name]) for name in ("side", "kind", "seed", "number")))
    with seeded(draw.getrandbits(32)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"outcome": np.array(json.dumps({**cell, **watched(SIDES[cell["side"]][cell["kind"]](draw))}))}


def watched(training):
    """Train under watch; return the course, the verdicts and the truth as plain values.

    Verdicts at the end come first; those that were told on the way and no longer stand count as well.
    """
    begun, told = time.perf_counter(), []
    options = {"scaler": training.scaler, "every": training.every, "on_verdict": told.append}
    with Monitor(training.model, training.optimizers, **options) as monitor:
        course = train(training, monitor.step)
    final = monitor.verdicts()
    at_once = [one for one in told if (one.rule, one.layer) not in {(other.rule, other.layer) for other in final}]
    truth = training.truth
    return {
        "about": training.about,
        "fell": course.fell,
        "accuracy": course.accuracy,
        "seconds": time.perf_counter() - begun,
        "verdicts": [[one.severity, one.rule, one.layer, one.cause] for one in (*final, *at_once)],
        "faults": monitor.faults,
        "rules": sorted(truth.rules) if truth else None,
        "layers": sorted(truth.layers) if truth and truth.layers is not None else None,
    }
