"""Symmetry: distinct channels against every pair, entries that stay, gradients that are nothing but 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netassay.errors import BadInput
from netassay.shape import distinct_channels, still, symmetry
from tests.reference import shape as twin


@pytest.mark.parametrize("value", [0.0, 1.0, -0.3])
@pytest.mark.parametrize("shape", [(16, 3, 3, 3), (512, 1024), (1, 5), (7, 1)])
def test_a_constant_initialisation_is_one_channel(value, shape):
    """Ones and zeros make all channels one, whatever the layer's size."""
    assert distinct_channels(np.full(shape, value), np.zeros(shape[0])) == 1
    assert distinct_channels(torch.full(shape, value, dtype=torch.bfloat16)) == 1


@given(
    st.integers(1, 24),
    st.integers(1, 40),
    st.sampled_from([0.0, 1e-5, 1e-2, 0.3, 1.0]),
    st.booleans(),
    st.integers(-300, 300),
    st.integers(0, 10**6),
)
def test_clusters_are_those_of_every_pair(C, D, tolerance, biased, octave, seed):
    """Copies, near copies around the tolerance, chains of them, and strangers, at any scale."""
    g = np.random.default_rng(seed)
    rows = g.standard_normal((C, D))[g.integers(0, C, C)]
    rows += g.standard_normal((C, D)) * g.choice([0, 0.2, 1, 5], (C, 1)) * tolerance
    bias = g.integers(0, 2, C) * 1.0
    joined = np.column_stack([rows, bias]) if biased else rows
    scaled = np.ldexp(rows, octave), np.ldexp(bias, octave) if biased else None
    assert distinct_channels(*scaled, tolerance=tolerance) == twin.distinct(joined, tolerance)


def test_neighbours_of_neighbours_are_one():
    """A chain of steps below the tolerance is one cluster, a step above it parts it."""
    rows = np.ones((8, 100))
    rows[:, 0] += np.arange(8) * 0.9e-4  # reach: 1e-5 times a norm of 10
    assert distinct_channels(rows) == 1
    rows[4:, 0] += 0.3e-4
    assert distinct_channels(rows) == 2


def test_a_bias_tells_channels_apart():
    """Equal weights with unequal biases are different channels; both differences count together."""
    assert distinct_channels(np.ones((4, 9)), np.array([0.0, 0.0, 1.0, 2.0])) == 3
    rows, bias = np.ones((2, 100)), np.array([0.0, 0.8e-4])  # reach: 1e-5 times a norm of 10
    assert distinct_channels(rows, bias) == 1
    rows[1, 0] += 0.8e-4
    assert distinct_channels(rows) == 1
    assert distinct_channels(rows, bias) == 2


def test_rows_that_are_not_finite_are_different_from_all():
    """NaN equals nothing, itself included; the others are counted as if it were not there."""
    rows = np.ones((5, 3))
    rows[0, 0], rows[1, 0] = np.nan, np.nan
    assert distinct_channels(rows) == 3
    assert distinct_channels(np.full((2, 2), np.inf)) == 2
    assert distinct_channels(np.zeros((0, 3))) == 0


def test_copies_in_a_wide_layer_are_found_in_blocks(monkeypatch):
    """600 channels of 3,000 weights, 200 of them different, whatever the size of a block."""
    g = np.random.default_rng(0)
    rows = np.repeat(g.standard_normal((200, 3000), dtype=np.float32), 3, axis=0)[g.permutation(600)]
    assert distinct_channels(rows) == 200
    monkeypatch.setattr(symmetry, "BLOCK", 7000)
    assert distinct_channels(rows) == 200


def test_parameters_come_as_they_are():
    """A parameter that wants a gradient is read, and is not touched."""
    layer = torch.nn.Linear(8, 4)
    assert distinct_channels(layer.weight, layer.bias) == 4
    assert layer.weight.requires_grad
    assert layer.weight.grad is None


def test_entries_stay_bit_for_bit():
    """-0 is not 0, NaN is itself; a tensor of halves is compared by its own bits."""
    before = np.array([0.0, np.nan, 1.0, 5e-324])
    assert still(before, before) == 1.0
    assert still(before, np.array([-0.0, np.nan, 1.0, 0.0])) == 0.5
    half = torch.ones(4, dtype=torch.bfloat16)
    assert still(half, half + torch.tensor([0, 0, 0, 1])) == 0.75
    assert np.isnan(still(np.zeros(0), np.zeros(0)))
    assert still(torch.ones(3, 2).T, torch.ones(2, 3)) == 1.0


def test_refusals_say_what_to_give():
    """A bias of another length and parameters of another shape are answered in a sentence."""
    with pytest.raises(BadInput, match=r"(?s)distinct channels.*4 rows and a bias of shape \(3,\).*one bias a row"):
        distinct_channels(np.ones((4, 2)), np.ones(3))
    with pytest.raises(BadInput, match=r"(?s)stayed.*\(2,\) float64, then \(3,\) float64.*one parameter"):
        still(np.ones(2), np.ones(3))
