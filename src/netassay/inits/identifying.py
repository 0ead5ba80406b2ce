"""Identifying: which schemes predict the distribution that a model's weights have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netassay.inits.assigning import names
from netassay.inits.evidence import SHAPES, Evidence, gain, nearest_shape
from netassay.inits.fans import Fans, Part, counted, parts
from netassay.inits.laws import Law, own_law
from netassay.inits.schemes import INITS
from netassay.layers import COMPUTED, shaped
from netassay.quiet import quiet
from netassay.result import Result, Table

UNKNOWN, TINY = "trained / unknown", "too small to tell"
FEWEST = 30
"""Fewer weights say nothing of a random law."""
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
OWN = (*RECURRENT, nn.Embedding, nn.EmbeddingBag)
"""Modules that every scheme leaves to their own reset, as torch has it."""


def identify_init(model: nn.Module) -> Result:
    """Ask of every weight matrix which schemes of `INITS` would have drawn such numbers; the model is only read.

    A scheme is in a layer's set when the weights pass each test of its law: variance (standard error from n and the
    family's kurtosis), mean, kurtosis, support, Kolmogorov's distance, and independence of rows, of columns and of
    taps by John's statistic. Orthogonal, delta-orthogonal and constant weights are known to float precision. Schemes
    whose laws coincide are in the set together. Few weights give large sets; fewer than 30 are "too small to
    tell". An orthogonal matrix of a gain that is no other scheme's is LSUV's; a single row is never taken for
    it. What is none of these is "trained / unknown".

    Table "layers": a row for each matrix, `variance_times_fan_in` of the variance about zero, `kurtosis` 3 for normal
    weights, `z` standard errors of the variance from the nearest candidate's (NaN where it has none). Table "biases".
    Table "model": the schemes in the set of every layer that is told. Embeddings and recurrent layers, which no scheme
    touches, only have to fit their own reset.

    >>> model = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 200))
    >>> from netassay.inits import initialize
    >>> _ = initialize(model, "xavier_uniform")
    >>> [row["schemes"] for row in identify_init(model).table("layers")]
    ['kaiming_uniform,xavier_uniform', 'xavier_uniform']
    >>> identify_init(model).table("model")
    [{'layers': 2, 'told': 2, 'schemes': 'xavier_uniform'}]
    """
    shaped(model, "identify the initialisation of")
    layers: list[dict[str, Any]] = []
    biases: list[dict[str, Any]] = []
    notes: list[str] = []
    with quiet(model), torch.no_grad():
        for name, module in _modules(model):
            rows = [_row(name, module, part) for part in _parts(module)]
            layers += rows
            biases += [_bias(name, module, one) for one in names(module) if "bias" in one and parts(module)]
            notes += _unread(name, module)
    resets = {name for name, module in _modules(model) if isinstance(module, OWN)}
    tables = {"layers": Table.of(layers), "biases": Table.of(biases), "model": Table.of([_overall(layers, resets)])}
    return Result("identify_init", tables, notes=tuple(notes), provenance={"model": _described(model)})


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if not COMPUTED.search(name):
            yield name or "model", module


def _parts(module: nn.Module) -> Sequence[Part]:
    """List the matrices to be read: those that schemes draw, and those of torch's embeddings and recurrent layers."""
    own = [Part(name, name) for name in names(module) if "weight" in name] if isinstance(module, OWN) else []
    return [part for part in (*parts(module), *own) if getattr(module, part.parameter).is_floating_point()]


def _row(name: str, module: nn.Module, part: Part) -> dict[str, Any]:
    weight = getattr(module, part.parameter)
    opened = part.open(_without_padding(module, weight))
    counts = counted(tuple(opened.shape))
    row: dict[str, Any] = {"layer": name, "parameter": part.name, "kind": type(module).__name__}
    row |= {"shape": str(list(weight[part.rows].shape)), "n": opened.numel()}
    row |= {"fan_in": counts.fan_in, "fan_out": counts.fan_out}
    return row | _found(module, part, opened, counts)


def _without_padding(module: nn.Module, weight: Tensor) -> Tensor:
    """Leave out the row of an embedding that its reset sets to zero."""
    padding = getattr(module, "padding_idx", None) if isinstance(module, nn.Embedding | nn.EmbeddingBag) else None
    return weight if padding is None else torch.cat([weight[:padding], weight[padding + 1 :]])


def _found(module: nn.Module, part: Part, weight: Tensor, counts: Fans) -> dict[str, Any]:
    values = weight.detach().double().cpu().numpy()
    values = values.reshape(*values.shape[:3], -1)
    if not values.size or not np.isfinite(values).all():
        blank = dict.fromkeys(("mean", "std", "variance_times_fan_in", "kurtosis"), math.nan)
        return blank | _answer("none", UNKNOWN)
    evidence = Evidence(values, torch.finfo(weight.dtype).eps)
    moments = {
        "mean": evidence.mean,
        "std": float(values.std()),
        "variance_times_fan_in": evidence.second * counts.fan_in,
        "kurtosis": evidence.kurtosis,
    }
    laws = _candidates(module, part, counts)
    exact = _exact(values, tuple(weight.shape[3:]), evidence.eps)
    return moments | ((exact and _exactly(exact, laws, values, evidence.eps)) or _randomly(evidence, laws))


