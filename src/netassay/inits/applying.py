"""Applying: a scheme put on a model, parameter by parameter, and the list of what was touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from netassay.errors import BadInput
from netassay.inits import scaling
from netassay.inits.assigning import computed, names, put
from netassay.inits.fans import parts
from netassay.inits.resetting import own_reset, redrawn
from netassay.inits.schemes import INITS, Scheme
from netassay.layers import COMPUTED, NORMS, shaped
from netassay.quiet import modes
from netassay.seeds import check, generator, mixed, seeded


@dataclass(frozen=True)
class Drawn:
    """What became of one parameter.

    `how`: "scheme", "own reset", "zero", "one", "shared" with a parameter that was drawn before, or "kept"; `std` is
    the standard deviation of what it now holds; `note` says why.
    """

    layer: str
    parameter: str
    how: str
    std: float
    note: str = ""

    @property
    def name(self) -> str:
        """The parameter's dotted name."""
        return f"{self.layer}.{self.parameter}".removeprefix(".")


@dataclass(frozen=True)
class Initialized:
    """What `initialize` did: a row for each parameter, in order of definition."""

    scheme: str
    seed: int
    rows: tuple[Drawn, ...]

    @property
    def touched(self) -> list[str]:
        """Dotted names of the parameters that were drawn or set; the buffers of a module count as one."""
        return [row.name for row in self.rows if row.how not in ("kept", "shared")]

    @property
    def untouched(self) -> list[str]:
        """Dotted names of the parameters that hold what they held."""
        return [row.name for row in self.rows if row.how == "kept"]

    def __repr__(self) -> str:
        wide = max((len(row.name) for row in self.rows), default=0)
        lines = [
            f"  {row.name:{wide}}  {row.how:9}  std {row.std:.4g}" + (f"  ({row.note})" if row.note else "")
            for row in self.rows
        ]
        counts = f"{len(self.touched)} touched, {len(self.untouched)} untouched"
        return "\n".join([f"Initialized(scheme={self.scheme!r}, seed={self.seed}: {counts})", *lines])


def initialize(model: nn.Module, scheme: str | Scheme, seed: int = 0, *, data: Any = None) -> Initialized:
    """Draw every parameter of `model` anew, in place, by one rule; return what was touched.

    - Weight matrices of linear, bilinear, convolutional, transposed and attention layers: by the scheme; an attention
      layer's stacked projections are three matrices. Every bias of these layers: zero.
    - Norms: gain one, bias zero, running statistics reset.
    - All else, embeddings (N(0, 1) in torch) and recurrent layers among it: by the module's own reset, whatever the
      scheme. What has none, or one that fails, is kept and named in `untouched`.
    - "default": all by their own resets, biases included.

    A weight that is computed (`torch.nn.utils.parametrize`) is assigned, and kept where the outcome is not what was
    drawn, as under spectral norm. A shared parameter is drawn once, where it is defined first. Frozen parameters are
    drawn too and stay frozen. What a parameter gets depends on `seed`, its name and shape, not on other layers;
    modes, gradients, hooks and the global random state are as before.

    "lsuv" runs the model in eval mode on `data`, a batch of inputs or anything with such a batch as `x`; without
    it on Gaussian noise `(64, *model.input_shape)`. In the order of execution each weight is divided by the standard
    deviation of all values its layer's first call puts out. Other schemes take no notice of `data`.

    Raises `UnknownName` for a scheme that is not in `INITS`, `BadInput` for lazy modules, meta tensors, a seed
    out of range, and for LSUV without an input that runs.

    >>> model = nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2))
    >>> initialize(model, "ones")
    Initialized(scheme='ones', seed=0: 4 touched, 0 untouched)
      0.weight  scheme     std 0
      0.bias    zero       std 0
      1.weight  one        std 0
      1.bias    zero       std 0
    """
    found = scheme if isinstance(scheme, Scheme) else INITS[scheme]
    check(seed)
    shaped(model, "initialize")
    _real(model)
    batch = scaling.batch(model, data, seed) if found.scaled else None
    work = _Work(model, found, seed)
    # Eval mode, since spectral norm goes on with its iteration whenever its weight is read in training.
    with torch.no_grad(), modes(model, False):
        work.by_own_resets()
        work.by_rule()
        if batch is not None:
            work.noted(scaling.scale(model, batch, work.drawn()))
        return Initialized(found.name, seed, tuple(work.rows()))


