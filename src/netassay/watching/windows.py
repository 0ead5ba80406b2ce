"""Windows: what lies between two rounds of optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Window:
    """One window: whether it is read, the gradient scaler's mark when it opened and, where it is read, its scale before
    the step; which optimizers have stepped, the loss, and whether a fused optimizer was told to leave its step out."""

    on: bool
    mark: float
    scale: float | None = None
    stepped: set[int] = field(default_factory=set)
    loss: Any = None
    void: bool = False
