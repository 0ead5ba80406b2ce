"""Cell: one network drawn by one scheme and one seed, looked at, trained, and looked at again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from netassay.data import Data, load_data, splits
from netassay.inits import initialize
from netassay.studies.flow_cell import ALONE
from netassay.studies.init_looks import features, noise, parameters
from netassay.studies.init_payload import END, START, Payload, packed
from netassay.studies.init_symmetry import distinct, gradient_zeros, unmoved
from netassay.studies.signal import signal
from netassay.training import Diverged, evaluate, length, train
from netassay.zoo import built

POINTS = 200
"""Points of a loss curve; each is the mean over as many steps."""
INPUTS = ("train", "valid", "noise")
"""Inputs with a name of their own; any data spec is one, too."""
SIGNAL = ("layer", "depth", "q_measured", "q_predicted", "anchored")
HOW = ("epochs", "optimizer", "lr", "weight_decay", "schedule", "seed")


def cell(asked: Mapping[str, Any]) -> Payload:
    """Draw, look, train and look again, as `asked` says; the same bits for the same words, but for the seconds.

    One at a time in a process: networks may draw from torch's global generator, which threads share.
    """
    with ALONE:
        return _cell(asked)


def _cell(asked: Mapping[str, Any]) -> Payload:
    began = time.perf_counter()
    learn, test = splits(asked["data"], batch_size=asked["batch_size"])
    model, untouched = drawn(asked, learn)
    diary = Diary(model, asked, learn, test)
    curve = Curve(asked["epochs"] * length(learn))
    diverged = -1
    try:
        how = {name: asked[name] for name in HOW}
        train(model, learn, **how, on_step=curve.note, on_epoch=diary.epoch)
    except Diverged as error:
        diverged = error.step
        diary.look(END)
    arrays = packed(diary.distributions) | diary.facts() | curve.arrays()
    again, _ = drawn(asked, learn)  # and not a copy kept through the training: the optimizer's memory is free by now
    seconds = np.array([time.perf_counter() - began, diary.seconds])
    facts = {"diverged": np.array(diverged), "untouched": np.array(untouched, dtype=str), "seconds": seconds}
    return arrays | unmoved(again, model) | facts


def drawn(asked: Mapping[str, Any], learn: Data) -> tuple[nn.Module, list[str]]:
    """Build the network that fits the data, and draw it by the cell's scheme and seed; return what no rule reached."""
    model = built(asked["model"], learn.input_shape, learn.classes, seed=asked["seed"], device=asked["device"])
    done = initialize(model, asked["scheme"], asked["seed"], data=next(iter(learn)).x)
    return model, done.untouched


class Diary:
    """What is kept of a network at the start, at the end, and after chosen epochs."""

    def __init__(self, model: nn.Module, asked: Mapping[str, Any], learn: Data, test: Data) -> None:
        self.model, self.learn, self.test = model, learn, test
        self.inputs = {name: source(name, asked, learn, test) for name in asked["inputs"]}
        self.moments = {epoch: f"epoch {epoch}" for epoch in asked["at"]} | {0: START, asked["epochs"]: END}
        self.distributions: dict[tuple[str, str, str], Any] = {}
        self.scores: list[tuple[str, float, float]] = []
        self.began: dict[str, np.ndarray] = {}
        self.seconds = 0.0

    def epoch(self, epoch: int) -> None:
        """Look, where this is one of the moments."""
        if epoch in self.moments:
            self.look(self.moments[epoch])

    def look(self, when: str) -> None:
        """Take the distributions and the score of the network as it is."""
        began = time.perf_counter()
        if when == START:
            self.began = beginnings(self.model, self.learn)
        for name, one in parameters(self.model).items():
            self.distributions[when, name, ""] = one
        for source, data in self.inputs.items():
            for name, one in features(self.model, data).items():
                self.distributions[when, name, source] = one
        score = evaluate(self.model, self.test)
        self.scores.append((when, score.accuracy, score.loss))
        self.seconds += time.perf_counter() - began

    def facts(self) -> Payload:
        """Return what is no distribution."""
        whens, accuracy, loss = zip(*self.scores, strict=True)
        scores = {"score/when": np.array(whens), "score/accuracy": np.array(accuracy), "score/loss": np.array(loss)}
        return scores | self.began | distinct(self.model, END)


def source(name: str, asked: Mapping[str, Any], learn: Data, test: Data) -> Data:
    """Return the samples that an input's name stands for: train, valid, noise, or any data spec."""
    samples, each = asked["samples"], asked["batch_size"]
    if name == "noise":
        return noise(tuple(learn.input_shape or ()), samples, each, asked["seed"])
    known = {"train": learn, "valid": test}
    return (known[name] if name in known else load_data(name, batch_size=each)).first(samples)


def beginnings(model: nn.Module, learn: Data) -> Payload:
    """Return what is asked at the start only: theory beside measurement, zero gradients, distinct channels."""
    batch = next(iter(learn))
    layers = signal(model, [batch]).tables["layers"].columns
    theory = {f"signal/{name}": np.asarray(layers[name]) for name in SIGNAL}
    return theory | gradient_zeros(model, batch) | distinct(model, START)


class Curve:
    """The training loss, as means over equal runs of steps."""

    def __init__(self, steps: int) -> None:
        self.every = -(-steps // POINTS)
        self.points: list[list[float]] = []

    def note(self, step: int, epoch: int, loss: float, correct: int, seen: int) -> None:
        """Keep one step."""
        if step % self.every == 0:
            self.points.append([])
        self.points[-1].append(loss)

    def arrays(self) -> Payload:
        """Return the last step of each point, and its mean loss."""
        ends = np.cumsum([len(point) for point in self.points], dtype=np.int64)
        return {"curve/step": ends, "curve/loss": np.array([np.mean(point) for point in self.points])}
