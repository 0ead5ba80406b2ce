"""Examine: the main job. A network beside its untrained self, asked what each study asks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from netassay import training
from netassay.data import Data, load_data, splits
from netassay.errors import BadInput
from netassay.layers import exactly
from netassay.objectives import Objective
from netassay.progress import steps
from netassay.result import Result
from netassay.seeds import check
from netassay.spec import parse
from netassay.studies.change import END, START, Pair, compared
from netassay.studies.channel_profile import channel_profile
from netassay.studies.exchange_map import by_rule, exchange_map
from netassay.studies.flow_profile import flow_profile
from netassay.studies.flow_training import Watched
from netassay.studies.forward import tried
from netassay.studies.init_profile import init_profile
from netassay.studies.provenance import describe
from netassay.studies.signal import signal
from netassay.studies.similarity_change import similarity
from netassay.studies.stitching_change import stitching
from netassay.studies.summary import summary
from netassay.studies.twins import settle, untrained
from netassay.zoo import build, built, placed

MODEL = "resnet[1,1,1]:width=16"
EVERY = 5
"""Steps from one that the training's watch reads to the next."""


class Keep(Protocol):
    """Where results go as soon as they are there; a store's writer, or anything with its verbs."""

    def log(self, step: int, values: Mapping[str, float], *, unit: str = "") -> None:
        """Keep the values of one step."""
        ...

    def add(self, label: str, result: Result) -> None:
        """Keep a result."""
        ...

    def note(self, **meta: Any) -> None:
        """Keep a fact about the run."""
        ...


def _summary(pair: Pair) -> dict[str, Result]:
    return {"summary": summary(pair.end, x=next(iter(pair.data)).x[:1])}


def _channels(pair: Pair) -> dict[str, Result]:
    options: dict[str, Any] = {"layers": pair.layers, "objective": pair.objective}
    start = channel_profile(pair.start, pair.data, **options)
    end = channel_profile(pair.end, pair.data, **options)
    return {f"channels/{START}": start, f"channels/{END}": end}


def _exchange(pair: Pair) -> dict[str, Result]:
    ruled, unruled = by_rule(pair.end, pair.layers)
    if not ruled:
        return {}
    skip = [exactly(layer.name) for layer in unruled]
    options: dict[str, Any] = {"layers": pair.layers, "objective": pair.objective, "skip": skip}
    options["also"] = ("blocks", "around")
    start = exchange_map(pair.start, pair.data, **options)
    end = exchange_map(pair.end, pair.data, **options)
    return {f"exchange/{START}": start, f"exchange/{END}": end}


def _initialisation(pair: Pair) -> dict[str, Result]:
    return {"initialisation": init_profile(pair.start, pair.end)}


def _signal(pair: Pair) -> dict[str, Result]:
    return {f"signal/{START}": signal(pair.start, pair.data, objective=pair.objective)}


def _flow(pair: Pair) -> dict[str, Result]:
    options: dict[str, Any] = {"layers": pair.layers, "objective": pair.objective}
    start = flow_profile(pair.start, pair.data, **options)
    end = flow_profile(pair.end, pair.data, **options)
    # Last, since a run is judged by the last result of each study, and no other has seen the updates.
    watched = {} if pair.training is None else {"flow/training": pair.training}
    return {f"flow/{START}": start, f"flow/{END}": end, **watched}


STUDIES: tuple[Callable[[Pair], Mapping[str, Result]], ...] = (
    _summary,
    _channels,
    _exchange,
    _initialisation,
    _signal,
    _flow,
    similarity,
    stitching,
)
"""What is asked of the pair, in this order; a study joins by a line here."""


@dataclass(frozen=True)
class Plan:
    """What to examine and how: as the front door takes it, with nothing resolved yet."""

    model: str | nn.Module | None
    data: Any
    weights: str | Path | None
    layers: str | Sequence[str] | None
    objective: str | Objective
    epochs: int
    lr: float
    seed: int
    batch_size: int
    device: str | None
    second: bool = True


def examine_into(keep: Keep, plan: Plan) -> None:
    """Resolve the plan, train where nothing is learned yet, and hand every study's results to `keep` as they come."""
    check(plan.seed)
    learn, test = _splits(plan)
    pair, how = _pair(keep, plan, learn, test)
    keep.note(model=describe(pair.end)["model"], data=test.spec, how=how)
    results: dict[str, Result] = {}
    for study in STUDIES:
        for label, result in study(pair).items():
            keep.add(label, result)
            results[label] = result
    keep.add("examine", compared(pair, results, how, plan.seed))


