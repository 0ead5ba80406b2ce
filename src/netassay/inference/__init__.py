"""How sure one may be: intervals, p-values and corrections for many tests; numpy only.

Rooms: `binomial` (exact bounds on a chance), `contingency` (two groups, two ways), `resampling` (bootstrap,
permutation), `jackknife`, `correction` (many tests), `student` (a few seeds), `factorial` (several causes).
"""

from netassay.inference.binomial import binomial_interval, binomial_tail, binomial_upper
from netassay.inference.contingency import fisher_tail, paired_difference
from netassay.inference.correction import benjamini_hochberg, holm
from netassay.inference.factorial import Effect, contrast, factorial, single_changes
from netassay.inference.jackknife import jackknife
from netassay.inference.resampling import bootstrap, difference_of_means, permutation
from netassay.inference.student import prediction_tail, seed_interval, student_quantile

__all__ = [
    "Effect",
    "benjamini_hochberg",
    "binomial_interval",
    "binomial_tail",
    "binomial_upper",
    "bootstrap",
    "contrast",
    "difference_of_means",
    "factorial",
    "fisher_tail",
    "holm",
    "jackknife",
    "paired_difference",
    "permutation",
    "prediction_tail",
    "seed_interval",
    "single_changes",
    "student_quantile",
]
