"""Window: the part of a logarithmic axis that most series live in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FAR, ROOM = 100, 1.5
"""How far above the middle series one must reach to be cut off, and the room that the others get."""


def window(series: Mapping[str, np.ndarray]) -> tuple[float, float] | None:
    """Return the limits of an axis that leaves out what is far above most series; None where nothing is."""
    tops = {name: values[values > 0].max(initial=0) for name, values in series.items()}
    most = FAR * float(np.median([top for top in tops.values() if top > 0] or [0]))
    if max(tops.values(), default=0) <= most:
        return None
    kept = np.concatenate([values[values > 0] for name, values in series.items() if tops[name] <= most])
    return float(kept.min()) / ROOM, float(kept.max()) * ROOM


def outside(series: Mapping[str, np.ndarray]) -> str:
    """Say which series an axis leaves out in part."""
    shown = window(series)
    names = [name for name, values in series.items() if shown and values[values > 0].max(initial=0) > shown[1]]
    return f" Off the top, in the numbers below: {', '.join(names)}." if names else ""
