"""Sweep: every batch once forward and once back, whatever the data, and a sentence for what cannot be swept."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from netassay.data import Batch, load_data
from netassay.errors import BadInput, InternalError
from netassay.layers import select
from netassay.objectives import find
from netassay.studies.channel_profile import channel_profile
from netassay.studies.forward import checked
from netassay.studies.sweep import sweep
from netassay.testing import check_quiet

N = 10


def model():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def data(n=N):
    return torch.randn(n, 4), torch.arange(n) % 3


def swept(net, source, layers="*", objective="cross_entropy", batch_size=4, **options):
    seen = []
    look = {
        "on_forward": lambda call, record, batch: seen.append(("y", call.label, record.y.clone(), batch)),
        "on_backward": lambda call, record, batch: seen.append(("gy", call.label, record.gy.clone(), batch)),
    }
    goal = None if objective is None else find(objective)
    outcome = sweep(
        net, load_data(source, batch_size=batch_size), select(net, layers), objective=goal, **{**look, **options}
    )
    return outcome, seen


def joined(seen, side, label):
    return torch.cat([tensor for kind, name, tensor, _ in seen if (kind, name) == (side, label)])


def test_every_batch_goes_by_once_forward_and_back():
    """Callbacks get each layer of each batch, outputs in order and gradients reversed, with the batch's ids."""
    outcome, seen = swept(model(), data())
    assert (outcome.seen.samples, outcome.batches) == (N, 3)
    order = [("y", "0"), ("y", "1"), ("y", "2"), ("gy", "2"), ("gy", "1"), ("gy", "0")]
    assert [one[:2] for one in seen] == order * 3
    assert torch.cat([batch.ids for *_, batch in seen[::6]]).tolist() == list(range(N))
    assert [(call.label, call.place.depth, call.axis) for call in outcome.calls.values()] == [
        ("0", 1, 1),
        ("1", 1, 1),
        ("2", 2, 1),
    ]


def test_gradients_are_those_of_autograd_summed_over_samples():
    net, (x, y) = model(), data()
    _, seen = swept(net, (x, y))
    hidden = net[0](x)
    loss = nn.functional.cross_entropy(net[2](net[1](hidden)), y, reduction="sum")
    torch.testing.assert_close(joined(seen, "gy", "0"), torch.autograd.grad(loss, hidden)[0])
    assert all(parameter.grad is None for parameter in net.parameters())


def test_without_an_objective_nothing_goes_back():
    outcome, seen = swept(model(), data()[0], objective=None)
    assert {kind for kind, *_ in seen} == {"y"}
    assert outcome.seen.samples == N


class Words(nn.Module):
    """Two embeddings, added and overwritten in place, and a head."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.act = nn.Embedding(9, 4), nn.Embedding(6, 4), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.act(self.words(x)) + self.places(torch.arange(6))).mean(1)


def test_integer_inputs_have_gradients_at_their_embeddings():
    """Gradient ends at every output that nothing watched leads to, also where it is overwritten in place later."""
    net = Words()
    x, y = torch.randint(9, (N, 6)), torch.arange(N) % 3
    outcome, seen = swept(net, (x, y), ["words", "act", "head"])
    words, places = net.words(x), net.places(torch.arange(6))
    loss = nn.functional.cross_entropy(net.head(words.relu() + places).mean(1), y, reduction="sum")
    torch.testing.assert_close(joined(seen, "y", "words"), words)
    torch.testing.assert_close(joined(seen, "gy", "words"), torch.autograd.grad(loss, words)[0])
    assert {layer.name for layer in outcome.entries} == {"words", "places"}
    assert {call.label: call.place.depth for call in outcome.calls.values()} == {"words": 1, "act": 1, "head": 2}


def test_integer_inputs_of_a_chain_lie_on_the_trunk():
    net = nn.Sequential(nn.Embedding(9, 4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(24, 3))
    outcome, _ = swept(net, (torch.randint(9, (N, 6)), torch.arange(N) % 3))
    assert {call.place.path for call in outcome.calls.values()} == {"trunk"}


def test_integers_that_meet_no_free_weight_are_refused():
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 3)).requires_grad_(False)
    with pytest.raises(BadInput, match="does not depend on the input through anything differentiable"):
        swept(net, (torch.randint(9, (N, 6)), torch.arange(N) % 3))


class Padded(nn.Embedding):
    """Overwrites its input, as models do with ids that stand for nothing."""

    def forward(self, x):
        x[x < 0] = 0
        return super().forward(x).mean(1)


@pytest.mark.parametrize("net", [Padded(9, 3), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3))])
def test_a_model_that_overwrites_its_input_does_not_overwrite_the_callers(net):
    x = torch.randint(-1, 9, (N, 6)) if isinstance(net, Padded) else torch.randn(N, 6)
    batches, given = [(x, torch.arange(N) % 3)], x.clone()
    swept(net, batches)
    assert torch.equal(x, given)


def test_a_model_without_parameters_is_swept():
    outcome, seen = swept(nn.Sequential(nn.Flatten(), nn.Tanh()), (torch.randn(N, 3), torch.arange(N) % 3))
    assert joined(seen, "gy", "1").shape == (N, 3)
    assert outcome.seen.samples == N


class Stream:
    """Batches anew each time, without a length."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("kind", ["tuple", "list", "loader", "stream", "dict"])
