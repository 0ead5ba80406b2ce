"""Stitch cell: one layer of a sender into layers of a receiver, under one control; what cells share is kept."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from netassay.engine import Payload
from netassay.errors import InternalError, NoMatch
from netassay.quiet import state_hash
from netassay.stitching import (
    CLOSED,
    Adapter,
    Fit,
    Judged,
    NormalEquations,
    Samples,
    adapter,
    form,
    held_out,
    judge,
    trained_on,
)
from netassay.studies.stitch_answers import plain
from netassay.studies.stitch_controls import CONTROLS, NONE
from netassay.studies.stitch_halves import PARTS, Bench, Side
from netassay.studies.stitch_kept import Kept

SHARED = ("data", "fit", "samples", "batch_size", "device", "seed", "allow_skips", "data_hash")
"""What all cells of one bench have in common."""
METHOD = 2
"""Which random twins and losses cells have: raised where the same words give other numbers, which no ledger may mix."""
BUDGET = "NETASSAY_STITCH_MEMORY"
"""Names the bytes of activations that a process keeps in memory; no part of a cell, since it changes no number."""
MEMORY = 1 << 30
NUMBERS = tuple(one.name for one in fields(Judged) if one.name not in ("penalty", "n", "madds"))
PICTURES = 4
"""Pictures kept of a stitch into the input."""
ALONE = threading.Lock()
_benches: dict[str, Bench] = {}


def cell(asked: Mapping[str, Any]) -> Payload:
    """Match and judge; the same bits for the same words, but for the seconds, whatever ran before in this process.

    One at a time in a process: cells share what was made of networks.
    """
    with ALONE:
        began = time.perf_counter()
        bench = bench_of(asked)
        control = CONTROLS[asked["control"]]
        sender = bench.side(asked["sender"], control.sender, asked["draw"])
        receiver = bench.side(asked["receiver"], control.receiver)
        payload = _stitched(bench, asked, sender, receiver)
        for side, named in ((sender, asked["sender"]), (receiver, asked["receiver"])):
            if side.hash != state_hash(side.model):
                raise InternalError(f"stitch {named[0]}", "its weights or buffers changed", "report this")
        return payload | {"seconds": np.array(time.perf_counter() - began)}


def bench_of(asked: Mapping[str, Any], ready: Bench | None = None) -> Bench:
    """Return the bench of a cell, or one that is ready; a process has one, since another data set needs its memory."""
    key = json.dumps({name: asked[name] for name in SHARED}, sort_keys=True)
    if key not in _benches:
        _benches.clear()
        _benches[key] = ready or Bench(asked, int(os.environ.get(BUDGET, MEMORY)))
    return _benches[key]


def leave() -> None:
    """Give back what this process keeps."""
    with ALONE:
        _benches.clear()


def _stitched(bench: Bench, asked: Mapping[str, Any], sender: Side, receiver: Side) -> Payload:
    bench.prepare(sender, [asked["sender_layer"]])
    bench.prepare(receiver, asked["receiver_layers"])
    work = Work(bench, asked, sender, receiver)
    matched = work.matched()
    rows = [work.judged(layer, matched[layer]) for layer in asked["receiver_layers"]]
    payload: Payload = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    payload |= {f"n_{part}": np.array(len(bench.parts[part].y)) for part in PARTS}
    return payload | work.pictures


class Matched(NamedTuple):
    """An adapter, or why there is none; the R2 of its closed form and the multiply-adds of matching."""

    adapter: Adapter | None
    r2: float
    madds: int
    told: str


class Work:
    """The stitches of one cell: a sender's layer, a receiver's layers."""

    def __init__(self, bench: Bench, asked: Mapping[str, Any], sender: Side, receiver: Side) -> None:
        self.bench, self.asked, self.sender, self.receiver = bench, asked, sender, receiver
        self.variant, self.layer = CONTROLS[asked["control"]].sender, asked["sender_layer"]
        self.shape = sender.cuts[self.layer].shape
        self.recipe = adapter(asked["adapter"], (1,), (1,)).recipe
        self.trains = asked["matching"] != CLOSED and self.recipe.trained
        self.held = held_out(len(bench.parts["fit"].y)) & self.trains
        self.pictures: Payload = {}

    def matched(self) -> dict[str, Matched]:
        """Match an adapter to each of the receiver's layers; layers with the same positions share their sums."""
        groups: dict[Any, list[str]] = {}
        for layer in self.asked["receiver_layers"]:
            groups.setdefault(form(self.to(layer)).places, []).append(layer)
        found: dict[str, Matched] = {}
        for layers in groups.values():
            try:
                sums = self.sums(layers)
            except NoMatch as error:
                found |= {layer: Matched(None, math.nan, 0, error.found) for layer in layers}
                continue
            for layer in layers:
                found[layer] = self.match(layer, sums)
        return found

    def to(self, layer: str) -> tuple[int, ...]:
        """Return the shape that a receiver's layer takes."""
        return self.receiver.cuts[layer].shape

    def own(self, layer: str, part: str) -> Kept:
        """Return the receiver's own activations."""
        return self.bench.sent(self.receiver, "", layer, part)

    def sent(self, part: str) -> Kept:
        """Return what is sent."""
        return self.bench.sent(self.sender, self.variant, self.layer, part)

    def sums(self, layers: Sequence[str]) -> NormalEquations | None:
        """Sum what is sent and what all these layers expect; None: the adapter has no closed form.

        The sender's products with itself are summed once, for all receivers with the same positions.
        """
        if self.recipe.solve is None:
            return None
        first: list[NormalEquations] = []

        def grams() -> Iterable[Tensor]:
            first.append(self.summed(layers))
            return first[0].grams

        sent, places = self.bench.named(self.sender, self.variant, self.layer, "fit"), form(self.to(layers[0])).places
        known = self.bench.store.get((*sent, places, self.recipe.patches, self.trains), grams)
        return first[0] if first else self.summed(layers, known)

    def summed(self, layers: Sequence[str], grams: Iterable[Tensor] | None = None) -> NormalEquations:
        """Pass once over what is sent and what these layers expect."""
        shapes = {layer: self.to(layer) for layer in layers}
        sums = NormalEquations(self.shape, shapes, patches=self.recipe.patches, grams=grams)
        own = [self.own(layer, "fit") for layer in layers]
        parts = torch.split(~self.held, self.asked["batch_size"])
        for part, batch, *expected in zip(parts, self.sent("fit"), *own, strict=True):
            sums.add(batch[part], dict(zip(layers, (one[part] for one in expected), strict=True)))
        return sums

    def match(self, layer: str, sums: NormalEquations | None) -> Matched:
        """Solve, and train on where that is asked for."""
        asked, r2, madds, told = self.asked, math.nan, 0, ""
        try:
            made = adapter(asked["adapter"], self.shape, self.to(layer), seed=asked["seed"]).to(
                self.own(layer, "fit").dtype
            )
            if sums is not None:
                found = made.solve(sums.of(layer), asked["ridge"])
                C, D = found.weight.shape[::-1]
                r2, madds = found.r2, found.madds + found.n * C * (C + D)
            if self.trains:
                done = self.trained(layer, made)
                madds, told = madds + done.madds, f"; {done.kept} epochs of training kept"
        except NoMatch as error:
            return Matched(None, math.nan, 0, f"{error.asked}: {error.found}")
        return Matched(made, r2, madds, made.told + told)

    def trained(self, layer: str, made: Adapter) -> Fit:
        """Train an adapter on from where it is; controls, too, until they are as good as the receiver itself."""
        own = self.own(layer, "fit")
        sent = self.sent("fit").to(own.dtype)
        loss, rest = self.asked["matching"], self.bench.rest(self.receiver, layer)
        wanted = None if loss == "task" else torch.cat(list(own))
        later = self.bench.later(self.receiver, layer) if loss == "latents" else None
        data = Samples(torch.cat(list(sent)), self.bench.parts["fit"].y, wanted)
        how = {name: self.asked[name] for name in ("epochs", "lr", "batch", "seed")}
        enough = int(self.bench.right(self.asked["receiver"])[self.held].sum())
        return trained_on(made, rest, data.at(~self.held), data.at(self.held), enough, loss=loss, later=later, **how)

    def judged(self, layer: str, matched: Matched) -> dict[str, Any]:
        """Judge one stitch; numbers of one that could not be made are NaN."""
        row: dict[str, Any] = dict.fromkeys(NUMBERS, math.nan)
        made, note, madds = matched.adapter, matched.told, matched.madds
        if made is not None:
            sent = self.sent("test").to(self.own(layer, "fit").dtype)
            told = judge(made, sent, self.bench.expected(self.receiver, layer), level=self.asked["level"])
            row = {name: float(getattr(told, name)) for name in NUMBERS}
            madds += told.madds
            if math.isnan(told.penalty):
                whose = "the receiver's own" if math.isnan(told.own) else "its"
                note = f"{whose} answers are not finite; {note}"
            if not layer and self.asked["control"] == NONE:
                with torch.no_grad():
                    self.pictures = {"pictures": plain(made(next(iter(sent))[:PICTURES])).numpy()}
        return {**row, "r2": matched.r2, "madds": madds, "note": note}
