"""Baselines: silent channels are judged by what initialisation predicts, given or found with untrained twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.errors import BadInput
from netassay.testing import check_quiet
from netassay.verdicts import silent_layer

N = 100


@torch.no_grad()
def ailing(model, layer="fc1", channels=20):
    model.get_submodule(layer).bias[:channels] = -1000
    return model


def data():
    return torch.randn(N, 64, generator=torch.Generator().manual_seed(5)), torch.arange(N) % 10


def test_a_model_of_the_zoo_is_compared_with_itself_built_again():
    """The twin comes from the spec, with another seed, and its numbers are in the verdict."""
    model = ailing(na.build("mlp[32]"))
    with check_quiet(model):
        result = na.channel_profile(model, data())
    (finding,) = result.findings
    assert finding.layer == "fc1"
    numbers = finding.numbers
    assert (numbers["dead"], numbers["untrained"], numbers["untrained_channels"]) == (20, 0, 3 * 32)
    assert numbers["chance"] == pytest.approx(math.comb(32, 20) / math.comb(4 * 32, 20))
    assert "more than its initialisation predicts (0 of 96 there)" in finding.threshold
    assert result.notes == ("initialisation: untrained twins with seeds 1001 to 1003, built again from mlp[32]",)


def test_any_other_module_is_compared_with_a_redrawn_copy():
    """The copy is drawn anew module by module; the note says so."""
    model = nn.Sequential(ailing(nn.Sequential(nn.Linear(64, 32)), "0"), nn.ReLU(), nn.Linear(32, 10))
    with check_quiet(model):
        result = na.channel_profile(model, data())
    assert [verdict.layer for verdict in result.findings] == ["0.0"]
    (note,) = result.notes
    assert note.startswith(
        "initialisation: untrained twins with seeds 1001 to 1003, copied and drawn anew by each module"
    )


def test_a_healthy_model_is_compared_with_nothing(monkeypatch):
    """Without suspects there is no second pass."""
    monkeypatch.setattr("netassay.studies.channel_profile.untrained", None)
    assert na.channel_profile(na.build("mlp[32]"), data()).notes == ()


def test_a_given_baseline_takes_the_twins_place(monkeypatch):
    """What is as silent at initialisation is no finding; what was alive there is."""
    monkeypatch.setattr("netassay.studies.channel_profile.untrained", None)
    model = ailing(na.build("mlp[32]"))
    alive = na.channel_profile(na.build("mlp[32]"), data())
    there = na.channel_profile(model, data(), baseline=alive)
    assert [verdict.layer for verdict in there.findings] == ["fc1"]
    again = na.channel_profile(model, data(), baseline=there)
    assert not again.verdicts
    assert again.table("layers") == there.table("layers")


def test_fewer_than_a_quarter_but_more_than_predicted_is_a_note():
    """Training may silence some: told, but not as a finding."""
    model = ailing(na.build("mlp[128]"), channels=25)
    alive = na.channel_profile(na.build("mlp[128]"), data())
    result = na.channel_profile(model, data(), baseline=alive)
    assert not result.findings
    notes = [verdict for verdict in result.verdicts if verdict.severity == "note"]
    assert [verdict.layer for verdict in notes] == ["fc1"]


class Born(nn.Module):
    """A net whose constructor leaves most of its units dead, and whose reset does the same."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = Dying(64, 32), nn.Linear(32, 10)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.head(self.act(self.hidden(x)))


class Dying(nn.Linear):
    def reset_parameters(self):
        super().reset_parameters()
        with torch.no_grad():
            self.bias[:20] = -1000


def test_what_initialisation_itself_silences_is_no_finding():
    """As many dead channels in the untrained twin: predicted, so not reported as a fault of training."""
    result = na.channel_profile(Born(), data())
    assert result.table("layers")[0]["dead"] == 20
    assert not result.findings
    assert len(result.notes) == 1


class Strange(nn.Module):
    """A weight of its own, which no reset draws anew."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32, 64) / 8)
        self.bias = nn.Parameter(torch.tensor([-1000.0] * 20 + [0.0] * 12))

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)


def test_layers_that_cannot_be_redrawn_are_named():
    """A twin that kept some weights says which, so that the comparison can be judged."""
    result = na.channel_profile(nn.Sequential(Strange(), nn.ReLU(), nn.Linear(32, 10)), data())
    assert result.notes[0].endswith("; these have none and kept their weights: 0")


def test_a_baseline_of_another_study_is_refused():
    """What is no channel profile cannot say what was silent."""
    model = na.build("mlp[32]")
    with pytest.raises(BadInput, match=r"a result of summary[\s\S]*what channel_profile returned"):
        na.channel_profile(model, data(), baseline=na.summary(model, (1, 64)))


def test_a_layer_that_is_silent_throughout_is_a_finding_even_if_it_began_so():
    """A network that is built dead is dead: its twins excuse some silence, but not all of it."""
    for channels, severity in ((32, ["finding"]), (31, [])):
        state = np.array(["dead"] * channels + ["healthy"] * (32 - channels))
        verdict = silent_layer("fc1", state, N, np.tile(state, 3))
        assert [one.severity for one in (verdict,) if one] == severity


def test_the_baseline_survives_merging():
    """Parts that were judged by a baseline join to a whole that is."""
    (x, y), model = data(), ailing(na.build("mlp[32]"))
    alive = na.channel_profile(na.build("mlp[32]"), (x, y))
    parts = [na.channel_profile(model, (x[at], y[at]), baseline=alive) for at in (slice(50), slice(50, N))]
    (finding,) = parts[0].merge(parts[1]).findings
    assert finding.numbers["untrained"] == 0
    assert finding.n == N
