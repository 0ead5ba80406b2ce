"""How alike two sets of features of the same samples are: measures by family, in float64; torch and numpy only."""

from netassay.measures.calibrating import Calibrated, calibrate, check_chance, orders, under_orders
from netassay.measures.chance import null_moments, null_quantile, null_skewness, null_tail
from netassay.measures.diagnosing import check_paired, diagnose, sortedness, spectrum, warn
from netassay.measures.features import features, rows, told
from netassay.measures.intervals import without_each, without_groups
from netassay.measures.measure import Invariance, Measure
from netassay.measures.score import Score
from netassay.measures.similarity import similarity
from netassay.measures.table import MEASURES, named

__all__ = [
    "MEASURES",
    "Calibrated",
    "Invariance",
    "Measure",
    "Score",
    "calibrate",
    "check_chance",
    "check_paired",
    "diagnose",
    "features",
    "named",
    "null_moments",
    "null_quantile",
    "null_skewness",
    "null_tail",
    "orders",
    "rows",
    "similarity",
    "sortedness",
    "spectrum",
    "told",
    "under_orders",
    "warn",
    "without_each",
    "without_groups",
]
