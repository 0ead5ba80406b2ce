"""Remedies: one change of a network, its input or its training, and the case that it is tried in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor, nn

from netassay.data import Batch, Data
from netassay.errors import BadInput
from netassay.inits import initialize
from netassay.spec import Spec, parse
from netassay.studies.twins import LEARNED, makeup
from netassay.zoo import build, fitted, placed
from netassay.zoo.resnet import Basic, Bottleneck

AS_IT_IS = "as it is"
OPTIMIZERS: Mapping[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, float]]] = {
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}
STATISTICS = 4096
"""Samples whose mean and standard deviation the input is standardised by."""
NEAR = 0.05
"""Channels whose mean and standard deviation are as near to 0 and 1 are standardised already."""


@dataclass(frozen=True)
class Remedy:
    """One change: `what` says what to type; `scheme`, `standardised`, `spec` and `idle` change what a network computes.

    `idle` branches end in weights of zero, so that every block begins as its skip: Zhang, Dauphin & Ma 2019, Fixup
    Initialization (arXiv 1901.09321), section 3, rule 1.
    """

    name: str
    what: str
    optimizer: str
    settings: Mapping[str, float]
    scheme: str = ""
    standardised: bool = False
    spec: str = ""
    idle: bool = False

    @property
    def network(self) -> tuple[str, bool, str, bool]:
        """What tells one network and input from another."""
        return self.scheme, self.standardised, self.spec, self.idle

    def algorithm(self, model: nn.Module) -> torch.optim.Optimizer:
        """Make the optimizer of what takes a gradient."""
        make, own = OPTIMIZERS[self.optimizer]
        return make([p for p in model.parameters() if p.requires_grad], **{**own, **self.settings})


@dataclass(frozen=True)
class Case:
    """The network, its data and its training as they are: a spec is drawn anew by every seed, a module copied."""

    model: nn.Module | str
    learn: Data
    optimizer: str
    lr: float
    device: str | None = None
    statistics: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    @property
    def spec(self) -> Spec | None:
        """The spec from which the network can be built again, if there is one."""
        if isinstance(self.model, str):
            return fitted(parse(self.model), self.learn.input_shape, self.learn.classes)
        told = getattr(self.model, "spec", None)
        if not isinstance(told, str):
            return None
        bare = parse(told).without(*LEARNED)
        with suppress(Exception):
            return bare if makeup(build(str(bare))) == makeup(self.model) else None
        return None

    def network(self, remedy: Remedy, seed: int) -> nn.Module:
        """Make the network that a remedy starts from."""
        if remedy.spec or isinstance(self.model, str):
            made = build(remedy.spec or str(self.spec), seed=seed)
            if isinstance(self.model, nn.Module):
                first = next(self.model.parameters(), torch.zeros(()))
                made = made.to(first.device, first.dtype)
        else:
            made = copied(self.model)
        made = placed(made, self.device)
        if remedy.scheme:
            initialize(made, remedy.scheme, seed, data=self.inputs(next(iter(self.learn)).x, remedy))
        for block in blocks(made) if remedy.idle else ():
            nn.init.zeros_(getattr(block, last(block)).weight)
        return made

    def inputs(self, x: Tensor, remedy: Remedy) -> Tensor:
        """Return inputs as a remedy has them; never the caller's own tensor."""
        if not remedy.standardised or self.statistics is None:
            return x.clone()
        mean, std = (one.to(x).reshape(1, -1, *[1] * (x.dim() - 2)) for one in self.statistics)
        return (x - mean) / std

    def batches(self, seed: int, steps: int) -> Iterator[Batch]:
        """Yield batches, epoch after epoch in an order of the seed's; a sample left over alone is left out."""
        done = 0
        for epoch in count():
            for batch in self.learn.shuffled(seed, epoch):
                if done == steps:
                    return
                if len(batch.x) > 1 or self.learn.batch_size == 1 or self.learn.n == 1:
                    done += 1
                    yield batch


def copied(model: nn.Module) -> nn.Module:
    """Copy a module, or say why it cannot be."""
    try:
        return copy.deepcopy(model)
    except Exception as error:
        found = f"it cannot be copied ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        next = "drop tensors of earlier passes that it keeps, or give a spec"
        raise BadInput(f"prescribe for {type(model).__name__}", found, next) from error


def statistics(learn: Data) -> tuple[Tensor, Tensor] | None:
    """Return mean and standard deviation of each channel (axis 1); None where there is nothing to standardise."""
    total, square, n = torch.zeros(()), torch.zeros(()), 0
    for batch in learn.first(STATISTICS):
        if not batch.x.is_floating_point() or batch.x.dim() < 2:
            return None
        flat = batch.x.detach().cpu().double().movedim(1, 0).flatten(1)
        total, square, n = total + flat.sum(1), square + flat.square().sum(1), n + flat.shape[1]
    mean = total / n
    std = (square / n - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 0, std, 1.0)  # a constant channel becomes 0
    near = bool((mean.abs() < NEAR).all() and ((std - 1).abs() < NEAR).all())
    return None if near or not bool(torch.isfinite(mean + std).all()) else (mean, std)


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a residual network of the zoo."""
    return [module for module in model.modules() if isinstance(module, Basic | Bottleneck)]


def last(block: nn.Module) -> str:
    """Return the name of the convolution that ends a block's branch."""
    return "conv3" if isinstance(block, Bottleneck) else "conv2"
