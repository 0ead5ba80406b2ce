"""Not finite: NaN and Inf are found first, at the layer they come from, and taken for nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na

N = 40


@torch.no_grad()
def broken(where, value):
    net = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(12, 12), nn.ReLU())), nn.Linear(12, 3))
    net[where].weight[2, 0] = value
    return net


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_first_layer_with_nan_or_inf_is_named(value):
    """A value that is not finite in the middle is one finding, at the layer that it first comes out of, with counts."""
    net, x = broken(4, value), torch.randn(N, 12)
    result = na.channel_profile(net, (x, torch.arange(N) % 3))
    (finding,) = [verdict for verdict in result.findings if verdict.rule == "not finite"]
    y = net[:5](x)
    nan, inf = int(y.isnan().sum()), int(y.isinf().sum())
    assert str(finding) == f"4: the first output with NaN or Inf: {nan} NaN, {inf} Inf"
    assert nan + inf == N
    assert result.findings[0] is finding


def test_channels_that_are_not_finite_are_not_called_dead():
    """NaN is no silence: where a channel has no finite entry nothing is said of firing, nor of missing gradient."""
    result = na.channel_profile(broken(4, torch.nan), (torch.randn(N, 12), torch.arange(N) % 3))
    assert [verdict.rule for verdict in result.verdicts] == ["not finite"]
    states = {row["layer"]: row["dead"] for row in result.table("layers")}
    assert states["6"] == states["7"] == states["8"] == 0
    rows = [row for row in result.table("channels") if row["layer"] == "6"]
    assert [row["y_nan"] for row in rows] == [N] * 12
    assert all(np.isnan(row["y_mean"]) and np.isnan(row["firing"]) for row in rows)


class Root(nn.Module):
    def forward(self, x):
        return x.abs().sqrt()


def test_a_gradient_that_is_not_finite_is_named_where_it_arises():
    """Outputs are finite, the slope at 0 is not: the last layer before it is the first at which Inf arrives."""
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), Root(), nn.Linear(6, 3))
    with torch.no_grad():
        net[2].weight[1], net[2].bias[1] = 0.0, 0.0
    result = na.channel_profile(net, (torch.randn(N, 4), torch.arange(N) % 3))
    finding = result.findings[0]
    assert str(finding).startswith("2: the first gradient at the output with NaN or Inf: ")
    assert "output with" not in str(finding).replace("at the output with", "")
    rows = {row["layer"]: row for row in result.table("layers")}
    assert (rows["2"]["y_not_finite"], rows["4"]["gy_not_finite"]) == (0, 0)
    assert rows["2"]["gy_not_finite"] == N
