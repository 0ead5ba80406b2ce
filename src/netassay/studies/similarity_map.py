"""Similarity map: every layer of one network against every layer of another, and how much of it is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from netassay.errors import BadInput
from netassay.measures import named
from netassay.result import Array, Claim, Result, Table
from netassay.studies.provenance import describe
from netassay.studies.similarity_asked import asked, twins
from netassay.studies.similarity_claims import claims, patterns, remarks
from netassay.studies.similarity_diagnoses import verdicts
from netassay.studies.similarity_gathering import Policy
from netassay.studies.similarity_look import Ask, Look
from netassay.studies.similarity_patterns import pattern_rows
from netassay.studies.similarity_tables import (
    arrays,
    best_table,
    judged,
    labels,
    layer_table,
    measure_table,
    named_axes,
    pairs,
)


def similarity_map(
    a: Any,
    b: Any = None,
    data: Any = None,
    *,
    layers: str | Sequence[str] | None = None,
    measures: str | Sequence[str] = ("cka",),
    positions: str = "flatten",
    tokens: str = "mean",
    mode: str = "auto",
    permutations: int = 200,
    seed: int = 0,
    level: float = 0.95,
    memory: int = 2 << 30,
    data_b: Any = None,
    twin: bool = False,
    batch_size: int = 128,
) -> Result:
    """Map how similar every layer of `a` is to every layer of `b` on the same samples, in one pass over them.

    `a` and `b` are a model, a spec, a spec whose weights are a pattern of files ("mlp[8]:weights=run/*.safetensors"),
    or a list or dict of such; without `b`, `a` against itself. `data_b` are the same samples in another form, for `b`.
    `layers` are patterns (see `select`); by default every layer with a weight matrix and every activation, each call
    apart. `measures` are names or specs of `netassay.measures.named`. `positions` is "flatten", "pool", "samples" or
    "resize:k", `tokens` "mean", "masked", "cls" or "last". Models run in eval mode, without gradient.

    `mode` is how "cka" is estimated: "full Gram" or "feature space" of all samples, which agree, or "minibatch", which
    is another estimator; by default whichever of the first two takes less counted work and fits into `memory` (bytes),
    else minibatch. Other measures keep the features of all samples. Chance: the map under `permutations` orders of one
    side's samples, the same for all layers; `level` is that of intervals (jackknife) and of tests. `twin` maps
    untrained twins, too.

    Arrays (layer of a, layer of b) for each measure: itself, "/calibrated" (0 at what chance gives, 1 best), "/p",
    "/null", "/threshold", "/low", "/high", and "/untrained". Tables "layers", "best" (the best match of each layer, p
    by maxT over the layers it was chosen from), "patterns" and "measures"; `docs/words.md` has the columns.

    Raises `BadInput` for samples that are too few or do not pair, and for features that do not fit into `memory`.
    Kornblith et al. 2019 (arXiv 1905.00414); Song et al. 2012, (5); Gröger, Wen & Brbić 2026 (arXiv 2602.14486).

    >>> import torch, netassay as na
    >>> r = similarity_map(na.build("mlp[8]"), na.build("mlp[8]", seed=1), torch.randn(50, 64))
    >>> r.array("cka").shape, r.array("cka").axes["layer of a"]
    ((3, 3), ('fc1', 'act1', 'head'))
    """
    if data is None:
        raise BadInput("similarity_map without data", "no samples to compare on", "similarity_map(a, b, data)")
    chosen = {name: named(name) for name in ([measures] if isinstance(measures, str) else measures)}
    ask = Ask(Policy(positions, tokens), chosen, mode, permutations, seed, level, memory)
    look = Look(asked(a, b, data, data_b, layers, batch_size), ask)
    baseline = Look(twins(look.wanted, layers), replace(ask, permutations=0), "untrained twins") if twin else None
    return _result(look, baseline)


def _result(look: Look, baseline: Look | None) -> Result:
    a, b, level = look.a, look.b, look.ask.level
    maps: dict[str, Array] = {}
    best: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    told: list[Claim] = []
    policy = look.ask.policy
    notes = [f"positions={policy.positions!r}, tokens={policy.tokens!r}; what was made of each layer is in its row"]
    notes += look.gathered.notes
    for name, measure in look.ask.measures.items():
        found = look.found[name]
        judgement = judged(measure, found, level)
        every = pairs(look, name, judgement)
        maps |= arrays(name, found, judgement, named_axes(look))
        best += best_table(name, measure, every)
        each = [pair for pair in every if not pair.mirrored]
        shaped = patterns(look, measure, each)
        shapes += pattern_rows(name, shaped)
        told += claims(look, name, each, shaped)
        notes += [f"{name} by {': '.join(look.way_of(name))}", *found.notes, *remarks(name, measure, each, shaped)]
        if baseline is not None:
            maps[f"{name}/untrained"] = Array(baseline.found[name].value, **named_axes(look))
    notes += [] if baseline is None else baseline.wanted.notes
    if policy.positions == "samples" and a[0].rows == 1:
        notes.append(f"positions='samples' changes nothing: no layer has positions, and tokens={policy.tokens!r}")
    diagnosed, sides = look.diagnosed(), {"": a} if a == b else {"a": a, "b": b}
    named_sides = {name: dict(zip(side, labels(side), strict=True)) for name, side in sides.items()}
    warned = verdicts(diagnosed, named_sides, look.gathered.classes(), look.ask.measures.values())
    tables = {
        "layers": layer_table({"a": a, "b": b}, look.n, diagnosed),
        "best": Table.of(best),
        "patterns": Table.of(shapes),
        "measures": measure_table(look),
    }
    return Result("similarity_map", tables, maps, tuple(told), tuple(warned), tuple(notes), provenance=_made(look))


def _made(look: Look) -> dict[str, Any]:
    sides = {name: ", ".join(run.name for run in runs) for name, runs in zip("ab", look.wanted.sides, strict=True)}
    told = {"data": " | ".join(one.spec for one in look.wanted.data), "samples": look.n, "network_mode": "eval"}
    told |= {"level": look.ask.level, "permutations": look.ask.permutations}
    told |= {"data_hash": " | ".join(f"{seen.hash:016x}" for seen in look.gathered.seen)}
    policy = {"positions": look.ask.policy.positions, "tokens": look.ask.policy.tokens}
    return {**describe(look.wanted.a[0].model), **sides, **told, **policy, "seed": look.ask.seed}
