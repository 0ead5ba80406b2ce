"""Patterns of a map over two ordered axes: diagonal, triangle, block or flat; numpy only."""

from netassay.patterns.asked import LEAST
from netassay.patterns.pattern import PATTERNS, Pattern, pattern

__all__ = ["LEAST", "PATTERNS", "Pattern", "pattern"]
