"""Patterns of a map over two ordered axes: diagonal, triangle, block or flat; numpy only."""

from netassay.patterns.asked import LEAST, fewest_known, middles
from netassay.patterns.pattern import PATTERNS, UNEXPLAINED, Pattern, pattern

__all__ = ["LEAST", "PATTERNS", "UNEXPLAINED", "Pattern", "fewest_known", "middles", "pattern"]
