"""Training and scoring: a numpy twin, determinism, what stays as it was, and the sentences of refusal."""

from __future__ import annotations

import pickle
import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from netassay.capturing import visit
from netassay.data import load_data
from netassay.errors import BadInput, UnknownName
from netassay.objectives import check_labels
from netassay.training import Score, evaluate, train
from netassay.zoo import build
from tests.reference import adam
from tests.reference.sgd import fitted

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
BATCHES = [(X[i : i + 7], Y[i : i + 7]) for i in range(0, 30, 7)]


def linear(classes: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(4, classes, dtype=torch.float64)


def mixed() -> nn.Module:
    """Build a model with dropout and norm whose modules are in different modes."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).double()
    model[1].eval()
    return model


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_training_is_sgd_as_written_down():
    """Softmax regression takes the very steps that momentum, decay and schedule prescribe."""
    model, losses = linear(), []
    W, b = (parameter.detach().numpy().copy() for parameter in (model.weight, model.bias))
    train(model, BATCHES, epochs=9, lr=0.3, on_step=lambda step, epoch, loss, correct, seen: losses.append(loss))
    arrays = [(x.numpy(), y.numpy()) for x, y in BATCHES]
    W, b, expected = fitted(W, b, arrays, epochs=9, lr=0.3)
    np.testing.assert_allclose(model.weight.detach(), W, rtol=1e-9)
    np.testing.assert_allclose(model.bias.detach(), b, rtol=1e-9)
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "named"),
    [({}, {}), ({"lr": 0.03}, {"alpha": 0.03}), ({"lr": 0.01, "weight_decay": 0.2}, {"alpha": 0.01, "decay": 0.2})],
)
def test_adam_is_as_written_down(options, named):
    """Softmax regression takes the very steps of Adam's algorithm, without decay unless it is asked for."""
    model = linear()
    W, b = (parameter.detach().numpy().copy() for parameter in (model.weight, model.bias))
    train(model, BATCHES, epochs=6, optimizer="adam", schedule="constant", **options)
    arrays = [(x.numpy(), y.numpy()) for x, y in BATCHES]
    expected = adam.fitted(W, b, arrays, epochs=6, **named)
    np.testing.assert_allclose(model.weight.detach(), expected[0], rtol=1e-9)
    np.testing.assert_allclose(model.bias.detach(), expected[1], rtol=1e-9)
    assert abs(expected[0] - W).max() > 1e-2


def moved(schedule: str, epochs: int = 4) -> list[float]:
    """Return how far each step goes where the gradient stays the same."""

    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            # So small a part of the logits that the probabilities stay at one half.
            return (self.place * torch.tensor([0.0, 1e-9], dtype=torch.float64)).expand(len(x), 2)

    places, model = [0.0], Slope()
    batches = [(X[:6], torch.ones(6, dtype=torch.int64))] * 5
    note = lambda *_: places.append(model.place.item())  # noqa: E731
    train(model, batches, epochs=epochs, schedule=schedule, lr=0.1, momentum=0.0, weight_decay=0.0, on_step=note)
    return np.diff(places).tolist()


def test_a_schedule_is_the_factor_on_every_step():
    """Under one gradient steps are equal at a constant rate; the cosine warms up and falls to nearly nothing."""
    constant, cosine = np.array(moved("constant")), np.array(moved("cosine"))
    np.testing.assert_allclose(constant, constant[0], rtol=1e-6)
    steps = np.arange(19)
    expected = [1.0, *(0.5 * (1 + np.cos(np.pi * steps / 19)))]
    np.testing.assert_allclose(cosine / constant, expected, atol=1e-6)


def test_adam_forgets_nothing_of_the_contract():
    """With Adam, too, a seed fixes the weights, and modes, .grad and the global state stay."""
    with torch.random.fork_rng():
        start = mixed().state_dict()
    found = []
    for seed in (1, 1, 2):
        model = mixed()
        model.load_state_dict(start)
        flags, before = modes(model), torch.get_rng_state()
        train(model, load_data((X, Y), batch_size=7), epochs=2, optimizer="adam", seed=seed)
        assert (modes(model), model[0].weight.grad) == (flags, None)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(weights(model))
    assert found[0] == found[1] != found[2]


def test_each_step_is_reported_in_plain_numbers():
    """on_step hears step, epoch, loss, hits and samples of each batch, as Python numbers."""
    heard = []
    train(linear(), BATCHES, epochs=2, on_step=lambda *numbers: heard.append(numbers))
    assert [numbers[0] for numbers in heard] == list(range(10))
    assert [numbers[1] for numbers in heard] == [0] * 5 + [1] * 5
    assert [numbers[4] for numbers in heard] == [7, 7, 7, 7, 2] * 2
    assert all(type(loss) is float and type(correct) is int for _, _, loss, correct, _ in heard)
    logits = linear()(BATCHES[0][0])
    assert heard[0][3] == sum(int(row.argmax()) == y for row, y in zip(logits, BATCHES[0][1], strict=True))


def weights(model: nn.Module) -> bytes:
    return pickle.dumps({key: value.tolist() for key, value in model.state_dict().items()})


def test_looks_come_before_the_first_epoch_and_after_each():
    """on_epoch hears 0 before any step, then the number of epochs done; each look sees the weights of its moment."""
    heard, model = [], linear()
    start = weights(model)
    train(
        model,
        BATCHES,
        epochs=2,
        on_step=lambda step, *_: heard.append(("step", step)),
        on_epoch=lambda done: heard.append(("look", done, weights(model))),
    )
    assert [one[:2] for one in heard if one[0] == "look"] == [("look", 0), ("look", 1), ("look", 2)]
    assert [i for i, one in enumerate(heard) if one[0] == "look"] == [0, 6, 12]
    looks = [one[2] for one in heard if one[0] == "look"]
    assert looks[0] == start
    assert looks[2] == weights(model)
    assert len(set(looks)) == 3


def test_looking_does_not_change_the_training():
    """Looks that score, watch, differentiate, draw, change modes and run in train mode leave every bit as it is."""
    data, batches = load_data((X, Y), batch_size=7), DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True)
    seen, drawn = [], []

    def look(done):
        evaluate(model, data)
        with visit(model, "*", on_forward=lambda record: seen.append(record.y.shape)):
            model(X)
        nn.functional.cross_entropy(model.eval()(X), Y).backward()
        model.train()(X)
        model[2].eval()
        drawn.append((torch.rand(()).item(), random.random(), float(np.random.rand())))
        list(batches)

    found = []
    for optimizer in ("sgd", "adam"):
        for looks in (None, look, look):
            torch.manual_seed(4)
            model = mixed()
            flags, before = modes(model), torch.get_rng_state()
            train(model, batches, epochs=3, optimizer=optimizer, on_epoch=looks, seed=1)
            assert (modes(model), model[0].weight.grad) == (flags, None)
            assert torch.equal(torch.get_rng_state(), before)
            found.append(weights(model))
            torch.rand(3), random.random(), np.random.rand()
    assert found[0] == found[1] == found[2] != found[3] == found[4] == found[5]
    assert len(seen) == 4 * 4 * 4
    assert drawn[:4] == drawn[4:8]
    assert len(set(drawn)) == 4


