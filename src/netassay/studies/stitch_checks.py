"""Stitch checks: what is asked of a grid, in values that fit, refused before anything is made."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import nn

from netassay.errors import BadInput, UnknownName
from netassay.seeds import check
from netassay.stitching import CLOSED, DEFAULT, LOSSES, Sums, adapter
from netassay.studies.init_asked import whole
from netassay.studies.stitch_controls import CONTROLS, NONE
from netassay.zoo import placed

MATCHINGS = (CLOSED, *LOSSES)
COUNTS = ("fit", "samples", "batch_size", "epochs", "batch")


def _between(low: float, value: Any, high: float) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and low < float(value) < high


def _listed(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _patterns(value: Any) -> bool:
    return value is None or isinstance(value, str) or _listed(value)


Check = tuple[Callable[[Any], bool], str, str]
CHECKS: dict[str, Check] = {
    "adapter": (lambda it: isinstance(it, str), "no name of an adapter", f"adapter={DEFAULT.adapter!r}"),
    "lr": (lambda it: _between(0, it, math.inf), "a step is above 0, and finite", f"lr={DEFAULT.lr}"),
    "ridge": (
        lambda it: it is None or _between(-math.ulp(0), it, math.inf), "a penalty is 0 or more",
        "ridge=0, or None to choose it",
    ),
    "level": (lambda it: _between(0, it, 1), "a level is between 0 and 1", "level=0.95"),
    "device": (lambda it: it is None or isinstance(it, str), "no name of a device", "device='cpu', or leave it out"),
    "controls": (lambda it: isinstance(it, bool | str) or _listed(it), "no names", "controls=True, or names of them"),
    "ranks": (_listed, "no list of channels", "ranks=[1, 2, 4]"),
    "layers": (_patterns, "no patterns", "layers='act*', a list of such, or a dict of them by network"),
    "receiver_layers": (_patterns, "no patterns", "receiver_layers='act*', a list, or a dict of them by network"),
    "ledger": (lambda it: it is None or isinstance(it, str | os.PathLike), "no path", "ledger='grid.db'"),
    "executor": (
        lambda it: it is None or callable(getattr(it, "submit", None)), "nothing that takes work",
        "an executor, as of concurrent.futures; or workers=4",
    ),
}  # fmt: skip
"""What fits, what is found where it does not, and what to give."""


def plainly(study: str, asked: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Return what all cells share as values that JSON carries, or refuse; `others` are looked at only."""
    given = {**asked, **others}
    check(asked["seed"])
    for name, (fits, found, next) in CHECKS.items():
        if not fits(given[name]):
            raise BadInput(f"{study} with {name}={given[name]!r}", found, next)
    placed(nn.Identity(), asked["device"])
    made = {**asked, **{name: whole(name, asked[name]) for name in COUNTS}}
    made["matching"] = _matching(made)
    if made["matching"] not in MATCHINGS:
        raise UnknownName("matching", made["matching"], MATCHINGS)
    made["adapter"] = _tried(made["adapter"], made["matching"])
    ridge = made["ridge"]
    if made["allow_skips"] and made["matching"] != CLOSED:
        found = "training shuffles samples, and what goes around a cut belongs to one"
        raise BadInput(f"{study} with allow_skips and matching={made['matching']!r}", found, f"matching={CLOSED!r}")
    numbers = {name: float(made[name]) for name in ("lr", "level")}
    return made | numbers | {"ridge": None if ridge is None else float(ridge)}


def _matching(asked: Mapping[str, Any]) -> str:
    """Return the matching asked for; by default that of the protocol, where the grid can be trained."""
    if asked["matching"] is not None:
        return str(asked["matching"])
    trained = adapter(asked["adapter"], (2,), (2,)).recipe.trained and not asked["allow_skips"]
    return DEFAULT.matching if trained else CLOSED


def _tried(name: str, matching: str) -> str:
    made = adapter(name, (2,), (2,))
    if matching == CLOSED and made.recipe.solve is None:
        raise BadInput(f"adapter {name!r} in closed form", "it has none", "matching='task', or adapter='affine'")
    if matching != CLOSED and not made.recipe.trained:
        raise BadInput(f"adapter {name!r} with matching={matching!r}", "it is not trained", f"matching={CLOSED!r}")
    if made.recipe.solve is not None:
        made.solve([Sums.of(torch.eye(2), torch.eye(2))], 0.0)  # refuses where a library is missing
    return made.name


def controls_of(given: Any) -> list[str]:
    """Return the controls asked for: all, none, or those named."""
    if isinstance(given, bool):
        return [name for name in CONTROLS if name != NONE] if given else []
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in CONTROLS or name == NONE:
            raise UnknownName("control", str(name), [one for one in CONTROLS if one != NONE])
    return names