def test_data_comes_in_many_shapes(kind):
    """A tuple, a list of batches, a DataLoader, an iterable without a length, and a dict give the same gradients."""
    net, (x, y) = model(), data()
    parts = [(x[:3], y[:3]), (x[3:], y[3:])]
    sources = {
        "tuple": (x, y),
        "list": parts,
        "loader": DataLoader(TensorDataset(x, y), batch_size=3),
        "stream": Stream(*parts),
        "dict": {"input": x, "labels": y},
    }
    outcome, seen = swept(net, sources[kind])
    assert outcome.seen.samples == N
    torch.testing.assert_close(joined(seen, "gy", "0"), joined(swept(net, (x, y))[1], "gy", "0"))


def nan():
    x, y = data()
    x[6, 1], x[9, 0] = torch.nan, torch.inf
    return x, y


REFUSED = {
    "empty list": (list, "no batch came out"),
    "empty loader": (lambda: DataLoader(TensorDataset(*data(0)), batch_size=4), "no batch came out"),
    "generator": (lambda: (one for one in [data()]), "it can be passed over only once"),
    "NaN": (nan, "batch 1 of the data\n  found: 1 of 4 samples hold NaN or Inf, the first with id 6"),
    "shape": (lambda: (torch.randn(N, 7), torch.arange(N) % 3), "forward pass of Sequential on inputs (4, 7)"),
    "labels": (lambda: (torch.randn(N, 4), torch.arange(N)), "label 3, outside 0 to 2"),
    "float labels": (lambda: (torch.randn(N, 4), torch.rand(N)), "labels of type float32"),
    "no labels": (lambda: torch.randn(N, 4), "data without labels"),
    "lengths": (lambda: (torch.randn(N, 4), torch.arange(3)), "one entry of y per sample"),
    "type": (lambda: (torch.randint(3, (N, 4)), torch.arange(N) % 3), "forward pass of Sequential on inputs (4, 4)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_data_that_does_not_fit_is_refused_and_leaves_no_trace(case):
    """Each refusal says what was found, and the model is as it was."""
    make, sentence = REFUSED[case]
    net, source = model(), make()
    with check_quiet(net), pytest.raises(BadInput) as caught:
        swept(net, source)
    assert sentence in str(caught.value)


def test_large_inputs_are_finite_though_their_sum_is_not():
    """Only what holds NaN or Inf is refused."""
    x = torch.full((4, 3), 3e38)
    assert torch.equal(checked(Batch(x), 0, torch.device("cpu")).x, x)


@pytest.mark.parametrize("error", [KeyError("left"), ZeroDivisionError("nought"), AssertionError("never")])
def test_what_the_users_own_code_raises_is_bad_input(error):
    """An objective or a layer that fails is named with its error, whatever that is; the fault is not netassay's."""

    def fail(*_):
        raise error

    class Failing(nn.Module):
        forward = fail

    source = data()
    for net, objective in ((model(), fail), (nn.Sequential(Failing()), "cross_entropy")):
        with check_quiet(net), pytest.raises(BadInput, match=f"{type(error).__name__}: ") as caught:
            channel_profile(net, source, "*", objective=objective)
        assert caught.value.__cause__ is error


def test_a_sweep_that_breaks_off_leaves_no_hooks():
    """A callback that fails is netassay's own fault, says at which layer, and leaves the model as it was."""

    def fail(call, record, batch):
        raise ZeroDivisionError("nothing")

    net, source = model(), data()
    for side in ("on_forward", "on_backward"):
        with check_quiet(net), pytest.raises(InternalError, match=r"look at layer '[02]'") as caught:
            swept(net, source, **{side: fail})
        assert caught.value.found == "ZeroDivisionError: nothing"


def test_a_refusal_within_a_callback_passes_through():
    def refuse(call, record, batch):
        raise BadInput("a", "b", "c")

    with pytest.raises(BadInput, match="asked: a"):
        swept(model(), data(), on_backward=refuse)


def test_a_compiled_model_is_refused():
    """Hooks that would be passed over in silence are refused."""
    with pytest.raises(BadInput, match=r"model\._orig_mod"):
        swept(torch.compile(model(), backend="eager"), data())
