"""Three estimators of debiased CKA, against the definition and against each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from netassay.errors import BadInput, UnknownName
from netassay.measures import named, orders
from netassay.studies.similarity_asked import Tap
from netassay.studies.similarity_batches import Batched, gram
from netassay.studies.similarity_estimators import Kept, estimate
from netassay.studies.similarity_modes import BATCHES, FULL, SPACE, Size, way
from netassay.studies.similarity_pairs import Pairs, reordered
from netassay.studies.similarity_sums import Sums
from netassay.studies.similarity_sums import reordered as reordered_sums
from tests.reference import maps as twin

WIDTHS, A, B = (3, 5, 2, 4), [0, 1], [2, 3, 1]


def drawn(n, seed=0, offset=0.0, dtype=torch.float64):
    """Features of four layers that depend on each other, far from zero."""
    source = torch.Generator().manual_seed(seed)
    common = torch.randn(n, 3, generator=source, dtype=torch.float64)
    layers = []
    for d in WIDTHS:
        own = torch.randn(n, d, generator=source, dtype=torch.float64)
        layers.append((common @ torch.randn(3, d, generator=source, dtype=torch.float64) + own + offset).to(dtype))
    return layers


def taps(size=8):
    return [Tap(None, (f"layer{i}", 0), d, 1, size, "") for i, d in enumerate(WIDTHS)]


def passed(sink, layers, sizes):
    """Hand features to a sink, batch by batch."""
    begin = 0
    for size in sizes:
        for tap, x in enumerate(layers):
            sink.take(tap, x[begin : begin + size])
        sink.end(size)
        begin += size
    return sink


def table(value, layers):
    return np.array([[value(layers[i].numpy(), layers[j].numpy()) for j in B] for i in A])


def full(layers, count=0, name="cka"):
    measure = named(name)
    sides = [layers[i] for i in A], [layers[j] for j in B]
    return estimate(measure, sides, orders(len(layers[0]), count), 0.95, 0)


def test_a_full_gram_map_is_the_definition_of_each_pair():
    """Every entry is the U-statistic over samples that differ, negative ones included."""
    layers = drawn(9)
    np.testing.assert_allclose(full(layers).value, table(twin.cka, layers), rtol=0, atol=1e-12)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.sampled_from([0.0, 3.0, 1e3, 1e6]), st.integers(0, 9))
def test_feature_space_is_the_full_sample_for_any_split_and_any_offset(sizes, offset, seed):
    """Streamed over any batches, features 1e6 deviations from 0: what all samples at once give, to 1e-8."""
    sizes = [*sizes, 5]
    layers = drawn(sum(sizes), seed, offset)
    streamed = passed(Sums(taps(), A, B), layers, sizes)
    np.testing.assert_allclose(streamed.estimates()[0].numpy(), full(layers).value, rtol=0, atol=1e-8)


def test_feature_space_is_the_definition_and_its_groups_are_left_out_one_by_one():
    """The first is the map of all samples; the g-th leaves out samples g, g + 10, ..., whatever the batches."""
    layers = drawn(23, 1, 50.0)
    found = passed(Sums(taps(), A, B), layers, [2, 7, 14]).estimates().numpy()
    assert all(torch.equal(x, y) for x, y in zip(layers, drawn(23, 1, 50.0), strict=True))  # looked at, not shifted
    np.testing.assert_allclose(found[0], table(twin.cka, layers), rtol=0, atol=1e-11)
    for g in range(10):
        left = [x[torch.arange(23) % 10 != g] for x in layers]
        np.testing.assert_allclose(found[1 + g], full(left).value, rtol=0, atol=1e-11)


def test_feature_space_needs_no_more_memory_for_more_samples():
    """What is held after one batch is what is held after forty."""

    def held(batches):
        sink = passed(Sums(taps(), A, B), drawn(20 * batches), [20] * batches)
        return sum(t.numel() for group in sink.groups for one in group.values() for t in vars(one).values())

    assert held(1) == held(40)


@pytest.mark.parametrize("sizes", [[12], [6, 6, 6], [9, 5, 7, 4], [8, 8, 3], [1, 10, 2, 6]])
def test_minibatch_is_a_ratio_of_means_over_all_batches(sizes):
    """Not of the last batch, not over the number of layers, tails of three or fewer left out, nothing clamped."""
    layers = drawn(sum(sizes), 2, 5.0)
    sink = passed(Batched(taps(), A, B, 0, 0), layers, sizes)
    wanted = table(lambda x, y: twin.by_batches(x, y, sizes), layers)
    np.testing.assert_allclose(sink.estimates()[0].numpy(), wanted, rtol=0, atol=1e-12)
    assert sink.left_out == sum(size for size in sizes if size < 4)


def test_minibatch_leaves_out_each_batch_for_its_interval():
    """The g-th is the map of all batches but the g-th."""
    layers = drawn(30, 3)
    sink = passed(Batched(taps(), A, B, 0, 0), layers, [10, 10, 10])
    found = sink.estimates().numpy()
    for g in range(3):
        rest = [torch.cat([x[: 10 * g], x[10 * g + 10 :]]) for x in layers]
        np.testing.assert_allclose(found[1 + g], table(lambda x, y: twin.by_batches(x, y, [10, 10]), rest), atol=1e-12)


def test_minibatch_of_single_precision_far_from_zero_keeps_its_digits():
    """A mean of 1,000 deviations costs what float32 has lost in the features already, and no more."""
    layers = drawn(256, 4, 1000.0, torch.float32)
    found = passed(Batched(taps(size=4), A, B, 0, 0), layers, [128, 128]).estimates()[0].numpy()
    wanted = passed(Batched(taps(), A, B, 0, 0), [x.double() for x in layers], [128, 128]).estimates()[0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_minibatch_of_tiny_features_does_not_vanish():
    """Features of 1e-25, whose squares float32 does not have, give the same map."""
    layers = drawn(64, 5, 0.0, torch.float32)
    found = [passed(Batched(taps(), A, B, 0, 0), [s * x for x in layers], [32, 32]).estimates()[0] for s in (1, 1e-25)]
    np.testing.assert_allclose(found[1].numpy(), found[0].numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1234.567])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_minibatch_of_a_constant_layer_is_undefined(constant, dtype, apart):
    """Equal samples are not alike to anything: nor where batches differ, nor without one batch, nor in any order."""
    layers = drawn(60, 6, 0.0, dtype)
    steps = apart * torch.arange(3).repeat_interleave(20)[:, None]
    layers[0] = ((constant + steps) * torch.linspace(0.3, 2.0, 3)).to(dtype)
    sink = passed(Batched(taps(), A, B, 5, 0), layers, [20, 20, 20])
    for found in (sink.estimates(), sink.reordered()):
        assert bool(found[:, 0].isnan().all())
        assert bool(found[:, 1].isfinite().all())


def test_minibatch_without_a_strong_batch_is_what_the_others_say():
    """Where one batch is 1e9 times the others, the rest of the jackknife is no rounding of it."""
    layers = drawn(60, 6)
    layers[0][:20] *= 1e9
    found = passed(Batched(taps(), A, B, 0, 0), layers, [20, 20, 20]).estimates()
    rest = [x[20:] for x in layers]
    np.testing.assert_allclose(found[1], table(lambda x, y: twin.by_batches(x, y, [20, 20]), rest), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scales", [(0, 1, 1), (1e-20, 1, 1), (1, 0, 1e15), (1e-25, 1e-25, 1e-20), (0, 1e-25, 1e-25)])
def test_minibatch_finds_a_scale_whichever_batch_comes_first(scales, dtype):
    """A first batch of zeros, or tiny beside the others, changes nothing but its own share."""
    layers = drawn(60, 7, 0.0, dtype)
    factor = torch.tensor(scales, dtype=torch.float64).repeat_interleave(20)[:, None]
    layers[0] = (factor * layers[0].double()).to(dtype)
    sink = passed(Batched(taps(), A, B, 4, 0), layers, [20, 20, 20])
    same = [layers[0].double() / max(scales), *(x.double() for x in layers[1:])]
    wanted = table(lambda x, y: twin.by_batches(x, y, [20, 20, 20]), same)
    np.testing.assert_allclose(sink.estimates()[0].numpy(), wanted, rtol=0, atol=1e-5)
    assert bool(sink.reordered().isfinite().all())


@pytest.mark.parametrize("times", [1e3, 1e5, 1e6])
def test_feature_space_with_one_strong_sample_keeps_its_digits(times):
    """All samples, and all but any group of them: the definition, to what float64 has left."""
    layers = [x.clone() for x in drawn(40, 8)]
    for x in layers[:2]:
        x[3] *= times
    found = passed(Sums(taps(), A, B), layers, [16, 24]).estimates().numpy()
    np.testing.assert_allclose(found[0], full(layers).value, rtol=0, atol=1e-16 * times**2)
    for g in range(10):
        left = [x[torch.arange(40) % 10 != g] for x in layers]
        np.testing.assert_allclose(found[1 + g], full(left).value, rtol=0, atol=1e-16 * times**2)


def test_feature_space_is_undefined_where_no_digit_is_left():
    """A sample 1e9 times the others leaves rounding in the place of what it covers: NaN, not a number beyond 1."""
    layers = [x.clone() for x in drawn(40, 8)]
    layers[0][3] *= 1e9
    found = passed(Sums(taps(), A, B), layers, [16, 24]).estimates()
    assert bool(found[0, 0].isnan().all())
    assert bool(found[4].isfinite().all())  # without that sample


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_feature_space_does_not_leave_the_range_of_float64(scale):
    """Fourth powers of features are within it whatever their unit."""
    layers = drawn(23, 1)
    found = [passed(Sums(taps(), A, B), [s * x for x in layers], [7, 16]).estimates() for s in (1, scale)]
    np.testing.assert_allclose(found[1].numpy(), found[0].numpy(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("hole", [float("nan"), float("inf")])
def test_feature_space_of_a_layer_with_a_hole_leaves_the_others_whole(hole):
    """Its eigenvalues are NaN, and so is its row; nothing is raised."""
    layers = [x.clone() for x in drawn(23, 1)]
    layers[0][20, 1] = hole
    sink = passed(Sums(taps(), A, B), layers, [7, 16])
    assert np.isnan(sink.spectrum(0)).all()
    assert np.isfinite(sink.spectrum(1)).all()
    assert bool(sink.estimates()[0, 0].isnan().all())
    assert bool(sink.estimates()[:, 1].isfinite().all())


@pytest.mark.parametrize("n", [4, 5, 12])
@pytest.mark.parametrize("d", [1, 7, 9001])
def test_a_gram_matrix_in_parts_is_the_whole(n, d):
    """Odd numbers of samples and features, a last part that does not fill the memory."""
    x = torch.randn(n, d) + 3
    wanted = (x.double() - x.double().mean(0)) @ (x.double() - x.double().mean(0)).T
    found = gram(x, x.double().mean(0), torch.empty(n * 4096, dtype=torch.float64))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", ["cka", "cka_biased", "mutual_knn:k=3", "rsa"])
def test_an_order_takes_the_samples_of_the_second_side(name):
    """Under each order a map is that of the second side's samples taken in it, symmetric matrices or not."""
    layers, measure = drawn(15, 6), named(name)
    found = full(layers, 11, name)
    for order, seen in zip(orders(15, 11), found.permuted, strict=True):
        moved = [x[order] if i in (2, 3) else x for i, x in enumerate(layers)]
        for row, i in enumerate(A):
            for column, j in enumerate(B[:2]):
                wanted = measure.compare(measure.prepare(moved[i]), measure.prepare(moved[j]), None)
                assert seen[row, column] == pytest.approx(wanted, abs=1e-5)


