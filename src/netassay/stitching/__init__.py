"""Stitching: is what one network hands over compatible with what follows in another? Adapters, matching, judging.

Maths of activations and callables. Rooms: `forms` (positions), `sums` (normal equations), `solving` (closed forms),
`adapters`, `fitting` (training one), `losses` (what by), `judging` (what a stitch is worth), `metering`
(multiply-adds), `protocol` (which of it by default).
"""

from netassay.stitching.adapters import ADAPTERS, Adapter, Recipe, adapter
from netassay.stitching.fitting import Fit, answers, fit, stitched
from netassay.stitching.forms import Arrange, Form, form
from netassay.stitching.judging import Expected, Judged, farther, judge
from netassay.stitching.losses import LOSSES, Samples
from netassay.stitching.metering import Meter
from netassay.stitching.protocol import CLOSED, DEFAULT, Protocol, held_out, trained_on
from netassay.stitching.solving import RIDGES, Map, explained
from netassay.stitching.sums import NormalEquations, Sums

__all__ = [
    "ADAPTERS",
    "CLOSED",
    "DEFAULT",
    "LOSSES",
    "RIDGES",
    "Adapter",
    "Arrange",
    "Expected",
    "Fit",
    "Form",
    "Judged",
    "Map",
    "Meter",
    "NormalEquations",
    "Protocol",
    "Recipe",
    "Samples",
    "Sums",
    "adapter",
    "answers",
    "explained",
    "farther",
    "fit",
    "form",
    "held_out",
    "judge",
    "stitched",
    "trained_on",
]
