"""Commands that train: one network end to end, or many by several schemes."""

from __future__ import annotations

from netassay import front, terminal
from netassay.commands.showing import code, kept_ledger, show
from netassay.options import MADE, SHOWN, AtOnce, Differentiated, Made, Numbers, Patterns, Shown
from netassay.studies.init_cell import INPUTS
from netassay.studies.init_study import COMPARED, init_study


def examine(
    model: str | None = None,
    /,
    *,
    data: str = "digits:size=16",
    layers: Patterns = (),
    objective: Differentiated = "cross_entropy",
    epochs: int = 10,
    lr: float = 0.05,
    batch_size: AtOnce = 128,
    second: bool = True,
    made: Made = MADE,
    shown: Shown = SHOWN,
) -> int:
    """Examine a network end to end: train it if it has no weights, profile it before and after, write the page.

    Parameters
    ----------
    model
        A spec; by default a small ResNet that fits the data.
    data
        A spec; the network learns from its train split and is looked at with its test split.
    layers
        Patterns; by default every layer with weights and every activation.
    epochs
        Passes over the training data, for a model without weights.
    lr
        Largest learning rate.
    second
        Train a second seed, too, to see which layers come out alike.
    """
    shown.check()
    run = front.examine(
        model,
        data,
        out=shown.out,
        weights=made.weights,
        layers=layers or None,
        objective=objective,
        epochs=epochs,
        lr=lr,
        seed=made.seed,
        batch_size=batch_size,
        device=made.device,
        second=second,
    )
    terminal.show_run(run, json=shown.json, csv=shown.csv)
    return code(run.verdicts, shown.fail_on)


def init(
    model: str = "cnn",
    /,
    *,
    data: str = "digits:normalize=half",
    schemes: Patterns = COMPARED,
    epochs: int = 10,
    seeds: int = 3,
    inputs: Patterns = INPUTS,
    at: Numbers = (),
    samples: int = 1000,
    batch_size: AtOnce = 64,
    optimizer: str = "adam",
    lr: float = 1e-4,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    workers: int = 2,
    seed: int = 0,
    device: str | None = None,
    shown: Shown = SHOWN,
) -> int:
    """Compare initialisations: draw a network by each scheme and seed, train it, look before and after.

    With --out, what is done is kept as it comes: the same command goes on where a killed one stopped.

    Parameters
    ----------
    model
        A spec: cnn, resnet[1,1,1]:norm=none, package.module:factory, ...
    data
        A spec; networks learn from its train split.
    schemes
        Initialisations: kaiming_normal, orthogonal, lsuv, ...
    epochs
        Passes over the training data.
    seeds
        How many networks of each scheme.
    inputs
        What features are looked at with: train, valid, noise, or a data spec.
    at
        Epochs after which to look as well.
    samples
        Samples of each input.
    optimizer
        adam or sgd.
    lr
        Learning rate.
    weight_decay
        Weight decay.
    schedule
        constant or cosine.
    workers
        Processes that train at the same time, one thread each; 0: this one.
    seed
        The first seed.
    device
        Where to run, e.g. cuda.
    """
    ledger = kept_ledger(shown.out)
    shown.check()
    result = init_study(
        model,
        schemes,
        data,
        epochs,
        range(seed, seed + seeds),
        inputs,
        at=at,
        samples=samples,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        schedule=schedule,
        device=device,
        ledger=ledger,
        workers=workers,
    )
    return show(result, shown, "schemes", {"model": model, "data": data, "seed": seed})
