"""Fisher's exact test against every way of dealing, scipy and its own symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from netassay.errors import BadInput
from netassay.inference import fisher_tail, paired_difference
from tests.reference import inference as twin

groups = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(("n", "other_n"), [(1, 1), (3, 5), (6, 4), (2, 8)])
def test_the_tail_counts_the_ways_of_dealing(n, other_n):
    """Small groups, every count: equal to the share of deals, to the last digit."""
    for k in range(n + 1):
        for other_k in range(other_n + 1):
            exact = twin.fisher(k, n, other_k, other_n)
            assert fisher_tail(k, n, other_k, other_n) == pytest.approx(exact, rel=1e-15)


@given(groups, groups)
def test_the_tail_agrees_with_scipy(one, other):
    """Groups of any size up to 300."""
    (k, n), (other_k, other_n) = one, other
    expected = scipy.stats.hypergeom.sf(k - 1, n + other_n, k + other_k, n)
    assert fisher_tail(k, n, other_k, other_n) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(groups, groups)
def test_what_is_not_above_is_below(one, other):
    """k or more here, or else fewer: more than the rest of all hits there."""
    (k, n), (other_k, other_n) = one, other
    rest = 0.0 if k == 0 else fisher_tail(other_k + 1, other_n, k - 1, n) if other_k < other_n else 0.0
    assert fisher_tail(k, n, other_k, other_n) + rest == pytest.approx(1.0)


def test_an_empty_group_proves_nothing():
    """Without things, or without hits, every deal is the same one."""
    assert fisher_tail(0, 0, 3, 5) == fisher_tail(0, 4, 0, 5) == fisher_tail(3, 5, 0, 0) == 1.0


@pytest.mark.parametrize("counts", [(4, 3, 0, 1), (0, 1, 4, 3), (-1, 3, 0, 1)])
def test_more_hits_than_things_are_refused(counts):
    """A count above its group, or below nothing, is answered with what was given."""
    with pytest.raises(BadInput, match=rf"{counts[0]} of {counts[1]} and {counts[2]} of {counts[3]}"):
        fisher_tail(*counts)


@pytest.mark.parametrize("table", [(0, 0, 1), (0, 0, 10), (9, 3, 100), (3, 9, 100), (20, 0, 20), (1, 4, 7)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_paired_differences_are_the_mean_of_each_samples_difference(table, level):
    """As written out sample by sample, two more added; half counts lie between whole ones."""
    assert paired_difference(*table, level) == pytest.approx(twin.paired_difference(*table, level), abs=1e-9)
    b, c, n = table
    if b + c < n:
        low, high = paired_difference(b + 0.5, c + 0.5, n, level)
        assert low <= paired_difference(b, c, n, level)[0]
        assert paired_difference(b, c, n, level)[1] <= high
    assert np.isnan(paired_difference(np.nan, np.nan, n, level)).all()


def test_counts_that_samples_cannot_have_are_refused():
    """More discordant samples than samples, fewer than none, or a level that is no share."""
    for counts in ((6, 5, 10), (-1, 1, 10), (1, 1, 10, 1.5)):
        with pytest.raises(BadInput, match=r"give counts with b \+ c <= n"):
            paired_difference(*counts)
