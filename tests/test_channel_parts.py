"""Channel profile: what must not change its numbers, parts that merge, and what is refused."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import netassay as na
from netassay.errors import BadInput
from netassay.testing import check_quiet

N = 40


def model(bias=True):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=bias), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(96, 3)
    )


def data(n=N):
    g = torch.Generator().manual_seed(7)
    return torch.randn(n, 1, 6, 6, generator=g), torch.randint(3, (n,), generator=g)


def same(a, b, rtol=1e-6, leave=()):
    """Assert that two results say the same, numbers to `rtol` of their column's largest."""
    assert list(a.tables) == list(b.tables)
    for name, table in a.tables.items():
        for column, values in table.columns.items():
            other = b.tables[name].columns[column]
            if column in leave:
                continue
            if values.dtype.kind == "f":
                scale = np.abs(values[np.isfinite(values)]).max(initial=0)
                np.testing.assert_allclose(other, values, rtol, rtol * scale, err_msg=column)
            else:
                np.testing.assert_array_equal(other, values, err_msg=column)
    for name, array in a.arrays.items():
        assert b.arrays[name].axes == array.axes
        np.testing.assert_allclose(b.arrays[name], array, max(rtol, 0.0157), err_msg=name)
    assert list(map(str, b.verdicts)) == list(map(str, a.verdicts))


@pytest.mark.parametrize("batch_size", [1, 7, 40, 1000])
def test_the_batch_size_does_not_matter(batch_size):
    """One sample at a time, uneven batches and the whole at once give one profile."""
    net = model()
    same(na.channel_profile(net, data(), batch_size=16), na.channel_profile(net, data(), batch_size=batch_size))


def test_gradients_are_of_the_sum_over_samples():
    """The data twice over has the same statistics per sample, forward and backward; only the samples double."""
    net, (x, y) = model(), data()
    once, twice = (na.channel_profile(net, (x.repeat(k, 1, 1, 1), y.repeat(k))) for k in (1, 2))
    assert twice.provenance["samples"] == 2 * once.provenance["samples"] == 2 * N
    same(once, twice, leave=("samples", "firing", "y_not_finite"))
    assert "a mean loss over N samples gives 1/N of them" in once.provenance["scaling"]


def test_the_objective_scales_gradients_and_nothing_else():
    """Twice the objective is twice the gradient everywhere, with the same states and outputs."""
    net = model()
    plain = na.channel_profile(net, data(), objective="true_logit")
    double = na.channel_profile(net, data(), objective=lambda out, y: 2 * out.gather(1, y[:, None]).squeeze(1))
    for name in ("gy_rms", "gy_norm", "y_rms"):
        ratio = double.tables["layers"].columns[name] / plain.tables["layers"].columns[name]
        np.testing.assert_allclose(ratio, 1 if name == "y_rms" else 2, rtol=1e-6)
    assert double.provenance["objective"].endswith("<lambda>")


@pytest.mark.parametrize("part", ["all", "first", "last"])
def test_frozen_weights_change_nothing(part):
    """requires_grad=False on weights, all or some, leaves every number."""
    net = model()
    free = na.channel_profile(net, data())
    for parameter in net.parameters() if part == "all" else net[0 if part == "first" else -1].parameters():
        parameter.requires_grad_(False)
    with check_quiet(net):
        same(free, na.channel_profile(net, data()))


def test_the_callers_grad_mode_does_not_matter():
    """Under no_grad and inference_mode the gradients are there all the same."""
    net = model()
    free = na.channel_profile(net, data())
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            same(free, na.channel_profile(net, data()))


def test_a_model_in_train_mode_is_profiled_in_eval_mode_and_put_back():
    """Running statistics are used, not updated; flags, dropout's random state and statistics come back."""
    net = nn.Sequential(*model(), nn.Dropout())
    expected = na.channel_profile(net.eval(), data())
    net.train()
    net[1].eval()
    with check_quiet(net):
        same(expected, na.channel_profile(net, data()))
    assert expected.provenance["mode"] == "eval"


def test_training_uses_batch_statistics_and_leaves_no_trace():
    """In train mode a norm's output has mean 0 and variance 1 in each batch, and the model is as it was after."""
    net = nn.Sequential(*model(), nn.Dropout()).eval()
    net[1].running_mean += 100
    with check_quiet(net):
        result = na.channel_profile(net, data(), layers="1", training=True)
    assert result.provenance["mode"] == "train"
    assert result.tables["channels"].columns["y_mean"] == pytest.approx(0, abs=1e-6)
    assert result.tables["channels"].columns["y_std"] == pytest.approx(1, rel=1e-3)
    assert na.channel_profile(net, data(), layers="1").tables["channels"].columns["y_mean"].max() < -50


