"""Offers: which remedies can be tried in a case, each with the sentence that does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from inspect import signature
from typing import Any

from torch import Tensor

from netassay.errors import BadInput, UnknownName
from netassay.inits import INITS
from netassay.spec import Spec
from netassay.studies.remedies import AS_IT_IS, OPTIMIZERS, Case, Remedy, blocks, last
from netassay.zoo import MODELS, build, expanded

SCHEMES = ("kaiming_normal", "xavier_normal", "orthogonal", "lsuv")
RATES = {"lr x 10": 10.0, "lr / 10": 0.1}
EPSILONS = (1e-15,)
RESIDUAL = {"skip": "residual"}
SWITCHES: tuple[tuple[dict[str, str], ...], ...] = (
    ({"norm": "batch"},),
    ({"norm": "group"}, {"norm": "layer"}),
    (RESIDUAL,),
    ({**RESIDUAL, "norm": "batch"},),
)
"""Switches of the zoo; of alternatives the first that changes all it names, and that the network can be built with."""
OTHER = {"adam": ("sgd", 0.05), "sgd": ("adam", 1e-3)}
"""For each optimizer the other one, and its usual rate."""
SPELT = 4
"""Channels whose numbers are spelt out."""


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
    if full is not None and full.name in MODELS:
        yield from _switched(full, same)


def _switched(full: Spec, same: Mapping[str, Any]) -> Iterator[Remedy]:
    """Return what a network of the zoo becomes by its switches."""
    known = signature(MODELS[full.name]).parameters
    now = {name: full.options.get(name, one.default) for name, one in known.items()}
    for alternatives in SWITCHES:
        values = {now.get(name) for one in alternatives for name in one}
        for switches in alternatives:
            if None in values or any(now[name] in {o[name] for o in alternatives} for name in switches):
                break
            made = _buildable(full, switches)
            if made:
                name = ",".join(f"{switch}={value}" for switch, value in switches.items())
                yield Remedy(name, f'model = na.build("{made}")', **same, spec=made)
                break
    if now.get("norm") == "none" and "skip" in now:
        made = _buildable(full, RESIDUAL)
        if made and (end := next((last(block) for block in blocks(build(made))), "")):
            yield _idle(made, end, same)


def _idle(spec: str, end: str, same: Mapping[str, Any]) -> Remedy:
    every = f'for block in model.modules() if hasattr(block, "{end}")'
    zeros = f"[torch.nn.init.zeros_(block.{end}.weight) {every}]"
    what = f'model = na.build("{spec}"); na.initialize(model, "kaiming_normal"); {zeros}'
    return Remedy("skip=residual, branches from 0", what, **same, scheme="kaiming_normal", spec=spec, idle=True)


def _buildable(full: Spec, switches: Mapping[str, str]) -> str:
    """Return the spec with these switches; "" where no network can be built from it."""
    made = str(full.without(*switches).including(**switches))
    with suppress(BadInput):  # not every value fits every width
        build(made)
        return made
    return ""


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
