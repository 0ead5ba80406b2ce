"""Channel states of models made for them: each state reached, named, counted, and told with the right channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na

N = 200


def labels(n=N, classes=3):
    return torch.arange(n) % classes


def states(result, layer):
    return [row["state"] for row in result.table("channels") if row["layer"] == layer]


def row(result, layer):
    return next(row for row in result.table("layers") if row["layer"] == layer)


def verdicts(result, rule):
    return [verdict for verdict in result.verdicts if verdict.rule == rule]


@torch.no_grad()
def silenced(layer, channels):
    """Put channels of a layer so far below zero that no ReLU behind it fires."""
    layer.bias[channels] = -1000
    return layer


DEAD = [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 15]


def test_twelve_of_sixteen_dead_convolution_channels_are_named():
    """75 % dead ReLU channels are one finding, at the convolution, with their numbers; not zeros, not image columns."""
    conv = silenced(nn.Conv2d(1, 16, 3), DEAD)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 3))
    result = na.channel_profile(model, (torch.randn(N, 1, 8, 8), labels()))
    expected = ["dead" if c in DEAD else "healthy" for c in range(16)]
    assert states(result, "0") == states(result, "1") == expected
    assert [row(result, label)["dead"] for label in ("0", "1")] == [12, 12]
    (finding,) = result.findings
    text = "12 of 16 channels carry nothing (12 dead: 0-2, 4-6, 8-10, 12-13, 15)"
    assert str(finding) == f"0: {text}"
    assert finding.numbers["share"] == 0.75
    assert (finding.numbers["dead"], finding.numbers["channels"], finding.n) == (12, 16, N)


def test_sixteen_of_thirty_two_dead_hidden_units_of_a_token_model_are_named():
    """Over (B, T, D) the channels are the D hidden units, not the T tokens."""
    hidden = silenced(nn.Linear(8, 32), slice(16, 32))
    model = nn.Sequential(hidden, nn.ReLU(), nn.Linear(32, 3))
    result = na.channel_profile(model, (torch.randn(N, 20, 8), torch.randint(3, (N, 20))))
    assert row(result, "1")["channels"] == 32
    (finding,) = result.findings
    assert str(finding) == "0: 16 of 32 channels carry nothing (16 dead: 16-31)"


def test_a_dead_activation_alone_is_told_at_the_activation():
    """Where the weights' channels have gradient on another way, the finding is at the activation that kills them."""
    model = Around()
    silenced(model.hidden, slice(20))
    result = na.channel_profile(model, (torch.randn(N, 4), labels()))
    assert states(result, "hidden") == ["healthy"] * 32
    assert [str(verdict) for verdict in result.findings] == ["act: 20 of 32 channels carry nothing (20 dead: 0-19)"]


class Around(nn.Module):
    """A ReLU with a way around it."""

    def __init__(self):
        super().__init__()
        self.hidden, self.act, self.head = nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3)

    def forward(self, x):
        x = self.hidden(x)
        return self.head(x + self.act(x))


@torch.no_grad()
def linear(rows, bias):
    layer = nn.Linear(len(rows[0]), len(rows))
    layer.weight.copy_(torch.tensor(rows))
    layer.bias.copy_(torch.tensor(bias))
    return layer


def spiked():
    """200 samples of 200 positions, one of which is large."""
    x = torch.rand(N, 1, 200, generator=torch.Generator().manual_seed(0))
    x[torch.arange(N), 0, torch.arange(N) % 200] = 100.0
    return x


@torch.no_grad()
def pointwise():
    layer = nn.Conv1d(1, 4, 1)
    layer.weight.fill_(1.0)
    layer.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -50.0]))
    return layer


REACHED = {
    "dead": (linear([[1.0, 0.0]] * 4, [9.0, 9.0, 9.0, -9.0]), nn.ReLU(), (N, 2)),
    "constant": (linear([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], [9.0, 9.0, 9.0, 9.0]), nn.ReLU(), (N, 2)),
    "saturated": (linear([[0.1, 0.0], [0.0, 0.1], [0.1, 0.1], [20.0, 20.0]], [0.0] * 4), nn.Tanh(), (N, 2)),
    "dormant": (linear([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.01, 0.0]], [9.0, 9.0, 9.0, 0.1]), nn.ReLU(), (N, 2)),
    "sparse": (pointwise(), nn.ReLU(), None),
    "unobserved": (linear([[1.0, 0.0]] * 4, [9.0, 9.0, 9.0, -9.0]), nn.ReLU(), (9, 2)),
}


