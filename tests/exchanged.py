"""Exchange maps made up for the tests of figures and page: tables and blocks that fit together, and their edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from netassay.result import Array, Claim, Result, Table

RESNET = (
    ("conv1", 16, 3, "trunk"),
    ("layer1.0.conv1", 16, 16, "branch"),
    ("layer1.0.bn1", 16, 16, "branch"),
    ("layer1.0.conv2", 16, 16, "branch"),
    ("layer2.0.conv1", 32, 16, "branch"),
    ("layer2.0.conv2", 32, 32, "branch"),
    ("fc", 10, 32, "trunk"),
)
RESIDUAL = ("layer1.0.conv1,layer1.0.bn1,layer1.0.conv2", "layer2.0.conv1,layer2.0.conv2")
FIVE = {"low": 0.1, "q25": 0.6, "median": 1.0, "q75": 1.5, "high": 4.0}
Shape = Sequence[tuple[str, int, int, str]]


def exchange(
    shape: Shape = RESNET,
    *,
    seed: int = 0,
    scale: Mapping[str, float] | None = None,
    residual: Sequence[str] = RESIDUAL,
    blocks: bool = True,
) -> Result:
    """Return a made-up exchange map of layers `(name, outputs, inputs, path)`; `scale` makes layers silent or NaN."""
    draw = np.random.default_rng(seed)
    made = {}
    for depth, (name, outputs, inputs, _) in enumerate(shape):
        b = 10 ** draw.normal(-2 - 0.1 * depth, 0.25, (outputs, inputs)) * 10 ** draw.normal(0, 0.3, (outputs, 1))
        b = b * 10 ** draw.normal(0, 0.3, (1, inputs))
        made[name] = (np.diag(np.diag(b)) if "bn" in name else b) * (scale or {}).get(name, 1.0)
    shares = {name: np.clip(draw.normal(0.55 - 0.06 * i, 0.12, b.shape[1]), 0.02, 1) for i, (name, b)
              in enumerate(made.items())}  # fmt: skip
    tables = {
        "layers": Table.of([_layer(i, row, made[row[0]], shares[row[0]]) for i, row in enumerate(shape)]),
        "inputs": Table.of([row for name, b in made.items() for row in _inputs(name, b.sum(0), shares[name])]),
        "outputs": Table.of([row for name, b in made.items() for row in _outputs(name, b.sum(1))]),
        "residual": Table.of([_residual(members, made) for members in residual]),
    }
    axes = {name: [list(map(str, range(size))) for size in b.shape] for name, b in made.items()}
    arrays = {f"blocks/{name}": Array(b, output=axes[name][0], input=axes[name][1]) for name, b in made.items()}
    claim = Claim("uneven emission comes with uneven absorption", 0.4, (0.1, 0.7), len(made), "layers", "holds")
    told = {"samples": 60, "data": "made up", "objective": "cross_entropy"}
    return Result("exchange_map", tables, arrays if blocks else {}, (claim,), (), ("made up",), told)


def _layer(depth, row, b, shares):
    name, outputs, inputs, path = row
    absorbed, emitted = b.sum(0), b.sum(1)
    alive = b.sum() > 0
    return {
        "layer": name, "kind": "BatchNorm2d" if "bn" in name else "Conv2d", "depth": depth, "path": path,
        "mixes": "bn" not in name,
        "outputs": outputs, "inputs": inputs, "samples": 60, "exchanged": float(b.sum()),
        "coherence": float((shares * absorbed).sum() / absorbed.sum()) if alive else float("nan"),
        "emission_variation": float(emitted.std() / emitted.mean()) if alive else float("nan"),
        "absorption_variation": float(absorbed.std() / absorbed.mean()) if alive else float("nan"),
        "starved": int((absorbed < 0.1 * absorbed.mean()).sum()), "cancelled": 0, "again_share": 0.0,
    }  # fmt: skip


def _inputs(name, absorbed, shares):
    low = 0.3 * absorbed.mean()
    return [
        {
            "layer": name, "channel": i, "state": "fed" if value > low else "starved" if value > 0 else "unreached",
            "samples": 60, "absorption_mean": value, "absorption_std": value / 2,
            **{f"absorption_{key}": value * factor for key, factor in FIVE.items()},
            "coherence_median": shares[i] if value > 0 else float("nan"),
            "coherence_q25": 0.8 * shares[i], "coherence_q75": min(1.2 * shares[i], 1.0),
        }
        for i, value in enumerate(absorbed.tolist())
    ]  # fmt: skip


def _outputs(name, emitted):
    return [
        {"layer": name, "channel": i, "samples": 60, "emission_mean": value, "emission_std": value / 2,
         **{f"emission_{key}": value * factor for key, factor in FIVE.items()}}
        for i, value in enumerate(emitted.tolist())
    ]  # fmt: skip


def _residual(members, made):
    through = float(np.sqrt(np.square(np.nan_to_num(made.get(members.split(",")[0], 0.0))).sum())) or 1.0
    return {"layer": members.split(",")[0], "members": members, "through": through, "around": 0.7 * through,
            "total": 1.2 * through}  # fmt: skip
