"""How alike two sets of features of the same samples are: measures by family, in float64; torch and numpy only."""

from netassay.measures.measure import Invariance, Measure

__all__ = ["Invariance", "Measure"]
