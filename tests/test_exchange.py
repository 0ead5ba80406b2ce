"""Exchange: what is emitted, absorbed and survives, against the definition; sums of tiles, however these are cut."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from torch import nn

from netassay.exchange import absorption, coherence, emission, exchanged, share
from netassay.rules import Diagonal, blocks, find
from netassay.rules.exactly import exactly
from netassay.rules.tiles import Singles, Tile
from tests import gradients
from tests.reference import exchange as twin

NAMES = [name for name in gradients.FAMILIES if name != "attention"]
TIGHT = {"rtol": 1e-5, "atol": 1e-12}


@pytest.mark.parametrize("name", NAMES)
def test_each_number_is_its_definition(name):
    """Emission, absorption, coherence and share of a layer, from its blocks, overlap and input gradient."""
    layer, x, gy = gradients.family(name, torch.float64)
    parts, made = twin.local(layer, x, gy), blocks(layer, x, gy)
    gx = parts.sum(1)
    found = {
        "emission": emission(made),
        "absorption": absorption(made),
        "coherence": coherence(gx.norm(dim=2), absorption(made)),
    }
    if find(layer).overlap is not None:
        with exactly():
            overlap = find(layer).overlap(layer, x, gy, gradients.laid(gx, x, layer))
        found["share"] = share(overlap, gx.square().sum((0, 2)))
        torch.testing.assert_close(found["share"].sum(0), torch.ones(len(found["share"][0])).double())
    for key, value in found.items():
        torch.testing.assert_close(value, getattr(twin, key)(parts), rtol=1e-8, atol=1e-9, equal_nan=True, msg=key)


def test_where_nothing_arrives_there_is_no_coherence_and_no_share():
    """NaN, not 0, and no warning; elsewhere numbers."""
    parts = torch.zeros(2, 2, 2, 3, dtype=torch.float64)
    parts[:, :, 0] = torch.randn(2, 2, 3)
    made, gx = twin.blocks(parts), parts.sum(1)
    whole = coherence(gx.norm(dim=2), absorption(made))
    assert whole[:, 1].isnan().all()
    assert ((whole[:, 0] > 0) & (whole[:, 0] <= 1)).all()
    part = share(twin.overlap(parts), gx.square().sum((0, 2)))
    assert part.isnan().tolist() == [[False, True], [False, True]]


def test_parts_that_cancel_have_no_coherence_left():
    """Two outputs that undo one another: 0, with shares that are large and of either sign."""
    assert coherence(torch.zeros(1, 1), torch.ones(1, 1)).tolist() == [[0.0]]
    parts = torch.tensor([[[[3.0, 0.0]], [[-2.0, 0.0]]]], dtype=torch.float64)
    assert share(twin.overlap(parts), parts.sum(1).square().sum((0, 2))).tolist() == [[3.0], [-2.0]]


def compare(layer, x, gy, **how):
    """Assert that sums of tiles are those of the dense blocks; return them."""
    wanted = blocks(layer, x, gy)
    with exactly():
        made = exchanged(find(layer).tiles(layer, x, gy), tuple(wanted.shape), norm=True, **how)
    for name, right in {
        "emission": wanted.sum(2),
        "absorption": wanted.sum(1),
        "emission_norm": wanted.norm(dim=2),
    }.items():
        torch.testing.assert_close(getattr(made, name), right, **TIGHT, msg=name)
        assert getattr(made, name).dtype == torch.float64
    torch.testing.assert_close(made.total, wanted.sum(0), **TIGHT)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [3, 1])
@pytest.mark.parametrize("name", gradients.FAMILIES)
def test_sums_of_tiles_are_those_of_blocks(name, samples, dtype):
    """In each family, of several samples and of one; every block is counted once."""
    layer, x, gy = gradients.family(name, dtype)
    x, gy = x[:samples], gy[:samples]
    made = compare(layer, x, gy)
    whole = blocks(layer, x, gy)
    groups = whole.shape[1] if find(layer).diagonal else getattr(layer, "groups", getattr(layer, "num_groups", 1))
    assert made.blocks == whole.numel() // groups
    assert made.again == 0


ROOMS = ("quadratic", "gram", "convolution", "linear", "normalisation")


@pytest.mark.parametrize("working", [1, 40, 300])
@pytest.mark.parametrize("name", gradients.FAMILIES)
def test_how_tiles_are_cut_does_not_show(monkeypatch, name, working):
    """With little memory there are many tiles, of some groups or some outputs; blocks and sums are as before."""
    layer, x, gy = gradients.family(name)
    before = blocks(layer, x, gy)
    for room in ROOMS:
        monkeypatch.setattr(importlib.import_module(f"netassay.rules.{room}"), "WORKING", working)
    torch.testing.assert_close(blocks(layer, x, gy), before, rtol=1e-6, atol=0)
    compare(layer, x, gy)
    with exactly():
        tiles = find(layer).tiles(layer, x, gy)
        many = 1 if isinstance(tiles, Diagonal) else sum(isinstance(one, Tile) for one in tiles)
    assert many > 1 or working > 1 or isinstance(tiles, Diagonal) or name == "1x1"


SMOOTH = {
    "Conv2d": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "groups": lambda: nn.Conv2d(6, 4, 3, padding=1, groups=2),
    "stride": lambda: nn.Conv2d(3, 4, 7, stride=2, padding=3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(3, 4, 3),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("working", [1 << 21, 60])
@pytest.mark.parametrize("name", SMOOTH)
def test_blocks_made_once_more_are_in_every_sum(monkeypatch, name, working, dtype):
    """A smooth gradient leaves little of kernels that sum to 0: such blocks come last, and one by one."""
    layer = SMOOTH[name]().to(dtype)
    gradients.fill(layer.weight, "zero-sum", 2)
    layer.weight.data[0] = torch.randn(layer.weight[0].shape)
    x = torch.zeros(2, layer.in_channels, 24, 24, dtype=dtype)
    y = layer(x)
    r = torch.arange(y.shape[-1]) - y.shape[-1] / 2
    smooth = torch.exp(-(r[:, None] ** 2 + r**2) / (18 if dtype == torch.float32 else 72))
    gy = (
        (torch.randn(y.shape[:2])[..., None, None] * (smooth if dtype == torch.float32 else 1))
        .expand(y.shape)
        .to(dtype)
    )
    monkeypatch.setattr("netassay.rules.quadratic.WORKING", working)
    made = compare(layer, x, gy)
    assert gradients.far(blocks(layer, x, gy), layer, x, gy) <= 1
    if dtype == torch.float32 and name != "stride":
        assert 0 < made.again < made.blocks


def test_singles_are_added_where_they_belong():
    """To emission, absorption, total and, in squares, to the norm; more than one may fall on a place."""
    tile = Tile(0, 0, torch.tensor([[[[3.0, 0.0]], [[0.0, 0.0]]]]), torch.tensor([[1.0, 2.0], [8.0, 16.0]]).double())
    at = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0])
    singles = Singles(*at, torch.tensor([4.0, 5.0, 6.0]).double())
    made = exchanged([tile, singles], (2, 2, 2), norm=True)
    assert made.emission.tolist() == [[7.0, 5.0], [24.0, 6.0]]
    assert made.emission_norm.tolist() == [[5.0, 5.0], [24.0, 6.0]]
    assert made.absorption.tolist() == [[3.0, 9.0], [30.0, 0.0]]
    assert made.total.tolist() == [[27.0, 4.0], [6.0, 5.0]]
    assert (made.again, made.blocks) == (3, 8)


def test_sums_that_are_not_asked_for_are_not_made():
    """None in their place, from tiles, diagonals and tensors."""
    for name in ("Conv2d", "BatchNorm"):
        layer, x, gy = gradients.family(name)
        with exactly():
            made = exchanged(find(layer).tiles(layer, x, gy), tuple(blocks(layer, x, gy).shape), total=False)
        assert made.total is None
        assert made.emission_norm is None
    assert exchanged(torch.ones(2, 3, 4), (2, 3, 4), total=False).total is None


def test_blocks_of_a_rule_of_a_user_are_added_up_as_they_are():
    """A tensor of blocks, in any precision, and those of a layer whose channels do not mix."""
    made = torch.rand(2, 3, 4)
    found = exchanged(made, (2, 3, 4), norm=True)
    for name, right in {
        "emission": made.sum(2),
        "absorption": made.sum(1),
        "total": made.sum(0),
        "emission_norm": made.norm(dim=2),
    }.items():
        np.testing.assert_allclose(getattr(found, name), right, rtol=1e-6)
    values = torch.rand(2, 3).double()
    found = exchanged(Diagonal(values), (2, 3, 3), norm=True)
    for one in (found.emission, found.absorption, found.emission_norm):
        assert torch.equal(one, values)
    assert torch.equal(found.total, torch.diag(values.sum(0)))
    kept = values.clone()
    found.absorption.zero_()
    assert torch.equal(found.emission, kept)
