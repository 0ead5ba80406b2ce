"""Forms: where a layer keeps channels and positions, and how one layer's positions become another's."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from netassay.errors import NoMatch

Kind = Literal["image", "tokens", "vector"]
Shape: TypeAlias = tuple[int, ...]
MOST = 512
"""Values of a position that patches keep: closed forms take their square in memory, and their cube in time."""
KINDS: dict[int, Kind] = {1: "vector", 2: "tokens", 3: "image"}


@dataclass(frozen=True)
class Form:
    """Channels on a `grid` of positions, `first` a class token before it; a sequence is a grid of one row."""

    kind: Kind
    channels: int
    grid: tuple[int, int]
    first: bool = False

    @property
    def places(self) -> tuple[tuple[int, int], bool]:
        """What two layers share that have the same positions; an image and the tokens of its grid do."""
        return self.grid, self.first

    @property
    def row(self) -> bool:
        """Tell whether the positions are a sequence without a place in a picture."""
        return self.kind == "tokens" and self.grid[0] == 1 < self.grid[1]

    def __str__(self) -> str:
        if self.kind == "vector":
            return f"vector of {self.channels}"
        size = f"{self.grid[1]}" if self.row else f"{self.grid[0]} x {self.grid[1]}"
        return f"{self.kind} of {self.channels} at {size}{' and a class token' * self.first}"


def form(shape: Shape) -> Form:
    """Read a shape without samples: image `(C, H, W)`, tokens `(T, C)` or vector `(C,)`.

    A square number of tokens is a grid, one more is a class token and a grid, any other number a sequence.

    >>> print(form((64, 8, 8))), print(form((197, 768))), print(form((12, 64))), print(form((10,)))
    image of 64 at 8 x 8
    tokens of 768 at 14 x 14 and a class token
    tokens of 64 at 12
    vector of 10
    (None, None, None, None)
    """
    shape = tuple(shape)
    if len(shape) not in KINDS or not prod(shape):
        found = "neither an image (C, H, W), nor tokens (T, C), nor a vector (C,)"
        raise NoMatch(f"a stitch at activations of shape {shape}", found, "cut at another layer")
    if len(shape) == 3:
        return Form("image", shape[0], (shape[1], shape[2]))
    if len(shape) == 1:
        return Form("vector", shape[0], (1, 1))
    tokens = shape[0]
    for first in (False, True):
        side = isqrt(tokens - first)
        if side and side**2 == tokens - first:
            return Form("tokens", shape[1], (side, side), first)
    return Form("tokens", shape[1], (1, tokens))


class Arrange(nn.Module):
    """Bring a sender's activations to the receiver's positions, every channel by itself: `(N, C, *positions)`.

    Downwards means of equal blocks where the sizes divide, of torch's adaptive blocks where not; upwards the nearest
    value; each dimension by itself. A vector is an image of one position: it is broadcast, and made as a global mean.
    A class token goes to a class token; it is left out where the receiver has none, and where the sender has none it
    is the mean over all positions. Tokens in equal numbers stay as they are. Without parameters.

    `patches` keeps, downwards, several values of a block as channels of their own (channels slowest): what a
    convolution whose kernel is its stride looks at. In each dimension as many as fit into the ratio of sizes, halved
    until a position has `MOST` values at most; the sender is resized to that multiple of the receiver first.
    `channels` says how many there are then.

    >>> Arrange(form((3, 8, 8)), form((5, 4, 4)))(torch.ones(2, 3, 8, 8)).shape
    torch.Size([2, 3, 4, 4])
    """

    def __init__(self, sender: Form, receiver: Form, *, patches: bool = False) -> None:
        super().__init__()
        self.sender, self.receiver = sender, receiver
        self.kernel = _kernel(sender, receiver) if patches else (1, 1)
        same = sender.places == receiver.places
        if not same and sender.row != receiver.row and "vector" not in (sender.kind, receiver.kind):
            asked, found = f"{sender} into {receiver}", "a sequence has no place in a picture"
            raise NoMatch(asked, found, "stitch tokens whose number is a square, or a layer behind their pooling")

    def forward(self, y: Tensor) -> Tensor:
        """Return `(N, C, h, w)`, or `(N, C, T, 1)` where the receiver has a class token."""
        x = opened(y, self.sender)
        if self.sender.places == self.receiver.places:
            return x
        first, x = (x[:, :, :1], x[:, :, 1:]) if self.sender.first else (None, x)
        x = x.reshape(*x.shape[:2], *self.sender.grid)
        (h, w), (a, b) = self.receiver.grid, self.kernel
        x = resized(x, (h * a, w * b))
        if self.kernel != (1, 1):
            return functional.unfold(x, self.kernel, stride=self.kernel).reshape(len(x), -1, h, w)
        if not self.receiver.first:
            return x
        first = x.mean((2, 3))[:, :, None, None] if first is None else first
        return torch.cat([first, x.flatten(2)[..., None]], 2)

    @property
    def channels(self) -> int:
        """Channels of what comes out."""
        return self.sender.channels * prod(self.kernel)

    @property
    def told(self) -> str:
        """Say what happens to the positions."""
        sender, receiver = self.sender, self.receiver
        if sender.places == receiver.places:
            return "positions as they are"
        grid = [size * many for size, many in zip(receiver.grid, self.kernel, strict=True)]
        ways = sorted({_way(a, b) for a, b in zip(sender.grid, grid, strict=True)} - {""})
        if self.kernel != (1, 1):
            ways.append(f"patches of {self.kernel[0]} x {self.kernel[1]} values")
        if receiver.first != sender.first:
            ways.append("class token left out" if sender.first else "class token made as the mean over positions")
        return f"{sender} to the positions of {receiver}: " + ", ".join(ways)


def strides(sender: Form, receiver: Form) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return kernel and stride of a convolution that makes the smaller grid and looks at all; (1, 1) upwards."""
    pairs = list(zip(sender.grid, receiver.grid, strict=True))
    if any(a < b for a, b in pairs) or sender.first or receiver.first:
        return (1, 1), (1, 1)
    (h, w), stride = receiver.grid, (pairs[0][0] // pairs[0][1], pairs[1][0] // pairs[1][1])
    return (sender.grid[0] - (h - 1) * stride[0], sender.grid[1] - (w - 1) * stride[1]), stride


def _kernel(sender: Form, receiver: Form) -> tuple[int, int]:
    """Return how many values of a block are kept in each dimension; 1 upwards, and where there is a class token."""
    if sender.first or receiver.first:
        return 1, 1
    a, b = (max(1, size // to) for size, to in zip(sender.grid, receiver.grid, strict=True))
    while a * b > 1 and sender.channels * a * b > MOST:
        a, b = (a // 2, b) if a >= b else (a, b // 2)
    return a, b


def opened(y: Tensor, at: Form) -> Tensor:
    """Return activations as `(N, C, h, w)`, or `(N, C, T, 1)` where there is a class token."""
    if at.kind == "tokens":
        y = y.movedim(-1, 1)
        return y[..., None] if at.first else y.reshape(*y.shape[:2], *at.grid)
    return y if at.kind == "image" else y[:, :, None, None]


def closed(z: Tensor, at: Form) -> Tensor:
    """Return `(N, C, ...)` in the form of a layer."""
    if at.kind == "tokens":
        return z.flatten(2).movedim(1, -1)
    return z if at.kind == "image" else z[:, :, 0, 0]


def rows(x: Tensor) -> Tensor:
    """Return `(N, C, ...)` with every position a row, `(N * positions, C)`, those of a sample together."""
    return x.movedim(1, -1).flatten(0, -2)


def resized(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize `(N, C, h, w)`: means of blocks downwards, the nearest value upwards, each dimension by itself."""
    size = (x.shape[2], x.shape[3])
    down = (min(size[0], grid[0]), min(size[1], grid[1]))
    if down != size:
        x = functional.adaptive_avg_pool2d(x, down)
    return x if down == grid else functional.interpolate(x, size=grid, mode="nearest")


def _way(size: int, to: int) -> str:
    if to < size:
        return "means of equal blocks" if size % to == 0 else "means of blocks that overlap"
    return "nearest value" if to > size else ""
