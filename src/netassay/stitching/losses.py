"""Losses: what an adapter may be trained by, from the samples it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from netassay.errors import NoMatch
from netassay.stitching.metering import Meter

Run: TypeAlias = Callable[[Tensor], Tensor]
Later: TypeAlias = Callable[[Tensor], Sequence[Tensor]]
AT_ONCE = 256
"""Samples in a batch where nothing is learnt."""
ROUNDING = 16
"""Machine epsilons that equal samples may differ by, since products are rounded by their place in a batch."""


@dataclass(frozen=True)
class Samples:
    """Activations of the sender `(N, ...)`, labels `(N,)`, and the receiver's own activations at the cut, or None."""

    sent: Tensor
    y: Tensor
    own: Tensor | None = None

    def __len__(self) -> int:
        return len(self.sent)

    def at(self, chosen: Tensor) -> Samples:
        """Take some of them."""
        return Samples(self.sent[chosen], self.y[chosen], None if self.own is None else self.own[chosen])

    @property
    def expected(self) -> Tensor:
        """The receiver's own activations, which losses other than "task" need."""
        assert self.own is not None
        return self.own


Loss: TypeAlias = Callable[[Tensor, Samples], Tensor]
"""Of what an adapter makes of some samples."""


def _task(rest: Run, data: Samples, later: Later | None, meter: Meter) -> Loss:
    return lambda z, samples: functional.cross_entropy(rest(z), samples.y)


def _soft(rest: Run, data: Samples, later: Later | None, meter: Meter) -> Loss:
    def loss(z: Tensor, samples: Samples) -> Tensor:
        with torch.no_grad():
            wanted = rest(samples.expected).log_softmax(1)
        return functional.kl_div(rest(z).log_softmax(1), wanted, reduction="batchmean", log_target=True)

    return loss


def _latents(rest: Run, data: Samples, later: Later | None, meter: Meter) -> Loss:
    assert later is not None
    spread = _deviations(later, data.expected, meter)
    if not any(spread):
        found = "whatever follows in the receiver is constant on these samples"
        raise NoMatch("fit with loss='latents'", found, "loss='task', or other samples")

    def loss(z: Tensor, samples: Samples) -> Tensor:
        with torch.no_grad():
            wanted = [tensor.clone() for tensor in later(samples.expected)]
        each = zip(later(z), wanted, spread, strict=True)
        return torch.stack([((made - own) / over).square().mean() for made, own, over in each if over]).sum()

    return loss


@torch.no_grad()
def _deviations(later: Later, own: Tensor, meter: Meter) -> list[float]:
    """Return the root of the mean variance of each later tensor over all samples; 0 where it is only rounding."""
    pooled: list[tuple[Any, Any]] = []
    n, eps = 0, []
    for batch in torch.split(own, AT_ONCE):
        each = list(meter.run(("own", len(batch)), later, batch))
        k, eps = len(batch), [torch.finfo(one.dtype).eps for one in each]
        parts = [(one.double().mean(0), one.double().var(0, correction=0) * k) for one in each]
        # Chan, Golub & LeVeque 1979: sums about the mean of all, from those about the means of two parts.
        pooled = [
            (mean + (other - mean) * k / (n + k), m2 + more + (other - mean).square() * n * k / (n + k))
            for (mean, m2), (other, more) in zip(pooled or [(0.0, 0.0)] * len(parts), parts, strict=True)
        ]
        n += k
    found = [(float(m2.mean()) / n, float(mean.square().mean())) for mean, m2 in pooled]
    return [
        0.0 if variance <= (ROUNDING * one) ** 2 * (variance + square) else variance**0.5
        for (variance, square), one in zip(found, eps, strict=True)
    ]


LOSSES: dict[str, Callable[[Run, Samples, Later | None, Meter], Loss]] = {
    "task": _task,
    "soft": _soft,
    "latents": _latents,
}
"""What an adapter may be trained by; each begins with all samples to train on."""
