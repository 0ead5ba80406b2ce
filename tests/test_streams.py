"""Streams: device rows and value forms against definitions, partitions, and the floors of float32."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netassay.errors import BadInput, UnknownName
from netassay.streams import Counts, Cross, Extremes, LogHistogram, Magnitude, Moments, Norms, Spread
from netassay.streams import rows as device
from netassay.streams.blocks import blocks
from tests.reference import streams as twin

EVERY = list(device.KINDS)
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def observed(parts, streams=EVERY, keep=None):
    rows = device.make(streams, parts[0])
    for part in parts:
        device.observe(rows, part, keep)
    return device.read(rows)


def awkward(N, C, P, dtype, seed, specials):
    """Values over 30 octaves with offsets by channel, sprinkled with what usually breaks a statistic."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(N, C, P, generator=g, dtype=torch.float64) * 2.0 ** torch.randint(-15, 15, (1, C, 1), generator=g)
    x = (x + torch.randn(1, C, 1, generator=g, dtype=torch.float64) * 3).to(dtype)
    tiny = torch.finfo(dtype).tiny
    for value in specials:
        at = torch.rand(N, C, P, generator=g) < 0.1
        x[at] = {"zero": 0.0, "faint": tiny / 4, "nan": torch.nan, "inf": torch.inf, "-inf": -torch.inf}[value]
    return x


cases = st.tuples(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 7),
    st.sampled_from(DTYPES),
    st.integers(0, 10**6),
    st.sets(st.sampled_from(["zero", "faint", "nan", "inf", "-inf"])),
)


@given(cases)
def test_rows_equal_the_definitions(case):
    """Every stream of every dtype, zeros, subnormals, NaN and Inf included, is what its definition says."""
    x = awkward(*case)
    read, tiny = observed([x]), torch.finfo(x.dtype).tiny
    for c in range(x.shape[1]):
        values = x[:, c].double().numpy()
        n, mean, m2, m3, m4 = twin.moments(values)
        got = read["moments"]
        scale = np.sqrt(m2 / n) if n else 0.0
        assert got.n[c] == n
        assert got.mean[c] == pytest.approx(mean, rel=1e-12, abs=1e-14 * scale)
        assert got.m2[c] == pytest.approx(m2, rel=1e-11, abs=1e-24 * mean**2)
        assert got.m3[c] == pytest.approx(m3, abs=1e-11 * n * scale**3 + 1e-30 * abs(mean) ** 3)
        assert got.m4[c] == pytest.approx(m4, rel=1e-11, abs=1e-40 * mean**4)
        l1, l2 = twin.norms(values)
        assert read["norms"].norm[c] == pytest.approx(l2, rel=1e-12)
        assert read["magnitude"].total[c] == pytest.approx(l1, rel=1e-12)
        for name, count in twin.counts(values, tiny).items():
            assert getattr(read["counts"], name)[c] == count, name
        active = sum(any(v != 0 and np.isfinite(v) for v in sample.ravel()) for sample in values)
        assert (read["counts"].samples[c], read["counts"].active[c]) == (len(values), active)
        if n:
            assert read["extremes"].low[c] == min(twin.finite(values))
            assert read["extremes"].high[c] == max(twin.finite(values))


@given(cases, st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.95]))
def test_layer_quantiles_are_within_one_percent(case, q):
    """A quantile of the layer histogram is its order statistic to 0.78 %, over the whole range of the dtype."""
    x = awkward(*case)
    if not len(twin.finite(x.double().numpy())):
        return
    exact = twin.quantile(x.double().numpy(), q)
    assert observed([x])["quantiles"].quantile([q])[0, 0] == pytest.approx(exact, rel=0.0078, abs=1e-308)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-45, 3e-42, 1e-39, 1.2e-38, 1e-30, 1.0, 3e38])
