"""Streams: statistics as values with algebra. `merge` joins parts in any order; the empty one is the identity.

The value forms here are numpy only; `streams.rows` holds the device form and the one bridge between them.
"""

from netassay.streams.counts import Counts
from netassay.streams.cross import Cross
from netassay.streams.extremes import Extremes
from netassay.streams.histogram import LogHistogram
from netassay.streams.magnitude import Magnitude
from netassay.streams.moments import Moments
from netassay.streams.norms import Norms
from netassay.streams.spread import Spread

__all__ = ["Counts", "Cross", "Extremes", "LogHistogram", "Magnitude", "Moments", "Norms", "Spread"]
