"""Command that asks which layers are compatible: of two networks, or of a family size by size."""

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
from netassay.commands.showing import alone, kept_ledger, named, show
from netassay.data import Data, splits
from netassay.errors import BadInput
from netassay.options import MADE, SHOWN, AtOnce, Made, Numbers, Patterns, Shown
from netassay.quiet import state_hash
from netassay.spec import parse
from netassay.stitching import DEFAULT
from netassay.studies.forward import tried
from netassay.studies.stitch_grid import stitch_grid
from netassay.studies.stitch_trend import stitch_trend
from netassay.studies.twins import learned
from netassay.zoo import built

RANKS, SEEDS = (1, 2, 4, 8, 16), 3


def stitch(
    a: str | None = None,
    b: str | None = None,
    /,
    *,
    both: Annotated[bool, Parameter(negative="")] = False,
    data: str = "digits:size=16",
    layers: Patterns = (),
    receiver_layers: Patterns = (),
    adapter: str = DEFAULT.adapter,
    matching: str | None = None,
    controls: bool = True,
    ranks: Numbers = RANKS,
    fit: int = 1000,
    samples: int = 2000,
    allow_skips: Annotated[bool, Parameter(negative="")] = False,
    train: int = 5,
    trend: Patterns = (),
    seeds: int = SEEDS,
    workers: int = 0,
    ledger: Path | None = None,
    batch_size: AtOnce = 128,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Stitch every layer of A into every layer of B, with controls, and say which are compatible.

    Without B, A goes into a second seed of itself, trained alike; into itself where it comes with weights. With
    --trend, networks of growing size are trained with several seeds each, and the pattern of their stitches is told.

    Parameters
    ----------
    a
        A spec, the sender; --weights are its weights. Weights in a spec: resnet18:weights=FILE
    b
        A spec, the receiver.
    both
        Stitch the receiver into the sender, too, and each into itself.
    data
        A spec; adapters are matched on its train split and judged on its test split.
    layers
        Patterns; by default every activation. '' is the input. With --both, of both networks where they send.
    receiver_layers
        Patterns; by default those of the sender. With --both, of both networks where they receive.
    adapter
        identity, affine, conv, orthogonal, permutation, low_rank:rank=8, bn_conv_bn or tokens.
    matching
        closed_form, which is much faster; or, from there on, task, soft or latents. By default task, where it pays.
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
    trend
        Specs of one family or several, small to large, instead of A and B.
    seeds
        How many networks of each spec a trend trains.
    workers
        Processes that stitch at the same time; 0: this one.
    ledger
        File from which a killed grid goes on; with --out it is in that folder.
    """
    shown.check()
    meta = {"started": datetime.now(UTC).isoformat(), "seed": made.seed}
    how: dict[str, Any] = {"layers": layers or None, "adapter": adapter, "matching": matching, "fit": fit}
    how |= {"samples": samples, "workers": workers, "batch_size": batch_size, "device": made.device}
    kept = ledger if ledger is not None else kept_ledger(shown.out)
    if trend:
        others = {"both": both, "weights": made.weights, "receiver_layers": receiver_layers, "allow_skips": allow_skips}
        alone("stitch", A=a, **others, no_controls=not controls, ranks=tuple(ranks) != RANKS)
        numbers = range(made.seed, made.seed + seeds)
        result = stitch_trend(list(trend), data, **how, seeds=numbers, epochs=train, seed=made.seed, ledger=kept)
        return show(result, shown, "sizes", {**meta, "model": ", ".join(trend), "data": data})
    a = named("stitch", a, seeds=seeds != SEEDS)
    how |= {"receiver_layers": receiver_layers or None, "controls": controls, "ranks": ranks}
    how |= {"allow_skips": allow_skips}
    with _place(workers, kept) as place:
        senders, receivers = _networks(a, b, data, train, made, place, batch_size)
        if both:
            senders, receivers = senders | _second(receivers), None
        result = stitch_grid(senders, receivers, data, **how, seed=made.seed, ledger=kept)
    return show(result, shown, "cells", {**meta, "model": a if b is None else f"{a}, {b}", "data": data})


Nets = dict[str, Any]


@contextmanager
def _place(workers: int, ledger: Path | None) -> Iterator[Path | None]:
    """Give a folder for the networks that processes need: beside the ledger, whose cells name the files."""
    if workers and ledger is not None:
        folder = ledger.resolve().with_name(f"{ledger.name}.nets")
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        with TemporaryDirectory(prefix="netassay-") as temporary:
            yield Path(temporary) if workers else None


def _networks(
    a: str, b: str | None, data: str, train: int, made: Made, place: Path | None, batch_size: int
) -> tuple[Nets, Nets | None]:
    """Make sender and receiver by name, trained where they come without weights; as files where processes need them."""
    learn, _ = splits(data, batch_size=batch_size)
    sender = {a: _network(a, made.weights, made.seed, learn, train, made, place)}
    if b is None and _weighted(a, made.weights):
        return sender, None
    other = a if b is None else b
    name = f"{other}, seed {made.seed + 1}" if other == a else other
    return sender, {name: _network(other, None, made.seed + 1, learn, train, made, place)}


def _second(receivers: Nets | None) -> Nets:
    if receivers is None:
        raise BadInput("stitch --both", "one network, which goes into itself", "name the other: netassay stitch A B")
    return receivers


def _weighted(spec: str, weights: Path | None) -> bool:
    return weights is not None or learned(spec)


def _network(
    spec: str, weights: Path | None, seed: int, learn: Data, train: int, made: Made, place: Path | None
) -> nn.Module | str:
    """Return a network, or a spec that makes it again."""
    model = built(spec, learn.input_shape, learn.classes, weights=weights, seed=seed, device=made.device)
    if train and not _weighted(spec, weights):
        tried(model, learn)
        training.train(model, learn, epochs=train, seed=seed)
    if place is None:
        return model
    file = place / f"{seed}-{state_hash(model)}.safetensors"
    save_model(model, str(file))
    return str(parse(str(model.spec)).without("weights").including(weights=file))
