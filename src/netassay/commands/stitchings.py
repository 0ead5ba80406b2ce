"""Command that asks which layers of two networks are compatible."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import Parameter
from safetensors.torch import save_model
from torch import nn

from netassay import training
from netassay.commands.showing import kept_ledger, show
from netassay.data import Data, splits
from netassay.errors import BadInput
from netassay.options import MADE, SHOWN, AtOnce, Made, Numbers, Patterns, Shown
from netassay.spec import parse
from netassay.studies.forward import tried
from netassay.studies.stitch_grid import stitch_grid
from netassay.studies.twins import learned
from netassay.zoo import build, fitted, placed

RANKS = (1, 2, 4, 8, 16)


def stitch(
    a: str | None = None,
    b: str | None = None,
    /,
    *,
    data: str = "digits:size=16",
    layers: Patterns = (),
    receiver_layers: Patterns = (),
    adapter: str = "affine",
    matching: str = "closed_form",
    controls: bool = True,
    ranks: Numbers = RANKS,
    fit: int = 1000,
    samples: int = 2000,
    allow_skips: Annotated[bool, Parameter(negative="")] = False,
    train: int = 5,
    workers: int = 0,
    ledger: Path | None = None,
    batch_size: AtOnce = 128,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Stitch every layer of A into every layer of B, with controls, and say which are compatible.

    Without B, A goes into a second seed of itself, trained alike; into itself where it comes with weights.

    Parameters
    ----------
    a
        A spec, the sender; --weights are its weights. Weights in a spec: resnet18:weights=FILE
    b
        A spec, the receiver.
    data
        A spec; adapters are matched on its train split and judged on its test split.
    layers
        Patterns; by default every activation. '' is the input.
    receiver_layers
        Patterns; by default those of the sender.
    adapter
        identity, affine, conv, orthogonal, permutation, low_rank:rank=8, bn_conv_bn or tokens.
    matching
        closed_form, task or soft.
    controls
        Stitch random networks, noise, other samples and each network with itself, too.
    ranks
        Channels that the capacity control goes through.
    fit
        Samples to match on.
    samples
        Samples to judge on.
    allow_skips
        Cut also where a skip goes around; what it carries comes from the receiver.
    train
        Passes over the training data, for a network without weights; 0 leaves it as it is drawn.
    workers
        Processes that stitch at the same time; 0: this one.
    ledger
        File from which a killed grid goes on; with --out it is in that folder.
    """
    shown.check()
    meta = {"started": datetime.now(UTC).isoformat(), "seed": made.seed}
    if a is None:
        raise BadInput("stitch", "no network", "name one or two: netassay stitch A B")
    how: dict[str, Any] = {"layers": layers or None, "receiver_layers": receiver_layers or None, "adapter": adapter}
    how |= {"matching": matching, "controls": controls, "ranks": ranks, "fit": fit, "samples": samples}
    how |= {"allow_skips": allow_skips, "workers": workers, "batch_size": batch_size, "device": made.device}
    kept = ledger if ledger is not None else kept_ledger(shown.out)
    with _networks(a, b, data, train, made, workers, batch_size) as (senders, receivers):
        result = stitch_grid(senders, receivers, data, **how, seed=made.seed, ledger=kept)
    return show(result, shown, "cells", {**meta, "model": a if b is None else f"{a}, {b}", "data": data})


Nets = dict[str, Any]


@contextmanager
def _networks(
    a: str, b: str | None, data: str, train: int, made: Made, workers: int, batch_size: int
) -> Iterator[tuple[Nets, Nets | None]]:
    """Make sender and receiver by name, trained where they come without weights; as files where processes need them."""
    learn, _ = splits(data, batch_size=batch_size)
    with TemporaryDirectory(prefix="netassay-") as folder:
        place = Path(folder) if workers else None
        sender = {a: _network(a, made.weights, made.seed, learn, train, made, place)}
        if b is None and _weighted(a, made.weights):
            yield sender, None
        else:
            other = a if b is None else b
            name = f"{other}, seed {made.seed + 1}" if other == a else other
            yield sender, {name: _network(other, None, made.seed + 1, learn, train, made, place)}


def _weighted(spec: str, weights: Path | None) -> bool:
    return weights is not None or learned(spec)


def _network(
    spec: str, weights: Path | None, seed: int, learn: Data, train: int, made: Made, place: Path | None
) -> nn.Module | str:
    """Return a network, or a spec that makes it again."""
    fitting = str(fitted(parse(spec), learn.input_shape, learn.classes))
    model = placed(build(fitting, weights=weights, seed=seed), made.device)
    if train and not _weighted(spec, weights):
        tried(model, learn)
        training.train(model, learn, epochs=train, seed=seed)
    if place is None:
        return model
    file = place / f"{seed}.safetensors"
    save_model(model, str(file))
    return str(parse(fitting).without("weights").including(weights=file))
