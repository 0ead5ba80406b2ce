"""Channel tables: streams of a profile as rows per layer and per channel, judged by the verdict table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from netassay.result import Array, Result, Table, Verdict
from netassay.streams import Counts, LogHistogram, Moments, Norms
from netassay.streams.moments import ratio
from netassay.verdicts import (
    FEWEST,
    STATES,
    many,
    not_finite,
    silence_bound,
    silent,
    silent_layer,
    states,
    too_few,
    unreached_layer,
)

if TYPE_CHECKING:
    from netassay.studies.channel_profile import Profile
    from netassay.studies.channel_streams import Channels

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
QUARTILES = (0.25, 0.5, 0.75)


def tables(profile: Profile) -> Result:
    """Read a profile into tables, arrays and verdicts."""
    numbers = [numbers_of(layer) for layer in profile.layers]
    named = [states(one) for one in numbers]
    every = list(zip(profile.layers, numbers, named, strict=True))
    labels = [layer.label for layer in profile.layers]
    return Result(
        study="channel_profile",
        tables={
            "layers": Table.of([_layer_row(*one) for one in every]),
            "channels": Table.stacked([_channel_columns(*one) for one in every]),
        },
        arrays={
            f"{side}_quantiles": Array(
                [_layer_quantiles(getattr(layer, side)) for layer in profile.layers],
                layer=labels,
                quantile=[f"q{round(q * 100):02d}" for q in QUANTILES],
            )
            for side in ("y", "gy")
        },
        verdicts=tuple(_verdicts(profile, numbers, named)),
        notes=tuple(_notes(profile)),
        provenance=profile.made,
    )


def numbers_of(layer: Channels) -> dict[str, np.ndarray]:
    """Return what the states are judged by, one number a channel; see `verdicts.Numbers`."""
    y, gy = layer.y["counts"], layer.gy.get("counts")
    nothing = np.full(len(y.entries), np.nan)
    judged = y if layer.activation else gy
    mean_square = layer.y["moments"].mean_square
    size = layer.y["magnitude"].mean if layer.activation else nothing
    return {
        "samples": y.samples if layer.activation or _reached(gy) else np.zeros_like(y.samples),
        "firing": nothing if judged is None else _firing(judged),
        "open": nothing if judged is None else 1 - judged.zero_share,
        "size": ratio(size, ratio(np.nansum(size), np.isfinite(size).sum())),
        "spread": ratio(layer.y["spread"].variance, mean_square),
        "flat": nothing if layer.flat is None else ratio(layer.flat[0], layer.flat[1]),
    }


def _reached(gy: Counts | None) -> bool:
    """Tell whether any gradient arrived: NaN and Inf are no silence."""
    return gy is not None and bool((gy.active + gy.nan + gy.inf).any())


def _firing(counts: Counts) -> np.ndarray:
    """Return the samples for which each channel fires; NaN where it may only seem silent, since not all is finite."""
    unknown = (counts.active == 0) & (counts.finite < counts.entries)
    return np.where(unknown, np.nan, counts.active)


def _layer_row(layer: Channels, numbers: Mapping[str, np.ndarray], named: np.ndarray) -> dict[str, Any]:
    y, gy = layer.y, layer.gy
    row: dict[str, Any] = {
        "layer": layer.label,
        "kind": layer.kind,
        "depth": layer.depth,
        "path": layer.path,
        "activation": layer.activation,
        "channels": len(named),
        "samples": int(y["counts"].samples[0]),
    }
    row |= {state.name: int((named == state.name).sum()) for state in STATES}
    row |= {"y_rms": _pooled(y["norms"]), "gy_rms": _pooled(gy.get("norms"))}
    row |= {
        "gy_norm": _per_sample(gy),
        "y_mean_square": float(np.mean(y["moments"].mean_square)),
        "y_variance_across_samples": float(np.mean(y["spread"].variance)),
        "y_zero_share": _share(y["counts"], "zero"),
        "gy_zero_share": _share(gy.get("counts"), "zero"),
        "gy_subnormal_share": _share(gy.get("counts"), "subnormal"),
        "y_not_finite": int((y["counts"].nan + y["counts"].inf).sum()),
        "gy_not_finite": int((gy["counts"].nan + gy["counts"].inf).sum()) if gy else 0,
    }
    return row


def _channel_columns(layer: Channels, numbers: Mapping[str, np.ndarray], named: np.ndarray) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {
        "layer": np.full(len(named), layer.label),
        "channel": np.arange(len(named)),
        "state": named,
        "samples": layer.y["counts"].samples,
        "firing": numbers["firing"],
        "fires_for_at_most": np.where(numbers["firing"] == 0, silence_bound(layer.y["counts"].samples), np.nan),
    }
    for side, streams in (("y", layer.y), ("gy", layer.gy)):
        columns |= {f"{side}_{name}": values for name, values in _side(streams, len(named)).items()}
    columns["y_variance_across_samples"] = layer.y["spread"].variance
    return columns


def _side(streams: Mapping[str, Any], channels: int) -> dict[str, np.ndarray]:
    if not streams:
        return {name: np.full(channels, np.nan) for name in SIDE}
    return {name: np.broadcast_to(np.float64(column(streams)), channels) for name, column in SIDE.items()}


def _quartile(i: int) -> Any:
    return lambda s: s["sample_norms"].quantile(list(QUARTILES))[:, i] if "sample_norms" in s else np.nan


def _finite(end: str) -> Any:
    return lambda s: np.where(s["moments"].n > 0, getattr(s["extremes"], end), np.nan)


SIDE: dict[str, Any] = {
    "mean": lambda s: np.where(s["moments"].n > 0, s["moments"].mean, np.nan),
    "std": lambda s: s["moments"].std,
    "skewness": lambda s: s["moments"].skewness,
    "kurtosis": lambda s: s["moments"].kurtosis,
    "rms": lambda s: s["norms"].rms,
    "low": _finite("low"),
    "high": _finite("high"),
    "norm_q25": _quartile(0),
    "norm_median": _quartile(1),
    "norm_q75": _quartile(2),
    "zero_share": lambda s: s["counts"].zero_share,
    "nan": lambda s: s["counts"].nan,
    "inf": lambda s: s["counts"].inf,
}
"""Columns of one side of the channel table, each a function of the side's streams."""


