"""Initialisation: what a reset draws anew, what it cannot, and what stays."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from netassay.inits import reset
from netassay.zoo import build


class Own(nn.Module):
    """Holds a parameter and has no reset; its buffer is a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 7.0))
        self.register_buffer("grid", torch.arange(3.0))


class Half(nn.Linear):
    """Resets its weight only."""

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight)


class Failing(nn.Linear):
    """Cannot be reset after its construction."""

    def reset_parameters(self) -> None:
        if hasattr(self, "made"):
            raise RuntimeError("later")
        super().reset_parameters()
        self.made = True


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_a_reset_is_the_modules_own_scheme():
    """Every layer gets what its own reset_parameters draws on the seed, in the order of the modules."""
    model = build("tiny10", seed=9)
    outcome = reset(model, seed=4)
    twin = build("tiny10", seed=8)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        for module in twin.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    assert all(torch.equal(value, twin.state_dict()[key]) for key, value in model.state_dict().items())
    assert outcome.touched == [f"{kind}{i}" for i in range(1, 9) for kind in ("conv", "bn")] + ["fc"]
    assert outcome.untouched == []


def test_running_statistics_are_reset():
    """Means go to 0, variances to 1 and the counter to 0."""
    model = nn.Sequential(nn.BatchNorm1d(3))
    model(torch.randn(9, 3) + 5)
    assert reset(model, 0).touched == ["0"]
    assert model[0].running_mean.tolist() == [0] * 3
    assert model[0].running_var.tolist() == [1] * 3
    assert model[0].num_batches_tracked == 0


def test_one_seed_gives_the_same_bits_and_leaves_the_global_state():
    """Two resets with one seed are equal, another differs, and the global state, modes and flags stay."""
    model = build("mlp[8]")
    model.fc1.weight.requires_grad_(False)
    model.act1.eval()
    before = torch.get_rng_state()
    reset(model, 1)
    first = state(model)
    reset(model, 2)
    assert not torch.equal(model.fc1.weight, first["fc1.weight"])
    reset(model, 1)
    assert all(torch.equal(value, first[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)
    assert (model.fc1.weight.requires_grad, model.head.weight.requires_grad) == (False, True)
    assert (model.act1.training, model.training) == (False, True)


@pytest.mark.parametrize(
    ("model", "touched", "untouched"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 2), Own()), ["0"], ["1"]),
        (lambda: Own(), [], [""]),
        (lambda: nn.Sequential(Half(2, 2)), [], ["0"]),
        (lambda: nn.Sequential(Failing(2, 2)), [], ["0"]),
        (lambda: nn.Sequential(nn.LazyLinear(2)), [], ["0"]),
        (lambda: nn.Sequential(nn.ReLU(), nn.LayerNorm(2, elementwise_affine=False)), [], []),
        (lambda: nn.MultiheadAttention(4, 2), ["out_proj"], [""]),
    ],
)
def test_what_cannot_be_drawn_keeps_what_it_had(model, touched, untouched):
    """Modules with parameters and no reset of them are named, and hold every bit they held."""
    made = model()
    lazy = any(isinstance(module, nn.LazyLinear) for module in made.modules())
    before = {} if lazy else state(made)
    outcome = reset(made, 0)
    assert (outcome.touched, outcome.untouched) == (touched, untouched)
    for name in untouched:
        for key, value in [] if lazy else made.get_submodule(name).named_parameters(recurse=False):
            assert torch.equal(value, before[f"{name}.{key}".removeprefix(".")])


def test_parametrized_weights_are_named_not_claimed():
    """A weight norm's own parameters are out of its layer's reach, so they are untouched, new and old."""
    new = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    before = state(new)
    outcome = reset(new, 0)
    assert outcome.untouched == ["0.parametrizations.weight"]
    assert torch.equal(
        new.state_dict()["0.parametrizations.weight.original1"], before["0.parametrizations.weight.original1"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2)))
    before = state(old)
    assert reset(old, 0) == ([], ["0"])
    assert all(torch.equal(value, before[key]) for key, value in old.state_dict().items())
