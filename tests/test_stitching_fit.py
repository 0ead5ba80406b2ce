"""Training an adapter, and judging it: steps, kept weights, multiply-adds, numbers against their definitions."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from netassay.cutting import cut
from netassay.errors import BadInput, NoMatch, UnknownName
from netassay.inference import binomial_interval
from netassay.measures import similarity
from netassay.stitching import Expected, Meter, Samples, adapter, farther, fit, judge, stitched
from netassay.testing import check_quiet
from tests.reference import adam
from tests.reference import stitching as reference


def drawn(*shape, seed=0):
    """Activations."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def receiver(channels=4, seed=0):
    """A small network in eval mode, with what training would change: norm statistics, dropout, an in-place ReLU."""
    torch.manual_seed(seed)
    parts = [
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, 6, 2),
        nn.BatchNorm2d(6),
        nn.Dropout(0.5),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()


def data(n=40, own=True, shape=(5, 3, 3), seed=0):
    """A sender's activations, labels, and the receiver's own activations."""
    y = torch.arange(n) % 3
    shift = functional.one_hot(y, 3).float() @ drawn(3, shape[0], seed=9)
    sent = drawn(n, *shape, seed=seed) + shift[:, :, None, None]
    return Samples(sent, y, drawn(n, 4, 3, 3, seed=seed + 1) if own else None)


def linear():
    """An adapter of vectors, and a receiver that does nothing."""
    return adapter("affine", (5,), (3,)), drawn(24, 5, seed=3), torch.arange(24) % 3


# ---------------------------------------------------------------------------------------------------- training


