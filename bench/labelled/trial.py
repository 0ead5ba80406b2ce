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
from labelled.scoring import learned
from labelled.training import silent, train
from netassay.seeds import seeded
from netassay.watching import Monitor

SIDES = {"healthy": healthy.KINDS, "sabotaged": sabotaged.KINDS}
TRIES = 4
"""Draws of a net that is to be healthy and is not: its rate was too high or too low, by the bench's own measure."""


def trial(cell):
    """Run a cell of `side`, `kind`, `seed` and `number`; return its outcome as JSON in an array."""
    torch.set_num_threads(1)
    logging.getLogger("netassay").setLevel(logging.CRITICAL)
    draw = random.Random(" ".join(str(cell[name]) for name in ("side", "kind", "seed", "number")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for again in range(TRIES):
            with seeded(draw.getrandbits(32)):
                outcome = {**cell, "again": again, **watched(SIDES[cell["side"]][cell["kind"]](draw))}
            if cell["side"] == "sabotaged" or learned(outcome):
                break
    return {"outcome": np.array(json.dumps(outcome))}


def watched(training):
    """Train under watch; return the course, the verdicts and the truth as plain values.

    Verdicts that were told on the way and no longer stand are among the monitor's, and count as well.
    """
    begun = time.perf_counter()
    options = {"scaler": training.scaler, "every": training.every}
    with Monitor(training.model, training.optimizers, **options) as monitor:
        course = train(training, monitor.step)
    seconds, truth = time.perf_counter() - begun, training.truth
    return {
        "about": training.about,
        "fell": course.fell,
        "accuracy": course.accuracy,
        "silent": 0.0 if truth else silent(training),
        "seconds": seconds,
        "verdicts": [[one.severity, one.rule, one.layer, one.cause] for one in monitor.verdicts()],
        "faults": monitor.faults,
        "rules": sorted(truth.rules) if truth else None,
        "layers": sorted(truth.layers) if truth and truth.layers is not None else None,
    }
