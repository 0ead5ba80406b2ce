"""Examine: the main job. A network beside its untrained self, asked what each study asks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import nn

from netassay import training
from netassay.data import Data, load_data, splits
from netassay.errors import BadInput
from netassay.inference import binomial_interval, bootstrap
from netassay.objectives import Objective
from netassay.progress import steps
from netassay.result import Claim, Result, Table
from netassay.spec import parse
from netassay.studies.channel_profile import channel_profile
from netassay.studies.provenance import describe
from netassay.studies.summary import summary
from netassay.studies.twins import untrained
from netassay.zoo import build, fitted

MODEL = "resnet[1,1,1]:width=16"
START, END = "start", "end"
LEVEL = 1 - 0.05 / 4
"""Of each interval: 95 % for the four claims together (Bonferroni)."""


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


@dataclass(frozen=True)
class Pair:
    """What every study gets: the network before and after learning, and data it was not trained on."""

    start: nn.Module
    end: nn.Module
    data: Data
    layers: str | Sequence[str] | None
    objective: str | Objective


def _summary(pair: Pair) -> dict[str, Result]:
    return {"summary": summary(pair.end, x=next(iter(pair.data)).x[:1])}


def _channels(pair: Pair) -> dict[str, Result]:
    options: dict[str, Any] = {"layers": pair.layers, "objective": pair.objective}
    start = channel_profile(pair.start, pair.data, **options)
    end = channel_profile(pair.end, pair.data, baseline=start, **options)
    return {f"channels/{START}": start, f"channels/{END}": end}


STUDIES: tuple[Callable[[Pair], Mapping[str, Result]], ...] = (_summary, _channels)
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


def examine_into(keep: Keep, plan: Plan) -> None:
    """Resolve the plan, train where nothing is learned yet, and hand every study's results to `keep` as they come."""
    learn, test = _splits(plan)
    pair, how = _pair(keep, plan, learn, test)
    keep.note(model=describe(pair.end)["model"], data=test.spec, how=how)
    results: dict[str, Result] = {}
    for study in STUDIES:
        for label, result in study(pair).items():
            keep.add(label, result)
            results[label] = result
    keep.add("examine", _compared(pair, results, how, plan.seed))


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
        return Pair(start, model, *rest), f"{END}: as it was given; {START}: {told}"
    end = _moved(_fresh(plan, test), plan.device)
    start = copy.deepcopy(end)
    _train(keep, plan, end, learn, test)
    with_what = f"SGD, {plan.epochs} epochs, batch {plan.batch_size}, rate {plan.lr:g}, seed {plan.seed}"
    seen = "" if learn is not test else "; it is looked at with the samples it learned from"
    return Pair(start, end, *rest), f"{START}: initialised; {END}: trained on {learn.spec} ({with_what}){seen}"


def _learned(plan: Plan) -> nn.Module | None:
    """Return the module that has learned something already, if the plan has one."""
    if isinstance(plan.model, nn.Module):
        return plan.model if plan.weights is None else _refuse_weights(plan)
    if plan.weights is None and not (plan.model and "weights" in parse(plan.model).options):
        return None
    return _moved(build(plan.model or "", weights=plan.weights, seed=plan.seed), plan.device)


def _refuse_weights(plan: Plan) -> nn.Module:
    raise BadInput(
        f"weights {str(plan.weights)!r}", "a module that has weights", "load them first, or give the model as a spec"
    )


def _fresh(plan: Plan, test: Data) -> nn.Module:
    if plan.objective != "cross_entropy":
        raise BadInput(
            f"train {plan.model!r} for objective {plan.objective!r}",
            "examine trains classifiers with cross-entropy only",
            "train it yourself and pass the module, or weights=PATH",
        )
    spec = fitted(parse(str(plan.model or MODEL)), test.input_shape, test.classes)
    return build(str(spec), seed=plan.seed)


def _moved(model: nn.Module, device: str | None) -> nn.Module:
    return model if device is None else model.to(device)


