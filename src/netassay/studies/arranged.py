"""Arranged: the tensors of one call of a layer, brought to the layout that its rule is written for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netassay.axes import by_channel
from netassay.data import Batch
from netassay.errors import BadInput
from netassay.records import Record
from netassay.rules import Diagonal, Rule, Tiles
from netassay.rules.levels import norms
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
    def of(cls, call: Call, record: Record, batch: Batch, rule: Rule, x: Tensor | None) -> Arranged:
        """Arrange what a record holds once its gradient has come by."""
        if record.gy is None or record.x_shape is None:
            raise BadInput(f"exchange of layer {call.label!r}", "no tensor at its input", f"skip={call.label!r}")
        arrange = _Arrange(call, batch, rule)
        gy, shape = arrange(record.gy), tuple(record.x_shape)
        if rule.layout == "last":
            shape = (*gy.shape[:-1], shape[-1])
        gx = rule.gx(call.layer.module, gy) if rule.gx else record.gx
        gx = gx if gx is None or rule.gx else arrange(gx)
        return cls(call, batch, rule, torch.empty(shape, device="meta") if x is None else arrange(x), gy, gx)

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
        return tensor.mT if self.rule.layout == "last" else tensor

    def tiles(self) -> Tiles:
        """Return the call's blocks."""
        if self.rule.diagonal and self.gx is not None:
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
        return None if self.rule.overlap is None else self.rule.overlap(self.layer, self.x, self.gy, self.gx)


@dataclass(frozen=True)
class _Arrange:
    call: Call
    batch: Batch
    rule: Rule

    def __call__(self, tensor: Tensor) -> Tensor:
        call, samples = self.call, len(self.batch.x)
        if self.rule.layout in ("last", "any"):
            view = by_channel(tensor, call.axis, samples, call.label, call.sample_axis)
            return view.mT if self.rule.layout == "last" else view
        if len(tensor) != samples or call.sample_axis not in (0, None):
            raise BadInput(
                f"exchange of layer {call.label!r}",
                f"a tensor {tuple(tensor.shape)} for a batch of {samples} samples",
                f"leave the layer out: skip={call.label!r}",
            )
        return tensor