def test_training_by_task_loss_is_adam_on_the_cross_entropy():
    """With a receiver that does nothing it is softmax regression; against numpy, batch by batch."""
    made, x, y = linear()
    weight, bias = (one.detach().double().numpy().copy() for one in (made.core.weight, made.core.bias))
    orders = []
    original = torch.randperm

    def noted(*given, **named):
        orders.append(original(*given, **named))
        return orders[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randperm", noted)
        found = fit(made, lambda z: z, Samples(x, y), epochs=3, lr=1e-2, batch=7, seed=5)
    assert [len(one) for one in orders] == [24, 24, 24]
    assert not torch.equal(orders[0], orders[1])
    batches = [(x[one].double().numpy(), y[one].numpy()) for order in orders for one in order.tensor_split(4)]
    wanted = adam.fitted(weight, bias, batches, 1, alpha=1e-2)
    np.testing.assert_allclose(made.core.weight.detach().numpy(), wanted[0], atol=1e-5)
    np.testing.assert_allclose(made.core.bias.detach().numpy(), wanted[1], atol=1e-5)
    assert (found.steps, found.kept, found.hits) == (12, 3, ())
    assert found.losses[2] < found.losses[0]


@pytest.mark.parametrize("loss", ["task", "soft", "latents"])
def test_a_step_follows_the_loss_that_was_asked_for(loss):
    """One step of all samples goes against the gradient of the definition; the mean loss is the definition's."""
    rest, samples = receiver(), data()
    made = adapter("affine", (5, 3, 3), (4, 3, 3), seed=1)

    def later(z):
        first = rest[1](rest[0](z.clone()))
        return first, first.mean((2, 3))

    z, own = made(samples.sent), samples.own
    with torch.no_grad():
        theirs, wanted = rest(own.clone()), later(own)
    if loss == "task":
        value = -rest(z.clone()).log_softmax(1)[torch.arange(40), samples.y].mean()
    elif loss == "soft":
        p = theirs.softmax(1)
        value = (p * (p.log() - rest(z.clone()).log_softmax(1))).sum(1).mean()
    else:
        value = sum(
            ((a - b) ** 2).mean() / ((b - b.mean(0)) ** 2).mean() for a, b in zip(later(z), wanted, strict=True)
        )
    before = made.core.weight.detach().clone()
    (grad,) = torch.autograd.grad(value, [made.core.weight])
    found = fit(made, rest, samples, loss=loss, later=later, epochs=1, lr=1e-3, batch=40)
    assert found.losses[0] == pytest.approx(value.item(), rel=1e-5)
    # Adam's first step is the rate times the sign, where the gradient is not near its epsilon.
    moved, clear = (made.core.weight - before).detach(), grad.abs() > 1e-6
    torch.testing.assert_close(moved[clear], -1e-3 * grad.sign()[clear], rtol=2e-2, atol=1e-6)


def dead(z):
    """What a receiver makes on the way where one layer is dead, and one behind it equal but for rounding."""
    number = torch.arange(len(z))[:, None] % 2
    return z.mean((2, 3)), z.mean((2, 3)) * 0, 1 + number * torch.finfo(z.dtype).eps + 0 * z.mean((2, 3)), 1e-22 * z


@pytest.mark.parametrize("batch", [1, 16, 300])
def test_later_layers_count_by_their_spread_over_all_samples(batch):
    """In batches of any size, one by one too; what never changes in the receiver is no measure of anything."""
    samples = data(300)
    samples.own[:] += torch.linspace(0, 5, 300)[:, None, None, None]
    made = adapter("affine", (5, 3, 3), (4, 3, 3), seed=1)
    with torch.no_grad():
        pairs = list(zip(dead(made(samples.sent).double()), dead(samples.own.double()), strict=True))
    value = sum(((a - b) ** 2).mean() / ((b - b.mean(0)) ** 2).mean() for a, b in (pairs[0], pairs[3]))
    found = fit(made, receiver(), samples, loss="latents", later=dead, epochs=1, lr=1e-12, batch=batch)
    assert found.losses[0] == pytest.approx(value.item(), rel=1e-4)


def test_where_nothing_later_changes_there_is_no_match():
    """It is said, and the adapter is as it was; a layer that is not finite is no constant."""
    made = adapter("affine", (5, 3, 3), (4, 3, 3), seed=1)
    before = made.core.weight.detach().clone()
    with pytest.raises(NoMatch, match="whatever follows in the receiver is constant"):
        fit(made, receiver(), data(), loss="latents", later=lambda z: dead(z)[1:3])
    with pytest.raises(NoMatch, match="the loss is nan"):
        fit(made, receiver(), data(), loss="latents", later=lambda z: [*dead(z), z / 0])
    assert torch.equal(made.core.weight, before)


def test_the_receiver_is_left_alone():
    """Weights, buffers, modes, gradients, hooks and random states, of a module and of the half of a cut."""
    rest, samples = receiver(), data()
    made = adapter("bn_conv_bn", (5, 3, 3), (4, 3, 3))
    with check_quiet(rest):
        fit(made, rest, samples, epochs=2)
    assert all(parameter.grad is None for parameter in [*rest.parameters(), *made.parameters()])
    assert not made.training
    whole = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Identity(), *receiver()).train()
    at = cut(whole, "0", drawn(4, 3, 3, 3))
    with check_quiet(whole):
        fit(adapter("affine", (5, 3, 3), at.shape), at.rest, samples, epochs=1)


def test_a_receiver_in_train_mode_is_refused():
    """Its norm statistics would drift while it is called frozen."""
    rest = receiver()
    rest[2].train()
    with pytest.raises(BadInput, match=r"(?s)in train mode: '2';?.*eval\(\)"):
        fit(adapter("affine", (5, 3, 3), (4, 3, 3)), rest, data())


