"""Windows: what lies between two rounds of optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Window:
    """One window: whether it is read, the gradient scaler's scale, which optimizers have stepped, the loss, and whether
    a fused optimizer was told to leave its step out."""

    on: bool
    scale: float
    stepped: set[int] = field(default_factory=set)
    loss: Any = None
    void: bool = False
