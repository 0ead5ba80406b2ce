"""Flow profile: against every sample alone, the published table's numbers, theory, and its sentences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.errors import BadInput
from netassay.studies.flow_profile import flow_profile
from netassay.testing import check_quiet
from tests.reference import flow as twin

DEEP = "resnet50:skip={skip},norm=none,init=default,classes=10"
TABLE = ("conv1", "layer1.0.conv1", "layer2.0.conv2", "layer3.5.conv3", "fc")


def rows(result, name="layers"):
    return {row["layer"]: row for row in result.table(name)}


def batch(*shape, classes=10):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=generator), torch.randint(0, classes, shape[:1], generator=generator)


@pytest.mark.parametrize("spec", ["mlp[16,16]:input=12", "cnn:input=8", "resnet[1,1]:width=8,norm=none,input=8"])
def test_the_gradient_is_that_of_every_sample_alone(spec):
    """Root mean square over samples, each with its own loss, at weights and activations alike."""
    model = na.build(spec)
    x, y = batch(6, *model.input_shape)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    wanted = twin.gradient(model, x, y, names)
    found = rows(flow_profile(model, (x, y), batch_size=6))
    np.testing.assert_allclose([found[name]["gradient"] for name in names], list(wanted.values()), rtol=2e-6)


def test_samples_pool_over_batches():
    """Batches of 4, 4 and 2 give what one batch of 10 gives, in the table of norms."""
    model, (x, y) = na.build("mlp[16,16]:input=12"), batch(10, 12)
    one = rows(flow_profile(model, (x, y), batch_size=10), "norms")
    several = rows(flow_profile(model, (x, y), batch_size=4), "norms")
    for name in one:
        assert several[name]["gradient"] == pytest.approx(one[name]["gradient"], rel=1e-6)


def held(skip, n):
    """Hold the published table against its definition; return the rows of the layers in it."""
    model, (x, y) = na.build(DEEP.format(skip=skip)).train(), batch(n, 3, 224, 224)
    exact, own = twin.whole_batch(model, x, y, TABLE)
    result = flow_profile(model, (x, y), batch_size=n)
    found = rows(result, "norms")
    for name in TABLE:
        assert found[name]["batch_gradient"] == pytest.approx(exact[name], rel=1e-5)
        assert found[name]["gradient"] == pytest.approx(exact[name] * n**0.5, rel=1e-5)
        assert found[name]["float32_norm"] == pytest.approx(own[name], rel=1e-3)
    return result, found


def test_a_deep_network_without_skips_at_full_size():
    """The gradient at the first convolution is some 1e-21, not what a float32 norm says of it; the cause is named."""
    result, found = held("none", 4)
    assert 1e-21 < found["conv1"]["batch_gradient"] < 2e-20
    assert found["conv1"]["float32_norm"] < 0.8 * found["conv1"]["batch_gradient"]
    assert 0.1 < found["fc"]["batch_gradient"] < 1
    (verdict,) = [one for one in result.findings if one.rule == "vanishing gradient"]
    assert verdict.layer == "conv1"
    assert "initialisation" in verdict.cause


@pytest.mark.slow
def test_the_same_with_skips():
    """Skips keep the gradient within a factor of a thousand."""
    result, found = held("residual", 4)
    assert found["conv1"]["batch_gradient"] > 1e-4
    assert not [one for one in result.findings if one.rule == "vanishing gradient"]


@pytest.mark.slow
def test_with_a_batch_of_sixteen_a_float32_norm_says_zero():
    """Every square underflows at the first convolution, which is told; the gradient is there all the same."""
    _, found = held("none", 16)
    assert [found["conv1"][name] for name in ("float32_norm", "vanished")] == [0, 1]
    assert found["conv1"]["batch_gradient"] > 1e-22
    held("residual", 16)


def test_theory_stands_beside_what_is_measured():
    """torch's own init under ReLU: a sixth per layer, as predicted and as measured."""
    found = flow_profile("mlp[512,512,512,512,512,512]:init=default", "digits", batches=2)
    (row,) = [row for row in found.table("law") if row["when"] == "all"]
    assert row["path"] == "trunk"
    assert [row["chi"], row["chi_predicted"]] == pytest.approx([1 / 6, 1 / 6], rel=0.05)


def test_batch_statistics_are_those_of_training_and_are_put_back():
    """In train mode by default; the model is left as it was."""
    model = na.build("resnet[1,1]:width=8,input=8,channels=1,classes=10")
    with check_quiet(model):
        train = flow_profile(model, "digits", batches=1)
    assert train.provenance["mode"] == "train"
    eval_ = flow_profile(model, "digits", batches=1, training=False)
    assert rows(train)["conv1"]["gradient"] != rows(eval_)["conv1"]["gradient"]


def test_what_does_not_fit_is_refused():
    """No batches, no module."""
    with pytest.raises(BadInput, match=r"batches=0\n  found: nothing to look at"):
        flow_profile("mlp[8]", "digits", batches=0)
    with pytest.raises(BadInput, match=r"no torch\.nn\.Module"):
        flow_profile(3, "digits")


def test_dropout_draws_alike_in_every_profile():
    """Two profiles of one network agree bit by bit, whatever the global generator stands at."""
    model = nn.Sequential(nn.Linear(12, 16), nn.Dropout(), nn.ReLU(), nn.Linear(16, 10))
    one = flow_profile(model, batch(8, 12))
    torch.rand(3)
    assert str(flow_profile(model, batch(8, 12)).table("layers")) == str(one.table("layers"))
