"""Resetting: every module drawn anew by its own `reset_parameters`, weights that are computed included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import cached

from netassay.inits.assigning import computed
from netassay.layers import COMPUTED
from netassay.quiet import modes
from netassay.seeds import seeded

STEPS = 15
"""Times that a parametrization with a state of its own is run from a random one, as torch's spectral norm begins."""


class Reset(NamedTuple):
    """Modules, by name ("" is the model itself), that were drawn anew, and those that hold what they held."""

    touched: list[str]
    untouched: list[str]


def reset(model: nn.Module, seed: int) -> Reset:
    """Draw every module anew by its own `reset_parameters`, running statistics included.

    That is torch's default scheme, whatever scheme the model's constructor used. A module with parameters
    that has no `reset_parameters`, or one that fails or leaves some undrawn, keeps all it had and is named in
    `untouched`. Attention keeps its reset under another name; a weight that a parametrization computes is drawn and
    assigned, which draws what it is computed from. Same seed, same bits; the global random state is left as it was.

    >>> model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2), nn.ReLU())
    >>> reset(model, seed=0)
    Reset(touched=['0', '1'], untouched=[])
    """
    outcome = Reset([], [])
    with seeded(seed), torch.no_grad():
        for name, module in model.named_modules():
            if COMPUTED.search(name):
                continue
            if drawn := _drawn(module):
                outcome.touched.append(name)
            elif drawn is False:
                outcome.untouched.append(name)
    return outcome


def _drawn(module: nn.Module) -> bool | None:
    parameters, buffers = list(module.parameters(recurse=False)), list(module.buffers(recurse=False))
    redraw = own_reset(module)
    if not parameters and not computed(module) and not (callable(redraw) and buffers):
        return None
    if not callable(redraw) or any(is_lazy(parameter) for parameter in parameters):
        return False
    if not computed(module):
        return redrawn(redraw, parameters, buffers)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    with cached():  # what the reset writes into a computed weight lasts as long
        weights = {name: getattr(module, name) for name in computed(module)}
        try:
            done = redrawn(redraw, [*parameters, *weights.values()], buffers)
            for name, weight in weights.items() if done else ():
                _assign(module, name, weight.clone())
        except Exception:  # The parametrization may be anyone's code; some have no inverse.
            module.load_state_dict(before)
            return False
    return done


def own_reset(module: nn.Module) -> Callable[[], object] | None:
    """Return a module's own reset; None where it has none."""
    found = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
    return found if callable(found) else None


def _assign(module: nn.Module, name: str, weight: Tensor) -> None:
    """Draw what a weight is computed from: assign it, and run what the computation keeps from a random state on."""
    computing = module.get_submodule(f"parametrizations.{name}")
    buffers = list(computing.buffers())
    for buffer in buffers:
        buffer.normal_()
    setattr(module, name, weight)
    with modes(computing, True):
        for _ in range(STEPS * bool(buffers)):
            computing()


def redrawn(redraw: Callable[[], object], parameters: Sequence[Tensor], buffers: list[Tensor]) -> bool:
    """Run a module's reset; False, and all as it was, where it fails or leaves some of `parameters` undrawn."""
    before = [(tensor, tensor.clone()) for tensor in (*parameters, *buffers)]
    for parameter in parameters:
        # What is NaN afterwards was not drawn: weight norm, say, keeps its own parameters from the reset.
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.fill_(torch.nan)
    try:
        redraw()
        done = not any(parameter.isnan().any() for parameter in parameters)
    except Exception:  # The reset may be anyone's code; one that fails has drawn nothing.
        done = False
    if not done:
        for tensor, old in before:
            tensor.copy_(old)
    return done
