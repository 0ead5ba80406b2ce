"""Sample axes: which axis of an output is the batch, however sizes coincide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.axes import NOWHERE, grown

N = 7


class Posed(nn.Module):
    """Adds as many places as there are features, whatever the batch."""

    def __init__(self, places):
        super().__init__()
        self.place, self.head, self.places = nn.Embedding(places, 8), nn.Linear(8, 3), places

    def forward(self, x):
        return self.head(x + self.place(torch.arange(self.places)).mean(0))


class TimeFirst(nn.Module):
    """Works on `(T, N, C)`, as recurrent code often does."""

    def __init__(self):
        super().__init__()
        self.cell, self.act, self.head = nn.Linear(4, 5), nn.ReLU(), nn.Linear(35, 3)

    def forward(self, x):
        return self.head(self.act(self.cell(x.transpose(0, 1))).transpose(0, 1).flatten(1))


class Fixed(nn.Module):
    """Takes one batch size only."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.body(x.view(N, 8)))


@pytest.mark.parametrize("places", [N, 2 * N, 5])
def test_what_no_sample_changes_is_no_layer_of_samples(places):
    """An embedding of N places, or of 2 N, is left out like any other; its rows are no samples."""
    result = na.channel_profile(Posed(places), (torch.randn(N, 8), torch.arange(N) % 3))
    assert [row["layer"] for row in result.table("layers")] == ["head"]
    assert result.notes[0].startswith("place is left out")


@pytest.mark.parametrize("batch_size", [N, 3])
def test_time_first_outputs_have_their_samples_second(batch_size):
    """With as many steps as samples, firing is counted over samples, for any batch size."""
    torch.manual_seed(1)
    model, x = TimeFirst(), torch.randn(N, 7, 4)
    result = na.channel_profile(model, (x, torch.arange(N) % 3), batch_size=batch_size)
    y = model.act(model.cell(x)).detach()
    rows = [row for row in result.table("channels") if row["layer"] == "act"]
    assert [row["firing"] for row in rows] == (y > 0).any(1).sum(0).tolist()
    variance = y.double().var(0, unbiased=False).mean(0)
    np.testing.assert_allclose([row["y_variance_across_samples"] for row in rows], variance, rtol=1e-6)


def test_a_model_of_one_batch_size_is_guessed_at():
    """Where no other batch goes through, sizes decide, as they do for most models."""
    result = na.channel_profile(Fixed(), (torch.randn(N, 8), torch.arange(N) % 3))
    assert [row["samples"] for row in result.table("layers")] == [N, N]


@pytest.mark.parametrize(
    ("shape", "more", "axis"),
    [
        ((4, 9), (5, 9), 0),
        ((9, 4), (9, 5), 1),
        ((4, 4), (4, 5), 1),
        ((12, 3), (15, 3), 0),
        ((4, 9), (4, 9), NOWHERE),
        ((4, 4), (5, 5), None),
        ((4, 9), (6, 9), None),
        ((4, 9), (5, 9, 1), None),
    ],
)
def test_the_axis_that_grows_in_step_is_the_sample_axis(shape, more, axis):
    """One sample more than 4: by a quarter; none grows, or more than one, or out of step: not found."""
    assert grown(shape, more, samples=4) == axis