def _train(keep: Keep, plan: Plan, model: nn.Module, learn: Data, test: Data) -> None:
    """Train, and keep loss and accuracy of every step and the test accuracy of every epoch."""
    total = plan.epochs * len(learn)
    with steps("train", total) as advance:
        each = total // plan.epochs

        def on_step(step: int, epoch: int, loss: float, correct: int, seen: int) -> None:
            values = {"training loss": loss, "training accuracy": correct / seen}
            if step % each == each - 1:
                values["test accuracy"] = training.evaluate(model, test).accuracy
            keep.log(step, values)
            advance(f"epoch {epoch + 1}, loss {loss:.3f}")

        training.train(model, learn, epochs=plan.epochs, lr=plan.lr, seed=plan.seed, on_step=on_step)


def _compared(pair: Pair, results: Mapping[str, Result], how: str, seed: int) -> Result:
    """Judge what learning did, by what the studies found at its start and at its end."""
    scores, notes = _scores(pair)
    claims = [*_above_chance(scores, pair), *_change(results, seed)]
    corrected = tuple(replace(claim, tests=len(claims), correction="Bonferroni") for claim in claims)
    tables = {"scores": Table.of(scores)} if scores else {}
    made = {**describe(pair.end), "data": pair.data.spec, "how": how}
    return Result("examine", tables, claims=corrected, notes=tuple(notes), provenance=made)


def _scores(pair: Pair) -> tuple[list[dict[str, Any]], list[str]]:
    rows = []
    try:
        for when, model in ((START, pair.start), (END, pair.end)):
            score = training.evaluate(model, pair.data)
            low, high = binomial_interval(score.correct, score.n)
            interval = {"low": float(low), "high": float(high)}
            rows.append({"when": when, "accuracy": score.accuracy, **interval, "loss": score.loss, "n": score.n})
    except BadInput as reason:
        return [], [f"no accuracy: {reason.found}"]
    return rows, []


def _above_chance(scores: Sequence[Mapping[str, Any]], pair: Pair) -> list[Claim]:
    if not scores or not pair.data.classes:
        return []
    end, chance = scores[-1], 1 / pair.data.classes
    low, high = binomial_interval(round(end["accuracy"] * end["n"]), end["n"], LEVEL)
    return [
        Claim.above(
            0.0,
            statement=f"The network is right more often than chance ({chance:.3g})",
            effect=end["accuracy"] - chance,
            interval=(float(low) - chance, float(high) - chance),
            n=end["n"],
            counted="samples",
            unit="accuracy above chance",
        )
    ]


CLAIMS: tuple[tuple[str, str, Callable[[Result], np.ndarray]], ...] = (
    ("Learning makes activations sparser", "share of zero outputs, end - start", lambda r: _zeros(r)),
    ("Learning sets the channels of a layer apart", "log2 of their spread, end - start", lambda r: _apart(r)),
    ("Learning lets less gradient through", "log2 of the gradient norm, start - end", lambda r: -_gradient(r)),
)
"""What learning may do to every layer: a statement, the unit of its effect, and one number a layer."""


def _change(results: Mapping[str, Result], seed: int) -> list[Claim]:
    """Test each claim on the differences between end and start, layer by layer."""
    claims = []
    for statement, unit, measure in CLAIMS:
        change = measure(results[f"channels/{END}"]) - measure(results[f"channels/{START}"])
        change = change[np.isfinite(change)]
        if len(change) >= 2:
            effect, low, high = bootstrap(change, np.mean, level=LEVEL, seed=seed)
            interval = (float(low), float(high))
            claims.append(
                Claim.above(
                    0.0,
                    statement=statement,
                    effect=float(effect),
                    interval=interval,
                    n=len(change),
                    counted="layers",
                    unit=unit,
                )
            )
    return claims


def _zeros(result: Result) -> np.ndarray:
    table = result.tables["layers"].columns
    return np.where(table["activation"], table["y_zero_share"], np.nan)


def _apart(result: Result) -> np.ndarray:
    """Return log2 of the coefficient of variation of the channels' RMS output, layer by layer."""
    channels = result.tables["channels"].columns
    sizes = [channels["y_rms"][channels["layer"] == label] for label in result.tables["layers"].columns["layer"]]
    ratios = np.array([size.std() / size.mean() if size.mean() > 0 else np.nan for size in sizes])
    return np.log2(np.where(ratios > 0, ratios, np.nan))


def _gradient(result: Result) -> np.ndarray:
    norm = result.tables["layers"].columns["gy_norm"]
    return np.log2(np.where(norm > 0, norm, np.nan))