def test_the_same_seed_gives_the_same_bits_and_leaves_generators_alone():
    """Another seed takes another order."""
    state, results = torch.get_rng_state(), []
    for seed in (1, 1, 2):
        made = adapter("bn_conv_bn", (5, 3, 3), (4, 3, 3))
        fit(made, receiver(), data(), epochs=2, batch=8, seed=seed)
        results.append(made.core[1].weight.detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    torch.manual_seed(0)
    state = torch.get_rng_state()
    rest = receiver()
    torch.set_rng_state(state)
    fit(made, rest, data(), epochs=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_weights_with_most_hits_are_kept():
    """Those before the first epoch among them; the earliest among equals; hits are the definition's."""
    rest, samples, held = receiver(), data(), data(seed=20)
    seen = []
    for epochs in range(4):
        made = adapter("affine", (5, 3, 3), (4, 3, 3))
        if epochs:
            fit(made, rest, samples, epochs=epochs, lr=3e-2, batch=10)
        seen.append((int((stitched(made, rest, held.sent).argmax(1) == held.y).sum()), made.core.weight.detach()))
    made = adapter("affine", (5, 3, 3), (4, 3, 3))
    found = fit(made, rest, samples, epochs=3, lr=3e-2, batch=10, validation=held)
    assert found.hits == tuple(hits for hits, _ in seen)
    assert found.kept == found.hits.index(max(found.hits))
    assert torch.equal(made.core.weight, seen[found.kept][1])
    made = adapter("affine", (5, 3, 3), (4, 3, 3))
    before = made.core.weight.detach().clone()
    wrong = Samples(held.sent, torch.full_like(held.y, 7))
    assert fit(made, rest, samples, epochs=2, validation=wrong).kept == 0
    assert torch.equal(made.core.weight, before)
    impatient = fit(made, rest, samples, epochs=9, validation=wrong, patience=2)
    assert (impatient.kept, len(impatient.losses), impatient.steps) == (0, 2, 4)


def test_multiply_adds_are_those_of_all_that_ran():
    """Forward; backward with respect to the input of the receiver, and to input and weight of the adapter."""
    rest, samples, held = receiver(), data(own=False), data(n=6, own=False)
    made = adapter("affine", (5, 3, 3), (4, 3, 3))
    found = fit(made, rest, samples, epochs=2, batch=16, validation=held)
    one, behind = 9 * 5 * 4, 4 * (6 * 4 * 4) + 6 * 3  # of the adapter and of what follows, per sample
    # The sender's activations take no gradient.
    assert found.madds == 2 * 40 * (2 * one + 2 * behind) + 3 * 6 * (one + behind)
    soft = fit(made, rest, data(), loss="soft", epochs=1, batch=16)
    assert soft.madds == 40 * (2 * one + 3 * behind)
    how = {"loss": "latents", "later": lambda z: [rest(z)], "batch": 16}
    assert fit(made, rest, data(), epochs=2, **how).madds == 40 * (2 * (2 * one + 3 * behind) + behind)
    assert fit(made, rest, data(), validation=held, enough=0, **how).madds == 6 * (one + behind)
    meter = Meter()
    for n in (3, 3, 4):
        meter.run(n, torch.mm, torch.ones(n, 5), torch.ones(5, 7))
    assert meter.madds == 10 * 35


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("affine", {"loss": "hard"}, r"loss 'hard'.*'task'"),
        ("affine", {"loss": "soft"}, r"loss='soft'.*no activations of the receiver"),
        ("affine", {"epochs": 0}, r"epochs=0.*epochs=2"),
        ("affine", {"lr": 0.0}, r"lr=0.0"),
        ("orthogonal", {}, r"'orthogonal'.*closed form only"),
    ],
)
def test_what_cannot_be_trained_is_said(name, options, said):
    """And nothing has changed."""
    made = adapter(name, (5, 3, 3), (4, 3, 3))
    before = made.core.weight.detach().clone()
    with pytest.raises((BadInput, UnknownName), match=f"(?s){said}"):
        fit(made, receiver(), data(own=False), **options)
    assert torch.equal(made.core.weight, before)


def test_a_loss_that_is_not_finite_leaves_the_adapter_as_it_was():
    """Also after steps that were made."""
    samples = data(own=True)
    with pytest.raises(BadInput, match=r"(?s)latents.*give later="):
        fit(adapter("affine", (5, 3, 3), (4, 3, 3)), receiver(), samples, loss="latents")
    samples.sent[7] = math.inf
    made = adapter("bn_conv_bn", (5, 3, 3), (4, 3, 3))
    before = {name: one.clone() for name, one in made.state_dict().items()}
    with pytest.raises(BadInput, match=r"(?s)lr=0.005.*loss is nan in epoch 0.*lr=0.0005"):
        fit(made, receiver(), samples, batch=4)
    assert all(torch.equal(one, before[name]) for name, one in made.state_dict().items())
    assert not made.training


# ----------------------------------------------------------------------------------------------------- judging


