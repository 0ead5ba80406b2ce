"""Score: a value of a measure, with what chance gives and how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Score(float):
    """How alike two sets of features are: a float that carries its evidence.

    `measure` and its `direction`; `n` samples; `null` `(K,)`, values of the same features with the samples of the
    second in a random order; `p`, the chance of a value as good; `threshold`, the value that chance passes once in
    1 / (1 - level) times; `calibrated`, 0 at the threshold and 1 for equal features; `interval` at `level`; `how` the
    features, null and interval were made. Calculating with a score gives a plain float.

    >>> Score(0.25, measure="cka", n=100, null=np.zeros(4), p=0.2, interval=(0.1, 0.4), level=0.95)
    0.25 (cka of 100 samples; interval 0.1 to 0.4 at 95%; p = 0.2; by chance 0)
    """

    measure: str
    direction: str
    n: int
    null: npt.NDArray[np.float64]
    p: float
    threshold: float
    calibrated: float
    interval: tuple[float, float]
    level: float
    how: str

    def __new__(cls, value: float, **evidence: Any) -> Score:
        """Make a score from its value and its evidence."""
        score = super().__new__(cls, value)
        score.__dict__.update(evidence)
        return score

    def __repr__(self) -> str:
        low, high = self.interval
        chance = f"p = {self.p:.3g}; by chance {self.null.mean():.4g}" if len(self.null) else "no null"
        sure = f"interval {low:.4g} to {high:.4g} at {self.level:.0%}"
        return f"{float(self):.4g} ({self.measure} of {self.n} samples; {sure}; {chance})"
