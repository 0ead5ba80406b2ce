"""Summary: shapes, parameters, multiply-adds and memory, against published figures and counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import netassay as na
from netassay.errors import BadInput
from netassay.testing import check_quiet


@pytest.fixture(scope="module")
def resnet34():
    return na.summary(na.build("resnet[3,4,6,3]:input=32,head=none"), (1, 3, 32, 32))


def test_totals_of_the_published_resnet(resnet34):
    """ResNet-34 for 32x32 images without its head: 21,276,992 parameters, 1.16 G, 0.01 + 16.38 + 85.11 = 101.50 MB."""
    totals = resnet34.table("totals")[0]
    assert totals["parameters"] == totals["trainable_parameters"] == 21_276_992
    assert round(totals["multiply_adds"] / 1e9, 2) == 1.16
    sizes = [totals[f"{part}_megabytes"] for part in ("input", "activation", "parameter", "total")]
    assert [round(size, 2) for size in sizes] == [0.01, 16.38, 85.11, 101.50]


def test_rows_of_the_published_resnet(resnet34):
    """Every convolution and norm has its published output and parameters, in order of execution."""
    rows = {row["layer"]: row for row in resnet34.table("layers") if row["parameters"]}
    shape = {1: "[1, 64, 32, 32]", 2: "[1, 128, 16, 16]", 3: "[1, 256, 8, 8]", 4: "[1, 512, 4, 4]"}
    conv = {1: (36_864,) * 2, 2: (73_728, 147_456), 3: (294_912, 589_824), 4: (1_179_648, 2_359_296)}
    expected = {"conv1": (shape[1], 1728), "bn1": (shape[1], 128)}
    for stage, blocks in zip((1, 2, 3, 4), (3, 4, 6, 3), strict=True):
        norm = {1: 128, 2: 256, 3: 512, 4: 1024}[stage]
        for b in range(blocks):
            name = f"layer{stage}.{b}"
            expected[f"{name}.conv1"] = (shape[stage], conv[stage][0 if b == 0 else 1])
            expected[f"{name}.bn1"] = (shape[stage], norm)
            expected[f"{name}.conv2"] = (shape[stage], conv[stage][1])
            expected[f"{name}.bn2"] = (shape[stage], norm)
            if stage > 1 and b == 0:
                first, second = f"{name}.downsample.0", f"{name}.downsample.1"
                expected |= {first: (shape[stage], conv[stage][0] // 9), second: (shape[stage], norm)}
    assert {name: (row["output"], row["parameters"]) for name, row in rows.items()} == expected
    assert list(rows) == list(expected)
    shortcut = {stage: sum(rows[f"layer{stage}.0.downsample.{i}"]["parameters"] for i in (0, 1)) for stage in (2, 3, 4)}
    assert shortcut == {2: 8_448, 3: 33_280, 4: 132_096}
    assert resnet34.table("layers")[-1]["output"] == "[1, 512, 1, 1]"


def test_capture_gives_the_published_shape_lists():
    """The 33 convolutions of the ImageNet ResNet-34, forward in order of execution, backward reversed."""
    model = na.build("resnet34")
    x = torch.randn(1, 3, 224, 224, requires_grad=True)
    with na.capture(model, ["conv1", "layer*.conv*"]) as records:
        model(x).sum().backward()
    parts = {"in": [(3, 224), *[(64, 56)] * 7, *[(128, 28)] * 8, *[(256, 14)] * 12, *[(512, 7)] * 5]}
    parts["out"] = [(64, 112), *[(64, 56)] * 6, *[(128, 28)] * 8, *[(256, 14)] * 12, *[(512, 7)] * 6]
    expected = {name: [[c, s, s] for c, s in part] for name, part in parts.items()}
    forward = [records[name] for name in records.forward_order]
    backward = [records[name] for name in records.backward_order]
    assert len(forward) == 33
    assert [list(record.x.shape[1:]) for record in forward] == expected["in"]
    assert [list(record.y.shape[1:]) for record in forward] == expected["out"]
    assert [list(record.gx.shape[1:]) for record in backward] == expected["in"][::-1]
    assert [list(record.gy.shape[1:]) for record in backward] == expected["out"][::-1]


class Functional(nn.Module):
    """Products that no layer accounts for."""

    def __init__(self):
        super().__init__()
        self.linear, self.free = nn.Linear(4, 4), nn.Parameter(torch.ones(4, 3))

    def forward(self, x):
        return F.scaled_dot_product_attention(self.linear(x), x, x) @ self.free


def test_functional_products_are_not_lost():
    """What happens outside layers is counted, attention included, and stands in a row of its own."""
    result = na.summary(Functional(), (2, 5, 4))
    rows = {row["layer"]: row["multiply_adds"] for row in result.table("layers")}
    attention, product = 2 * (2 * 5 * 5 * 4), 2 * 5 * 4 * 3
    assert rows == {"linear": 2 * 5 * 4 * 4, "(functional)": attention + product}
    assert result.table("totals")[0]["parameters"] == 20 + 12


def test_attention_and_recurrence_are_counted():
    """A transformer layer and an LSTM, whose fused kernels count as zero elsewhere, have their products."""
    encoder = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    N, T, C = 2, 5, 8
    projections, scores, mlp = N * T * C * 4 * C, 2 * N * T * T * C, 2 * N * T * C * 16
    totals = na.summary(encoder, (N, T, C)).table("totals")[0]
    assert totals["multiply_adds"] == projections + scores + mlp
    assert totals["parameters"] == sum(p.numel() for p in encoder.parameters())
    lstm = na.summary(nn.LSTM(3, 4, batch_first=True), (2, 5, 3))
    assert lstm.table("totals")[0]["multiply_adds"] == 2 * 5 * 4 * 4 * (3 + 4)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.spare = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 7)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(self.a(x)))


def test_shared_repeated_and_idle_layers():
    """Shared parameters count once, each call has its row, a layer that never ran keeps its parameters."""
    result = na.summary(Shared(), (1, 3))
    rows = [(r["layer"], r["parameters"], r["multiply_adds"], r["output"]) for r in result.table("layers")]
    assert rows == [
        ("a#0", 12, 9, "[1, 3]"),
        ("a#1", 0, 9, "[1, 3]"),
        ("b", 3, 9, "[1, 3]"),
        ("spare", 28, 0, "never ran"),
    ]
    assert result.notes == ("never ran: spare",)
    assert result.table("totals")[0]["parameters"] == sum(p.numel() for p in Shared().parameters())


class Gated(nn.Module):
    """A parameter of its own beside a layer inside, and a product with it."""

    def __init__(self):
        super().__init__()
        self.inner, self.gate = nn.Linear(3, 3), nn.Parameter(torch.ones(3, 3))

    def forward(self, x):
        return self.inner(x) @ self.gate


def test_nested_layers_count_their_own_products_only():
    """A layer with parameters and a layer inside it do not count one product twice."""
    rows = na.summary(nn.Sequential(Gated(), nn.Linear(3, 2)), (1, 3)).table("layers")
    assert {row["layer"]: (row["parameters"], row["multiply_adds"]) for row in rows} == {
        "0.inner": (12, 9),
        "0": (9, 9),
        "1": (8, 6),
    }


def test_integer_inputs_go_in_as_an_example():
    """Token models are summarised on given tokens."""
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    rows = na.summary(model, x=torch.arange(6).reshape(2, 3)).table("layers")
    assert [(row["layer"], row["output"], row["depth"]) for row in rows][1] == ("1", "[2, 3, 2]", 2)


def test_summary_touches_nothing():
    """A model in mixed modes, with statistics and dropout, is left bit by bit, also when it fails."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model[1].eval()
    with check_quiet(model):
        na.summary(model, (2, 1, 5, 5))
    with check_quiet(model), pytest.raises(BadInput):
        na.summary(model, (2, 3, 5, 5))


@pytest.mark.parametrize(
    ("model", "size", "sentence"),
    [
        (nn.Linear(3, 2), None, "no input size"),
        (nn.Linear(3, 2), (0, 3), "input size (0, 3)"),
        (nn.Linear(3, 2), (1, 4), "RuntimeError: mat1 and mat2"),
        (nn.Sequential(nn.LazyLinear(2)), (1, 3), "parameter '0.weight' has no shape yet"),
        ("resnet18", (1, 3), "str, which is no torch.nn.Module"),
    ],
)
def test_refusals(model, size, sentence):
    """Missing, empty or unfit sizes, lazy layers and things that are no model get a sentence."""
    with pytest.raises(BadInput) as caught:
        na.summary(model, size)
    assert sentence in str(caught.value)
