"""Exchange maps: every number against the definition, whatever the network does with its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import netassay as na
from netassay.errors import BadInput, UnknownName
from netassay.studies.exchange_streams import ALSO, FOLDS
from tests.reference import exchange as twin

N = 30


class Net(nn.Module):
    """Convolutions with groups, with steps and around a skip; tokens; a layer that is used twice."""

    def __init__(self, inplace=False, way=None):
        super().__init__()
        self.stem, self.act = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.ReLU(inplace=inplace)
        self.inner = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.down, self.twice, self.head = nn.Conv2d(4, 6, 3, stride=2), nn.Linear(6, 6), nn.Linear(6, 3)
        self.way = way

    def block(self, x):
        return self.act(self.inner(x)) + x

    def forward(self, x):
        x = self.act(self.stem(x))
        again = checkpoint if self.way else lambda function, x, use_reentrant: function(x)
        x = again(self.block, x, use_reentrant=self.way == "reentrant")
        x = self.down(x).flatten(2).mT
        return self.head(self.twice(torch.tanh(self.twice(x))).mean(1))


LAYERS = ("stem", "inner", "down", "twice#0", "twice#1", "head")


def net(**options):
    torch.manual_seed(0)
    return Net(**options).eval()


def data(n=N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, 7, 7, generator=generator), torch.arange(n) % 3


def loss(output, y):
    return nn.functional.cross_entropy(output, y, reduction="none")


def definition(model, x, y):
    """Local gradients of each call, from its input and the gradient at its output as plain hooks see them."""
    seen, handles = [], []

    def hook(layer, args, output):
        record = [layer, args[0].detach().clone(), None]
        output.register_hook(lambda gradient: record.__setitem__(2, gradient.clone()))
        seen.append(record)

    for layer in (model.stem, model.inner, model.down, model.twice, model.head):
        handles.append(layer.register_forward_hook(hook))
    loss(model(x.clone().requires_grad_()), y).sum().backward()
    for handle in handles:
        handle.remove()
    model.zero_grad()
    return {label: twin.local(*record) for label, record in zip(LAYERS, seen, strict=True)}


@pytest.fixture(scope="module")
def parts():
    return definition(net(), *data())


@pytest.fixture(scope="module")
def result():
    return na.exchange_map(net(), data(), also=ALSO, batch_size=7)


def column(result, table, name, layer):
    columns = result.tables[table].columns
    return columns[name][columns["layer"] == layer]


def near(found, wanted, tolerance=1e-5, least=1e-9):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=least * np.nanmax(np.abs(wanted)))


QUANTITIES = {
    "emission": ("outputs", twin.emission),
    "emission_norm": ("outputs", lambda one: twin.blocks(one).square().sum(2).sqrt()),
    "absorption": ("inputs", twin.absorption),
    "coherence": ("inputs", twin.coherence),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", QUANTITIES)
def test_every_channel_is_what_the_definition_says(result, parts, name, layer):
    """Mean, deviation, extremes, quartiles and count over samples, of each channel of each call."""
    table, quantity = QUANTITIES[name]
    values = quantity(parts[layer]).numpy()
    read = lambda what: column(result, table, f"{name}_{what}", layer)  # noqa: E731
    near(read("mean"), values.mean(0))
    near(read("std"), values.std(0), 1e-4)
    # What cancels in float32 is off by 1e-7 of what met, in which a coherence is counted.
    near(read("low"), values.min(0), least=1e-6 if name == "coherence" else 1e-9)
    near(read("high"), values.max(0))
    for q, told in ((0.25, "q25"), (0.5, "median"), (0.75, "q75")):
        near(read(told), np.quantile(values, q, axis=0, method="inverted_cdf"), 0.008)
    assert (read("samples") == N).all()
    assert not read("undefined").any()


def test_the_interval_of_a_median_holds_its_order_statistics(result, parts):
    """It reaches 0.98 of the root of n in ranks, and half a bin beyond."""
    values = np.sort(twin.absorption(parts["stem"]).numpy(), axis=0)
    low, high = (column(result, "inputs", f"absorption_median_{end}", "stem") for end in ("low", "high"))
    reach = 0.98 * np.sqrt(N)
    first, last = int(np.ceil(N / 2 - reach)) - 1, int(np.ceil(N / 2 + reach)) - 1
    assert (low <= values[first] * 1.0001).all()
    assert (low >= values[first] * 0.98).all()
    assert (high >= values[last] * 0.9999).all()
    assert (high <= values[last] * 1.02).all()


def test_the_gradient_at_each_output_is_told_under_its_own_name(result):
    """`gradient_norm` is the norm of gy, channel by channel: what the study's script took for absorption."""
    model, (x, y) = net(), data()
    with na.capture(model, "stem") as records:
        loss(model(x), y).sum().backward()
    near(
        column(result, "outputs", "gradient_norm_mean", "stem"),
        records["stem"].gy.flatten(2).norm(dim=2).mean(0).numpy(),
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_blocks_and_shares_are_over_all_samples(result, parts, layer):
    """Mean blocks, and pooled shares that sum to 1 over outputs."""
    near(result.array(f"blocks/{layer}"), twin.blocks(parts[layer]).mean(0).numpy())
    share = result.array(f"share/{layer}")
    np.testing.assert_allclose(share, twin.share(parts[layer]).numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.asarray(share).sum(0), 1, rtol=1e-4)
    assert tuple(share.axes) == ("output", "input")


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layers_row_sums_up(result, parts, layer):
    """What is exchanged, the pooled coherence, and what came out of each channel beside the mean."""
    row = next(row for row in result.table("layers") if row["layer"] == layer)
    absorbed, passed = twin.absorption(parts[layer]), parts[layer].sum(1).norm(dim=2)
    near(row["exchanged"], absorbed.sum(1).mean().item())
    near(row["coherence"], (passed.sum() / absorbed.sum()).item())
    received = (passed.sum(0) / passed.sum(0).mean()).numpy()
    near(column(result, "inputs", "received", layer), received)
    arrival, survival = (column(result, "inputs", name, layer) for name in ("arrival", "survival"))
    near(arrival * survival, received)
    near(arrival, (absorbed.sum(0) / absorbed.sum(0).mean()).numpy())
    assert row["samples"] == N


def test_what_comes_around_a_branch(result):
    """Through the branch, over the skip, and both together; only where something else uses the input."""
    model, (x, y) = net(), data()
    with na.capture(model, "inner") as records:
        loss(model(x.clone().requires_grad_()), y).sum().backward()
    gx, total = (one.double() for one in (records["inner"].gx, records["inner"].gx_total))
    (row,) = result.table("residual")
    assert (row["layer"], row["members"]) == ("inner", "inner")
    for name, one in (("through", gx), ("around", total - gx), ("total", total)):
        near(row[name], one.flatten(1).norm(dim=1).mean().item())


def same(a, b, tolerance=1e-5):
    assert a.tables.keys() == b.tables.keys()
    for name, table in a.tables.items():
        for title, values in table.columns.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(values, b.tables[name].columns[title], rtol=tolerance, atol=1e-9)
            else:
                np.testing.assert_array_equal(values, b.tables[name].columns[title])


def test_the_size_of_a_batch_changes_nothing(result):
    """Samples are taken one by one: any cut of the data into batches gives the same tables."""
    same(result, na.exchange_map(net(), data(), also=ALSO, batch_size=N))


def test_parts_of_the_data_merge_to_the_whole():
    """Distributions, blocks, shares and what comes around; folds differ, so claims do by their noise alone."""
    x, y = data()
    halves = [na.exchange_map(net(), (x[cut], y[cut]), also=ALSO) for cut in (slice(0, 13), slice(13, N))]
    merged, whole = halves[0].merge(halves[1]), na.exchange_map(net(), (x, y), also=ALSO)
    for name in ("inputs", "outputs", "residual"):
        for title, values in whole.tables[name].columns.items():
            if values.dtype.kind == "f" and "median_" not in title:
                np.testing.assert_allclose(merged.tables[name].columns[title], values, rtol=1e-5, atol=1e-9)
    for name, array in whole.arrays.items():
        np.testing.assert_allclose(merged.array(name), array, rtol=1e-3, atol=1e-6)
    assert merged.provenance["samples"] == N
    with pytest.raises(BadInput, match="objective true_logit and cross_entropy"):
        na.exchange_map(net(), (x, y), objective="true_logit", also=ALSO).merge(whole)
    with pytest.raises(BadInput, match="map the same layers"):
        whole.merge(na.exchange_map(net(), (x, y), "stem", also=ALSO))


@pytest.mark.parametrize("options", [{"inplace": True}, {"way": "reentrant"}, {"way": "not reentrant"}], ids=str)
def test_activations_in_place_and_checkpoints_change_nothing(result, options):
    """What is overwritten or recomputed is seen as it was, once."""
    if options.get("way") == "reentrant":  # autograd.grad with inputs is not for reentrant checkpoints
        with pytest.raises(BadInput, match="checkpoint"):
            na.exchange_map(net(**options), data(), also=ALSO)
    else:
        same(result, na.exchange_map(net(**options), data(), also=ALSO))


def test_channels_last_changes_nothing(result):
    """The order of a tensor's memory is none of the numbers' business."""
    model, (x, y) = net().to(memory_format=torch.channels_last), data()
    same(result, na.exchange_map(model, (x.to(memory_format=torch.channels_last), y), also=ALSO), 1e-4)


def test_bfloat16_is_as_exact_as_its_own_gradients():
    """Blocks are made in float32 of what bfloat16 weights and gradients hold."""
    model, (x, y) = net().bfloat16(), data()
    found = na.exchange_map(model, (x.bfloat16(), y), "stem")
    seen = definition(model, x.bfloat16(), y)
    near(column(found, "outputs", "emission_mean", "stem"), twin.emission(seen["stem"]).mean(0).numpy(), 1e-4)


class Attends(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.embed, self.attend = nn.Embedding(9, 8), nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.norm, self.head, self.first = nn.LayerNorm(8), nn.Linear(8, 3), batch_first

    def forward(self, x):
        x = self.embed(x) if self.first else self.embed(x).transpose(0, 1)
        x = self.norm(x + self.attend(x, x, x, need_weights=False)[0])
        return self.head(x.mean(1 if self.first else 0))


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_is_told_by_its_last_projection(batch_first):
    """Blocks of out_proj whatever axis samples are on; in_proj is said not to be seen."""
    torch.manual_seed(0)
    model = Attends(batch_first).eval()
    x, y = torch.randint(9, (12, 5)), torch.arange(12) % 3
    found = na.exchange_map(model, (x, y), also=ALSO)
    assert [row["layer"] for row in found.table("layers")] == ["attend", "head"]
    assert any("in_proj cannot be observed" in note for note in found.notes)
    with na.capture(model, "attend") as records:
        loss(model(x), y).sum().backward()
    gy = records["attend"].gy
    parts = twin.local(model.attend, gy, gy)
    near(column(found, "outputs", "emission_mean", "attend"), twin.emission(parts).mean(0).numpy())
    near(column(found, "inputs", "coherence_mean", "attend"), twin.coherence(parts).mean(0).numpy())
    normed = na.exchange_map(model, (x, y), ["norm", "head"])
    assert column(normed, "inputs", "coherence_mean", "norm").shape == (8,)


class Fixed(nn.Module):
    """A linear layer of two outputs whose inputs get the same gradient twice, against each other, and hardly any."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 2, bias=False)
        self.mix.weight.data = torch.tensor([[1.0, 1.0, 1e-3], [1.0, -1.0, 1e-3]])

    def forward(self, x):
        return self.mix(x)


def test_cancelled_is_not_starved():
    """An input that much gradient reaches, all of it against itself, and one that hardly any reaches."""
    x = torch.randn(20, 3)
    found = na.exchange_map(Fixed(), (x, None), objective=lambda output, y: output.sum(1))
    assert column(found, "inputs", "state", "mix").tolist() == ["fed", "cancelled", "starved"]
    near(column(found, "inputs", "coherence_mean", "mix")[0], 1.0)
    assert column(found, "inputs", "coherence_high", "mix")[1] == 0
    row = found.table("layers")[0]
    assert (row["fed"], row["cancelled"], row["starved"]) == (1, 1, 1)


def test_what_nothing_reaches_is_unreached_and_undefined():
    """Without gradient coherence is undefined, and counted; quartiles are of what is defined."""
    x, a, b = torch.randn(10, 3), torch.arange(10.0) - 4, torch.ones(10)
    b[4] = 0  # no gradient at all in the fifth sample
    found = na.exchange_map(Fixed(), (x, None), objective=lambda output, y: (output * torch.stack([a, b], 1)).sum(1))
    assert column(found, "inputs", "coherence_samples", "mix").tolist() == [9, 9, 9]
    assert column(found, "inputs", "coherence_undefined", "mix").tolist() == [1, 1, 1]
    told = ((a + b).abs() / (a.abs() + b.abs()))[[k for k in range(10) if k != 4]].numpy()
    for q, name in ((0.25, "q25"), (0.5, "median"), (0.75, "q75")):
        wanted = np.quantile(told, q, method="inverted_cdf")
        near(column(found, "inputs", f"coherence_{name}", "mix")[0], wanted, 0.008)
    dark = na.exchange_map(Fixed(), (x, None), objective=lambda output, y: output.sum(1) * 0)
    assert set(column(dark, "inputs", "state", "mix")) == {"unreached"}
    assert dark.claims == ()


def test_a_gradient_that_is_not_finite_is_counted_and_left_out():
    """A sample with NaN spoils no other sample's numbers, and the notes say how many there were."""
    x = torch.randn(10, 3)
    found = na.exchange_map(
        Fixed(), (x, None), objective=lambda output, y: (output / (torch.arange(10) != 3)[:, None]).sum(1)
    )
    assert column(found, "inputs", "absorption_undefined", "mix").tolist() == [1, 1, 1]
    assert column(found, "inputs", "absorption_samples", "mix").tolist() == [9, 9, 9]
    assert np.isfinite(column(found, "inputs", "absorption_mean", "mix")).all()
    assert any("not finite, for 1 samples" in note for note in found.notes)


def test_one_gradient_a_batch_whatever_the_number_of_layers(monkeypatch):
    """The graph is walked back once for all layers, and to no weight."""
    calls, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **more: calls.append(1) or grad(*args, **more))
    na.exchange_map(net(), data(), batch_size=10)
    assert len(calls) == 3


def test_layers_without_a_rule_are_refused_with_two_ways_out():
    """The class is named; a rule or `skip` lets the rest through, and what is left out is said."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4), Last(), nn.Linear(4, 3))
    given = torch.randn(12, 2, 4), torch.arange(12) % 3
    with pytest.raises(
        BadInput, match=r"(?s)layer '1' \(LSTM\).*no rule for LSTM.*help\(netassay.rules.rule\).*skip='1'"
    ):
        na.exchange_map(model, given)
    found = na.exchange_map(model, given, skip="1")
    assert [row["layer"] for row in found.table("layers")] == ["0", "3"]
    assert "left out: 1" in found.notes


class Last(nn.Module):
    def forward(self, output):
        return output[0].mean(1)


def test_what_is_asked_wrongly_is_told_how_to_ask():
    """Unknown extras, nothing left, layers that never run, samples that are not to be found."""
    with pytest.raises(UnknownName, match=r"(?s)exchange 'bloks'.*'blocks'"):
        na.exchange_map(net(), data(), also=["bloks"])
    with pytest.raises(BadInput, match="no layer with a weight is left"):
        na.exchange_map(net(), data(), "head", skip="*")
    idle = nn.Sequential(nn.Linear(3, 3))
    idle.spare = nn.Linear(3, 3)
    idle.forward = lambda x: idle[0](x)
    with pytest.raises(BadInput, match="no gradient came by any of them"):
        na.exchange_map(idle, (torch.randn(4, 3), torch.zeros(4, dtype=torch.long)), "spare")
    frames = Frames()
    with pytest.raises(
        BadInput, match=r"(?s)exchange of layer 'conv'.*\(8, 2, 5, 5\) for a batch of 4 samples.*skip='conv'"
    ):
        na.exchange_map(frames, (torch.randn(4, 2, 1, 5, 5), torch.zeros(4, dtype=torch.long)), "conv")
    assert any(
        "conv is left out" in note
        for note in na.exchange_map(frames, (torch.randn(4, 2, 1, 5, 5), torch.zeros(4, dtype=torch.long))).notes
    )


class Frames(nn.Module):
    """Takes the frames of a film for samples."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(2, 3)

    def forward(self, x):
        return self.head(self.conv(x.flatten(0, 1)).mean((2, 3)).view(len(x), -1, 2).mean(1))


def test_large_layers_keep_no_mean_blocks(monkeypatch):
    """Beyond the limit the blocks are left out, and the notes say so; all else stays."""
    monkeypatch.setattr("netassay.studies.exchange_streams.LARGEST", 8)
    found = na.exchange_map(net(), data())
    assert "blocks/stem" in found.arrays
    assert "blocks/inner" not in found.arrays
    assert any("inner: mean blocks are not kept" in note for note in found.notes)


def test_folds_are_many_and_the_same_for_every_layer():
    """Every sample is in one fold, and in the same one for all layers, so that claims over layers can be made."""
    found = na.exchange_map(net(), data(200)).source
    counts = [layer.sums["samples"] for layer in found.layers]
    assert counts[0].shape == (FOLDS,)
    assert counts[0].sum() == 200
    assert all((one == counts[0]).all() for one in counts)