def test_an_error_in_a_look_ends_the_training():
    """What a look raises comes through, and modes and the global state are as before."""
    model = mixed()
    flags, before = modes(model), torch.get_rng_state()

    def fail(done):
        model.eval()
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, BATCHES, epochs=2, on_epoch=fail)
    assert modes(model) == flags
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["tensors", "loader", "list", "raw loader"])
def test_training_repeats_for_a_seed(kind):
    """A seed fixes dropout, order and so the weights, wherever the global state is, which does not move."""

    def run(seed: int, elsewhere: int) -> bytes:
        loader = DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True)
        sources = {
            "tensors": load_data((X, Y), batch_size=7),
            "loader": load_data(loader),
            "list": load_data(BATCHES),
            "raw loader": loader,
        }
        model = mixed()
        model.load_state_dict(start)
        torch.manual_seed(elsewhere)
        before = torch.get_rng_state()
        train(model, sources[kind], epochs=2, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return weights(model)

    with torch.random.fork_rng():
        start = mixed().state_dict()
        found = [run(seed, elsewhere) for seed, elsewhere in ((1, 5), (1, 6), (2, 5))]
    assert found[0] == found[1] != found[2]


def test_epochs_take_other_orders_where_the_data_can():
    """Data is asked for a new order each epoch; a plain list is taken as it is."""
    orders = []

    class Spy(nn.Linear):
        def forward(self, x):
            orders.append(tuple(x[:, 0].tolist()))
            return super().forward(x)

    train(Spy(4, 3, dtype=torch.float64), load_data((X, Y), batch_size=30), epochs=3)
    assert len(set(orders)) == 3
    assert len({tuple(sorted(order)) for order in orders}) == 1


def test_training_leaves_modes_gradients_and_random_state():
    """After training, and after an error in it, modes, .grad and the global random state are as before."""
    model = mixed()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    flags, before = modes(model), torch.get_rng_state()
    seen = []

    def fail(*numbers):
        seen.append(modes(model))
        if len(seen) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, BATCHES, epochs=2, on_step=fail)
    train(model, BATCHES, epochs=1)
    assert all(seen[0])
    assert modes(model) == flags
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[3].weight.grad is None


