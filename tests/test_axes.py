"""Axes: samples and channels are found however a model lays out its tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netassay.axes import Axes, by_channel
from netassay.capturing import visit
from netassay.errors import BadInput


def channels(model, x):
    """Channel axis and (N, C, P) shape of every leaf's output."""
    axes, found = Axes(len(x)), {}

    def note(record):
        axis = axes.note(record)
        found[record.layer.name] = (axis, tuple(by_channel(record.y, axis, len(x), record.layer.name).shape))

    with visit(model, "*", on_forward=note):
        model(x)
    return found


def test_images():
    """(N, C, H, W): channels at axis 1 for convolutions, norms, pools and what follows them."""
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(20, 4),
        nn.ReLU(),
    )
    found = channels(model, torch.randn(2, 3, 6, 6))
    assert [axis for axis, _ in found.values()] == [1] * 7
    assert found["2"][1] == (2, 5, 16)
    assert found["6"][1] == (2, 4, 1)


def test_tokens():
    """(N, T, C): an activation after a Linear has its channels last, also where T is the larger axis."""
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Dropout(0.0), nn.LayerNorm(4), nn.ReLU(inplace=True))
    for name, (axis, shape) in channels(model, torch.randn(2, 9, 3)).items():
        assert (axis, shape) == (2, (2, 4, 9)), name


def test_signals_and_time_first():
    """(N, C, L) of Conv1d has channels at axis 1; (T, N, C) of a default LSTM has samples at axis 1."""
    assert channels(nn.Sequential(nn.Conv1d(3, 4, 1), nn.ReLU()), torch.randn(2, 3, 9))["1"] == (1, (2, 4, 9))
    record = nn.LSTM(3, 4)(torch.randn(7, 5, 3))[0]
    assert by_channel(record, 2, 5, "lstm").shape == (5, 4, 7)


def test_layout_of_images_with_channels_last_axis():
    """(N, H, W, C) of a Linear over pixels: channels last for it and its activation."""
    found = channels(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(2, 5, 6, 3))
    assert set(found.values()) == {(3, (2, 4, 30))}


def test_windows_count_as_positions():
    """An output whose first axis is a multiple of the batch holds several windows of each sample."""
    y = torch.arange(6.0).reshape(6, 1, 1).expand(6, 4, 5)
    view = by_channel(y, 2, 3, "windows")
    assert view.shape == (3, 5, 8)
    assert view[1].unique().tolist() == [2.0, 3.0]


def test_activations_behind_functional_steps_go_by_shape():
    """Behind an addition or a reshape the last output of that shape decides, else the number of axes."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.act = nn.Linear(4, 4), nn.ReLU()

        def forward(self, x):
            return self.act(self.linear(x) + x)

    assert channels(Tokens(), torch.randn(2, 9, 4))["act"] == (2, (2, 4, 9))
    assert channels(nn.Sequential(nn.ReLU()), torch.randn(2, 3, 4, 4))["0"] == (1, (2, 3, 16))


def test_an_output_without_samples_is_refused():
    """A layer whose output does not have the batch is refused with its shape."""
    with pytest.raises(BadInput, match=r"output \(7, 4\) has no axis for the batch's 5 samples"):
        by_channel(torch.zeros(7, 4), 1, 5, "pool")


def test_one_value_per_sample_is_one_channel():
    """(N,) is a single channel."""
    assert by_channel(torch.zeros(5), 0, 5, "score").shape == (5, 1, 1)