def _layer_quantiles(streams: Mapping[str, Any]) -> np.ndarray:
    histogram: LogHistogram | None = streams.get("quantiles")
    return np.full(len(QUANTILES), np.nan) if histogram is None else histogram.quantile(list(QUANTILES))[0]


def _pooled(norms: Norms | None) -> float:
    """Root mean square over all channels."""
    if norms is None:
        return float("nan")
    top = int(norms.exponent.max())
    entries = norms.entries.sum()
    total = np.ldexp(norms.square, 2 * (norms.exponent - top)).sum()
    return float(np.ldexp(np.sqrt(total / entries), top)) if entries else float("nan")


def _per_sample(streams: Mapping[str, Any]) -> float:
    """Root mean square over samples of the norm of the layer's whole output gradient."""
    if not streams:
        return float("nan")
    moments: Moments = streams["moments"]
    samples = int(streams["counts"].samples[0])
    return _pooled(streams["norms"]) * float(np.sqrt(moments.n.sum() / samples)) if samples else float("nan")


def _share(counts: Counts | None, name: str) -> float:
    return float("nan") if counts is None else float(ratio(getattr(counts, name).sum(), counts.finite.sum()))


def _verdicts(
    profile: Profile, numbers: Sequence[Mapping[str, np.ndarray]], named: Sequence[np.ndarray]
) -> list[Verdict]:
    found: list[Verdict | None] = [_first_not_finite(profile)]
    found += [too_few(profile.samples)] if profile.samples < FEWEST else []
    before: list[str] = []
    for layer, one in zip(profile.layers, named, strict=True):
        if profile.samples and not _reached(layer.gy.get("counts")):
            found.append(unreached_layer(layer.label, profile.samples))
        # An activation is silent where the layer before it is: one finding, at the layer that has the weights.
        mute = silent(one).tolist()
        if not (layer.activation and mute == before):
            found.append(silent_layer(layer.label, one, profile.samples, profile.before.get(layer.label)))
        before = mute
        found += [many(state, layer.label, one, profile.samples) for state in ("constant", "saturated")]
    order = {"finding": 0, "warning": 1, "note": 2}
    return sorted((verdict for verdict in found if verdict), key=lambda verdict: order[verdict.severity])


def _first_not_finite(profile: Profile) -> Verdict | None:
    forward = [(layer.label, "output", layer.y["counts"]) for layer in profile.layers]
    backward = [(one.label, "gradient at the output", one.gy["counts"]) for one in reversed(profile.layers) if one.gy]
    for label, what, counts in forward + backward:
        if (counts.nan + counts.inf).any():
            return not_finite(label, what, {"nan": counts.nan.sum(), "inf": counts.inf.sum()}, profile.samples)
    return None


def _notes(profile: Profile) -> list[str]:
    notes = [*profile.notes, *(f"asked for but never ran: {name}" for name in profile.never_ran)]
    norms = {
        layer.label: [side["sample_norms"] for side in (layer.y, layer.gy) if "sample_norms" in side]
        for layer in profile.layers
    }
    outside = {label: sum(int(one.outside.sum()) for one in both) for label, both in norms.items()}
    if any(outside.values()):
        worst = max(outside, key=lambda label: outside[label])
        told = f"{sum(outside.values())} per-sample norms, {outside[worst]} of them of {worst}, lie outside the window"
        notes.append(f"{told} that the first batch set; quartiles count them at its ends")
    return notes
