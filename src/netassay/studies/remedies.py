"""Remedies: what may be changed about a network and its training, each with the sentence that does it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import signature
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from netassay.data import Batch, Data
from netassay.errors import BadInput, UnknownName
from netassay.inits import INITS, initialize
from netassay.spec import Spec, parse
from netassay.studies.twins import LEARNED, makeup
from netassay.zoo import MODELS, build, expanded, fitted, placed

AS_IT_IS = "as it is"
SCHEMES = ("kaiming_normal", "xavier_normal", "orthogonal", "lsuv")
RATES = {"lr x 10": 10.0, "lr / 10": 0.1}
EPSILONS = (1e-12, 1e-15)
SWITCHES = (("norm", ("batch",)), ("norm", ("group", "layer")), ("skip", ("residual",)))
"""Switches of the zoo, and of the values of each the first that the network can be built with."""
OPTIMIZERS: Mapping[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, float]]] = {
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}
OTHER = {"adam": ("sgd", 0.05), "sgd": ("adam", 1e-3)}
"""For each optimizer the other one, and its usual rate."""
STATISTICS = 4096
"""Samples whose mean and standard deviation the input is standardised by."""
SPELT = 4
"""Channels whose numbers are spelt out."""
NEAR = 0.05
"""Channels whose mean and standard deviation are as near to 0 and 1 are standardised already."""


@dataclass(frozen=True)
class Remedy:
    """One change: `what` says what to type. `scheme`, `standardised` and `spec` change what the network computes."""

    name: str
    what: str
    optimizer: str
    settings: Mapping[str, float]
    scheme: str = ""
    standardised: bool = False
    spec: str = ""

    @property
    def network(self) -> tuple[str, bool, str]:
        """What tells one network and input from another."""
        return self.scheme, self.standardised, self.spec

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


def offered(case: Case) -> dict[str, Remedy]:
    """Return by name what can be tried in this case, first of all to leave everything as it is."""
    return {one.name: one for one in (as_it_is(case), *_networks(case), *_trainings(case))}


def as_it_is(case: Case) -> Remedy:
    """Return the remedy that changes nothing."""
    return Remedy(AS_IT_IS, "nothing", case.optimizer, {"lr": case.lr})


def chosen(case: Case, names: Any) -> list[Remedy]:
    """Return the remedies that were asked for, all that can be tried by default; the first leaves it as it is."""
    known = offered(case)
    wanted = list(known) if names is None else [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in known:
            raise UnknownName("remedy", name, known)
    return [known[name] for name in dict.fromkeys((AS_IT_IS, *wanted))]


def _networks(case: Case) -> Iterator[Remedy]:
    same: dict[str, Any] = {"optimizer": case.optimizer, "settings": {"lr": case.lr}}
    for scheme in SCHEMES:
        data = ", data=x" if INITS[scheme].scaled else ""
        yield Remedy(scheme, f'na.initialize(model, "{scheme}"{data})', **same, scheme=scheme)
    if case.statistics is not None:
        yield Remedy("standardised input", _standardising(*case.statistics), **same, standardised=True)
    spec = case.spec
    full = None if spec is None else expanded(spec)
    for switch, values in SWITCHES if full is not None and full.name in MODELS else ():
        assert full is not None
        known = signature(MODELS[full.name]).parameters
        now = full.options.get(switch, known[switch].default if switch in known else None)
        for value in values if now is not None and now not in values else ():
            with suppress(BadInput):  # not every value fits every width
                new = str(full.without(switch).including(**{switch: value}))
                build(new)
                yield Remedy(f"{switch}={value}", f'na.build("{new}")', **same, spec=new)
                break


def _trainings(case: Case) -> Iterator[Remedy]:
    for name, factor in RATES.items():
        lr = case.lr * factor
        yield Remedy(name, _typed(case.optimizer, lr=lr), case.optimizer, {"lr": lr})
    other, usual = OTHER[case.optimizer]
    yield Remedy(other, _typed(other, lr=usual), other, {"lr": usual})
    for eps in EPSILONS if case.optimizer == "adam" else ():
        settings = {"lr": case.lr, "eps": eps}
        yield Remedy(f"eps={eps:g}", _typed("adam", **settings), "adam", settings)


def _typed(optimizer: str, **settings: float) -> str:
    make, own = OPTIMIZERS[optimizer]
    told = ", ".join(f"{name}={value:g}" for name, value in {**settings, **own}.items())
    return f"torch.optim.{make.__name__}(model.parameters(), {told})"


def _standardising(mean: Tensor, std: Tensor) -> str:
    if len(mean) > SPELT:
        return f"x = (x - mean) / std, with mean and std of each of the {len(mean)} channels over the training data"
    shape = "" if len(mean) == 1 else ".reshape(-1, 1, 1)"
    told = (", ".join(f"{value:.4g}" for value in one.tolist()) for one in (mean, std))
    return "x = (x - {}) / {}".format(*(f"torch.tensor([{one}]){shape}" if shape else one for one in told))