def judged(made, rest, sent, own, y, fitted):
    expected = Expected(rest, fitted.split(16), own.split(16), y, tuple(own.shape[1:]))
    return expected, judge(made, sent.split(16), expected, level=0.9)


@pytest.mark.parametrize("shape", [(4, 3, 3), (5, 4), (4,)])
def test_what_is_judged_is_as_defined(shape):
    """Each number from whole arrays, for images, tokens and vectors."""
    n, y = 50, torch.arange(50) % 3
    sent, own, fitted = drawn(n, *shape), drawn(n, *shape, seed=1) + 0.5, drawn(40, *shape, seed=2) + 0.5
    sent = sent + own
    head = nn.Linear(math.prod(shape), 3)

    def rest(z):
        return head(z.relu_().flatten(1))

    made = adapter("affine", shape, shape)
    expected, found = judged(made, rest, sent, own, y, fitted)
    with torch.no_grad():
        z = made(sent)
        answers, theirs = rest(z.clone()).argmax(1), rest(own.clone()).argmax(1)
    right, own_right = int((answers == y).sum()), int((theirs == y).sum())
    assert (found.accuracy, found.own, found.n) == (right / n, own_right / n, n)
    assert found.penalty == pytest.approx(found.own - found.accuracy)
    assert (found.low, found.high) == binomial_interval(right, n, 0.9)
    assert found.agreement == pytest.approx(float((answers == theirs).double().mean()))
    a, b = (reference.rows(one.double().numpy()) for one in (z, own))
    assert found.mse == pytest.approx(((a - b) ** 2).sum() / ((b - b.mean(0)) ** 2).sum(), rel=1e-6)
    rho = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(a.shape[1])]
    assert found.correlation == pytest.approx(np.mean(rho), abs=1e-7)
    assert found.cka == pytest.approx(float(similarity(z.flatten(1), own.flatten(1), permutations=0)), abs=1e-6)
    pooled = [_pooled(one) for one in (z, own, fitted)]
    far = [reference.distances(one, pooled[2], 1e-3) for one in pooled[:2]]
    np.testing.assert_allclose(expected.far.numpy(), np.sort(far[1]), rtol=1e-6)
    assert found.ood == pytest.approx(reference.farther(*far), abs=1e-12)
    positions = len(a) // n
    assert found.madds == n * (positions * a.shape[1] ** 2 + 3 * math.prod(shape))
    assert expected.meter.madds == n * 3 * math.prod(shape)


def _pooled(z):
    z = z.double().numpy()
    return z.mean((2, 3)) if z.ndim == 4 else z.mean(1) if z.ndim == 3 else z


def test_a_receivers_own_activations_are_judged_perfect():
    """The identity: nothing is lost, nothing is farther than its own; its batches are as they were."""
    rest, own, y = receiver(), drawn(50, 4, 3, 3), torch.arange(50) % 3
    kept = own.clone()
    made = adapter("identity", (4, 3, 3), (4, 3, 3))
    expected, found = judged(made, rest, own, own, y, drawn(40, 4, 3, 3, seed=2))
    assert (found.penalty, found.agreement, found.mse, found.ood) == (0.0, 1.0, 0.0, 0.5)
    assert found.correlation == pytest.approx(1.0)
    assert found.cka == pytest.approx(1.0)
    assert torch.equal(own, kept)
    shifted = adapter("affine", (4, 3, 3), (4, 3, 3))
    with torch.no_grad():
        shifted.core.weight.copy_(torch.eye(4))
        shifted.core.bias.fill_(100.0)
    found = judge(shifted, own.split(16), expected)
    # What differs by a constant only is as alike as can be, and no activation of the receiver's is like it.
    assert (found.ood, round(found.cka, 6), round(found.correlation, 6)) == (1.0, 1.0, 1.0)
    assert found.mse > 1000


