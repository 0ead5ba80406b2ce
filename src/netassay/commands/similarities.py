"""Commands that ask which layers are alike: of two networks, of one at many times, or of a family size by size."""

from __future__ import annotations

from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from torch import nn

from netassay.commands.showing import alone, kept_ledger, named, show
from netassay.data import Data, load_data
from netassay.errors import BadInput
from netassay.options import MADE, SHOWN, AtOnce, Made, Patterns, Shown
from netassay.spec import parse
from netassay.studies.similarity_asked import checkpoints as each_checkpoint
from netassay.studies.similarity_map import similarity_map
from netassay.studies.similarity_trend import similarity_trend
from netassay.studies.twins import learned
from netassay.zoo import built, fitted, placed

SEEDS, EPOCHS, WORKERS = 3, 3, 2
RANDOM = "no weights were given: unless a network brings its own, this map is of networks that have learned nothing"


def similarity(
    a: str | None = None,
    b: str | None = None,
    /,
    *,
    data: str = "digits:size=16",
    layers: Patterns = (),
    measures: Patterns = ("cka",),
    positions: str = "flatten",
    tokens: str = "mean",
    mode: str = "auto",
    permutations: int = 200,
    twin: Annotated[bool, Parameter(negative="")] = False,
    checkpoints: str | None = None,
    trend: Patterns = (),
    seeds: int = SEEDS,
    epochs: int = EPOCHS,
    workers: int = WORKERS,
    batch_size: AtOnce = 128,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Compare every layer of A with every layer of B, calibrated against chance; A with itself where B is left out.

    With --trend, networks of growing size are trained with several seeds each, and the pattern of their maps is told.

    Parameters
    ----------
    a
        A spec; --weights are its weights. Weights in a spec: resnet18:weights=FILE
    b
        A spec; where it has no weights, it is drawn with the next seed.
    data
        A spec; the samples that both see.
    layers
        Patterns; by default every layer with weights and every activation, of a trend every activation.
    measures
        cka, cka_rbf, procrustes, rsa:dissimilarity=cosine, ...; the first is shown.
    positions
        What becomes of space: flatten, pool, samples or resize:K.
    tokens
        What becomes of tokens: mean, masked, cls or last.
    mode
        How CKA is computed: auto, 'full Gram', 'feature space' or minibatch.
    permutations
        Orders of the samples that tell what chance gives.
    twin
        Map networks that have learned nothing beside it.
    checkpoints
        Pattern of weight files of A, e.g. 'run/*.safetensors': each against B, or against each other.
    trend
        Specs of one family or several, small to large, instead of A and B.
    seeds
        How many networks of each spec a trend trains.
    epochs
        Passes over the training data of a trend.
    workers
        Processes of a trend that train at the same time; 0: this one.
    """
    shown.check()
    how: dict[str, Any] = {"permutations": permutations, "positions": positions, "tokens": tokens, "seed": made.seed}
    how |= {"layers": layers or None, "batch_size": batch_size}
    if trend:
        alone("similarity", A=a, checkpoints=checkpoints, weights=made.weights)
        return _sizes(trend, data, measures, {**how, "epochs": epochs, "seeds": seeds, "workers": workers}, made, shown)
    a = named("similarity", a, seeds=seeds != SEEDS, epochs=epochs != EPOCHS, workers=workers != WORKERS)
    source = load_data(data, batch_size=batch_size)
    columns = None if b is None else _second(b, a, made, source)
    result = similarity_map(
        _first(a, checkpoints, made, source), columns, source, measures=measures, mode=mode, twin=twin, **how
    )
    if not (checkpoints or made.weights or any(learned(one) for one in (a, b) if one)):
        result = replace(result, notes=(*result.notes, RANDOM))
    return show(result, shown, "best", {"model": a if b is None else f"{a}, {b}", "data": data, "seed": made.seed})


def _sizes(trend: Patterns, data: str, measures: Patterns, how: dict[str, Any], made: Made, shown: Shown) -> int:
    """Train the networks of a trend, and show what pattern each has."""
    if len(measures) != 1:
        raise BadInput("similarity --trend", f"{len(measures)} measures", "name one: --measures cka")
    numbers = range(made.seed, made.seed + how.pop("seeds"))
    how |= {"measure": measures[0], "seeds": numbers, "device": made.device, "ledger": kept_ledger(shown.out)}
    result = similarity_trend(list(trend), data, **how)
    return show(result, shown, "sizes", {"model": ", ".join(trend), "data": data, "seed": made.seed})


def _first(a: str, checkpoints: str | None, made: Made, data: Data) -> dict[str, nn.Module]:
    """Return the network of the rows, or one for each checkpoint."""
    if checkpoints is None:
        return {a: _network(a, made.weights, made.seed, made, data)}
    spec = fitted(parse(a), data.input_shape, data.classes).without("weights").including(weights=checkpoints)
    if not has_magic(checkpoints):
        return {Path(checkpoints).stem: _network(a, Path(checkpoints), made.seed, made, data)}
    return {name: placed(model, made.device) for name, model in each_checkpoint(str(spec)).items()}


def _second(b: str, a: str, made: Made, data: Data) -> dict[str, nn.Module]:
    """Return the network of the columns; of the same spec as that of the rows, it has another seed and says so."""
    name = f"{b}, seed {made.seed + 1}" if a == b else b
    return {name: _network(b, None, made.seed + 1, made, data)}


def _network(spec: str, weights: Path | None, seed: int, made: Made, data: Data) -> nn.Module:
    return built(spec, data.input_shape, data.classes, weights=weights, seed=seed, device=made.device)
