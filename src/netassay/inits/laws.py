"""Laws: the distributions that schemes draw weights from, and how one draw is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from netassay.inits.evidence import INSIDE, KEPT
from netassay.inits.fans import Fans

Family = Literal["normal", "uniform", "truncated normal", "orthogonal", "delta orthogonal", "constant"]


class Law(NamedTuple):
    """A distribution of weights: a family and its scale.

    The scale is the variance of normal, uniform and truncated normal weights (after the cut), the gain of
    orthogonal and delta-orthogonal ones, the value of constant ones.
    """

    family: Family
    scale: float

    def variance(self, fans: Fans) -> float:
        """Predict the variance of one weight; of orthogonal ones over draws of the whole matrix."""
        return _VARIANCE.get(self.family, _as_it_is)(self.scale, fans)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw matrices of shape `(groups, out, in, *kernel)` in float64 on the CPU, each group by itself."""
        return _DRAWS[self.family](shape, self.scale, generator)


def _as_it_is(scale: float, fans: Fans) -> float:
    return scale


# An entry of a matrix with orthonormal rows or columns has variance 1 / longer side; the rest of a delta is zero.
_VARIANCE: dict[Family, Callable[[float, Fans], float]] = {
    "orthogonal": lambda gain, fans: gain**2 / max(fans.fan_in, fans.fan_out // fans.taps),
    "delta orthogonal": lambda gain, fans: gain**2 / max(fans.fan_in, fans.fan_out),
    "constant": lambda value, fans: 0.0,
}


def _normal(shape: tuple[int, ...], variance: float, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64) * math.sqrt(variance)


def _uniform(shape: tuple[int, ...], variance: float, generator: torch.Generator) -> Tensor:
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (2 * unit - 1) * math.sqrt(3 * variance)


def _truncated(shape: tuple[int, ...], variance: float, generator: torch.Generator) -> Tensor:
    chance = 0.5 + INSIDE * (torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5)
    parent: Tensor = torch.special.ndtri(chance)
    return parent * math.sqrt(variance / KEPT)


def _orthogonal(shape: tuple[int, ...], gain: float, generator: torch.Generator) -> Tensor:
    groups, rows, columns = shape[0], shape[1], math.prod(shape[2:])
    tall = (groups, max(rows, columns), min(rows, columns))
    q, r = torch.linalg.qr(torch.randn(tall, generator=generator, dtype=torch.float64))
    # Without the signs of R the draw would not be uniform over orthogonal matrices (Mezzadri 2007, section 5).
    q = q * torch.where(r.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0)[:, None]
    turned: Tensor = q if rows >= columns else q.transpose(1, 2)
    return gain * turned.reshape(shape)


def _delta(shape: tuple[int, ...], gain: float, generator: torch.Generator) -> Tensor:
    weight = torch.zeros(shape, dtype=torch.float64)
    centre = weight
    for size in reversed(shape[3:]):
        centre = centre[..., size // 2]
    centre.copy_(_orthogonal(shape[:3], gain, generator))
    return weight


def _constant(shape: tuple[int, ...], value: float, generator: torch.Generator) -> Tensor:
    return torch.full(shape, value, dtype=torch.float64)


_DRAWS: dict[Family, Callable[[tuple[int, ...], float, torch.Generator], Tensor]] = {
    "normal": _normal,
    "uniform": _uniform,
    "truncated normal": _truncated,
    "orthogonal": _orthogonal,
    "delta orthogonal": _delta,
    "constant": _constant,
}


@singledispatch
def own_law(module: nn.Module, parameter: str) -> Law | None:
    """Return the law of torch's own reset for a weight matrix; None where the reset is not torch's.

    Linear and convolutional layers: U(+-1/sqrt(f)) with torch's fan-in f, for transposed convolutions what truly is
    the fan-out; attention: Xavier with gain 1, the stacked projections as one matrix; recurrent layers:
    U(+-1/sqrt(hidden)); embeddings: N(0, 1).

    >>> own_law(nn.Linear(12, 5), "weight").scale * 36, own_law(nn.Embedding(9, 2), "weight")
    (1.0, Law(family='normal', scale=1.0))
    """
    return None


@own_law.register(nn.Linear)
@own_law.register(_ConvNd)
def _(module: nn.Linear | _ConvNd, parameter: str) -> Law | None:
    ours = type(module).reset_parameters in (nn.Linear.reset_parameters, _ConvNd.reset_parameters)
    weight = module.weight
    return Law("uniform", 1 / (3 * weight[0].numel())) if ours and weight[0].numel() else None


@own_law.register
def _(module: nn.Bilinear, parameter: str) -> Law | None:
    ours = type(module).reset_parameters is nn.Bilinear.reset_parameters
    return Law("uniform", 1 / (3 * module.in1_features)) if ours else None


@own_law.register
def _(module: nn.MultiheadAttention, parameter: str) -> Law | None:
    return Law("uniform", 2 / sum(getattr(module, parameter).shape))


@own_law.register(nn.RNNBase)
@own_law.register(nn.RNNCellBase)
def _(module: nn.RNNBase | nn.RNNCellBase, parameter: str) -> Law | None:
    return Law("uniform", 1 / (3 * module.hidden_size))


@own_law.register(nn.Embedding)
@own_law.register(nn.EmbeddingBag)
def _(module: nn.Embedding | nn.EmbeddingBag, parameter: str) -> Law | None:
    return Law("normal", 1.0)
