"""Testing: the checks that ship see every kind of touch, and let pass what touches nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from netassay.streams import LogHistogram, Moments, Norms, Spread
from netassay.testing import check_quiet, check_stream


def model():
    made = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    made.register_buffer("unsaved", torch.zeros(2), persistent=False)
    made[0].weight.grad = torch.ones(3, 2)
    made[0].bias.data[0] = torch.nan
    return made


def fill(tensor, value):
    with torch.no_grad():
        tensor.fill_(value)


def hook(*_):
    return None


TOUCHES = {
    "the state: 1.running_mean": lambda m: fill(m[1].running_mean, -0.0),
    "the state: 1.num_batches_tracked": lambda m: fill(m[1].num_batches_tracked, 1),
    "the state: 0.weight": lambda m: m.double(),
    "the state: 0.bias": lambda m: fill(m[0].bias, 0.0),
    "the state: unsaved": lambda m: fill(m.unsaved, 1.0),
    "the state: new": lambda m: m.register_buffer("new", torch.zeros(1)),
    "the training flags: 1": lambda m: m[1].eval(),
    "the gradients: 0.weight": lambda m: m[0].weight.grad.mul_(2),
    "the gradients: 1.weight": lambda m: setattr(m[1].weight, "grad", torch.zeros(3)),
    "the gradients: 0.bias": lambda m: m[0].bias.requires_grad_(False),
    "the hooks: 0._forward_pre_hooks": lambda m: m[0].register_forward_pre_hook(hook),
    "the hooks: 0._backward_hooks": lambda m: m[0].register_full_backward_hook(hook),
    "the hooks: 1._backward_pre_hooks": lambda m: m[1].register_full_backward_pre_hook(hook),
    "the hooks: ._state_dict_hooks": lambda m: m.register_state_dict_post_hook(hook),
    "the attributes: parameter hooks": lambda m: m[0].weight.register_hook(hook),
    "the attributes: modules": lambda m: setattr(m[0], "seen", 1),
    "the switches of torch: default dtype": lambda m: torch.set_default_dtype(torch.float64),
    "the switches of torch: deterministic algorithms": lambda m: torch.use_deterministic_algorithms(True),
    "the switches of torch: attention fast path": lambda m: torch.backends.mha.set_fastpath_enabled(False),
    "the switches of torch: anomaly mode": lambda m: torch.autograd.set_detect_anomaly(True, False),
    "the switches of torch: autocast": lambda m: torch.set_autocast_enabled("cpu", True),
}


@pytest.fixture
def switches():
    yield
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    torch.backends.mha.set_fastpath_enabled(True)
    torch.autograd.set_detect_anomaly(False)
    torch.set_autocast_enabled("cpu", False)


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("what", TOUCHES)
def test_each_kind_of_touch_is_seen_and_named(what):
    """Also the sign of a zero, NaN that becomes a number, a dtype, a buffer that is not saved, any kind of hook."""
    touched = model()
    with pytest.raises(AssertionError, match=f"looking touched {what}"), check_quiet(touched):
        TOUCHES[what](touched)


def test_a_gradient_that_is_another_tensor_of_equal_values_is_a_touch():
    """An optimizer that holds the old one would not see it."""
    touched = model()
    with pytest.raises(AssertionError, match=r"the gradients: 0\.weight"), check_quiet(touched):
        touched[0].weight.grad = touched[0].weight.grad.clone()


def test_gradients_can_be_left_out():
    touched = model()
    with check_quiet(touched, gradients=False):
        touched[0].weight.grad = None


def test_a_touch_is_told_also_when_the_body_fails():
    """The failure of the body is the context of the assertion, not lost."""
    with pytest.raises(AssertionError, match="the training flags") as caught, check_quiet(touched := model()):
        broken(touched.eval())
    assert isinstance(caught.value.__context__, KeyError)


def broken(touched):
    raise KeyError("body")


def test_what_comes_back_is_no_touch():
    """Running a model is fine where everything is restored; NaN is equal to itself."""
    untouched = model().eval()
    with check_quiet(untouched):
        untouched(torch.ones(2, 2))
        untouched.train()
        untouched[0].register_forward_hook(hook).remove()
        untouched.eval()
    with check_quiet(untouched), pytest.raises(ZeroDivisionError):
        _ = 1 / 0


@pytest.mark.parametrize("kind", [Moments, Norms, Spread, LogHistogram])
@pytest.mark.parametrize("cuts", [[], [0], [3, 1], [2, 2, 7]])
def test_streams_pass_their_check(kind, cuts):
    """Empty parts and cuts in any order are fine."""
    check_stream(kind, np.random.default_rng(0).normal(size=(7, 3)), cuts)


class Plain:
    """A stream of means that are averaged without weights."""

    def __init__(self, mean, n):
        self.mean, self.n = mean, n

    @classmethod
    def of(cls, values):
        return cls(values.mean(0) if len(values) else np.zeros(1), len(values))

    @classmethod
    def empty(cls):
        return cls(np.zeros(1), 0)

    def merge(self, other):
        if not self.n or not other.n:
            return type(self)(*vars(self if self.n else other).values())
        return type(self)((self.mean + other.mean) / 2, self.n + other.n)


class Shifting(Plain):
    """A stream whose empty value is not neutral."""

    def merge(self, other):
        n = self.n + other.n
        return type(self)((self.mean * self.n + other.mean * other.n + 1e-13) / max(n, 1), n)


@pytest.mark.parametrize(("kind", "cuts"), [(Plain, [1]), (Shifting, [])])
def test_streams_with_the_wrong_algebra_do_not(kind, cuts):
    """Parts must weigh what they hold, and nothing must weigh nothing, bit by bit; the field is named."""
    with pytest.raises(AssertionError, match="mean"):
        check_stream(kind, np.random.default_rng(0).normal(size=(7, 3)), cuts)
