"""Channel profile: every number of its tables against a slow twin, whatever the model's layout, dtype and data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import netassay as na
from tests.reference import channels as twin

Q = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def affine(layer):
    return lambda x: F.linear(x, layer.weight, layer.bias)


def convolved(layer):
    return lambda x: F.conv2d(x, layer.weight, layer.bias, layer.stride)


def image(inplace=False):
    """A convolutional model, and its forward written out: (label, channel axis or None, function)."""
    conv1, conv2, head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 5, 3, stride=2), nn.Linear(20, 3)
    model = nn.Sequential(conv1, nn.ReLU(inplace), conv2, nn.Tanh(), nn.Flatten(), head)
    steps = [("0", 1, convolved(conv1)), ("1", 1, torch.relu), ("2", 1, convolved(conv2)), ("3", 1, torch.tanh)]
    return model, [*steps, ("4", None, lambda x: x.flatten(1)), ("5", 1, affine(head))]


def perceptron():
    first, second, head = nn.Linear(6, 7), nn.Linear(7, 5), nn.Linear(5, 3)
    model = nn.Sequential(first, nn.GELU(), second, nn.Sigmoid(), head)
    steps = [("0", 1, affine(first)), ("1", 1, F.gelu), ("2", 1, affine(second)), ("3", 1, torch.sigmoid)]
    return model, [*steps, ("4", 1, affine(head))]


def tokens():
    first, head = nn.Linear(6, 4), nn.Linear(4, 3)
    return nn.Sequential(first, nn.ReLU(), head), [
        ("0", 2, affine(first)),
        ("1", 2, torch.relu),
        ("2", 2, affine(head)),
    ]


def words():
    table, head = nn.Embedding(11, 4), nn.Linear(4, 3)
    steps = [("0", 2, lambda x: F.embedding(x, table.weight)), ("1", 2, torch.tanh), ("2", 2, affine(head))]
    return nn.Sequential(table, nn.Tanh(), head), steps


def per_token(y):
    return lambda output: F.cross_entropy(output.movedim(-1, 1), y, reduction="none").sum(1)


def whole(y):
    return lambda output: F.cross_entropy(output, y, reduction="none")


N, T = 23, 9
KEEP = torch.rand(N, T, generator=torch.Generator().manual_seed(1)) < 0.6
CASES = {
    "image": (image, (N, 2, 8, 8), torch.float32, None),
    "in place": (lambda: image(True), (N, 2, 8, 8), torch.float32, None),
    "channels last": (image, (N, 2, 8, 8), torch.float32, torch.channels_last),
    "float64": (image, (N, 2, 8, 8), torch.float64, None),
    "bfloat16": (image, (N, 2, 8, 8), torch.bfloat16, None),
    "perceptron": (perceptron, (N, 6), torch.float32, None),
    "tokens": (tokens, (N, T, 6), torch.float32, None),
    "masked": (tokens, (N, T, 6), torch.float32, None),
    "words": (words, (N, T), torch.int64, None),
}


def case(name, change=None):
    """A model, its data, and what the twin finds: label -> (y, gy, mask), float64."""
    make, shape, dtype, order = CASES[name]
    model, steps = make()
    if change is not None:
        change(model)
    x = torch.randint(11, shape) if dtype == torch.int64 else torch.randn(shape, dtype=dtype)
    if order is not None:
        model, x = model.to(memory_format=order), x.to(memory_format=order)
    model = model if dtype == torch.int64 else model.to(dtype)
    positions = len(shape) == 3 or dtype == torch.int64
    y = torch.randint(3, (N, T) if positions else (N,))
    runs = twin.passed([(label, step) for label, _, step in steps], x, (per_token if positions else whole)(y))
    axes = {label: axis for label, axis, _ in steps if axis is not None}
    keep = KEEP.numpy() if name == "masked" else None
    expected = {label: (*(twin.sided(side, axis) for side in runs[label]), keep) for label, axis in axes.items()}
    return model, (x, y, KEEP) if name == "masked" else (x, y), expected


def close(got, expected, scale=0.0, rtol=1e-6, name=""):
    np.testing.assert_allclose(np.array(got, float), np.array(expected, float), rtol, rtol * scale, err_msg=name)


@pytest.fixture(scope="module", params=CASES)
def profiled(request):
    torch.manual_seed(3)
    model, data, expected = case(request.param)
    return na.channel_profile(model, data, batch_size=N), expected


def test_every_column_of_the_channel_table_equals_its_definition(profiled):
    """Mean to kurtosis, extremes, per-sample norms and counts, forward and backward; quartiles to 0.78 %."""
    result, expected = profiled
    rows = result.table("channels")
    assert list(dict.fromkeys(row["layer"] for row in rows)) == list(expected)
    for label, (y, gy, keep) in expected.items():
        mine = [row for row in rows if row["layer"] == label]
        assert [row["channel"] for row in mine] == list(range(y.shape[1]))
        for side, values in (("y", y), ("gy", gy)):
            scale = np.abs(values).max()
            for got, one in zip(mine, twin.side(values, keep), strict=True):
                for name, value in one.items():
                    rtol = 0.0078 if name.startswith("norm") else 1e-6
                    close(got[f"{side}_{name}"], value, scale * (rtol < 1e-3), rtol, f"{label} {side}_{name}")
        close([row["y_variance_across_samples"] for row in mine], twin.across(y, keep), name=label)


def test_every_column_of_the_layer_table_equals_its_definition(profiled):
    """RMS over all channels, the RMS over samples of the whole gradient's norm, mean square, variance, shares."""
    result, expected = profiled
    for row, (label, sides) in zip(result.table("layers"), expected.items(), strict=True):
        assert row["layer"] == label
        for name, value in twin.layer(*sides).items():
            close(row[name], value, name=f"{label} {name}")


def test_layer_quantiles_equal_their_definition(profiled):
    """Order statistics over all entries of a layer, to 0.78 %, on both sides of zero."""
    result, expected = profiled
    for side in (0, 1):
        array = result.array(("y_quantiles", "gy_quantiles")[side])
        assert array.axes == {"layer": tuple(expected), "quantile": ("q01", "q05", "q25", "q50", "q75", "q95", "q99")}
        for row, sides in zip(array, expected.values(), strict=True):
            close(row, twin.quantiles(sides[side], Q, sides[2]), rtol=0.0078)


@torch.no_grad()
def damage(model):
    """Freeze the first layer's first half of channels, one of them far below zero, and drive its last one hard."""
    first = model[0]
    by_channel = first.weight.T if isinstance(first, nn.Embedding) else first.weight
    by_channel[: len(by_channel) // 2] = 0
    by_channel[-1] *= 1000
    if by_channel is first.weight:
        first.bias[0] = -50


@pytest.mark.parametrize("name", ["image", "perceptron", "tokens", "words"])
def test_states_equal_their_definitions(name):
    """Where channels are silenced, frozen or driven hard, each has the state that its definition gives."""
    torch.manual_seed(3)
    model, data, expected = case(name, damage)
    rows = na.channel_profile(model, data).table("channels")
    for label in ("0", "1"):
        y, gy, _ = expected[label]
        slopes = 1 - y**2 if isinstance(model[int(label)], nn.Tanh) else None
        named = twin.states(y, gy, label == "1", slopes)
        assert [row["state"] for row in rows if row["layer"] == label] == named
        assert len(set(named)) > 1
