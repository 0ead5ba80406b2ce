"""Init tables: the outcomes of an initialisation study under the names and axes of its result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netassay.inference import seed_interval
from netassay.result import Array, Table
from netassay.shape import Distribution, common_edges, density, gaussian_distance, log_variance_ratio, wasserstein
from netassay.studies.init_payload import END, START, Key, Outcome

BINS = 48
QUANTILES = {"q01": 0.01, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "q99": 0.99}
LIMITS = {"accuracy": (0.0, 1.0), "loss": (0.0, np.inf), "training_loss": (0.0, np.inf)}
"""What a number cannot be below or above, whatever Student says."""
SHIFTS: Mapping[str, Callable[[Distribution, Distribution], float]] = {
    "wasserstein": wasserstein,
    "log_variance_ratio": log_variance_ratio,
}


def numbers(one: Distribution) -> dict[str, Any]:
    """Return the shape of a distribution as named numbers; the columns of the tables."""
    named = {name: getattr(one, name) for name in ("n", "mean", "std", "skewness", "kurtosis", "minimum")}
    quantiles = {name: one.quantile(q) for name, q in QUANTILES.items()}
    ends = {"maximum": one.maximum, "gaussian": gaussian_distance(one)}
    return {**named, **quantiles, **ends, "zero": one.zero_share, "nan": one.nan, "inf": one.inf}


def tables(outcomes: Sequence[Outcome]) -> dict[str, Table]:
    """Make every table of the study."""
    made = {
        "schemes": _schemes(outcomes),
        "scores": [row for one in outcomes for row in _scores(one)],
        "weights": [row for one in outcomes for row in _weights(one)],
        "features": [row for one in outcomes for row in _features(one)],
        "shift": _shifts(outcomes, lambda key: {"parameter": key[1]}, features=False),
        "feature_shift": _shifts(outcomes, lambda key: {**placed(key[1]), "input": key[2]}, features=True),
        "curves": [row for one in outcomes for row in _rows(one, "curve")],
        "signal": _signals(outcomes),
        "symmetry": [row for one in outcomes for row in _symmetry(one)],
        "movement": [row for one in outcomes for row in _movement(one)],
    }
    return {name: Table.of(rows) for name, rows in made.items() if rows}


def placed(name: str) -> dict[str, str]:
    """Take a feature's name apart.

    >>> placed("conv1 before")
    {'layer': 'conv1', 'place': 'before'}
    """
    layer, _, place = name.rpartition(" ")
    return {"layer": layer, "place": place}


def _who(one: Outcome) -> dict[str, Any]:
    return {"scheme": one.scheme, "seed": one.seed}


def _weights(one: Outcome) -> Iterator[dict[str, Any]]:
    for (when, name, source), found in one.distributions.items():
        if not source:
            yield {**_who(one), "parameter": name, "when": when, **numbers(found)}


def _features(one: Outcome) -> Iterator[dict[str, Any]]:
    for (when, name, source), found in one.distributions.items():
        if source:
            yield {**_who(one), **placed(name), "input": source, "when": when, **numbers(found)}


def _schemes(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return how well each scheme learns: means over seeds with their intervals."""
    rows = []
    for scheme, seeds in by_scheme(outcomes).items():
        last = [list(_scores(one))[-1] for one in seeds]
        row: dict[str, Any] = {"scheme": scheme}
        for name in ("training_loss", "accuracy", "loss"):
            row |= _interval(name, [one[name] for one in last], *LIMITS.get(name, ()))
        rows.append({**row, "diverged": sum(one.diverged >= 0 for one in seeds), "n": len(seeds)})
    return rows


def _scores(one: Outcome) -> Iterator[dict[str, Any]]:
    for row in _rows(one, "score"):
        yield {**row, "training_loss": one.training_loss, "diverged_at": one.diverged}


def _rows(one: Outcome, what: str) -> Iterator[dict[str, Any]]:
    columns = one.named(what)
    for row in Table(columns).rows():
        yield {**_who(one), **row}


def _symmetry(one: Outcome) -> Iterator[dict[str, Any]]:
    for row in _rows(one, "distinct"):
        counts = {f"distinct_{when}": row[when] for when in (START, END)}
        yield {**_who(one), "layer": row["layer"], "channels": row["channels"], **counts}


def _movement(one: Outcome) -> Iterator[dict[str, Any]]:
    silent = dict(zip(*one.named("zero_gradient").values(), strict=True))
    for row in _rows(one, "unmoved"):
        share = float(silent.get(row["parameter"], np.nan))
        yield {**_who(one), "parameter": row["parameter"], "zero_gradient": share, "unmoved": row["share"]}


