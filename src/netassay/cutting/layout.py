"""Layout: which axes of a layer's output are samples and channels, and the order in which halves hand it on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = {2: "vector", 3: "tokens", 4: "image"}
"""By the number of axes: `(N, C)`, `(N, T, C)`, `(N, C, H, W)`."""


@dataclass(frozen=True)
class Layout:
    """The order of a layer's axes that makes its output one of the kinds.

    >>> Layout.of((5, 2, 7), samples=1, channels=2)
    Layout(kind='tokens', order=(1, 0, 2))
    """

    kind: str
    order: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], samples: int, channels: int) -> Layout:
        """Put samples first, and channels second in images, else last; samples cannot be channels, too."""
        if channels == samples:
            channels = max(axis for axis in range(len(shape)) if axis != samples)
        others = [axis for axis in range(len(shape)) if axis not in (samples, channels)]
        order = [samples, channels, *others] if len(shape) == 4 else [samples, *others, channels]
        return cls(KINDS[len(shape)], tuple(order))

    @property
    def plain(self) -> bool:
        """Whether the layer's axes are in this order already."""
        return self.order == tuple(sorted(self.order))

    def out(self, y: Tensor) -> Tensor:
        """Turn what the layer made."""
        return y if self.plain else y.permute(self.order)

    def back(self, y: Tensor) -> Tensor:
        """Turn a copy back to what the layer makes; what follows may overwrite it."""
        if self.plain:
            return y.clone()
        turned = y.permute([self.order.index(axis) for axis in range(y.dim())])
        return turned.clone(memory_format=torch.contiguous_format)
