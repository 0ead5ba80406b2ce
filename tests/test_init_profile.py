"""A network beside its own start: shapes, shifts, the schemes that predict its weights, and its channels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import netassay as na
from netassay.studies.init_profile import init_profile
from tests.reference import looks as twin


@pytest.fixture(scope="module")
def pair():
    """A network drawn by Kaiming's normal law, and what a made-up training left of it."""
    start = na.build("mlp[128,128]", seed=0)
    na.initialize(start, "kaiming_normal", 0)
    end = copy.deepcopy(start)
    with torch.no_grad():
        end.fc2.weight += 0.1 * torch.randn(128, 1) @ torch.randn(1, 128)
        end.fc1.weight[1:], end.fc1.bias[1:] = end.fc1.weight[0], end.fc1.bias[0]
    return start, end


def test_shapes_are_those_of_every_number(pair):
    """Each parameter's row at start and end, against every number of it."""
    rows = init_profile(*pair).table("weights")
    assert [(row["parameter"], row["when"]) for row in rows[:2]] == [("fc1.weight", "start"), ("fc1.weight", "end")]
    for row in rows:
        values = dict(pair[row["when"] == "end"].named_parameters())[row["parameter"]].detach().numpy()
        told = twin.shape(values)
        assert {name: row[name] for name in told} == pytest.approx(told, rel=1e-5, nan_ok=True, abs=1e-9)


def test_shifts_are_distances_between_start_and_end(pair):
    """Wasserstein's distance and the ratio of variances, as scipy and numpy have them."""
    row = next(one for one in init_profile(*pair).table("shift") if one["parameter"] == "fc2.weight")
    one, other = (net.fc2.weight.detach().double().flatten().numpy() for net in pair)
    assert row["wasserstein"] == pytest.approx(scipy.stats.wasserstein_distance(one, other), rel=0.01)
    assert row["log_variance_ratio"] == pytest.approx(np.log(other.var() / one.var()), rel=1e-5)


def test_schemes_are_told_layer_by_layer(pair):
    """What drew the start, and that the end was trained where it was."""
    told = {row["layer"]: row for row in init_profile(*pair).table("schemes")}
    assert "kaiming_normal" in told["fc2"]["start"]
    assert told["fc2"]["end"] == "trained / unknown"


def test_channels_that_became_one_are_counted(pair):
    """All rows of the first layer are the same at the end."""
    told = {row["layer"]: row for row in init_profile(*pair).table("symmetry")}
    assert (told["fc1"]["channels"], told["fc1"]["start"], told["fc1"]["end"]) == (128, 128, 1)
    assert told["fc2"]["end"] == 128


def test_densities_have_axes_and_share_their_bins(pair):
    """Start and end over the same edges, each holding nearly all numbers, and spread as its own numbers are."""
    result = init_profile(*pair)
    drawn = twin.drawn_stds(result.array("weights/density")[2], result.array("weights/edges")[2])
    told = [row["std"] for row in result.table("weights") if row["parameter"] == "fc2.weight"]
    np.testing.assert_allclose(drawn, told, rtol=0.03)
    assert told[1] > 1.2 * told[0]
    density, edges = result.array("weights/density"), result.array("weights/edges")
    assert density.axes["parameter"][:2] == ("fc1.weight", "fc1.bias")
    held = (np.asarray(density) * np.diff(np.asarray(edges))[:, None]).sum(-1)
    assert ((held > 0.99) & (held < 1 + 1e-9)).all()


def test_parameters_of_only_one_are_named():
    """A network whose end has another layer is compared where both are, and the rest is noted."""
    start, end = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    result = init_profile(start, end)
    assert {row["parameter"] for row in result.table("weights")} == {"0.weight", "0.bias"}
    assert result.notes == ("parameters of only one of the two, left out: 1.bias, 1.weight",)


def test_an_examination_has_it_on_its_page(tmp_path):
    """The section tells of weights, of schemes, and of signal beside theory."""
    run = na.examine("mlp[16]", "digits", epochs=1, out=tmp_path / "run")
    page = run.page.read_text()
    assert "What training made of the weights" in page
    schemes = {row["layer"]: row["start"] for row in run.result("initialisation").table("schemes")}
    assert "kaiming_normal" in schemes["fc1"]
    assert [row["layer"] for row in run.result("signal/start").table("layers")] == ["fc1", "head"]


def test_attentions_three_matrices_are_told_apart():
    """Each projection of an attention layer has its own row, and its own answer at the end."""
    start = nn.Sequential(nn.MultiheadAttention(64, 2))
    na.initialize(start, "kaiming_normal")
    end = copy.deepcopy(start)
    with torch.no_grad():
        end[0].in_proj_weight[:64] = 1
    told = {row["parameter"]: row for row in init_profile(start, end).table("schemes")}
    stacked = [name for name in told if "in_proj" in name]
    assert len(stacked) == 3
    assert told[stacked[0]]["end"] == "ones"
    assert all("kaiming_normal" in told[name]["end"] for name in stacked[1:])
