"""Features: a layer's output as a matrix of samples and features, by a stated policy for positions and for tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from netassay.errors import BadInput, UnknownName

Kind = Literal["plain", "positions", "tokens"]
POOLS: dict[int, Callable[..., Tensor]] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}
POSITIONS = ("flatten", "pool", "samples", "resize:4")
TOKENS = ("mean", "masked", "cls", "last")


def features(
    y: Tensor,
    *,
    positions: str = "flatten",
    tokens: str = "mean",
    mask: Tensor | None = None,
    axis: int | None = None,
    sample_axis: int = 0,
    samples: int | None = None,
) -> Tensor:
    """Turn a layer's output into features `(n, d)`, one row a sample.

    `axis` holds the channels, `sample_axis` the samples. With channels last and three axes an output is tokens
    `(N, T, C)`; with two it is `(N, C)` as it is; any other has positions, as of a convolution in one, two or three
    dimensions. Without `axis`: three axes are tokens, more have channels at 1. Where the first axis is a multiple of
    `samples` (windows, heads), the rest counts as positions.

    `positions`: "flatten" takes every channel at every position as a feature (channels slowest), "pool" a channel's
    mean, "resize:k" means over a grid of k positions a dimension (a map that has fewer stays as it is), "samples"
    every position as a row, those of a sample together: permute and resample them by `rows`, never one by one.
    `tokens`: "mean" of all, "masked" mean of those that `mask` `(N, T)` keeps, "cls" the first, "last" the last (that
    `mask` keeps, where given). Means are float64. Raises `BadInput` for what has no order: integers, complex numbers.

    >>> images, words = torch.ones(8, 3, 4, 4), torch.ones(8, 5, 6)
    >>> features(images).shape, features(images, positions="resize:2").shape, features(words).shape
    (torch.Size([8, 48]), torch.Size([8, 12]), torch.Size([8, 6]))
    """
    y, kind = _arranged(y, axis, sample_axis, samples)
    if kind == "tokens":
        return _chosen("tokens", tokens, _OF_TOKENS)[0](y, mask)
    name, size = _size(positions)
    made = _chosen("positions", name, _OF_POSITIONS)[0]
    return y if kind == "plain" else made(y, size)


def told(
    shape: tuple[int, ...],
    *,
    positions: str = "flatten",
    tokens: str = "mean",
    mask: Tensor | None = None,
    axis: int | None = None,
    sample_axis: int = 0,
    samples: int | None = None,
) -> str:
    """Say in words what `features` makes of an output of this shape.

    >>> told((8, 3, 4, 4), positions="pool"), told((8, 5, 6)), told((8, 6))
    ('mean over 4 x 4 positions of 3 channels', 'mean over 5 tokens of 6 channels', '6 features as they are')
    """
    y, kind = _arranged(torch.empty(shape, device="meta"), axis, sample_axis, samples)
    if kind == "plain":
        return f"{y.shape[1]} features as they are"
    many = " x ".join(map(str, y.shape[2:])) if kind == "positions" else str(y.shape[1])
    of = f"{many} {kind} of {y.shape[1 if kind == 'positions' else 2]} channels"
    if kind == "tokens":
        how = _chosen("tokens", tokens, _OF_TOKENS)[1].format(of=of, padded=", padding among them" * (mask is not None))
        return how + "; positions='samples' does not concern tokens" * (positions == "samples")
    name, size = _size(positions)
    return _chosen("positions", name, _OF_POSITIONS)[1].format(of=of, k=size)


def policies(positions: str, tokens: str) -> None:
    """Refuse names of policies that there are not.

    >>> policies("resize:4", "cls")
    """
    _chosen("positions", _size(positions)[0], _OF_POSITIONS)
    _chosen("tokens", tokens, _OF_TOKENS)


def rows(order: Tensor, n: int) -> Tensor:
    """Turn an order of samples into the order of `n` rows, of which every sample has as many, lying together.

    >>> rows(torch.tensor([2, 0, 1]), 6)
    tensor([4, 5, 0, 1, 2, 3])
    """
    each = n // max(len(order), 1)
    return (order[:, None] * each + torch.arange(each, device=order.device)).reshape(-1)


def _arranged(y: Tensor, axis: int | None, sample_axis: int, samples: int | None) -> tuple[Tensor, Kind]:
    """Return `(N, C)`, `(N, C, ...)` or tokens `(N, T, C)`, and which of them it is."""
    if not y.dtype.is_floating_point:
        asked, found = f"features of an output {tuple(y.shape)}", f"entries of {y.dtype}"
        raise BadInput(
            asked, found, "choose a layer whose outputs are real numbers, or give y.abs(), y.real or y.double()"
        )
    if not y.dim():
        raise BadInput("features of an output ()", "a single number", "choose a layer with an output for each sample")
    if axis is None:
        axis = y.dim() - 1 if y.dim() <= 3 else 1
    y, axis = _by_sample(y, axis % y.dim(), sample_axis, samples)
    if y.dim() <= 2:
        return y.reshape(len(y), -1), "plain"
    if axis == y.dim() - 1 == 2:
        return y, "tokens"
    return y.movedim(axis, 1), "positions"


def _by_sample(y: Tensor, axis: int, sample_axis: int, samples: int | None) -> tuple[Tensor, int]:
    """Bring the samples to the front, and part what a batch holds of each; say where the channels are now."""
    if sample_axis < 0 or (samples is not None and (samples == 0 or y.shape[sample_axis] % samples)):
        found = "no axis for samples" if samples is None else f"no axis for the batch's {samples} samples"
        raise BadInput(f"features of an output {tuple(y.shape)}", found, "leave the layer out of layers=")
    y = y.movedim(sample_axis, 0)
    axis += axis < sample_axis
    if samples is None or len(y) == samples:
        return y, axis
    return y.reshape(samples, -1, *y.shape[1:]), axis + 1


def _size(positions: str) -> tuple[str, int]:
    name, _, size = positions.partition(":")
    if name != "resize":
        return positions, 0
    if not size.isdecimal() or not int(size):
        raise BadInput(f"positions={positions!r}", "no number of positions", "e.g. positions='resize:4'")
    return name, int(size)


def _resized(y: Tensor, size: int) -> Tensor:
    spatial = y.shape[2:]
    if len(spatial) not in POOLS:
        found = f"{len(spatial)} dimensions of positions"
        raise BadInput(f"positions='resize:{size}' of {tuple(y.shape)}", found, "take positions='flatten' or 'pool'")
    return POOLS[len(spatial)](y.double(), [min(size, one) for one in spatial]).flatten(1)


def _masked(y: Tensor, mask: Tensor | None) -> Tensor:
    keep = _fitting(y, mask, "masked")
    values = y.double().masked_fill(~keep[:, :, None], 0)
    return values.sum(1) / keep.sum(1, keepdim=True)


def _last(y: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return y[:, -1]
    keep = _fitting(y, mask, "last")
    at = torch.arange(y.shape[1], device=y.device).mul(keep).amax(1)
    return y[torch.arange(len(y), device=y.device), at]


def _fitting(y: Tensor, mask: Tensor | None, policy: str) -> Tensor:
    """Return the mask as truths, or refuse: padding taken for tokens would be a wrong number nobody sees."""
    asked, next = (
        f"tokens={policy!r} of an output {tuple(y.shape)}",
        "give data (x, y, mask), mask (N, T) true at tokens",
    )
    if mask is None:
        raise BadInput(asked, "no mask", f"{next}; or take tokens='mean'")
    if mask.shape != y.shape[:2]:
        raise BadInput(asked, f"a mask {tuple(mask.shape)}", next)
    keep = mask.to(y.device).bool()
    if not bool(keep.any(1).all()):
        raise BadInput(asked, "a sample of which the mask keeps no token", "leave the sample out of the data")
    return keep


def _chosen(
    kind: str, name: str, table: dict[str, tuple[Callable[..., Tensor], str]]
) -> tuple[Callable[..., Tensor], str]:
    if name not in table:
        raise UnknownName(kind, name, POSITIONS if kind == "positions" else TOKENS)
    return table[name]


_OF_POSITIONS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "flatten": (lambda y, size: y.flatten(1), "every one of {of}"),
    "pool": (lambda y, size: y.flatten(2).mean(2, dtype=torch.float64), "mean over {of}"),
    "samples": (lambda y, size: y.flatten(2).transpose(1, 2).flatten(0, 1), "each of {of} a sample"),
    "resize": (_resized, "means over at most {k} positions a dimension, of {of}"),
}
_OF_TOKENS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "mean": (lambda y, mask: y.mean(1, dtype=torch.float64), "mean over {of}{padded}"),
    "masked": (_masked, "mean over those that the mask keeps, of {of}"),
    "cls": (lambda y, mask: y[:, 0], "the first of {of}"),
    "last": (_last, "the last of {of}"),
}