@pytest.mark.parametrize("state", REACHED)
def test_each_state_is_reached_by_a_model_made_for_it(state):
    """The last of four channels has the state, the others are healthy (with nine samples none is judged)."""
    layer, act, shape = REACHED[state]
    x = spiked() if shape is None else torch.randn(shape, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    head = nn.Linear(4 * (200 if shape is None else 1), 3)
    result = na.channel_profile(nn.Sequential(layer, act, nn.Flatten(), head), (x, labels(len(x))), layers=["0", "1"])
    others = "unobserved" if state == "unobserved" else "healthy"
    assert states(result, "1") == [others] * 3 + [state]
    assert row(result, "1")[state] == (4 if state == "unobserved" else 1)
    assert not result.findings


@pytest.mark.parametrize(("state", "verb"), [("constant", "are constant (1-3)"), ("saturated", "are saturated (1-3)")])
def test_many_constant_or_saturated_channels_are_a_warning(state, verb):
    """More than a quarter of a layer is told at that layer with the channels' numbers."""
    frozen = linear([[1.0, 0.0]] + [[0.0, 0.0]] * 3, [9.0] * 4), nn.ReLU()
    driven = linear([[0.1, 0.0]] + [[20.0, 20.0]] * 3, [0.0] * 4), nn.Tanh()
    layer, act = frozen if state == "constant" else driven
    x = torch.randn(N, 2).clamp(-3, 3)
    result = na.channel_profile(nn.Sequential(layer, act, nn.Linear(4, 3)), (x, labels()), layers=["1"])
    (warning,) = verdicts(result, f"{state} channels")
    assert warning.severity == "warning"
    assert str(warning).startswith(f"1: 3 of 4 channels {verb}: ")
    assert warning.n == N


def test_a_dead_channel_says_how_rarely_it_may_fire():
    """0 of n leaves open a rate of 1 - 0.05**(1/n); a channel that fires has no such bound."""
    model = nn.Sequential(silenced(nn.Linear(2, 4), [3]), nn.ReLU(), nn.Linear(4, 3))
    result = na.channel_profile(model, (torch.randn(N, 2), labels()))
    rows = [row for row in result.table("channels") if row["layer"] == "1"]
    assert rows[3]["firing"] == 0
    assert rows[3]["fires_for_at_most"] == pytest.approx(1 - 0.05 ** (1 / N), rel=1e-9)
    assert all(np.isnan(one["fires_for_at_most"]) and one["firing"] > 0 for one in rows[:3])


def test_firing_counts_samples_not_entries():
    """A channel that fires at one of many positions in 7 samples fires in 7, however often in each."""
    x = torch.full((20, 1, 5, 6), -1.0)
    x[:7, 0, 0, :3] = 1.0
    result = na.channel_profile(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(30, 3)), (x, labels(20)), layers="0")
    assert result.table("channels")[0]["firing"] == 7
    assert result.table("channels")[0]["y_zero_share"] == pytest.approx(1 - 21 / 600)


@pytest.mark.parametrize("n", [9, 10])
def test_too_few_samples_are_no_finding(n):
    """Below ten samples every channel is unobserved and nothing is found; with ten, dead channels are."""
    model = nn.Sequential(silenced(nn.Linear(8, 32), slice(24)), nn.ReLU(), nn.Linear(32, 3))
    result = na.channel_profile(model, (torch.randn(n, 8), labels(n)))
    assert set(states(result, "1")) == ({"unobserved"} if n < 10 else {"dead", "healthy"})
    assert [verdict.layer for verdict in result.findings] == ([] if n < 10 else ["0"])


class Unwired(nn.Module):
    """A layer whose output leads nowhere, and one that never runs."""

    def __init__(self):
        super().__init__()
        self.first, self.lost, self.spare, self.head = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x):
        return self.head(self.first(x) + 0 * self.lost(x).detach())


def test_a_layer_without_gradient_is_warned_of_and_one_that_never_ran_is_noted():
    """No gradient in any sample is a warning and leaves the channels unjudged; never run is a note."""
    result = na.channel_profile(Unwired(), (torch.randn(N, 4), labels(N, 4)))
    (warning,) = verdicts(result, "no gradient")
    assert (warning.layer, warning.severity, warning.n) == ("lost", "warning", N)
    assert states(result, "lost") == ["unobserved"] * 4
    assert result.notes == ("asked for but never ran: spare",)
    assert not result.findings
    assert [one["layer"] for one in result.table("layers")] == ["first", "lost", "head"]


class Repeated(nn.Module):
    """One activation behind two layers, one of which is mostly dead."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        silenced(self.second, slice(20))
        self.act = nn.ReLU()

    def forward(self, x):
        return self.head(self.act(self.second(self.act(self.first(x)))))


def test_a_layer_called_twice_has_a_row_for_each_call():
    """Calls are `name#0` and `name#1`, each with its own channels and states; findings name the call's layer."""
    result = na.channel_profile(Repeated(), (torch.randn(N, 4), labels()))
    assert [one["layer"] for one in result.table("layers")] == ["first", "act#0", "second", "act#1", "head"]
    assert "dead" not in states(result, "act#0")
    assert states(result, "act#1")[:20] == ["dead"] * 20
    assert [verdict.layer for verdict in result.findings] == ["second"]
    alone = na.channel_profile(Repeated(), (torch.randn(N, 4), labels()), layers="act")
    assert [verdict.layer for verdict in alone.findings] == ["act#1"]