def test_frozen_parameters_stay():
    """Parameters that take no gradient are bit-equal after training."""
    model = build("mlp[8]:input=4,classes=3").double()
    model.fc1.requires_grad_(False)
    before = model.fc1.weight.clone()
    train(model, BATCHES, epochs=1)
    assert torch.equal(model.fc1.weight, before)


def test_a_small_net_learns_the_digits():
    """An mlp of one layer reads more than 95 % of the held-out digits after six epochs."""
    model = build("mlp[64]")
    train(model, load_data("digits:split=train", batch_size=64), epochs=6)
    assert evaluate(model, load_data("digits:split=test")).accuracy > 0.95


def test_scores_are_counted_one_by_one():
    """Hits and loss are those of a loop over single samples in eval mode, whatever the batches."""
    model = mixed()
    flags, state, before = modes(model), weights(model), torch.get_rng_state()
    found = [evaluate(model, load_data((X, Y), batch_size=size)) for size in (1, 7, 30)]
    assert (modes(model), weights(model)) == (flags, state)
    assert torch.equal(torch.get_rng_state(), before)
    model.eval()
    hits, loss = 0, 0.0
    for x, y in zip(X, Y.tolist(), strict=True):
        z = model(x[None]).detach().numpy()[0]
        hits += int(z.argmax() == y)
        loss += float(np.log(np.exp(z - z[y]).sum()))
    for score in found:
        assert score[:2] == (hits, 30)
        assert score.loss == pytest.approx(loss / 30, rel=1e-9)
        assert score.accuracy == hits / 30


def test_evaluating_restores_modes_after_an_error():
    """Also when the model fails, every module is in the mode it was in, and gradients stay on."""
    model = mixed()
    flags = modes(model)
    with pytest.raises(RuntimeError):
        evaluate(model, [(X[:, :2], Y)])
    assert modes(model) == flags
    assert torch.is_grad_enabled()


def test_evaluating_a_raw_loader_leaves_the_random_state():
    """A loader that draws from the global state does not move it."""
    before = torch.get_rng_state()
    evaluate(linear(), DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("y", "found", "next"),
    [
        (torch.tensor([0, 3]), "label 3, outside 0 to 2", "classes=4"),
        (torch.tensor([1, -1]), "label -1, outside 0 to 2", "number the classes from 0"),
        (torch.tensor([-100, 5]), "label -100, outside 0 to 2", "number the classes from 0"),
        (torch.tensor([0.5, 1.0]), "type float32", "one integer per sample"),
        (torch.tensor([[0], [1]]), "shape (2, 1)", "one integer per sample"),
    ],
)
def test_labels_outside_the_outputs_are_refused(y, found, next):
    """Training, scoring and the check itself name the label and the range."""
    batches = [(X[:2], y)]
    for run in (
        lambda: train(linear(), batches, epochs=1),
        lambda: evaluate(linear(), batches),
        *([lambda: check_labels(y, 3)] if y.ndim == 1 else []),
    ):
        with pytest.raises(BadInput) as caught:
            run()
        assert found in caught.value.found
        assert next in caught.value.next


def test_labels_of_any_integer_type_do():
    """Labels of 32 and of 64 bits give the same score."""
    assert evaluate(linear(), [(X, Y.to(torch.int32))]) == evaluate(linear(), [(X, Y)])


