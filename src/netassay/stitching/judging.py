"""Judging: what a stitch is worth, and whether what it hands over is what the receiver expects."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from netassay.errors import BadInput
from netassay.inference import binomial_interval
from netassay.measures import named
from netassay.stitching.adapters import Adapter
from netassay.stitching.fitting import NOTHING, answers, check_eval
from netassay.stitching.forms import Form, Shape, form, opened, rows
from netassay.stitching.losses import Run
from netassay.stitching.metering import Meter
from netassay.stitching.solving import RANK

CKA_SAMPLES = 512
"""Samples that CKA looks at, the first ones: its cost grows with their square, and debiased it does not need more."""
INTERVAL = lru_cache(maxsize=4096)(binomial_interval)
"""Many stitches have as many hits."""
SHRINK = 1e-3
"""Added to each variance before distances are taken, in units of the mean one: channels that never vary have none."""


@dataclass(frozen=True)
class Judged:
    """A stitch on `n` samples it was not fitted to; undefined numbers are NaN.

    Scores that are not finite are a wrong answer, and agree with none; where all are, shares of them are NaN.
    `accuracy`, `low` and `high` are the share of right answers and its interval; `own` the receiver's accuracy on the
    same samples and `penalty` that less `accuracy`; `agreement` the share of answers that are the receiver's.
    `mse` is the squared error against the receiver's own activations over their squared distance from their mean,
    both summed over samples, positions and channels: 0 is what the receiver expects, 1 no better than a constant.
    `correlation` is Pearson's, over samples and positions, mean over channels that vary; a constant stitch counts 0.
    `cka` is debiased, of all positions and channels of at most 512 samples. `ood` is the chance that a stitched
    activation is farther from the receiver's mean than one of its own that was held out, ties counted half: 0.5 as
    the receiver's own, 1 always farther, 0 always nearer.
    """

    accuracy: float
    low: float
    high: float
    own: float
    penalty: float
    agreement: float
    mse: float
    correlation: float
    cka: float
    ood: float
    n: int
    madds: int


class Expected:
    """What a receiver expects at a cut: its own activations, distances and answers; made once, for many senders.

    `rest` runs what follows the cut, in eval mode. `fit` are batches of the receiver's own activations on which mean
    and covariance are estimated; `held` batches of others, on which stitches are judged, `y` their labels. Batches may
    be any iterable that can be passed again, as one that reads them from disk. Distances are Mahalanobis' of each
    channel's mean over positions (Lee et al. 2018, arXiv 1807.03888, with one class), each variance widened by a
    thousandth of the mean one.
    """

    def __init__(self, rest: Run, fit: Iterable[Tensor], held: Iterable[Tensor], y: Tensor, shape: Shape) -> None:
        check_eval(rest)
        self.rest, self.held, self.y, self.at = rest, held, y.cpu(), form(shape)
        self.meter = Meter()
        pooled = torch.cat([_pooled(own, self.at) for own in fit])
        self.mean = pooled.mean(0)
        covariance = (pooled - self.mean).T @ (pooled - self.mean) / len(pooled)
        widened = covariance + SHRINK * covariance.diagonal().mean() * torch.eye(len(covariance)).to(covariance)
        self.whiten = torch.full_like(widened, math.nan)
        if bool(widened.isfinite().all()):
            s, v = torch.linalg.eigh(widened)
            self.whiten = v / s.sqrt()
        given, far = [], []
        for own in held:
            far.append(self.distance(own))
            given.append(self.answer(own, self.meter))
        self.answers, self.far = torch.cat(given), torch.cat(far).sort().values
        self._kernel: Tensor | None = None
        if len(self.answers) != len(self.y):
            found = f"{len(self.answers)} held-out activations and {len(self.y)} labels"
            raise BadInput("a receiver to judge stitches by", found, "give one label for each sample")

    @torch.no_grad()
    def answer(self, z: Tensor, meter: Meter) -> Tensor:
        """Return the class that the receiver answers; what it works on in place is a copy."""
        return answers(meter.run(("rest", len(z)), self.rest, z.clone()))

    def distance(self, z: Tensor) -> Tensor:
        """Return the Mahalanobis distance of each sample to the receiver's own, `(N,)`, float64."""
        far: Tensor = torch.linalg.vector_norm((_pooled(z, self.at) - self.mean) @ self.whiten, dim=1)
        return far.cpu()

    def kernel(self) -> Tensor:
        """Return the receiver's side of CKA, made at first use."""
        if self._kernel is None:
            self._kernel = named("cka").prepare(_first(self.held))
        return self._kernel


