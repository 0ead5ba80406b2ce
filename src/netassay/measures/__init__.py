"""How alike two sets of features of the same samples are: measures by family, in float64; torch and numpy only."""

from netassay.measures.calibrating import Calibrated, calibrate
from netassay.measures.measure import Invariance, Measure
from netassay.measures.table import MEASURES, named

__all__ = ["MEASURES", "Calibrated", "Invariance", "Measure", "calibrate", "named"]
