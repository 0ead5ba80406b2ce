"""Flow: what was read of a network step by step, and the law that gradient follows through depth. numpy only."""

from netassay.flow.law import Slope, law, laws, stretch
from netassay.flow.readings import SIGNALS, UPDATES, Readings
from netassay.flow.tables import arrays, result, tables

__all__ = ["SIGNALS", "UPDATES", "Readings", "Slope", "arrays", "law", "laws", "result", "stretch", "tables"]
