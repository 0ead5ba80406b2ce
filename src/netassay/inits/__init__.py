"""Initialisation: schemes by name, a model's weights drawn by one of them, and the scheme found from the weights.

Rooms: `fans` (weights as matrices), `laws` (distributions), `schemes`, `applying` and `scaling` (drawing),
`evidence` and `identifying` (finding), `resetting` (every module by its own reset).
"""

from netassay.inits.applying import Drawn, Initialized, initialize
from netassay.inits.fans import Fans, fans
from netassay.inits.identifying import identify_init
from netassay.inits.laws import Law
from netassay.inits.resetting import Reset, reset
from netassay.inits.schemes import INITS, Scheme

__all__ = [
    "INITS",
    "Drawn",
    "Fans",
    "Initialized",
    "Law",
    "Reset",
    "Scheme",
    "fans",
    "identify_init",
    "initialize",
    "reset",
]
