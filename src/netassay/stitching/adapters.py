"""Adapters: the layers that may stand between a sender and a receiver, by name, and how each is matched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from netassay.errors import BadInput, NoMatch, UnknownName
from netassay.seeds import seeded
from netassay.spec import call, parse
from netassay.stitching import solving
from netassay.stitching.forms import Arrange, Form, Shape, closed, form, opened, strides
from netassay.stitching.solving import Map
from netassay.stitching.sums import Sums
from netassay.stitching.table import Adapters

Solver = Callable[[Sequence[Sums], float | None], Map]


@dataclass(frozen=True)
class Recipe:
    """How an adapter is made for two forms, how it is solved in closed form (None: not), whether it can be trained.

    `build(sender, receiver)` gives a module from `(N, C, h, w)` to `(N, D, h', w')`; positions are arranged before
    it, as `patches` or not (see `Arrange`), unless it is `whole` and does that itself.
    """

    title: str
    build: Callable[[Form, Form], nn.Module]
    solve: Solver | None = None
    trained: bool = True
    whole: bool = False
    patches: bool = False


class Affine(nn.Module):
    """`weight x + bias` at every position; begins as torch begins a 1x1 convolution."""

    def __init__(self, channels: int, to: int) -> None:
        super().__init__()
        fresh = nn.Linear(channels, to)
        self.weight, self.bias = fresh.weight, fresh.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, h, w)`."""
        return functional.conv2d(x, self.weight[:, :, None, None], self.bias)

    def load(self, found: Map) -> None:
        """Take over a map."""
        self.weight.data.copy_(found.weight)
        self.bias.data.copy_(found.bias)


class LowRank(nn.Module):
    """`up (down x) + bias` at every position, through `rank` channels."""

    def __init__(self, channels: int, to: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, rank, 1, bias=False), Affine(rank, to)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, h, w)`."""
        y: Tensor = self.up(self.down(x))
        return y

    def load(self, found: Map) -> None:
        """Take over a map of that rank."""
        u, s, v = torch.linalg.svd(found.weight, full_matrices=False)
        rank = self.down.out_channels
        self.down.weight.data.copy_((s[:rank].sqrt()[:, None] * v[:rank])[:, :, None, None])
        self.up.weight.data.copy_(u[:, :rank] * s[:rank].sqrt())
        self.up.bias.data.copy_(found.bias)


class Same(nn.Module):
    """Everything as it is, in memory of its own: what follows may work in place."""

    def forward(self, x: Tensor) -> Tensor:
        """Copy."""
        return x.clone()

    def load(self, found: Map) -> None:
        """Take over nothing."""


class Tokenwise(nn.Module):
    """LayerNorm over the channels of every position, then an affine map."""

    def __init__(self, channels: int, to: int) -> None:
        super().__init__()
        self.norm, self.affine = nn.LayerNorm(channels), Affine(channels, to)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, h, w)`."""
        y: Tensor = self.affine(self.norm(x.movedim(1, -1)).movedim(-1, 1))
        return y


def identity() -> Recipe:
    """Nothing: the sender's activations as they are, for layers of equal shapes."""

    def build(sender: Form, receiver: Form) -> nn.Module:
        if sender != receiver:
            asked = f"adapter 'identity' from {sender} to {receiver}"
            raise NoMatch(asked, "their shapes differ", "adapter='affine'")
        return Same()

    return Recipe("identity", build, lambda folds, ridge: solving.same(folds), trained=False)


def affine() -> Recipe:
    """A map of the channels with bias, the same at every position: a 1x1 convolution."""
    return Recipe("affine map of channels", lambda a, b: Affine(a.channels, b.channels), solving.affine)


def conv() -> Recipe:
    """A k x k convolution of stride k downwards, k the ratio of sizes; `affine` where nothing is made smaller.

    In closed form, too: its rows are patches. Wide layers are made smaller by means first (see `Arrange`).
    """
    return replace(affine(), title="affine map of patches", patches=True)


def orthogonal() -> Recipe:
    """A rotation or reflection of the channels about their means; closed form only."""
    title = "rotation of channels about the mean"
    return Recipe(title, affine().build, lambda folds, ridge: solving.orthogonal(folds), trained=False)


def permutation() -> Recipe:
    """A pairing of channels, and the receiver's means; closed form only."""
    title = "pairing of channels about the mean"
    return Recipe(title, affine().build, lambda folds, ridge: solving.permutation(folds), trained=False)


def low_rank(*, rank: int = 8) -> Recipe:
    """An affine map of the channels through `rank` channels, or as many as there are."""
    if rank < 1:
        raise BadInput(f"adapter low_rank:rank={rank}", "no channel to go through", "low_rank:rank=8")

    def build(sender: Form, receiver: Form) -> nn.Module:
        return LowRank(sender.channels, receiver.channels, min(rank, sender.channels, receiver.channels))

    return Recipe(
        f"affine map of channels of rank {rank}", build, lambda folds, ridge: solving.low_rank(folds, rank, ridge)
    )