def test_layer_quantiles_reach_both_ends_of_float32(dtype, size):
    """Subnormals and the largest numbers keep the relative width of all others, on both sides of zero."""
    x = torch.tensor([size, -size, size, -size, 0.0, -0.0], dtype=dtype).reshape(6, 1, 1)
    read = observed([x])["quantiles"].quantile([0.1, 0.5, 0.9])[0]
    exact = x[0, 0, 0].double().item()
    assert read == pytest.approx([-exact, 0.0, exact], rel=0.0078, abs=0)


def test_shuffled_partition_equals_the_whole():
    """200 shuffled parts, empty and one-sample ones among them, at mean/std = 1e5: worst relative error below 1e-11."""
    g = torch.Generator().manual_seed(3)
    x = (torch.randn(4000, 3, 2, generator=g, dtype=torch.float64) + 1e5)[torch.randperm(4000, generator=g)]
    cuts = [0, 0, 1, *sorted(torch.randint(1, 4000, (197,), generator=g).tolist()), 4000]
    parts = [x[a:b] for a, b in itertools.pairwise(cuts)]
    assert min(map(len, parts)) == 0
    streamed = observed(parts)
    singles = [observed([part]) for part in parts]
    np.random.default_rng(0).shuffle(singles)
    for c in range(3):
        _, mean, m2, _, m4 = twin.moments(x[:, c].numpy())
        merged = functools.reduce(Moments.merge, (single["moments"] for single in singles), Moments.empty())
        spread = functools.reduce(Spread.merge, (single["spread"] for single in singles), Spread.empty())
        for got in (streamed["moments"], merged):
            errors = (got.mean[c] / mean - 1, got.m2[c] / m2 - 1, got.m4[c] / m4 - 1)
            assert max(map(abs, errors)) < 1e-11
        for got in (streamed["spread"], spread):
            assert abs(got.variance[c] / twin.spread(x[:, c].numpy()) - 1) < 1e-11


@given(cases, st.integers(0, 10**6))
def test_any_partition_in_any_order_equals_the_whole(case, seed):
    """Integer streams merge exactly, the others to rounding, empty parts included."""
    x = awkward(*case)
    rng = np.random.default_rng(seed)
    cuts = [0, *sorted(rng.integers(0, len(x) + 1, size=3).tolist()), len(x)]
    parts = [observed([x[a:b]]) for a, b in itertools.pairwise(cuts)]
    rng.shuffle(parts)
    whole = observed([x])
    kinds = {"moments": Moments, "extremes": Extremes, "counts": Counts, "norms": Norms, "magnitude": Magnitude}
    for name, kind in kinds.items():
        merged = functools.reduce(kind.merge, (part[name] for part in parts), kind.empty())
        for field, value in vars(whole[name]).items():
            # A third moment is a difference: what it is small against is the spread, not itself.
            ruler = whole["moments"].n * whole["moments"].std ** 3 if field == "m3" else value
            scale = np.abs(ruler[np.isfinite(ruler)]).max(initial=0)
            np.testing.assert_allclose(vars(merged)[field], value, rtol=1e-9, atol=1e-9 * scale)
    histogram = functools.reduce(LogHistogram.merge, (part["quantiles"] for part in parts), LogHistogram.empty())
    np.testing.assert_array_equal(histogram.keys, whole["quantiles"].keys)
    np.testing.assert_array_equal(histogram.counts, whole["quantiles"].counts)


