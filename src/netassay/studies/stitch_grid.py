"""Stitch grid: which layers of which networks are compatible, every control beside every number."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from netassay.data import Batch, load_data
from netassay.data.fingerprint import fingerprint
from netassay.engine import grid
from netassay.errors import BadInput, UnknownName, listing
from netassay.inference import binomial_tail
from netassay.result import Result, Table
from netassay.stitching import CLOSED, DEFAULT
from netassay.studies.init_asked import whole
from netassay.studies.provenance import describe
from netassay.studies.stitch_answers import plain
from netassay.studies.stitch_asked import Net, Patterns, Question, cells, opened
from netassay.studies.stitch_cell import BUDGET, MEMORY, METHOD, PICTURES, bench_of, cell, leave
from netassay.studies.stitch_checks import controls_of, plainly
from netassay.studies.stitch_claims import TOLERATED, claims, judged, pattern_rows, patterns
from netassay.studies.stitch_controls import NONE
from netassay.studies.stitch_halves import HELD, PARTS, Bench, network
from netassay.studies.stitch_named import named
from netassay.studies.stitch_tables import ORDER, Grid, arrays, capacity_table, cut_table, gathered, net_table

DRAWN = "random_receiver"
ALONE = threading.RLock()
"""One grid at a time in a process: it holds models, data and budget for its cells, and all threads see it trace."""
CHANCE = 0.05
"""Share of guesses that would do as well as a network, above which it is said to know nothing."""


def stitch_grid(
    senders: Any,
    receivers: Any = None,
    data: Any = None,
    *,
    layers: Patterns | Mapping[str, Patterns] = None,
    receiver_layers: Patterns | Mapping[str, Patterns] = None,
    adapter: str = DEFAULT.adapter,
    matching: str | None = None,
    controls: bool | str | Sequence[str] = True,
    ranks: Sequence[int] = (1, 2, 4, 8, 16),
    fit: int = 1000,
    samples: int = 2000,
    ridge: float | None = None,
    epochs: int = DEFAULT.epochs,
    lr: float = DEFAULT.lr,
    batch: int = DEFAULT.batch,
    allow_skips: bool = False,
    memory: int = MEMORY,
    batch_size: int = 128,
    device: str | None = None,
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    workers: int = 0,
    seed: int = 0,
    level: float = 0.95,
) -> Result:
    """Stitch every layer of every sender into every layer of every receiver, with controls; say what is compatible.

    A stitch runs a sender up to a layer, an adapter, and what follows a layer of a receiver. `senders` and `receivers`
    (None: the senders) are a model, a spec, a list of such, or a dict that names them: {"a": model, "b": other}; every
    ordered pair is stitched, a network with itself too. `layers` and `receiver_layers` (None: `layers`) are patterns,
    or patterns for each network by name, "" for the input; by default every activation. Layers that a skip goes around
    are refused in the table "cuts", unless `allow_skips`. `adapter` is one of `netassay.stitching.ADAPTERS`. `matching`
    is "closed_form" (least squares, `ridge` by cross-validation unless given), or from there on (at most `epochs`,
    `lr`, `batch`) "task" (labels), "soft" (KL divergence from the receiver's answers) or "latents" (squared errors of
    its activations and scores behind the cut): a fifth of the samples is left out of both, and decides; where the
    closed form has as many hits there as the receiver, nothing is trained, and it ends where an epoch brings no more.
    None: "task", or "closed_form" for what cannot be trained. Controls are matched like the cells they are for. Matched
    on the first `fit` samples of the train split and judged on the first `samples` of the test split; data without
    splits is matched on its first part and judged on what follows.

    `controls` (True: all; or names): "random_sender" (five draws), "random_receiver" (every parameter and buffer drawn
    anew, batch norms settled on the fit samples), "noise" (sends random centres of the samples' own classes, and
    noise), "shuffled" (matched to the activations, and labels, of other samples), "identity" (a network with itself,
    nothing between), "self" (with itself through the adapter) and "capacity" (the middle layer through `ranks`
    channels). A cell is "beyond chance" where its accuracy is above that of the random and shuffled controls (Fisher's
    exact test, and Student's t for one more draw of the random sender; Holm over the cells of a pair), and "compatible"
    where its penalty is known to be at most 0.1, too. Noise is told the labels, and does not count.

    `memory` bytes of activations are kept by each process, more of them on disk (`TMPDIR`). `ledger`, `executor` and
    `workers` as in `init_study`: models and data in memory need workers=0, or threads. Numbers are the same, bit for
    bit, wherever cells run.

    Arrays (sender layer, receiver layer): "accuracy", "low", "high", "penalty" (the receiver's accuracy less the
    stitch's), "penalty_self" (less than the self-stitch), "agreement", "mse", "cka", "correlation", "ood", "r2",
    "accuracy/<control>"; "self" (receiver layer); "decoded/<receiver>", what stitches into an input make of "samples".
    Tables "cells", "cuts", "nets", "patterns", "capacity"; `docs/words.md` has the columns. Multiply-adds are those of
    matching and judging, without the fronts, which cells share.

    Raises `BadInput` for networks, layers, data or controls that do not fit, before anything is stitched.
    Bansal, Nakkiran & Barak 2021 (arXiv 2106.07682); Hernandez et al. 2022 (2303.11277); Balogh & Jelasity 2025
    (2412.11299); Smith, Mannering & Marcu 2025.

    >>> nets = {"a": "mlp[8,8,8]", "b": "mlp[9,9]"}
    >>> how = {"fit": 200, "samples": 100, "controls": ["identity", "random_sender"]}
    >>> found = stitch_grid(nets, data="digits", matching="closed_form", **how)
    >>> cells = found.table("cells")
    >>> found.array("accuracy").shape, {row["agreement"] for row in cells if row["control"] == "identity"}
    ((5, 5), {1.0})
    """
    others = {"controls": controls, "ranks": ranks, "layers": layers, "receiver_layers": receiver_layers}
    asked = plainly("stitch_grid", {
        "adapter": adapter, "matching": matching, "fit": fit, "samples": samples, "ridge": ridge, "epochs": epochs,
        "lr": lr, "batch": batch, "allow_skips": bool(allow_skips), "batch_size": batch_size, "device": device,
        "seed": seed, "level": level,
    }, ledger=ledger, executor=executor, **others)  # fmt: skip
    chosen, wanted = controls_of(controls), [layers, layers if receiver_layers is None else receiver_layers]
    with ALONE, _held(memory):
        asked["data"] = _source(data, batch_size, fit + samples)
        bench = Bench(asked, memory)
        asked["data_hash"] = _hash(bench)
        bench_of(asked, bench)
        sides = named([senders, senders if receivers is None else receivers])
        _placed([asked["data"], *sides[0].values(), *sides[1].values()], executor, workers)
        givers, takers = _opened(sides, wanted, asked, bench, chosen)
        answerable(takers, bench.classes)
        about = describe(network(givers[0].source, bench.data, device))
        question = {**asked, "method": METHOD, **{name: about[name] for name in ("versions", "dtype")}}
        every = list(cells(givers, takers, asked, chosen, [whole("ranks", rank) for rank in ranks]))
        found = grid(cell, every, ledger=ledger, question=question, executor=executor, workers=workers, task="stitch")
        made = gathered(givers, takers, every, found)
        sizes = {name: len(bench.parts[part].y) for name, part in zip(("fit", "samples"), PARTS, strict=True)}
        told = {**question, **sizes, "classes": bench.classes, "controls": chosen, "cells": len(every)}
        pictures = plain(bench.parts["test"].x[:PICTURES]).numpy()
        return _result(made, told, _notes(made, bench, asked["matching"]), pictures)


@contextmanager
def _held(memory: int) -> Iterator[None]:
    """Keep the caller's models and data within reach of the cells, and let worker processes know their budget."""
    before, known = os.environ.get(BUDGET), set(HELD)
    os.environ[BUDGET] = str(whole("memory", memory, 0))
    try:
        yield
    finally:
        for token in set(HELD) - known:
            del HELD[token]
        del os.environ[BUDGET]
        if before is not None:
            os.environ[BUDGET] = before
        leave()


def _source(data: Any, batch_size: int, samples: int) -> str:
    if data is None:
        raise BadInput("stitch_grid without data", "no samples to match on", "stitch_grid(senders, receivers, data)")
    if isinstance(data, str):
        return data
    loaded = load_data(data, batch_size=batch_size)
    token = f"<data {sum(map(fingerprint, loaded.first(samples))):x}: {loaded.spec}>"
    HELD[token] = loaded
    return token


def _hash(bench: Bench) -> str:
    return "".join(f"{fingerprint(Batch(part.x, part.y)):016x}" for part in bench.parts.values())


def _placed(sources: Sequence[str], executor: Executor | None, workers: int) -> None:
    held = [source for source in sources if source in HELD]
    if held and executor is None and workers:
        found = f"{held[0]}, which other processes do not have"
        raise BadInput(f"stitch_grid with workers={workers}", found, "give specs, or workers=0")


def _opened(
    sides: Sequence[Mapping[str, str]], layers: Sequence[Any], asked: Question, bench: Bench, controls: Sequence[str]
) -> list[list[Net]]:
    """Open each network once for each set of layers."""
    known: dict[str, Net] = {}
    nets = []
    for side, asked_of in zip(sides, layers, strict=True):
        if isinstance(asked_of, Mapping):
            odd = [name for name in asked_of if not any(name in one for one in sides)]
            if odd:
                raise UnknownName("network of this grid", odd[0], side)
        mine = {name: asked_of.get(name) if isinstance(asked_of, Mapping) else asked_of for name in side}
        for name, source in side.items():
            key = f"{source} {mine[name]}"
            known[key] = known.get(key) or opened(source, name, mine[name], asked, bench, controls)
        nets.append([known[f"{source} {mine[name]}"] for name, source in side.items()])
    return nets


def answerable(receivers: Sequence[Net], classes: int) -> None:
    """Refuse labels that a receiver has no answer for."""
    for net in receivers:
        if classes > net.answers:
            found = f"labels up to {classes - 1}, and answers 0 to {net.answers - 1}"
            raise BadInput(f"stitch into {net.name}", found, "give labels that count its answers, or another network")


def _result(made: Grid, told: Mapping[str, Any], notes: Sequence[str], x: np.ndarray) -> Result:
    level, seed = told["level"], told["seed"]
    judged(made, level)
    found = patterns(made, seed, level)
    first = sorted(made.rows, key=lambda row: row["control"] != NONE)
    tables = {
        "cells": Table.of([{name: row[name] for name in ORDER} for row in first]),
        "cuts": cut_table(made),
        "nets": net_table(made),
        "patterns": Table.of(pattern_rows(found)),
        "capacity": capacity_table(made),
    }
    every = tuple(claims(made, found, level))
    return Result("stitch_grid", tables, arrays(made, x), every, notes=tuple(notes), provenance=told)


def _notes(made: Grid, bench: Bench, matching: str) -> list[str]:
    """Say which layers were refused, what the samples lack, and which receivers have nothing to answer."""
    notes = []
    for net in made.nets:
        refused = [one.layer for one in net.found if one.layer not in net.layers]
        if refused:
            notes.append(f"{net.name}: no clean cut at {listing(refused)}; a grid's table of cuts says why")
    fit, test = (set(part.y.tolist()) for part in bench.parts.values())
    n, chance = len(bench.parts["test"].y), 1 / bench.classes
    for net in made.receivers:
        if binomial_tail(round(n * net.accuracy), n, chance) > CHANCE:
            notes.append(f"{net.name}: its own accuracy, {net.accuracy:.3g}, is not told from chance, {chance:.3g}")
    if len(test) == 1:
        notes.append(f"all samples judged are of class {min(test)}: an answer that never changes is right or wrong")
    if test - fit:
        notes.append(f"no sample of class {min(test - fit)} to match on; the data may be in order of classes")
    if matching != CLOSED:
        notes += _invented(made)
    odd = dict.fromkeys(row["note"] for row in made.rows if np.isnan(row["penalty"]))
    return notes + [f"not stitched: {one}" for one in odd]


def _invented(made: Grid) -> list[str]:
    """Say where adapters do the work themselves: what was never trained receives about as well."""
    judged = [row for row in made.rows if not np.isnan(row["accuracy"])]
    told = [[row["accuracy"] for row in judged if row["control"] == control] for control in (NONE, DRAWN)]
    ours, theirs = (float(np.mean(one)) if one else np.nan for one in told)
    if not theirs >= ours - TOLERATED:
        return []
    found = f"stitches reach {ours:.2f} on average, and {theirs:.2f} into receivers drawn at random"
    return [f"{found}: trained adapters do the task themselves; the closed form leaves them no such room"]