def by_scheme(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Put the seeds of one scheme together."""
    found: dict[str, list[Outcome]] = {}
    for one in outcomes:
        found.setdefault(one.scheme, []).append(one)
    return found


def _shifts(
    outcomes: Sequence[Outcome], told: Callable[[Key], dict[str, str]], *, features: bool
) -> list[dict[str, Any]]:
    """Return from start to end, scheme by scheme, the mean over seeds of each shift, and its interval."""
    rows = []
    for scheme, seeds in by_scheme(outcomes).items():
        for key in seeds[0].distributions:
            if key[0] == START and bool(key[2]) == features:
                pairs = [(one.distributions[key], one.distributions[END, key[1], key[2]]) for one in seeds]
                row: dict[str, Any] = {"scheme": scheme, **told(key)}
                for name, measure in SHIFTS.items():
                    row |= _interval(name, [measure(start, end) for start, end in pairs])
                rows.append({**row, "n": len(seeds)})
    return rows


def _interval(name: str, values: Sequence[float], least: float = -np.inf, most: float = np.inf) -> dict[str, float]:
    mean, *ends = seed_interval(values)
    low, high = np.clip(ends, least, most).tolist()
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _signals(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return each layer's second moment at the start beside what mean-field theory expects."""
    rows = []
    for scheme, seeds in by_scheme(outcomes).items():
        found = [one.named("signal") for one in seeds]
        for i, (layer, depth) in enumerate(zip(found[0]["layer"], found[0]["depth"], strict=True)):
            measured = [float(one["q_measured"][i]) for one in found]
            ends = {"measured": float(np.mean(measured)), "low": min(measured), "high": max(measured)}
            predicted = float(np.mean([one["q_predicted"][i] for one in found]))
            place: dict[str, Any] = {"scheme": scheme, "layer": str(layer), "depth": int(depth)}
            rows.append({**place, **ends, "predicted": predicted, "anchored": bool(found[0]["anchored"][i])})
    return rows


def arrays(outcomes: Sequence[Outcome]) -> dict[str, Array]:
    """Return densities at start and end, all seeds of a scheme together, on edges that both share."""
    schemes = by_scheme(outcomes)
    keys = [key for key in outcomes[0].distributions if key[0] == START]
    parameters = list(dict.fromkeys(name for _, name, source in keys if not source))
    places = list(dict.fromkeys(name for _, name, source in keys if source))
    inputs = list(dict.fromkeys(source for _, _, source in keys if source))
    weights = {"scheme": list(schemes), "parameter": parameters}
    features = {"scheme": list(schemes), "place": places, "input": inputs}
    drawn: dict[str, tuple[Mapping[str, Sequence[str]], Callable[..., Sequence[Distribution]]]] = {
        "weights": (weights, lambda scheme, name: _pair(schemes[scheme], name, "")),
        "features": (features, lambda scheme, name, source: _pair(schemes[scheme], name, source)),
    }
    made: dict[str, Array] = {}
    for name, (axes, pair) in drawn.items():
        made |= densities(name, axes, pair)
    return made


def _pair(seeds: Sequence[Outcome], name: str, source: str) -> list[Distribution]:
    found = [[one.distributions[when, name, source] for one in seeds] for when in (START, END)]
    return [functools.reduce(Distribution.merge, parts) for parts in found]


def densities(
    name: str, axes: Mapping[str, Sequence[str]], pair: Callable[..., Sequence[Distribution]]
) -> dict[str, Array]:
    """Return arrays NAME/density (*axes, when, bin) and NAME/edges (*axes, edge); `pair(*labels)` is start and end."""
    shape = [len(labels) for labels in axes.values()]
    if not all(shape):
        return {}
    values, edges = np.full((*shape, 2, BINS), np.nan), np.full((*shape, BINS + 1), np.nan)
    for place in np.ndindex(*shape):
        both = pair(*(labels[i] for labels, i in zip(axes.values(), place, strict=True)))
        edges[place] = common_edges(both, BINS)
        values[place] = [density(one, edges[place]) for one in both]
    bins, ends = ([str(i) for i in range(n)] for n in (BINS, BINS + 1))
    return {
        f"{name}/density": Array(values, **axes, when=[START, END], bin=bins),
        f"{name}/edges": Array(edges, **axes, edge=ends),
    }