def test_an_order_in_feature_space_is_that_of_the_samples():
    """From features, without a matrix of samples: the same maps for the same orders."""
    layers = drawn(21, 7, 10.0)
    found = reordered_sums([layers[i] for i in A], [layers[j] for j in B], orders(21, 5))
    np.testing.assert_allclose(found.numpy(), full(layers, 5).permuted, rtol=0, atol=1e-5)


def test_orders_of_a_minibatch_stay_within_it():
    """The null of batches mixes no batches: with one order for two batches, each is permuted apart."""
    layers = drawn(24, 8)
    sink = passed(Batched(taps(), A, B, 40, 3), layers, [12, 12])
    null = sink.reordered().numpy()
    assert np.abs(null.mean(0)).max() < 0.15 < np.abs(sink.estimates()[0].numpy()).max()
    alone = passed(Batched(taps(), A, B, 40, 3), [x[:12] for x in layers], [12])
    assert not np.allclose(alone.reordered().numpy(), null)
    again = passed(Batched(taps(), A, B, 40, 3), layers, [12, 12])
    np.testing.assert_array_equal(again.reordered().numpy(), null)
    other = passed(Batched(taps(), A, B, 40, 4), layers, [12, 12])
    assert not np.allclose(other.reordered().numpy(), null)


def test_reordering_goes_through_every_part():
    """More pairs and orders than one part holds: inner products of whole matrices."""
    first, second = torch.randn(2, 70, 70), torch.randn(3, 70, 70)
    for symmetric in (True, False):
        sides = [one + one.mT if symmetric else one for one in (first, second)]
        pairs = Pairs(70, symmetric=symmetric)
        found = reordered(*(pairs.packed(one) for one in sides), orders(70, 19), pairs)
        for order, seen in zip(orders(70, 19), found, strict=True):
            wanted = torch.einsum("aij,bij->ab", sides[0], sides[1][:, order][:, :, order])
            torch.testing.assert_close(seen.float(), wanted, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["cka", "cka_biased"])