@pytest.mark.parametrize("kind", [Moments, Extremes, Counts, Norms, Magnitude, Spread, Cross, LogHistogram])
def test_the_empty_stream_is_the_identity_bit_for_bit(kind):
    """Merging with nothing, on either side, changes no bit, whatever the number of channels."""
    x = np.random.default_rng(0).normal(size=(7, 3, 4)) * 1e70
    names = {Extremes: "extremes", Counts: "counts", Magnitude: "magnitude"}
    if kind in names:
        full = observed([torch.from_numpy(x)])[names[kind]]
    else:
        full = kind.of(x[..., 0], x[..., 1]) if kind is Cross else kind.of(x)
    for merged in (full.merge(kind.empty()), kind.empty().merge(full)):
        for field, value in vars(full).items():
            np.testing.assert_array_equal(vars(merged)[field], value)
    twice = kind.empty().merge(kind.empty())
    for field, value in vars(kind.empty()).items():
        np.testing.assert_array_equal(vars(twice)[field], value)


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1e-30, torch.float32), (1e30, torch.float32), (1e-200, torch.float64), (1e200, torch.float64)],
)
def test_norms_neither_vanish_nor_overflow(size, dtype):
    """1000 entries whose squares float32 (or a double) cannot hold have the norm that they have."""
    x = torch.full((10, 1, 100), size, dtype=dtype)
    read = observed([x])
    exact = float(x[0, 0, 0].double()) * np.sqrt(1000)
    assert read["norms"].norm[0] == pytest.approx(exact, rel=1e-14)
    assert read["norms"].rms[0] == pytest.approx(float(x[0, 0, 0].double()), rel=1e-14)
    assert read["norms"].merge(Norms.empty()).norm[0] == read["norms"].norm[0]


def test_half_precision_is_summed_in_doubles():
    """fp16 norms do not overflow or vanish, and a count of 70,000 bf16 ones is 70,000."""
    big = observed([torch.full((1, 1, 1000), 1e4, dtype=torch.float16)])["norms"].norm[0]
    assert big == pytest.approx(1e4 * np.sqrt(1000), rel=1e-12)
    small = torch.full((1, 1, 10), 1e-4, dtype=torch.float16)
    assert observed([small])["moments"].mean_square[0] == pytest.approx(float(small[0, 0, 0]) ** 2, rel=1e-12)
    ones = observed([torch.ones(7, 1, 10000, dtype=torch.bfloat16)])
    assert (ones["counts"].positive[0], ones["moments"].mean[0]) == (70000, 1.0)


def test_variance_does_not_cancel():
    """float32 data with mean 1e4 and variance 1 has variance 1, where E[x^2] - E[x]^2 in float32 says -16."""
    x = torch.tensor([1e4 - 1, 1e4 + 1]).repeat(500).reshape(100, 1, 10)
    assert observed([x])["moments"].variance[0] == pytest.approx(1.0, rel=1e-12)


def test_pooled_groups_have_the_variance_between_them():
    """Two groups with variance 0 and means 0 and 2 pool to variance 1, not -1."""
    a, b = Moments.of(np.zeros((10, 1))), Moments.of(np.full((10, 1), 2.0))
    assert a.merge(b).variance[0] == 1.0


def test_a_fixed_picture_has_mean_square_but_no_spread():
    """Mean square and variance across samples are kept apart, position by position, however close they look."""
    g = torch.Generator().manual_seed(0)
    picture = torch.randn(1, 2, 50, generator=g)
    read = observed([picture.repeat(5, 1, 1), picture.repeat(3, 1, 1)])
    assert (read["moments"].mean_square > 0.5).all()
    assert (read["spread"].variance < 1e-15).all()
    moved = torch.cat([picture, picture.roll(7, -1)])
    assert (observed([moved])["spread"].variance > 0.3).all()


