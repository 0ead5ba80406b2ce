"""Cutting: any model in two at a layer, front and rest, where nothing else goes around it."""

from netassay.cutting.cuts import Cut, Refused, cut, cuts, passing

__all__ = ["Cut", "Refused", "cut", "cuts", "passing"]
