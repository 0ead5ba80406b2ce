"""The type of the table of adapters, which says what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Adapters(dict[str, Callable[..., Any]]):
    """Adapters by name; calling one with its options gives how it is built, solved and trained.

    >>> from netassay.stitching import ADAPTERS
    >>> list(ADAPTERS)[:2], ADAPTERS["low_rank"](rank=4).title
    (['identity', 'affine'], 'affine map of channels of rank 4')
    """
