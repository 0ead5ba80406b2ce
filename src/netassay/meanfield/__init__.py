"""Mean field: what a wide random network does to size, correlation and gradient, from averages over Gaussians."""

from __future__ import annotations

from netassay.meanfield.activations import ACTIVATIONS, Activation, activation
from netassay.meanfield.kernels import Moments, moments, pair, slope_pair
from netassay.meanfield.maps import (
    correlation_map,
    critical,
    depth_scale,
    fixed_point,
    gradient_correlation,
    gradient_factor,
    length_map,
    preserving_gain,
)

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Moments",
    "activation",
    "correlation_map",
    "critical",
    "depth_scale",
    "fixed_point",
    "gradient_correlation",
    "gradient_factor",
    "length_map",
    "moments",
    "pair",
    "preserving_gain",
    "slope_pair",
]
