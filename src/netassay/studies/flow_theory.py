"""Theory of flow: the law that mean-field theory expects of a network, from the gradients that it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from netassay.flow import Readings, laws
from netassay.objectives import Objective
from netassay.studies.signal import signal

ONE = np.zeros(1)


def expected(
    model: nn.Module, data: Any, *, objective: str | Objective = "cross_entropy", training: bool = True
) -> Mapping[str, tuple[float, float]]:
    """Return chi and attenuation of each path as mean-field theory predicts them, fitted as what is measured is.

    A predicted second moment of an entry, times the entries of a sample, is the squared norm that the law is about.
    """
    told = signal(model, data, objective=objective, training=training).tables["layers"].columns
    calls = {"role": np.full(len(told["layer"]), "weight"), "path": told["path"], "depth": told["depth"]}
    norms = np.sqrt(told["g_predicted"] * told["entries"])
    readings = Readings(ONE, ONE, ONE, ONE, calls=calls, signals={"gradient": norms[None]})
    return {one.path: (one.chi, one.attenuation) for one in laws(readings)}
