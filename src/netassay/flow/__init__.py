"""Flow: what was read of a network step by step, and the law that gradient follows through depth. numpy only."""

from netassay.flow.readings import SIGNALS, UPDATES, Readings

__all__ = ["SIGNALS", "UPDATES", "Readings"]