def test_the_interval_is_the_jackknife_over_samples(name):
    """In closed form: what computing the value again without each sample gives."""
    layers, measure = drawn(14, 9), named(name)
    found = full(layers, 0, name)
    for row, i in enumerate(A):
        for column, j in enumerate(B):
            values = []
            for k in range(14):
                keep = torch.arange(14) != k
                values.append(measure.compare(measure.prepare(layers[i][keep]), measure.prepare(layers[j][keep]), None))
            error = np.sqrt(13 / 14 * np.square(values - np.mean(values)).sum())
            assert found.high[row, column] - found.low[row, column] == pytest.approx(2 * 2.160369 * error, rel=1e-5)


def test_another_measure_is_compared_pair_by_pair():
    """Procrustes has no matrix of samples: the values of `compare`, few orders, and a note on that."""
    from netassay.measures.procrustes import nbs

    layers, measure = drawn(16, 10), nbs()
    found = estimate(measure, ([layers[i] for i in A], [layers[j] for j in B]), orders(16, 50), 0.95, 0)
    for row, i in enumerate(A):
        for column, j in enumerate(B):
            wanted = measure.compare(measure.prepare(layers[i]), measure.prepare(layers[j]), None)
            assert found.value[row, column] == pytest.approx(wanted)
    assert len(found.permuted) == 39
    assert "no p falls below 1/40" in found.notes[0]


