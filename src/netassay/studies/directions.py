"""Directions: the mean cosine over all pairs of samples, from a sum of unit vectors, and a tensor's field by it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from netassay.studies.tape_step import Field


@dataclass
class Directions:
    """The sum of samples' unit vectors in float64, and how many there were: samples that are 0 have none.

    >>> seen = Directions()
    >>> seen.add(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))
    >>> round(seen.cosine, 6)
    0.333333
    """

    total: Tensor | None = None
    n: int = 0
    ragged: bool = False
    """Whether samples were of several sizes, so that they have no cosine."""

    def add(self, flat: Tensor) -> None:
        """Add samples `(N, entries)`, scaled first so that squares of what is as small as 1e-200 do not vanish."""
        top = flat.abs().amax(1, keepdim=True)
        scaled = flat / torch.where(top > 0, top, 1.0)
        norms = scaled.norm(dim=1, keepdim=True)
        here = (scaled / torch.where(norms > 0, norms, 1.0)).sum(0)
        self.ragged |= self.total is not None and self.total.shape != here.shape
        if not self.ragged:
            self.total = here if self.total is None else self.total + here
            self.n += int((norms > 0).sum())

    @property
    def cosine(self) -> float:
        """The mean over pairs of different samples; NaN for fewer than two."""
        if self.total is None or self.n < 2 or self.ragged:
            return math.nan
        return float((self.total.square().sum() - self.n) / (self.n * (self.n - 1)))


def field_of(x: Tensor, samples: int) -> Field:
    """Measure a tensor: mean square and mean of an entry, and mean square times the mean cosine of whole samples."""
    if not x.is_floating_point() or not x.numel():
        return Field()
    values = x.detach().double()
    q, directions = float(values.square().mean()), Directions()
    axis = next((i for i, size in enumerate(x.shape[:2]) if size == samples), 0)
    if x.numel() % samples == 0:
        directions.add(values.movedim(axis, 0).reshape(samples, -1))
    c = directions.cosine
    return Field(q, 0.0 if q == 0 else c * q, float(values.mean()))
