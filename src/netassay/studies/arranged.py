"""Arranged: the tensors of one call of a layer, brought to the layout that its rule is written for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netassay.axes import by_channel
from netassay.data import Batch
from netassay.errors import BadInput
from netassay.records import Record, vector_jacobian
from netassay.rules import Diagonal, Rule, Tiles
from netassay.rules.levels import lowered, norms
from netassay.studies.survey import Call


@dataclass(frozen=True)
class Arranged:
    """One call: `gy` and, where gradient came through, `gx`; `x` is without values where the rule reads none.

    With samples in front; channels at axis 1, or at the last where the rule says so.
    """

    call: Call
    batch: Batch
    rule: Rule
    x: Tensor
    gy: Tensor
    gx: Tensor | None

    @classmethod
    def of(cls, call: Call, record: Record, gradient: Tensor, batch: Batch, rule: Rule, x: Tensor | None) -> Arranged:
        """Arrange what a record holds once its gradient, at the output, has come by."""
        arrange = _Arrange(call, batch, rule)
        gy, shape = arrange(gradient), tuple(record.x_shape or ())
        if rule.layout == "last":
            shape = (*gy.shape[:-1], shape[-1])
        values = torch.empty(shape, device="meta") if x is None or rule.diagonal else arrange(x)
        gx = None if rule.inner or record.gx is None else arrange(record.gx)
        if gx is None and rule.gx is not None:
            gx = rule.gx(call.layer.module, values, gy)
        elif gx is None and x is not None:
            alone = vector_jacobian(call.layer, (x,), {}, x, [gradient])
            gx = None if alone is None else arrange(alone)
        return cls(call, batch, rule, values, gy, gx)

    @property
    def layer(self) -> nn.Module:
        """The layer itself."""
        return self.call.layer.module

    @property
    def shape(self) -> tuple[int, int, int]:
        """Samples, output channels, input channels."""
        outputs = self.by_channel(self.gy).shape[1]
        if self.rule.diagonal:
            return len(self.gy), outputs, outputs
        return len(self.gy), outputs, self.by_channel(self.x if self.gx is None else self.gx).shape[1]

    def by_channel(self, tensor: Tensor) -> Tensor:
        """Bring channels to axis 1."""
        if self.rule.layout != "last":
            return tensor
        return tensor.mT if tensor.dim() > 2 else tensor[..., None]

    def tiles(self) -> Tiles:
        """Return the call's blocks."""
        if self.rule.diagonal:
            if self.gx is None:
                why = "no gradient to be had at its input, which it overwrites or which takes none"
                raise BadInput(f"exchange of layer {self.call.label!r}", why, f"skip={self.call.label!r}")
            return Diagonal(norms(self.gx))
        return self.rule.tiles(self.layer, self.x, self.gy)

    def passed(self) -> Tensor:
        """Return the norm of what flows back through the layer, `(N, I)`; NaN where that was not to be seen."""
        if self.gx is None:
            return torch.full((self.shape[0], self.shape[2]), torch.nan, dtype=torch.float64, device=self.gy.device)
        return norms(self.by_channel(self.gx))

    def overlap(self) -> Tensor | None:
        """Return the sums of `<LG(n, o, i), gx[n, i]>` over samples, `(O, I)`; None where the rule has none."""
        if self.gx is None:
            return None
        if self.rule.diagonal:
            return torch.diag(self.passed().square().sum(0))
        if self.rule.overlap is None:
            return None
        gy, down = _near_one(self.gy, self.gx)
        gx, back = _near_one(self.gx, self.gy)
        return self.rule.overlap(self.layer, self.x, gy, gx).double() * (down * back)


def _near_one(gradient: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Divide by one power of two, so that products do not vanish; return that, too, in float64.

    Without the samples where this or the other gradient is not finite.
    """
    tops = [one.flatten(1).abs().amax(1) if one.numel() else one.new_zeros(len(one)) for one in (gradient, other)]
    there = tops[0].isfinite() & tops[1].isfinite()
    if not there.all():
        gradient = torch.where(there.view(-1, *(1 for _ in gradient.shape[1:])), gradient, 0)
    exponent = torch.frexp(torch.where(there, tops[0], 0).amax())[1] if len(there) else there.sum()
    if abs(int(exponent)) > FAR:
        return lowered(gradient, exponent)
    return gradient, torch.ones_like(exponent, dtype=torch.float64)


FAR = 30
"""Powers of two from 1 beyond which gradients are scaled before they are multiplied with each other."""


@dataclass(frozen=True)
class _Arrange:
    call: Call
    batch: Batch
    rule: Rule

    def __call__(self, tensor: Tensor) -> Tensor:
        call, samples = self.call, len(self.batch.x)
        if self.rule.layout in ("last", "any"):
            view = by_channel(tensor, call.axis, samples, call.label, call.sample_axis)
            last = self.rule.layout == "last"
            return tensor if last and tensor.dim() == 2 and call.sample_axis in (0, None) else view.mT if last else view
        if len(tensor) != samples or call.sample_axis not in (0, None):
            raise BadInput(
                f"exchange of layer {call.label!r}",
                f"a tensor {tuple(tensor.shape)} for a batch of {samples} samples",
                f"leave the layer out: skip={call.label!r}",
            )
        return tensor