def test_without_quantiles_only_the_quantiles_are_missing():
    """quantiles=False leaves the arrays NaN and everything else as it is."""
    net = model()
    full, lean = (na.channel_profile(net, data(), quantiles=q) for q in (True, False))
    assert all(np.isnan(array).all() for array in lean.arrays.values())
    assert not any(np.isnan(array).any() for array in full.arrays.values())
    for name, table in full.tables.items():
        for column, values in table.columns.items():
            np.testing.assert_array_equal(lean.tables[name].columns[column], values)


@pytest.mark.parametrize("cuts", [[20], [1, 2, 39], [7, 14, 21, 28, 35], [5, 5, 30]])
@pytest.mark.parametrize("batch_size", [3, 128])
def test_any_partition_merges_to_the_whole(cuts, batch_size):
    """Profiles of parts, in any order and with any batch sizes, are the profile of the whole."""
    net, (x, y) = model(), data()
    whole = na.channel_profile(net, (x, y))
    edges = zip([0, *cuts], [*cuts, N], strict=True)
    parts = [na.channel_profile(net, (x[a:b], y[a:b]), batch_size=batch_size + a) for a, b in edges if b > a]
    np.random.default_rng(0).shuffle(parts)
    merged = functools.reduce(na.Result.merge, parts)
    same(whole, merged)
    assert merged.provenance["samples"] == N
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(merged.arrays[name], array)
    assert {**merged.provenance, "data": ""} == {**whole.provenance, "data": ""}


def test_merged_parts_are_judged_anew():
    """Parts too small to judge join to a whole with states; the baseline that a part was judged by stays."""
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
    with torch.no_grad():
        net[0].bias[:20], net[0].bias[20:] = -1000, 3
    x, y = torch.randn(18, 4), torch.arange(18) % 3
    parts = [na.channel_profile(net, (x[at], y[at]), baseline=None) for at in (slice(9), slice(9, 18))]
    assert {row["state"] for part in parts for row in part.table("channels")} == {"unobserved"}
    (finding,) = parts[0].merge(parts[1]).findings
    assert str(finding) == "0: 20 of 32 channels carry nothing (20 dead: 0-19)"


def test_profiles_of_different_layers_or_studies_do_not_merge():
    """Refused with what they are; a result read back without its sums is refused too."""
    net = model()
    first, other = na.channel_profile(net, data(), layers="0"), na.channel_profile(net, data(), layers="2")
    with pytest.raises(BadInput, match=r"(?s)layers \['0'\].* and \['2'\].*profile the same layers"):
        first.merge(other)
    with pytest.raises(BadInput, match="merge 'channel_profile' with 'summary'"):
        first.merge(na.summary(net, (1, 1, 6, 6)))


@pytest.mark.parametrize(
    ("changes", "fact"),
    [({"objective": "true_logit"}, "objective"), ({"training": True}, "mode"), ({"other weights": True}, "model_hash")],
)
def test_parts_that_were_asked_otherwise_do_not_merge(changes, fact):
    """Other weights, another objective or mode: the refusal names the fact and both its values."""
    net, (x, y) = model(), data()
    first, other = na.channel_profile(net, (x, y)), copy.deepcopy(net)
    if changes.pop("other weights", False):
        torch.nn.init.zeros_(next(other.parameters()))
    second = na.channel_profile(other, (x, y), **changes)
    with pytest.raises(BadInput, match=f"{fact} {first.provenance[fact]} and {second.provenance[fact]}"):
        first.merge(second)


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        packed = pack_padded_sequence(x, torch.arange(len(x), 0, -1).clamp(max=x.shape[1]), batch_first=True)
        return self.head(self.lstm(packed)[1][0][0])


def test_packed_sequences_are_refused_and_can_be_left_out():
    """A packed output mixes samples: refused with a sentence; without that layer the profile is made."""
    sequences = torch.randn(12, 5, 3), torch.arange(12) % 3
    with pytest.raises(BadInput) as caught:
        na.channel_profile(Packed(), sequences)
    assert "channels of layer 'lstm'" in str(caught.value)
    assert "pad sequences instead of packing them" in str(caught.value)
    assert na.channel_profile(Packed(), sequences, layers="head").table("layers")[0]["channels"] == 3


def test_a_padded_recurrent_layer_has_its_hidden_units_as_channels():
    """An LSTM's output sequence (N, T, H) has H channels over T positions."""
    sequences = torch.randn(12, 5, 3), torch.randint(4, (12, 5))
    result = na.channel_profile(Sequence(), sequences)
    assert [(row["layer"], row["channels"]) for row in result.table("layers")] == [("lstm", 4)]


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


def test_a_model_without_weights_asks_for_layers():
    """Nothing to profile by default is a sentence, not an empty table."""
    with pytest.raises(BadInput, match=r"name layers: layers='\*'"):
        na.channel_profile(nn.Sequential(nn.Flatten()), data())