def test_labels_inside_are_accepted():
    """The first and last class, and no label at all, pass."""
    check_labels(torch.tensor([0, 2, 2]), 3)
    check_labels(torch.tensor([], dtype=torch.int64), 3)


def test_a_loss_that_is_not_finite_stops_before_the_weights():
    """The sentence says where and which rate to try; the weights are those of the last finite loss."""
    model = linear()
    with torch.no_grad():
        model.weight[0, 0] = float("inf")
    before = weights(model)
    with pytest.raises(BadInput) as caught:
        train(model, BATCHES, epochs=1, lr=0.5)
    assert "at step 0 of epoch 0" in caught.value.found
    assert "lr=0.05" in caught.value.next
    assert weights(model) == before


@pytest.mark.parametrize(
    ("model", "batches", "options", "found", "next"),
    [
        (linear, BATCHES, {"epochs": 0}, "nothing to do", "epochs=1"),
        (linear, BATCHES, {"epochs": 1, "lr": -1.0}, "must be positive", "lr=0.05"),
        (linear, BATCHES, {"epochs": 1, "lr": float("nan")}, "must be positive", "lr=0.05"),
        (linear, BATCHES, {"epochs": 1, "optimizer": "adam", "lr": 0.0}, "must be positive", "lr=0.001"),
        (
            linear,
            BATCHES,
            {"epochs": 1, "optimizer": "adam", "momentum": 0.9},
            "adam has no momentum",
            "leave momentum",
        ),
        (linear, BATCHES, {"epochs": 1, "optimizer": "adan"}, "closest: 'adam'", "use 'adam'"),
        (linear, BATCHES, {"epochs": 1, "schedule": "cosin"}, "closest: 'cosine'", "use 'cosine'"),
        (nn.Flatten, BATCHES, {"epochs": 1}, "no parameter that takes a gradient", "requires_grad"),
        (linear, iter(BATCHES), {"epochs": 1}, "passes only once", "list(...)"),
        (linear, [], {"epochs": 1}, "no batch came out", "not empty"),
        (linear, [X], {"epochs": 1}, "a Tensor", "load_data((x, y))"),
        (linear, [(X,)], {"epochs": 1}, "a batch without labels", "load_data((x, y))"),
        (linear, load_data(X), {"epochs": 1}, "a batch without labels", "load_data((x, y))"),
        (
            lambda: nn.Unflatten(1, (2, 2)),
            BATCHES,
            {},
            "Unflatten gives (7, 2, 2) for 7 labels",
            "(N, classes)",
        ),
        (lambda: nn.LSTM(4, 2).double(), BATCHES, {}, "LSTM gives tuple for 7 labels", "(N, classes)"),
        (linear, [(X, Y[:3])], {}, "Linear gives (30, 3) for 3 labels", "(N, classes)"),
        (linear, [], {}, "no sample came out", "not empty"),
    ],
)
def test_what_cannot_be_trained_or_scored_is_refused(model, batches, options, found, next):
    """Each refusal says what was found and what to give."""
    with pytest.raises(BadInput) as caught:
        train(model(), batches, **options) if options else evaluate(model(), batches)
    assert found in caught.value.found
    assert next in caught.value.next


@pytest.mark.parametrize("options", [{"optimizer": "lion"}, {"schedule": "steps"}])
def test_unknown_names_are_known_as_such(options):
    """An optimizer or a schedule that is not there is an UnknownName, and the weights stay."""
    model = linear()
    before = weights(model)
    with pytest.raises(UnknownName, match=next(iter(options))):
        train(model, BATCHES, epochs=1, **options)
    assert weights(model) == before


def test_a_score_is_a_share():
    """Accuracy is hits over samples."""
    assert Score(3, 4, 0.1).accuracy == 0.75


def test_a_watch_is_open_while_steps_are_made():
    """`watched` gets the optimizer, and its context is entered before the first step and left after the last."""
    told = []

    @contextmanager
    def watched(optimizer):
        told.append(type(optimizer).__name__)
        yield
        told.append("left")

    net = build("mlp[4]:input=2,classes=2")
    batches = [(torch.ones(2, 2), torch.tensor([0, 1]))]
    train(net, batches, epochs=2, watched=watched, on_step=lambda step, *_: told.append(step))
    assert told == ["SGD", 0, 1, "left"]
