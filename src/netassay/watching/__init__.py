"""Watching: a network while it trains, read on the device at the steps that are sampled."""

from netassay.watching.monitor import Monitor
from netassay.watching.reader import Reader

__all__ = ["Monitor", "Reader"]