def test_ties_count_half_and_what_is_not_a_number_gives_none():
    """As every pair says."""
    far, own = torch.tensor([1.0, 2.0, 2.0, 5.0]), torch.tensor([0.0, 2.0, 2.0, 3.0])
    assert farther(far, own) == reference.farther(far.tolist(), own.tolist())
    assert math.isnan(farther(torch.tensor([1.0, math.nan]), own))
    rest, own, y = receiver(), drawn(50, 4, 3, 3), torch.arange(50) % 3
    made = adapter("affine", (4, 3, 3), (4, 3, 3))
    with torch.no_grad():
        made.core.weight.zero_()
    found = judged(made, rest, own, own, y, own)[1]
    assert math.isnan(found.cka)
    assert found.correlation == 0.0
    own = torch.zeros(50, 4, 3, 3)
    found = judged(made, rest, drawn(50, 4, 3, 3), own, y, drawn(40, 4, 3, 3))[1]
    assert all(map(math.isnan, (found.mse, found.correlation, found.cka)))


def test_judging_leaves_all_as_it_was_and_counts_its_labels():
    """Whole models, their modes and random states; as many labels as samples."""
    rest, own, y = receiver(), drawn(50, 4, 3, 3), torch.arange(50) % 3
    made = adapter("affine", (4, 3, 3), (4, 3, 3))
    with check_quiet(rest):
        judged(made, rest, own, own, y, own)
    with pytest.raises(BadInput, match=r"(?s)50 held-out activations and 49 labels"):
        judged(made, rest, own, own, y[:49], own)


# ------------------------------------------------------------------------------------------- real networks


@pytest.fixture(scope="module")
def bench():
    """The bench of Tiny-10 nets."""
    spec = importlib.util.spec_from_file_location("bench_stitching", Path(__file__).parents[1] / "bench/stitching.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny(bench, shared, pair, layer, ridge=0.0):
    (x, y), (test, labels) = bench.images(shared, "train", 1000), bench.images(shared, "test", 2000)
    sender, receiver = (bench.net(shared, number) for number in pair)
    made, found, sent, _ = bench.closed_form(sender, receiver, layer, x, ridge)
    rest, tests = bench.halves(receiver, layer)[1], bench.run(bench.halves(sender, layer)[0], test)
    return made, found, rest, Samples(sent, y), tests, labels


def test_a_stitch_of_real_networks_has_the_numbers_of_the_definition(bench, shared):
    """Tiny-10 nets 0 to 1 at relu7: 0.7460 of 2,000 test images, R2 0.3594 on 1,000 training images."""
    made, found, rest, _, tests, labels = tiny(bench, shared, (0, 1), "relu7")
    assert float(bench.right(made, rest, tests, labels).double().mean()) == pytest.approx(0.7460, abs=0.005)
    assert found.r2 == pytest.approx(0.3594, abs=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [(0, 1), (1, 0), (2, 3)])
@pytest.mark.parametrize("layer", range(8))
def test_all_stitches_of_real_networks(bench, shared, pair, layer):
    """Each layer and pair; a trained stitch is not worse by more than two standard errors, paired."""
    made, found, rest, samples, tests, labels = tiny(bench, shared, pair, f"relu{layer + 1}")
    accuracy = float(bench.right(made, rest, tests, labels).double().mean())
    assert accuracy == pytest.approx(bench.ACCURACY[pair][layer], abs=0.005)
    assert found.r2 == pytest.approx(bench.R2[pair][layer], abs=0.003)
    _, gap = bench.trained(made, rest, samples, tests, labels, epochs=2)
    assert gap > -2


def test_training_ends_where_there_are_hits_enough():
    """It is not begun where the weights have them, and ended by the first epoch that brings them."""
    rest, samples, held = receiver(), data(), data(seed=4)

    def done(enough):
        made = adapter("affine", (5, 3, 3), (4, 3, 3), seed=1)
        before = made.core.weight.detach().clone()
        found = fit(made, rest, samples, epochs=6, lr=1e-2, validation=held, enough=enough)
        return found, torch.equal(made.core.weight, before)

    whole, _ = done(None)
    assert len(whole.losses) == 6
    assert whole.hits[0] < max(whole.hits)
    none, same = done(whole.hits[0])
    assert same
    assert (none.losses, none.hits, none.kept, none.steps) == ((), whole.hits[:1], 0, 0)
    first = next(i for i, hits in enumerate(whole.hits) if hits > whole.hits[0])
    some, _ = done(whole.hits[first])
    assert (some.losses, some.hits, some.kept) == (whole.losses[:first], whole.hits[: first + 1], first)
