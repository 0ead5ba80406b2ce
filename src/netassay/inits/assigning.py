"""Assigning: a module's own parameters by name, and a value given to one, also where it is computed."""

from __future__ import annotations

from torch import Tensor, nn

CLOSE = 1e-4
"""How near, relative to the largest weight, a computed weight must come to what was assigned."""


def computed(module: nn.Module) -> list[str]:
    """List the weights of a module that a parametrization computes."""
    return list(getattr(module, "parametrizations", ()))


def names(module: nn.Module) -> list[str]:
    """List a module's own parameters, those that are computed included; a weight before its bias."""
    return [*computed(module), *(name for name, _ in module.named_parameters(recurse=False))]


def put(module: nn.Module, parameter: str, value: Tensor) -> bool:
    """Give a module a weight; False, and all as it was, where a parametrization makes another one of it."""
    if parameter not in computed(module):
        getattr(module, parameter).copy_(value)
        return True
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    wanted = value.to(getattr(module, parameter))
    try:
        setattr(module, parameter, wanted)
        got = getattr(module, parameter)
        if bool(((got - wanted).abs().max() <= CLOSE * wanted.abs().max()).item()):
            return True
    except Exception:  # The parametrization may be anyone's code; some have no inverse.
        pass
    module.load_state_dict(before)
    return False
