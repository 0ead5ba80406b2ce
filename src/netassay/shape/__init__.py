"""Shape: how a population of numbers is distributed, how far two distributions lie apart, and what is all the same.

A population is all weights of a layer, or all its features over some images. The value forms are numpy only;
`shape.gathering` takes tensors, in memory that does not grow with them.
"""

from netassay.shape.density import common_edges, density
from netassay.shape.distance import (
    gaussian_distance,
    log_variance_ratio,
    resolution,
    shift,
    wasserstein,
)
from netassay.shape.distribution import Distribution
from netassay.shape.symmetry import distinct_channels, still

__all__ = [
    "Distribution",
    "common_edges",
    "density",
    "distinct_channels",
    "gaussian_distance",
    "log_variance_ratio",
    "resolution",
    "shift",
    "still",
    "wasserstein",
]