def test_spread_after_a_change_of_size_is_refused_by_nan_and_on_merge_by_a_sentence():
    """Positions that do not correspond have no variance across samples."""
    rows = device.make(["spread"], torch.zeros(2, 1, 4))
    device.observe(rows, torch.ones(2, 1, 4))
    device.observe(rows, torch.ones(2, 1, 5))
    assert np.isnan(device.read(rows)["spread"].variance[0])
    with pytest.raises(BadInput, match="inputs of different size"):
        Spread.of(np.ones((2, 1, 4))).merge(Spread.of(np.ones((2, 1, 5))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_order_does_not_matter(dtype):
    """(N, C, ...), channels-last and (N, T, C) tensors of equal content have equal streams."""
    x = awkward(3, 5, 12, dtype, 1, {"zero"})
    image = x.reshape(3, 5, 3, 4).contiguous(memory_format=torch.channels_last)
    tokens = x.transpose(1, 2).contiguous()
    read = observed([x])
    for other in (image.flatten(2), tokens.transpose(1, 2)):
        assert not other.is_contiguous()
        again = observed([other])
        for name in EVERY:
            for field, value in vars(read[name]).items():
                np.testing.assert_allclose(vars(again[name])[field], value, rtol=1e-12)


@pytest.mark.parametrize("specials", [set(), {"nan", "zero"}])
def test_blocks_do_not_show(monkeypatch, specials):
    """However a tensor is cut into blocks, in either memory order, the streams are the same."""
    x = awkward(6, 5, 8, torch.float32, 2, specials)
    whole = observed([x])
    for size in (1, 20, 40, 100):
        monkeypatch.setattr("netassay.streams.blocks.CACHED", size)
        for view in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
            cut = observed([view])
            for name in EVERY:
                for field, value in vars(whole[name]).items():
                    np.testing.assert_allclose(vars(cut[name])[field], value, rtol=1e-11)
    assert len(list(blocks(x))) > 1


def test_masked_positions_do_not_exist():
    """With a mask the streams are those of the kept entries alone; nothing masked is counted anywhere."""
    x = awkward(4, 3, 6, torch.float32, 5, {"nan", "zero", "inf"})
    keep = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) < 0.6
    read = observed([x], keep=keep)
    for c in range(3):
        values = x[:, c][keep].double().numpy()
        n, mean, m2, *_ = twin.moments(values)
        assert (read["moments"].n[c], read["counts"].entries[c]) == (n, keep.sum())
        assert (read["moments"].mean[c], read["moments"].m2[c]) == pytest.approx((mean, m2), rel=1e-11)
        for name, count in twin.counts(values, torch.finfo(torch.float32).tiny).items():
            assert getattr(read["counts"], name)[c] == count, name
    assert read["quantiles"].n[0] == np.isfinite(x.permute(0, 2, 1)[keep].numpy()).sum()
    assert np.isnan(read["spread"].variance).all()


def test_a_bad_guess_of_the_mean_costs_time_not_digits():
    """A channel that jumps from 0 to 1e5 standard deviations keeps its digits."""
    g = torch.Generator().manual_seed(1)
    parts = [torch.randn(50, 1, 4, generator=g) + offset for offset in (0.0, 1e5, -3e5)]
    got = observed(parts)["moments"]
    n, mean, m2, m3, m4 = twin.moments(torch.cat(parts).double().numpy())
    assert (got.n[0], got.mean[0], got.m2[0], got.m3[0], got.m4[0]) == pytest.approx((n, mean, m2, m3, m4), rel=1e-11)


def test_channel_window_is_fixed_by_the_first_batch():
    """Quartiles inside 32 octaves are within 1 %; what lies outside is counted, and a quantile there says so."""
    g = torch.Generator().manual_seed(2)
    rows = device.make(["sample_norms"], torch.zeros(1, 2, 1))
    first = torch.rand(400, 2, 1, generator=g) + torch.tensor([[1.0], [1e-20]])
    later = torch.tensor([1e-12, 1e12, 0.0, 2.0**-20, 2.0**7]).reshape(5, 1, 1).expand(5, 2, 1)
    for part in (first, later):
        device.observe(rows, part)
    read = device.read(rows)["sample_norms"]
    assert read.n.tolist() == [405, 405]
    assert read.outside.tolist() == [2, 2]
    for c in range(2):
        values = torch.cat([first, later])[:, c].double().numpy()
        got = read.quantile([0.25, 0.5, 0.75])[c]
        assert got == pytest.approx([twin.quantile(values, q) for q in (0.25, 0.5, 0.75)], rel=0.0078)
    assert read.quantile([1.0])[0, 0] == np.inf
    assert read.quantile([0.001])[0, 0] == 0


def test_channel_window_waits_for_the_first_value_above_zero():
    """A channel that is silent at first gets its window when it first speaks; batches without samples pass."""
    rows = device.make(["sample_norms"], torch.zeros(1, 1, 1))
    for part in (torch.zeros(3, 1, 1), torch.zeros(0, 1, 1), torch.full((4, 1, 1), 1e-9)):
        device.observe(rows, part)
    read = device.read(rows)["sample_norms"]
    assert (read.n[0], read.outside[0]) == (7, 0)
    assert read.quantile([0.9])[0, 0] == pytest.approx(1e-9, rel=0.0078)


def test_histograms_of_different_dtypes_join():
    """Keys are those of doubles, so a float32 and a float64 part merge bin by bin."""
    x = awkward(5, 1, 9, torch.float32, 4, {"zero"})
    a, b = observed([x])["quantiles"], observed([x.double()])["quantiles"]
    np.testing.assert_array_equal(a.keys, b.keys)
    np.testing.assert_array_equal(a.merge(b).counts, 2 * a.counts)
    np.testing.assert_array_equal(LogHistogram.of(x.numpy()).counts, a.counts)


@given(st.integers(2, 9), st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_cross_moments_equal_the_definition(n, a, b, seed):
    """Merged parts of the cross-moments are those of the whole, far from the origin too."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, a)) + 1e3, rng.normal(size=(n, b)) - 1e3
    rows = device.make(["cross"], torch.zeros(1, a, 1), torch.zeros(1, b, 1))
    for part in (slice(0, 1), slice(1, 1), slice(1, n)):
        tx, ty = torch.from_numpy(x[part])[..., None], torch.from_numpy(y[part])[..., None]
        device.observe(rows, tx, other=ty)
    streamed = device.read(rows)["cross"]
    np.testing.assert_allclose(streamed.c, twin.cross(x, y), atol=1e-9)
    merged = Cross.empty().merge(Cross.of(x[:1], y[:1])).merge(Cross.of(x[1:], y[1:]))
    np.testing.assert_allclose(merged.c, twin.cross(x, y), atol=1e-9)
    np.testing.assert_allclose(merged.covariance * n, merged.c)


def test_cross_moments_leave_out_rows_that_are_not_finite():
    """A position with a NaN on either side has no product; positions count as rows."""
    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    x[0, 1, 2] = torch.nan
    read = observed([x], ["cross"])["cross"]
    rows = x.movedim(1, -1).flatten(0, 1)
    rows = rows[torch.isfinite(rows).all(1)].numpy()
    assert read.n[0] == 11
    np.testing.assert_allclose(read.c, twin.cross(rows, rows), rtol=1e-6, atol=1e-12)


def test_one_op_fills_all_rows_under_compile():
    """A compiled function may call `observe`: one graph, and the rows are those of eager mode."""
    x = torch.randn(4, 3, 5)
    rows = device.make(EVERY, x)

    def look(x):
        device.observe(rows, x)
        return x * 2

    compiled = torch.compile(look, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        compiled(x)
    eager = observed([x, x])
    for name, stream in device.read(rows).items():
        for field, value in vars(stream).items():
            np.testing.assert_array_equal(value, vars(eager[name])[field])


def test_unknown_stream_and_change_of_width_are_refused():
    """Bad requests of a stream get a sentence."""
    with pytest.raises(UnknownName, match="closest: 'moments'"):
        device.make(["moment"], torch.zeros(1, 1, 1))
    rows = device.make(["quantiles"], torch.zeros(1, 1, 1))
    with pytest.raises(BadInput, match="another width"):
        device.observe(rows, torch.zeros(1, 1, 1, dtype=torch.float64))