@pytest.mark.parametrize("name", ["cka_rbf", "nbs"])
def test_what_stands_on_both_sides_is_prepared_once(name):
    """Of a network with itself, or with others beside it: the same bits from half the work, without each group too."""
    layers, counted, measure = drawn(24, 11), Counter(), named(name)

    def counting(step):
        def counted_step(x):
            counted[step] += 1
            return getattr(measure, step)(x)

        return counted_step

    steps = [step for step in ("between", "arranged") if getattr(measure, step) is not None]
    once = replace(measure, **{step: counting(step) for step in steps})
    for b in (layers, list(layers), layers[:3]):
        apart = estimate(measure, (layers, [x.clone() for x in b]), orders(24, 3), 0.95, 0)
        counted.clear()
        found = estimate(once, (layers, b), orders(24, 3), 0.95, 0)
        of_pairs = {} if name == "nbs" else {"between": len(layers)}
        assert counted == {**of_pairs, "arranged": 21 * len(layers)}
        for key in ("value", "permuted", "low", "high"):
            # of a symmetric map of one side with itself only half is computed
            np.testing.assert_allclose(getattr(found, key), getattr(apart, key), rtol=0, atol=1e-13 * (b is layers))


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("name", ["cka", "cka_rbf", "rsa", "mutual_knn"])
def test_memory_is_what_is_promised(name, sides):
    """From features to intervals, whether one network is held against itself or against another."""
    n, layers = 200, [Tap(None, (f"layer{i}", 0), 8, 1, 8, "") for i in range(4 * sides)]
    each = [torch.randn(n, 8, dtype=torch.float64) for _ in layers]
    both = (each, each) if sides == 1 else (each[:4], each[4:])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        estimate(named(name), both, orders(n, 3), 0.95, 0)
    taken = [event.nbytes() for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    size = Size(n, layers, layers, 3)
    assert max(accumulate(taken)) <= size.full()[1] - size.features


def test_the_way_is_the_exact_one_with_least_work_that_fits():
    """Few features: in feature space; few samples: by Gram matrices; neither fits, or no length: by batches."""
    layers = taps()

    def size(n, permutations=0):
        return Size(n, layers[:2], layers[2:], permutations)

    assert way("auto", size(10_000), 1 << 30).estimator == SPACE
    assert way("auto", size(4), 1 << 30).estimator == FULL
    assert way("auto", size(10_000), 1000).estimator == BATCHES
    assert "does not tell its length" in way("auto", size(None), 1 << 30).why
    assert "multiply-adds" in way("auto", size(4), 1 << 30).why
    assert way("auto", size(10_000, 200), 1 << 30).keeps
    assert not way("auto", size(10_000, 200), 1 << 16).keeps
    assert [way(mode, size(10), 1 << 30).estimator for mode in (FULL, SPACE, BATCHES)] == [FULL, SPACE, BATCHES]
    with pytest.raises(UnknownName, match="closest: 'minibatch'"):
        way("minibatches", size(4), 1 << 30)


def test_features_that_do_not_fit_are_refused_with_what_would():
    """Before the pass where the length is known, else in the pass."""
    for act in (lambda kept: kept.expect(2000), lambda kept: passed(kept, drawn(20), [20])):
        with pytest.raises(BadInput, match=r"memory=[\s\S]*positions='pool', fewer layers or samples"):
            act(Kept(taps(), 1000))


def test_a_wide_layer_takes_no_interval_but_its_own():
    """CCA of 39 features needs 41 samples, and 39 or 40 of 42 are left: no interval for that pair alone."""
    narrow, wide, second = (torch.randn(42, d, dtype=torch.float64) for d in (3, 39, 4))
    found = estimate(named("cca"), ([narrow, wide], [second]), [], 0.95, 0)
    assert np.isfinite(found.value).all()
    assert np.isfinite(found.low[:, 0]).tolist() == [True, False]