@torch.no_grad()
def judge(adapter: Adapter, sent: Iterable[Tensor], expected: Expected, *, level: float = 0.95) -> Judged:
    """Judge an adapter on batches of the sender's activations, of the samples of `expected.held` in the same order.

    `level` is that of the accuracy's interval (Clopper & Pearson 1934). `madds` counts the adapter and the rest of the
    receiver on these samples.
    """
    meter, seen = Meter(expected.meter.costs), _Seen(expected)
    adapter.eval()
    for batch, own in zip(sent, expected.held, strict=True):
        seen.add(meter.run((adapter.name, batch.shape), adapter, batch), own, meter)
    given, n = torch.cat(seen.answers), len(expected.y)
    accuracy, alone = _share(given == expected.y, given), _share(expected.answers == expected.y, expected.answers)
    low, high = (math.nan, math.nan) if math.isnan(accuracy) else INTERVAL(round(accuracy * n), n, level)
    return Judged(
        accuracy=accuracy,
        low=low,
        high=high,
        own=alone,
        penalty=alone - accuracy,
        agreement=_share(given == expected.answers, given, expected.answers),
        mse=seen.mse(),
        correlation=seen.correlation(),
        cka=named("cka").compare(named("cka").prepare(_first(seen.first)), expected.kernel(), None),
        ood=farther(torch.cat(seen.far), expected.far),
        n=n,
        madds=meter.madds,
    )


def _share(hits: Tensor, *given: Tensor) -> float:
    """Return the share of hits where there was an answer; NaN where one of those who answer never did."""
    if any(bool((one == NOTHING).all()) for one in given):
        return math.nan
    return float((hits & (given[0] != NOTHING)).double().mean())


def farther(far: Tensor, own: Tensor) -> float:
    """Return the chance that one of `far` is above one of `own` (sorted), ties counted half; NaN where one is NaN.

    >>> farther(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]))
    0.875
    """
    below, upto = torch.searchsorted(own, far), torch.searchsorted(own, far, right=True)
    chance = (below + upto).double().mean() / (2 * len(own))
    return math.nan if bool(far.isnan().any() | own.isnan().any()) else float(chance)


class _Seen:
    """What a pass adds up: answers, distances, and products of each channel about a pilot mean."""

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self.answers: list[Tensor] = []
        self.far: list[Tensor] = []
        self.first: list[Tensor] = []
        self.pilot: Tensor | None = None
        self.n = 0
        self.sums: Tensor = torch.zeros(())

    def add(self, z: Tensor, own: Tensor, meter: Meter) -> None:
        """Take in a batch of stitched activations, and of the receiver's own."""
        expected = self.expected
        self.answers.append(expected.answer(z, meter))
        self.far.append(expected.distance(z))
        if sum(map(len, self.first)) < CKA_SAMPLES:
            self.first.append(z)
        a, b = (rows(opened(one, expected.at)).double() for one in (z, own))
        self.pilot = b.mean(0) if self.pilot is None else self.pilot
        a, b = a - self.pilot, b - self.pilot
        self.n += len(a)
        products = [a, b, a * a, a * b, b * b, (a - b) ** 2]
        self.sums = self.sums.to(a) + torch.stack([product.sum(0) for product in products])

    def mse(self) -> float:
        """Return the squared error over the variance of what was expected."""
        _, b, _, _, bb, wrong = self.sums
        about = float((bb - b * b / self.n).sum())
        return float(wrong.sum()) / about if about > 0 else math.nan

    def correlation(self) -> float:
        """Return the mean correlation of a channel."""
        a, b, aa, ab, bb, _ = self.sums
        varies, spread = bb - b * b / self.n, aa - a * a / self.n
        # What a constant's squares differ by is rounding.
        rho = torch.where(spread > RANK * aa, (ab - a * b / self.n) / (spread * varies).sqrt(), 0.0)
        return float(rho[varies > RANK * varies.max()].mean())


def _pooled(z: Tensor, at: Form) -> Tensor:
    return opened(z.detach(), at).double().mean((2, 3))


def _first(batches: Iterable[Tensor]) -> Tensor:
    """Return the first samples as features, `(n, d)`."""
    kept, n = [], 0
    for batch in batches:
        kept.append(batch[: CKA_SAMPLES - n].flatten(1).cpu())
        n += len(kept[-1])
        if n >= CKA_SAMPLES:
            break
    return torch.cat(kept)
