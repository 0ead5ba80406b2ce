"""Pulse: the statistics of a tensor against their definitions, at both ends of float32 and where sums cancel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netassay.watching import pulse as module
from netassay.watching.pulse import COUNTS, Scratch, pulse
from netassay.watching.views import view


def told(x, **options):
    read = pulse(x, Scratch(), **options)
    return dict(zip(COUNTS, read.counts.tolist(), strict=True)), read


def by_definition(x):
    values = x.double().numpy()
    finite = np.isfinite(values)
    clean = np.where(finite, values, 0)
    tiny = torch.finfo(x.dtype).tiny
    return {
        "squares": np.square(clean).sum(),
        "zero": (values == 0).sum(),
        "subnormal": (finite & (values != 0) & (np.abs(values) < tiny)).sum(),
        "nan": np.isnan(values).sum(),
        "inf": np.isinf(values).sum(),
    }


def check(x, read, channels):
    wanted = by_definition(x)
    for name, value in wanted.items():
        assert read[name] == pytest.approx(value, rel=1e-6, abs=0), name
    clean = np.where(np.isfinite(x.double().numpy()), x.double().numpy(), 0)
    np.testing.assert_allclose(channels["squares"], np.square(clean).sum((0, 1, 3)), rtol=2e-6)
    np.testing.assert_array_equal(channels["firing"], (clean != 0).any((1, 3)).sum(0))
    np.testing.assert_array_equal(channels["open"], (clean != 0).sum((0, 1, 3)))
    np.testing.assert_allclose(channels["size"], np.abs(clean).sum((0, 1, 3)), rtol=2e-6, atol=1e-300)


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 3, 16, 40]))


@given(
    SHAPES,
    st.sampled_from([0, -80, -130, 60, 110]),
    st.sets(st.sampled_from(["zero", "faint", "nan", "inf"])),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.integers(0, 10**6),
)
def test_every_number_is_its_definition(shape, octave, specials, dtype, seed):
    """Sums, counts and channels, whatever the size of the numbers, with zeros, subnormals, NaN and Inf among them."""
    g = torch.Generator().manual_seed(seed)
    x = (torch.randn(shape, generator=g, dtype=torch.float64) * 2.0**octave).to(dtype)
    tiny = torch.finfo(dtype).tiny
    for name in specials:
        value = {"zero": 0.0, "faint": tiny / 4, "nan": torch.nan, "inf": torch.inf}[name]
        x[torch.rand(shape, generator=g) < 0.2] = value
    read, whole = told(x)
    check(x, read, whole.channels)
    if not specials & {"nan", "inf"} and dtype == torch.float32 and octave < 100 and not torch.isinf(x).any():
        m2 = (np.var(x.double().numpy(), axis=0) * len(x)).sum()
        rulers = np.square(x.double().numpy()).sum()
        assert read["spread"] == pytest.approx(m2, rel=3e-6, abs=1e-12 * rulers)


@pytest.mark.parametrize("value", [1e-24, 1e-22, 3e-23, 1e-45, 1e18, 1e30, 3e38])
def test_float32_norms_neither_underflow_nor_overflow(value):
    """A thousand entries of one size: float32's own norm says 0, 1 % less, or infinity."""
    x = torch.full((10, 1, 10, 10), value)
    exact = 1000 * float(x[0, 0, 0, 0]) ** 2
    assert told(x)[0]["squares"] == pytest.approx(exact, rel=1e-6, abs=0)


def test_long_rows_of_one_number_keep_their_digits():
    """A float32 norm of 50,000 equal entries is wrong in the fifth digit."""
    x = torch.full((2, 1, 2, 50176), 0.1)
    assert told(x)[0]["squares"] == pytest.approx(x.numel() * float(x[0, 0, 0, 0]) ** 2, rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 0.028, 1e4, 1e-13])
def test_variance_across_the_batch_survives_its_mean(offset):
    """A spread of 1e-8 of the mean is read: mean square less squared mean would give rounding, or a negative number."""
    g = torch.Generator().manual_seed(0)
    x = (offset + max(offset, 1e-3) * 1e-6 * torch.randn(16, 1, 3, 9, generator=g, dtype=torch.float64)).float()
    exact = x.double().var(0, correction=0).sum().item() * 16
    assert exact > 0
    assert told(x)[0]["spread"] == pytest.approx(exact, rel=1e-5)


def test_channels_that_hardly_vary_are_read_again_alone():
    """One constant channel beside lively ones."""
    x = torch.randn(8, 1, 3, 16)
    x[:, :, 1] = 5.0
    spread = told(x)[1].channels["spread"]
    assert spread[1] == 0
    np.testing.assert_allclose(spread, x.double().var(0, correction=0).sum((0, 2)) * 8, rtol=1e-6)


def test_a_device_reads_what_the_cpu_does():
    """The form for accelerators, in float64 and without a look at any number, agrees on finite and other entries."""
    x = torch.randn(6, 2, 3, 9)
    x[x > 1.5] = 0.0
    for bad in (None, torch.nan, torch.inf):
        if bad is not None:
            x[1, 0, 1, 4] = bad
        quick = pulse(x, Scratch(), bound=(0.0, 0.5))
        exact = module._exact(x, torch.finfo(x.dtype).tiny, True, (0.0, 0.5))
        np.testing.assert_allclose(quick.counts, exact.counts, rtol=1e-6)
        for name, value in exact.channels.items():
            np.testing.assert_allclose(quick.channels[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("shape", "channel", "wanted"),
    [
        ((4, 3, 5, 6), 1, (4, 1, 3, 30)),
        ((4, 7, 3), 2, (4, 7, 3, 1)),
        ((7, 4, 3), 2, (4, 7, 3, 1)),
        ((8, 7, 3), 2, (4, 14, 3, 1)),
        ((4, 3), 1, (4, 1, 3, 1)),
        ((4,), 0, (4, 1, 1, 1)),
        ((5, 3), 1, (1, 5, 3, 1)),
        ((), 0, (1, 1, 1, 1)),
    ],
)
def test_outputs_are_seen_by_sample_and_channel(shape, channel, wanted):
    """Images, tokens, sequences first, windows, and what has no axis of samples."""
    x = torch.randn(shape)
    seen, found = view(x, 4, channel)
    assert tuple(seen.shape) == wanted
    assert found == (shape not in ((5, 3), ()))


def test_channels_last_memory_is_not_copied():
    """An image net in channels-last memory is read where it lies."""
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    seen, _ = view(x, 2, 1)
    assert seen.data_ptr() == x.data_ptr()
    assert seen.shape == (2, 20, 3, 1)