def _answer(family: str, schemes: str, gained: float = math.nan, z: float = math.nan) -> dict[str, Any]:
    return {"family": family, "gain": gained, "schemes": schemes, "z": z}


def _candidates(module: nn.Module, part: Part, counts: Fans) -> dict[str, Law]:
    """Return the law of each scheme for this matrix, in the order of `INITS`."""
    own = own_law(module, part.parameter)
    if isinstance(module, OWN):
        return {"default": own} if own else {}
    laws = {name: own if scheme.law is None else scheme.law(counts) for name, scheme in INITS.items()}
    return {name: law for name, law in laws.items() if law is not None}


def _exact(values: np.ndarray, kernel: tuple[int, ...], eps: float) -> Law | None:
    """Return the law of weights that have no chance in them, or none but in the choice of a rotation."""
    if (values == values.flat[0]).all() and values.size > 1:
        return Law("constant", float(values.flat[0]))
    centre = int(np.ravel_multi_index([size // 2 for size in kernel], kernel)) if kernel else 0
    others = np.delete(values, centre, axis=3)
    delta = others.size > 0 and not others.any()
    found = gain(values[..., centre] if delta else values, eps)
    return None if found is None else Law("delta orthogonal" if delta else "orthogonal", found)


def _exactly(found: Law, laws: dict[str, Law], values: np.ndarray, eps: float) -> dict[str, Any] | None:
    """Answer for weights of an exact law; None for a single row of some norm, which may as well be random."""
    rounding = 2e-5 + 4 * eps / math.sqrt(values.size)
    same = [
        name
        for name, law in laws.items()
        if law.family == found.family
        and not INITS[name].scaled
        and math.isclose(law.scale, found.scale, rel_tol=rounding)
    ]
    if not same and found.family != "constant" and values.shape[0] * min(values.shape[1], values[0, 0].size) == 1:
        return None
    if not same and found.family == "orthogonal":
        same = [name for name in laws if INITS[name].scaled]
    answer = ",".join(same) or UNKNOWN
    return _answer(found.family, answer, math.nan if found.family == "constant" else found.scale)


def _randomly(evidence: Evidence, laws: dict[str, Law]) -> dict[str, Any]:
    random = {name: law for name, law in laws.items() if law.family in SHAPES and law.scale > 0}
    z = {name: evidence.variance_z(*law) for name, law in random.items()}
    if evidence.n < FEWEST:
        return _answer("none", TINY)
    fitting = [name for name, law in random.items() if evidence.fits(*law)]
    nearest = min(fitting or z, key=lambda name: abs(z[name]), default="")
    family = random[nearest].family if fitting else nearest_shape(evidence)
    return _answer(family, ",".join(fitting) or UNKNOWN, z=z.get(nearest, math.nan))


def _bias(name: str, module: nn.Module, parameter: str) -> dict[str, Any]:
    bias = getattr(module, parameter).detach().double().cpu().numpy()
    row: dict[str, Any] = {
        "layer": name,
        "parameter": parameter,
        "n": bias.size,
        "mean": float(bias.mean()),
        "std": float(bias.std()),
    }
    own = own_law(module, "weight") if isinstance(getattr(module, "weight", None), Tensor) else None
    found = "zero" if not bias.any() else "trained / unknown"
    if found != "zero" and own and np.isfinite(bias).all():
        evidence = Evidence(bias.reshape(1, -1, 1, 1), torch.finfo(getattr(module, parameter).dtype).eps)
        found = "default" if evidence.fits(*own) else found
    return row | {"found": found}


def _unread(name: str, module: nn.Module) -> list[str]:
    """Name matrices of modules that have no rule here."""
    known = {part.parameter for part in _parts(module)}
    return [
        f"not read: {name}.{one}, a parameter of {type(module).__name__}"
        for one in names(module)
        if one not in known and "bias" not in one and getattr(module, one).dim() > 1
    ]


def _overall(rows: Sequence[dict[str, Any]], resets: set[str]) -> dict[str, Any]:
    told = [row for row in rows if row["schemes"] != TINY]
    common = [name for name in INITS if told]
    for row in told:
        found = row["schemes"].split(",")
        if not (row["layer"] in resets and "default" in found):
            common = [name for name in common if name in found]
    return {"layers": len(rows), "told": len(told), "schemes": ",".join(common) or (UNKNOWN if told else TINY)}


def _described(model: nn.Module) -> str:
    return str(getattr(model, "spec", f"<{type(model).__module__}.{type(model).__qualname__}>"))