def _splits(plan: Plan) -> tuple[Data, Data]:
    """Return data to learn from and data to look at; one and the same where the source has no splits."""
    if isinstance(plan.data, str):
        return splits(plan.data, batch_size=plan.batch_size)
    whole = load_data(plan.data, batch_size=plan.batch_size)
    return whole, whole


def _pair(keep: Keep, plan: Plan, learn: Data, test: Data) -> tuple[Pair, str]:
    """Return the network before and after learning, and how each came to be."""
    model = _learned(plan)
    rest = (test, plan.layers, plan.objective)
    if model is not None:
        start, told = untrained(model, seed=plan.seed + 1)
        settle(start, learn)
        how = f"{END}: as it was given (epochs and lr have no say); {START}: with seed {plan.seed + 1}, {told}"
        return Pair(start, model, *rest), how
    end = _fresh(plan, test)
    tried(end, learn)
    start = copy.deepcopy(end)
    watched = _train(keep, plan, end, learn, test)
    settle(start, learn)
    with_what = f"SGD, {plan.epochs} epochs, batch {plan.batch_size}, rate {plan.lr:g}, seed {plan.seed}"
    seen = "" if learn is not test else "; it is looked at with the samples it learned from"
    again = cache(partial(_again, plan, learn, test)) if plan.second else None
    source = plan.data if isinstance(plan.data, str) else learn
    pair = Pair(start, end, *rest, held_out=learn is not test, training=watched, second=again, source=source)
    return pair, f"{START}: initialised; {END}: trained on {learn.spec} ({with_what}){seen}"


def _learned(plan: Plan) -> nn.Module | None:
    """Return the module that has learned something already, if the plan has one."""
    if isinstance(plan.model, nn.Module):
        return plan.model if plan.weights is None else _refuse_weights(plan)
    if not isinstance(plan.model, str | None):
        raise BadInput("examine a model", f"{plan.model!r}", 'pass a module, or a spec such as "resnet18"')
    if plan.weights is None and not (plan.model and "weights" in parse(plan.model).options):
        return None
    if plan.model is None:
        asked = f"weights {str(plan.weights)!r}"
        raise BadInput(asked, "no model to put them into", "name it: netassay examine SPEC --weights PATH")
    return placed(build(plan.model, weights=plan.weights, seed=plan.seed), plan.device)


def _refuse_weights(plan: Plan) -> nn.Module:
    raise BadInput(
        f"weights {str(plan.weights)!r}", "a module that has weights", "load them first, or give the model as a spec"
    )


def _again(plan: Plan, learn: Data, test: Data) -> nn.Module:
    """Train another seed in the same way."""
    other = replace(plan, seed=plan.seed + 1)
    model = _fresh(other, test)
    with steps("train a second seed", plan.epochs * training.length(learn)) as advance:

        def on_step(step: int, epoch: int, loss: float, correct: int, samples: int) -> None:
            advance(f"epoch {epoch + 1}, loss {loss:.3f}")

        training.train(model, learn, epochs=plan.epochs, lr=plan.lr, seed=other.seed, on_step=on_step)
    return model


def _fresh(plan: Plan, test: Data) -> nn.Module:
    if plan.objective != "cross_entropy":
        raise BadInput(
            f"train {plan.model!r} for objective {plan.objective!r}",
            "examine trains classifiers with cross-entropy only",
            "train it yourself and pass the module, or weights=PATH",
        )
    model = str(plan.model or MODEL)
    return built(model, test.input_shape, test.classes, seed=plan.seed, device=plan.device)


def _train(keep: Keep, plan: Plan, model: nn.Module, learn: Data, test: Data) -> Result:
    """Train under a watch, and keep loss and accuracy of every step, and of every epoch the accuracy elsewhere.

    Returns what the watch saw.
    """
    accuracy = "test accuracy" if learn is not test else "accuracy"
    each = training.length(learn)
    seen = Watched(model, layers=plan.layers, every=EVERY)
    with steps("train", plan.epochs * each) as advance:

        def on_step(step: int, epoch: int, loss: float, correct: int, samples: int) -> None:
            values = {"training loss": loss, "training accuracy": correct / samples}
            if step % each == each - 1:
                values[accuracy] = training.evaluate(model, test).accuracy
            keep.log(step, values)
            seen.monitor.step(loss, epoch)
            advance(f"epoch {epoch + 1}, loss {loss:.3f}")

        training.train(model, learn, epochs=plan.epochs, lr=plan.lr, seed=plan.seed, on_step=on_step, watched=seen)
    return seen.monitor.result()