class _Work:
    """One pass over a model: who owns each parameter, and what became of it."""

    def __init__(self, model: nn.Module, scheme: Scheme, seed: int) -> None:
        self.scheme, self.seed = scheme, seed
        self.modules = [(name, one) for name, one in model.named_modules() if not COMPUTED.search(name)]
        self.how: dict[tuple[str, str], tuple[str, str]] = {}
        self.first: dict[int, str] = {}
        for name, module in self.modules:
            for parameter, tensor in module.named_parameters(recurse=False):
                whose = self.first.setdefault(id(tensor), f"{name}.{parameter}".removeprefix("."))
                if whose != f"{name}.{parameter}".removeprefix("."):
                    self.how[name, parameter] = ("shared", f"with {whose}")

    def by_own_resets(self) -> None:
        """Let modules that no rule names draw themselves; what is inside a module before it, as constructors do."""
        for name, module in reversed(self.modules):
            if self.scheme.law is not None and (parts(module) or _is_norm(module)):
                continue
            shared = [(t, t.clone()) for p, t in module.named_parameters(recurse=False) if (name, p) in self.how]
            with seeded(mixed(self.seed, crc32(name.encode()))):
                done = _own_reset(module)
            for tensor, before in shared:
                tensor.copy_(before)
            for parameter in names(module):
                outcome = ("own reset", "") if done and parameter not in computed(module) else ("kept", _why(done))
                self.how.setdefault((name, parameter), outcome)
            if done and list(module.buffers(recurse=False)):
                self.how[name, "buffers"] = ("own reset", "")

    def by_rule(self) -> None:
        """Draw weight matrices, and set the biases beside them and the norms."""
        for name, module in self.modules if self.scheme.law is not None else ():
            if _is_norm(module):
                self._norm(name, module)
            elif parts(module):
                self._matrices(name, module)

    def _norm(self, name: str, module: nn.Module) -> None:
        for parameter in names(module):
            one = parameter == "weight"
            if parameter in ("weight", "bias") and (name, parameter) not in self.how:
                put(module, parameter, torch.full_like(getattr(module, parameter), float(one)))
                self.how[name, parameter] = ("one" if one else "zero", "")
            self.how.setdefault((name, parameter), ("kept", "no rule for it"))
        if isinstance(module, _NormBase) and module.track_running_stats:
            module.reset_running_stats()
            self.how[name, "buffers"] = ("own reset", "")

    def _matrices(self, name: str, module: nn.Module) -> None:
        for parameter in names(module):
            if (name, parameter) in self.how:
                continue
            drawn = self._draw(name, module, parameter)
            how = "zero" if "bias" in parameter else "scheme"
            if drawn is None:
                self.how[name, parameter] = ("kept", "no rule for it")
            elif not put(module, parameter, drawn):
                self.how[name, parameter] = ("kept", "a parametrization gives other weights than those assigned")
            else:
                self.how[name, parameter] = (how, "")

    def _draw(self, name: str, module: nn.Module, parameter: str) -> Tensor | None:
        weight = getattr(module, parameter)
        if not weight.is_floating_point() or not weight.numel():
            return None
        mine = [part for part in parts(module) if part.parameter == parameter]
        if not mine:
            return torch.zeros_like(weight) if "bias" in parameter else None
        drawn = torch.empty(weight.shape, dtype=torch.float64)
        for part in mine:
            source = generator(self.seed, crc32(f"{name}.{part.name}".encode()))
            drawn[part.rows] = part.close(self.scheme.draw(tuple(part.open(weight).shape), source), weight)
        return drawn

    def drawn(self) -> dict[str, nn.Module]:
        """Return the layers whose weight came from the scheme."""
        return {name: module for name, module in self.modules if self.how.get((name, "weight"), ("",))[0] == "scheme"}

    def noted(self, notes: dict[str, str]) -> None:
        """Add to what was noted about layers' weights."""
        for (name, parameter), (how, _) in self.how.items():
            if how == "scheme":
                note = notes.get(name, "") if parameter == "weight" else scaling.UNSEEN
                self.how[name, parameter] = (how, note)

    def rows(self) -> Iterator[Drawn]:
        """List what became of each parameter, in order of definition."""
        for name, module in self.modules:
            for parameter in (*names(module), "buffers"):
                if (name, parameter) in self.how:
                    yield Drawn(
                        name,
                        parameter,
                        self.how[name, parameter][0],
                        _std(module, parameter),
                        self.how[name, parameter][1],
                    )


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, (*NORMS, _NormBase))


def _own_reset(module: nn.Module) -> bool:
    """Run a module's own reset, where it has something to reset; attention keeps its under another name."""
    redraw = own_reset(module)
    own, buffers = list(module.parameters(recurse=False)), list(module.buffers(recurse=False))
    return redraw is not None and bool(own or buffers) and redrawn(redraw, own, buffers)


def _why(done: bool) -> str:
    return "its own reset cannot reach a computed weight" if done else "no reset of its own that draws it"


def _std(module: nn.Module, parameter: str) -> float:
    value = getattr(module, parameter, None)
    if not isinstance(value, Tensor) or not value.numel():
        return float("nan")
    return float(value.detach().double().std(correction=0)) if not value.is_complex() else float("nan")


def _real(model: nn.Module) -> None:
    meta = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if meta:
        found = f"parameter {meta[0]!r} is on the meta device and holds nothing"
        raise BadInput(f"initialize {type(model).__name__}", found, "model.to_empty(device='cpu') first")
