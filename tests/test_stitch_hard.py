"""Stitch grids of networks that are odd: equal weights, dead layers, answers that are no numbers, other dtypes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from netassay.errors import BadInput
from netassay.studies.stitch_grid import stitch_grid
from netassay.studies.stitch_kept import Store

HOW = {"fit": 60, "samples": 40, "batch_size": 32, "matching": "closed_form", "adapter": "affine"}
X = torch.randn(120, 1, 5, 5, generator=torch.Generator().manual_seed(0))
DATA = (X, torch.arange(120) % 3)


def net(seed=0, act=nn.ReLU):
    """A perceptron."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 6), act(), nn.Linear(6, 5), act(), nn.Linear(5, 3))


class Sloped(nn.Module):
    """An activation that does not print its slope."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        return torch.where(x > 0, x, self.slope * x)


def into(sender, receiver, **how):
    return stitch_grid({"a": sender}, {"b": receiver}, how.pop("data", DATA), **{**HOW, "controls": False, **how})


PAIRS = {
    "modules": (lambda: net(), lambda: net(act=nn.Tanh)),
    "attributes": (lambda: net(act=lambda: Sloped(0.1)), lambda: net(act=lambda: Sloped(-1.0))),
    "specs": (lambda: "mlp[6,5]", lambda: "mlp[6,5]:act=tanh"),
}


@pytest.mark.parametrize("what", PAIRS)
def test_equal_weights_are_not_equal_networks(what, tmp_path):
    """Other activations over the same weights: two networks, each with its own numbers, in a ledger too."""
    one, other = (make() for make in PAIRS[what])
    data = "digits:size=8" if what == "specs" else DATA
    cut = ["act1"] if what == "specs" else ["2"]
    how = {"layers": cut, "data": data}
    crossed, swapped = (into(*pair, ledger=tmp_path / "grid.db", **how) for pair in ((one, other), (other, one)))
    assert [row["net"] for row in crossed.table("nets")] == ["a", "b"]
    assert crossed.array("r2").item() < 0.9999
    assert crossed.array("r2").item() != swapped.array("r2").item()
    assert swapped.array("r2").item() == into(other, one, **how).array("r2").item()


def test_a_full_disk_is_no_result(tmp_path, monkeypatch):
    """What the machine cannot do is refused, and not kept as a stitch that cannot be made; nor is a missing library."""

    def full(self, batch):
        raise BadInput("activations beyond the budget", "no space left", "TMPDIR on a disk")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_write", full)
        with pytest.raises(BadInput, match="no space left"):
            into(net(), net(1), memory=0, ledger=tmp_path / "grid.db")
    assert np.isfinite(into(net(), net(1), ledger=tmp_path / "grid.db").array("r2")).all()
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(BadInput, match="scipy is not installed"):
        into(net(), net(1), adapter="permutation", ledger=tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
