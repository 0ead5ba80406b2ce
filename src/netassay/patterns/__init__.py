"""Patterns of a map over two ordered axes: diagonal, triangle, block or flat; numpy only."""

from netassay.patterns.pattern import PATTERNS, Pattern, pattern

__all__ = ["PATTERNS", "Pattern", "pattern"]