def bn_conv_bn() -> Recipe:
    """BatchNorm, k x k convolution of stride k, BatchNorm downwards; nearest value and 1x1 convolution upwards.

    k is the ratio of sizes, 1 for equal ones; where they do not divide, the stride is its whole part and the kernel as
    much larger as covers the rest. Trained only, from scratch; between images and vectors.
    """
    return Recipe("BatchNorm, convolution, BatchNorm", _bn_conv_bn, whole=True)


def tokens() -> Recipe:
    """LayerNorm over channels and an affine map of them, the same for every token; trained only, from scratch."""
    return Recipe("LayerNorm and affine map of channels", lambda a, b: Tokenwise(a.channels, b.channels))


ADAPTERS = Adapters(
    (one.__name__, one) for one in (identity, affine, conv, orthogonal, permutation, low_rank, bn_conv_bn, tokens)
)


class Adapter(nn.Module):
    """A sender's activations in the receiver's shape: positions arranged, channels mapped. Made by `adapter`.

    `name` is its spec, `told` what it does in words, `recipe` how it is made and matched.
    """

    def __init__(self, name: str, recipe: Recipe, sender: Form, receiver: Form) -> None:
        super().__init__()
        self.name, self.recipe, self.receiver = name, recipe, receiver
        self.arrange = Opened(sender) if recipe.whole else Arrange(sender, receiver, patches=recipe.patches)
        self.core = recipe.build(replace(sender, channels=self.arrange.channels), receiver)

    def forward(self, y: Tensor) -> Tensor:
        """Map `(N, *sender)` to `(N, *receiver)`."""
        return closed(self.core(self.arrange(y)), self.receiver)

    @property
    def told(self) -> str:
        """What the adapter does, in words."""
        return f"{self.recipe.title}; {self.arrange.told}"

    def solve(self, folds: Sequence[Sums], ridge: float | None = None) -> Map:
        """Take the closed-form solution over, and return it."""
        if self.recipe.solve is None:
            raise BadInput(f"adapter {self.name!r} in closed form", "it has none", "train it, or adapter='affine'")
        found, shape = self.recipe.solve(folds, ridge), (self.receiver.channels, self.arrange.channels)
        if tuple(found.weight.shape) != shape:
            asked, wrong = f"adapter {self.name!r} with weight {shape}", f"sums that give {tuple(found.weight.shape)}"
            raise BadInput(asked, wrong, f"NormalEquations(..., patches={self.recipe.patches}) of these layers")
        self.core.load(found)  # type: ignore[operator]
        return found


class Opened(nn.Module):
    """Activations as an image, at the sender's own positions."""

    told = "positions as the adapter's own convolution makes them"

    def __init__(self, sender: Form) -> None:
        super().__init__()
        self.sender, self.channels = sender, sender.channels

    def forward(self, y: Tensor) -> Tensor:
        """Return `(N, C, h, w)`."""
        return opened(y, self.sender)


def adapter(name: str, sender: Shape, receiver: Shape, *, seed: int = 0) -> Adapter:
    """Make an adapter from activations of shape `(N, *sender)` to `(N, *receiver)`, its weights drawn from `seed`.

    `name` is one of `ADAPTERS`, with options as in `low_rank:rank=4`. Shapes as in `form`.

    >>> made = adapter("affine", (16, 8, 8), (32, 4, 4))
    >>> made(torch.ones(2, 16, 8, 8)).shape
    torch.Size([2, 32, 4, 4])
    >>> made.told
    'affine map of channels; image of 16 at 8 x 8 to the positions of image of 32 at 4 x 4: means of equal blocks'
    """
    parsed = parse(name)
    if parsed.name not in ADAPTERS:
        raise UnknownName("adapter", parsed.name, ADAPTERS)
    recipe: Recipe = call(ADAPTERS[parsed.name], parsed)
    with seeded(seed):
        return Adapter(str(parsed), recipe, form(sender), form(receiver))


def _bn_conv_bn(sender: Form, receiver: Form) -> nn.Module:
    if "tokens" in (sender.kind, receiver.kind):
        raise NoMatch(f"adapter 'bn_conv_bn' from {sender} to {receiver}", "tokens", "adapter='tokens', or 'affine'")
    C, D = sender.channels, receiver.channels
    kernel, stride = strides(sender, receiver)
    if any(a < b for a, b in zip(sender.grid, receiver.grid, strict=True)):
        return nn.Sequential(Arrange(_image(sender), _image(receiver)), Affine(C, D))
    conv = nn.Conv2d(C, D, kernel, stride)
    return nn.Sequential(nn.BatchNorm2d(C), conv, nn.BatchNorm2d(D))


def _image(at: Form) -> Form:
    return Form("image", at.channels, at.grid)
