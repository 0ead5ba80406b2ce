"""Verdicts: tables of what can be wrong, each row a test on named numbers, a sentence, and the threshold's source.

Rooms: `channels` (states of channels and layers of a profile), `rules` (the table for trainings; its tests by
subject in `finite`, `passing`, `signalling`, `updating`), `thresholds`, `dismissing` (what looks sick and is right),
`judging`.
"""

from netassay.verdicts.channels import (
    FEWEST,
    HEALTHY,
    LEVEL,
    QUARTER,
    SILENT,
    SILENT_LAYER,
    STATES,
    Numbers,
    State,
    many,
    not_finite,
    ranges,
    silence_bound,
    silent,
    silent_layer,
    states,
    suspicious,
    too_few,
    unreached_layer,
)
from netassay.verdicts.judging import Judged, judge, judged_result
from netassay.verdicts.rules import RULES, Rule
from netassay.verdicts.signalling import channel_table

__all__ = [
    "FEWEST",
    "HEALTHY",
    "LEVEL",
    "QUARTER",
    "RULES",
    "SILENT",
    "SILENT_LAYER",
    "STATES",
    "Judged",
    "Numbers",
    "Rule",
    "State",
    "channel_table",
    "judge",
    "judged_result",
    "many",
    "not_finite",
    "ranges",
    "silence_bound",
    "silent",
    "silent_layer",
    "states",
    "suspicious",
    "too_few",
    "unreached_layer",
]
