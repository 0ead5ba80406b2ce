"""Odd models: what people build, and what a look at it must neither change nor get wrong."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import netassay as na
from netassay.errors import BadInput
from netassay.studies.one_batch import one_batch
from netassay.testing import check_quiet

N = 16


def data():
    return torch.randn(N, 6, generator=torch.Generator().manual_seed(4)), torch.arange(N) % 3


class Halves(nn.Module):
    """Two outputs of one node, of which the model uses the first."""

    def __init__(self):
        super().__init__()
        self.body, self.cut, self.head = nn.Linear(6, 6), Cut(), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.cut(self.body(x))[0])


class Cut(nn.Module):
    def forward(self, x):
        return x.chunk(2, 1)


class Posed(nn.Module):
    """Adds what does not depend on the sample."""

    def __init__(self):
        super().__init__()
        self.place, self.head = nn.Embedding(6, 1), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(x + self.place(torch.arange(6)).squeeze(1))


def test_an_output_that_gets_no_gradient_breaks_no_backward():
    """Of two outputs one is unused: the other's gradient is there, and the user's backward runs."""
    model = Halves()
    with na.capture(model) as records:
        model(data()[0]).sum().backward()
    assert records["cut"].gy.shape == (N, 3)
    assert one_batch(model, data()).table("backward")


def test_gx_that_is_computed_on_request_follows_every_backward():
    """A second backward with twice the objective has twice the gradient."""
    block = nn.Sequential(*[layer for _ in range(5) for layer in (nn.Linear(6, 6), nn.Tanh())])
    model = nn.Sequential(block, nn.Linear(6, 3))
    x = data()[0].requires_grad_()
    with na.capture(model, "0") as records:
        total = model(x).sum()
        total.backward(retain_graph=True)
        first = records["0"].gx.clone()
        (2 * total).backward()
    torch.testing.assert_close(records["0"].gx, 2 * first)


def test_a_name_with_a_sharp_sign_is_a_name():
    """The twins of a suspicious layer are found under its whole name."""
    model = nn.Sequential()
    model.add_module("a#0", nn.Linear(6, 32))
    model.add_module("b", nn.ReLU())
    model.add_module("c", nn.Linear(32, 3))
    with torch.no_grad():
        model[0].bias[:20] = -1000
    (finding,) = na.channel_profile(model, data()).findings
    assert (finding.layer, finding.numbers["dead"]) == ("a#0", 20)


def test_capture_works_where_tensors_have_no_version_or_memory():
    """Inference mode and vmap of grad run as they would unwatched."""
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.inference_mode(), na.capture(model) as records:
        plain = model(data()[0])
    torch.testing.assert_close(records["2"].y, plain)
    parameters = dict(model.named_parameters())
    loss = lambda p, x: torch.func.functional_call(model, p, x.unsqueeze(0)).sum()  # noqa: E731
    with na.capture(model):
        gradients = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, data()[0])
    assert gradients["0.weight"].shape == (N, 4, 6)


@pytest.mark.parametrize("norm", ["spectral_norm", "weight_norm"])
def test_a_weight_that_is_computed_belongs_to_its_layer(norm):
    """A parametrized layer is profiled and counts towards depth; what computes its weight is no layer."""
    made = getattr(nn.utils.parametrizations, norm)(nn.Linear(6, N))
    model = nn.Sequential(made, nn.ReLU(), nn.Linear(N, 3))
    with check_quiet(model):
        rows = na.channel_profile(model, data()).table("layers")
    assert [(row["layer"], row["depth"]) for row in rows] == [("0", 1), ("1", 1), ("2", 2)]


def test_a_gain_of_two_axes_is_no_matrix():
    """A LayerNorm over (C, H) neither counts towards depth nor is profiled by default."""
    model = nn.Sequential(nn.Unflatten(1, (2, 3)), nn.LayerNorm((2, 3)), nn.Flatten(), nn.Linear(6, 3))
    assert [row["layer"] for row in na.channel_profile(model, data()).table("layers")] == ["3"]


def test_a_layer_without_samples_is_left_out_by_default_and_refused_by_name():
    """A positional embedding has no sample axis; the others are profiled, and a note says which is not."""
    result = na.channel_profile(Posed(), data())
    assert [row["layer"] for row in result.table("layers")] == ["head"]
    assert result.notes[0].startswith("place is left out: output (6, 1) has no axis for the batch's 16 samples")
    with pytest.raises(BadInput, match="has no axis for the batch's 16 samples"):
        na.channel_profile(Posed(), data(), "place")


@pytest.mark.parametrize("look", [na.channel_profile, one_batch, lambda model, _: na.summary(model, (1, 6))])
def test_a_lazy_model_is_refused_and_stays_lazy(look):
    """The first batch would draw its weights, which is no look."""
    model = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(3))
    with pytest.raises(BadInput, match=r"parameter '0\.weight' has no shape yet"):
        look(model, data())
    assert isinstance(model[0], nn.LazyLinear)


class Restless(nn.Module):
    """Turns -0 into 0, grows one buffer and registers another."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.register_buffer("zero", torch.tensor([-0.0]))
        self.register_buffer("grown", torch.ones(1, 3))

    def forward(self, x):
        self.zero.abs_()
        self.grown.resize_(len(x), 3)
        self.register_buffer("late", torch.ones(2))
        return self.head(x)


def test_buffers_come_back_bit_by_bit():
    """Sign of zero, size and presence included."""
    model = Restless()
    with check_quiet(model):
        na.channel_profile(model, data())


def test_a_scripted_part_is_refused_with_a_sentence():
    """torch.jit runs no hooks; the refusal says so, also where only a part is scripted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = torch.jit.script(nn.Linear(6, 3))
    for model in (part, nn.Sequential(part, nn.ReLU())):
        with pytest.raises(BadInput, match=r"torch\.jit runs no such hooks"):
            na.channel_profile(model, data())


def test_wide_layers_do_without_quartiles_of_norms(monkeypatch):
    """Beyond WIDEST channels the windows of per-sample norms would be too large: their quartiles are NaN."""
    monkeypatch.setattr("netassay.studies.channel_streams.WIDEST", 3)
    result = na.channel_profile(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)), data())
    rows = result.table("channels")
    assert [row["layer"] for row in rows if row["y_norm_median"] > 0] == ["1"] * 3
    assert all(row["y_rms"] > 0 for row in rows)


def test_a_result_is_one_line_in_a_terminal():
    """Its repr says what there is, and not every number."""
    result = na.channel_profile(nn.Sequential(nn.Linear(6, 4)), (data()[0], data()[1] % 2))
    shown = "Result(channel_profile: tables layers (1 rows), channels (4 rows); arrays y_quantiles (1, 7)"
    assert repr(result).startswith(shown)
