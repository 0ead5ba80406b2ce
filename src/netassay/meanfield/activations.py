"""Activations: functions of one number by torch's names and parameters, with their slopes and where they bend."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from netassay.errors import BadInput, UnknownName

Floats = npt.NDArray[np.float64]
Function = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Activation:
    """A function and its slope. `kinks`: where either jumps; `leak`: the slope below 0 of one that is z above.

    With a `leak`, all Gaussian averages have closed forms: 0 is ReLU, 1 the identity.

    >>> activation("leaky_relu", negative_slope=0.1).value(np.array([-2.0, 2.0])).tolist()
    [-0.2, 2.0]
    """

    name: str
    value: Function
    slope: Function
    kinks: tuple[float, ...] = ()
    leak: float | None = None


def activation(name: str, **parameters: float | str) -> Activation:
    """Make an activation by torch's functional name, with torch's parameters and defaults.

    Raises `UnknownName` for a name outside `ACTIVATIONS`, and `BadInput` for parameters that it does not take.

    >>> activation("elu", alpha=2.0).kinks
    (0.0,)
    """
    if name not in ACTIVATIONS:
        raise UnknownName("activation", name, ACTIVATIONS)
    try:
        return ACTIVATIONS[name](**parameters)
    except TypeError as error:
        raise BadInput(f"activation {name!r} with {parameters}", str(error), "use torch's parameter names") from None


_erf = np.frompyfunc(math.erf, 1, 1)


def erf(z: Floats) -> Floats:
    """Return the error function; numpy has none."""
    return np.asarray(_erf(z), dtype=np.float64)


def _density(z: Floats) -> Floats:
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _normal(z: Floats) -> Floats:
    return (1 + erf(z / math.sqrt(2))) / 2


def _logistic(z: Floats) -> Floats:
    return (1 + np.tanh(z / 2)) / 2


def _falling(z: Floats) -> Floats:
    """Return exp(z) below 0 and 1 above, without overflow."""
    return np.exp(np.minimum(z, 0.0))


def _leaky(negative_slope: float = 0.01) -> Activation:
    a = float(negative_slope)
    name = {0.0: "relu", 1.0: "linear"}.get(a, "leaky_relu")
    return Activation(name, lambda z: np.where(z > 0, z, a * z), lambda z: np.where(z > 0, 1.0, a), (0.0,), a)


def _elu(alpha: float = 1.0, *, scale: float = 1.0, width: float = 1.0) -> Activation:
    def value(z: Floats) -> Floats:
        return scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0) / width))

    return Activation("elu", value, lambda z: scale * np.where(z > 0, 1.0, alpha / width * _falling(z / width)), (0.0,))


def _selu() -> Activation:
    # Klambauer et al. 2017 (arXiv 1706.02515), equation 14, to the digits that torch has.
    return _elu(1.6732632423543772, scale=1.0507009873554805)


def _gelu(approximate: str = "none") -> Activation:
    if approximate != "tanh":
        return Activation("gelu", lambda z: z * _normal(z), lambda z: _normal(z) + z * _density(z))
    a, b = math.sqrt(2 / math.pi), 0.044715

    def slope(z: Floats) -> Floats:
        t: Floats = np.tanh(a * (z + b * z**3))
        return (1 + t) / 2 + z / 2 * (1 - t**2) * a * (1 + 3 * b * z**2)

    return Activation("gelu", lambda z: z / 2 * (1 + np.tanh(a * (z + b * z**3))), slope)


def _clamped(min_val: float = -1.0, max_val: float = 1.0) -> Activation:
    return Activation(
        "hardtanh",
        lambda z: np.clip(z, min_val, max_val),
        lambda z: np.where((z > min_val) & (z < max_val), 1.0, 0.0),
        (float(min_val), float(max_val)),
    )


def _softplus(beta: float = 1.0, threshold: float = 20.0) -> Activation:
    # torch goes over to the identity beyond the threshold, by which time they differ by exp(-threshold).
    return Activation("softplus", lambda z: np.logaddexp(0.0, beta * z) / beta, lambda z: _logistic(beta * z))


def _mish() -> Activation:
    def slope(z: Floats) -> Floats:
        t: Floats = np.tanh(np.logaddexp(0.0, z))
        return t + z * (1 - t**2) * _logistic(z)

    return Activation("mish", lambda z: z * np.tanh(np.logaddexp(0.0, z)), slope)


def _silu() -> Activation:
    return Activation("silu", lambda z: z * _logistic(z), lambda z: _logistic(z) * (1 + z * (1 - _logistic(z))))


def _hardswish() -> Activation:
    def slope(z: Floats) -> Floats:
        return np.where(z > 3, 1.0, np.where(z < -3, 0.0, (2 * z + 3) / 6))

    return Activation("hardswish", lambda z: z * np.clip(z + 3, 0, 6) / 6, slope, (-3.0, 3.0))


ACTIVATIONS: Mapping[str, Callable[..., Activation]] = {
    "linear": lambda: _leaky(1.0),
    "relu": lambda: _leaky(0.0),
    "leaky_relu": _leaky,
    "elu": _elu,
    "celu": lambda alpha=1.0: _elu(alpha, width=alpha),
    "selu": _selu,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "tanh": lambda: Activation("tanh", np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": lambda: Activation("sigmoid", _logistic, lambda z: _logistic(z) * _logistic(-z)),
    "logsigmoid": lambda: Activation("logsigmoid", lambda z: -np.logaddexp(0.0, -z), lambda z: _logistic(-z)),
    "softplus": _softplus,
    "softsign": lambda: Activation("softsign", lambda z: z / (1 + abs(z)), lambda z: (1 + abs(z)) ** -2.0, (0.0,)),
    "erf": lambda: Activation("erf", erf, lambda z: 2 / math.sqrt(math.pi) * np.exp(-(z**2))),
    "hardtanh": _clamped,
    "relu6": lambda: _clamped(0.0, 6.0),
    "hardsigmoid": lambda: Activation(
        "hardsigmoid", lambda z: np.clip(z / 6 + 0.5, 0, 1), lambda z: np.where(abs(z) < 3, 1 / 6, 0.0), (-3.0, 3.0)
    ),
    "hardswish": _hardswish,
}
"""Activations by name, each a maker that takes torch's parameters."""
