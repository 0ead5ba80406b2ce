"""Watching odd loops: what is done between the steps of a training is not charged to them."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_sequence
from torch.utils.checkpoint import checkpoint

from netassay.reactions import Read
from netassay.watching import Monitor
from netassay.watching.guard import Guard
from tests.watched import Net, images, own, seeded, sgd, signals, train


def adversarial(model, optimizer, x, y):
    x = x.clone().requires_grad_()
    for _ in range(3):
        torch.autograd.grad(cross_entropy(model(x), y), x)


def saliency_after(model, optimizer, x, y):
    out = model(x.clone().requires_grad_())
    torch.autograd.grad(out.sum(), model.stem.weight, create_graph=True)


def thrown(model, optimizer, x, y):
    cross_entropy(model(x), y).backward()
    optimizer.zero_grad()


def zeroed(model, optimizer, x, y):
    cross_entropy(model(x), y).backward()
    optimizer.zero_grad(set_to_none=False)


def left(model, optimizer, x, y):
    """Thrown away between the next forward pass and its backward pass."""
    cross_entropy(model(x), y).backward()


def watched(before, *, late=False, after=None, check=None, steps=3):
    """Train with something else done before each step."""
    model, (x, y) = seeded(Net, check=check), images()
    optimizer = sgd(model, lr=0.1)
    with Monitor(model, optimizer, every=1) as monitor:
        for _ in range(steps):
            if not late:
                optimizer.zero_grad()
            before(model, optimizer, x * 10, y)
            loss = cross_entropy(model(x), y)
            if late:
                optimizer.zero_grad()
            loss.backward()
            if after is not None:
                after(model, optimizer, x * 10, y)
            optimizer.step()
    assert own(monitor) == []
    return monitor


def plain(steps=3, check=None):
    model, (x, y) = seeded(Net, check=check), images()
    return train(model, sgd(model, lr=0.1), x, y, steps=steps)


def nothing(*_):
    pass


def same(monitor, wanted, steps=3):
    assert monitor.readings().samples.tolist() == [6] * steps
    for step in range(steps):
        alone = signals(wanted, step)
        for layer, one in signals(monitor, step).items():
            assert one == pytest.approx(alone[layer], rel=1e-5, nan_ok=True), (step, layer)


@pytest.mark.parametrize("check", [None, "plain"])
@pytest.mark.parametrize("before", [adversarial, saliency_after])
def test_passes_that_give_parameters_nothing_are_not_charged(before, check):
    """Attacks and saliency by `autograd.grad`, before the step's own backward pass or after it."""
    same(watched(before, check=check), plain(check=check))
    same(watched(nothing, after=before, check=check), plain(check=check))


@pytest.mark.parametrize(("before", "late"), [(thrown, False), (zeroed, False), (left, True)])
def test_gradients_that_were_thrown_away_are_not_charged(before, late):
    """A batch given up after its backward pass: `.grad` is None or zero by the next one."""
    same(watched(before, late=late), plain())


def test_a_gradient_penalty_counts_what_comes_to_parameters():
    """Of a double backward, the pass that only asks for the input's gradient is left out."""
    model, (x, y) = seeded(Net), images()
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        for weight in (0.0, 1.0):
            optimizer.zero_grad()
            given = x.clone().requires_grad_()
            loss = cross_entropy(model(given), y)
            (slope,) = torch.autograd.grad(loss, given, create_graph=True)
            (loss + weight * slope.square().sum()).backward()
            optimizer.step()
    assert monitor.readings().samples.tolist() == [6, 6]
    assert signals(monitor, 0)["stem"]["gradient"] == pytest.approx(signals(plain(1))["stem"]["gradient"], rel=1e-5)
    assert own(monitor) == []


def test_gradients_that_are_set_by_hand_count():
    """`autograd.grad` for the parameters, then `.grad = ...`."""
    model, (x, y) = seeded(Net), images()
    optimizer = sgd(model, lr=0.1)
    with Monitor(model, optimizer, every=1) as monitor:
        for _ in range(3):
            found = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
            for one, gradient in zip(model.parameters(), found, strict=True):
                one.grad = gradient
            optimizer.step()
    same(monitor, plain())


class Tail(Net):
    """Ends in what has no parameters, behind a checkpoint."""

    def forward(self, x):
        h = self.stem(x)
        h = self.blocks[0](h) if self.check is None else checkpoint(self.blocks[0], h, use_reentrant=True)
        return self.act(h).mean((2, 3))


def test_nested_backward_passes_are_one():
    """With a reentrant checkpoint, nothing has come to parameters yet when the inner backward pass begins."""
    x, y = images()
    one, two = seeded(Tail), seeded(Tail, check="reentrant")
    same(train(two, sgd(two, lr=0.1), x, y % 4, steps=3), train(one, sgd(one, lr=0.1), x, y % 4, steps=3))


def test_a_transform_of_torch_func_is_passed_over():
    """`vmap`, `grad` and `jacrev` on the model, before a step and inside of it: nothing of them is read."""

    def transformed(model, optimizer, x, y):
        torch.func.vmap(model)(x[:, None])
        torch.func.jacrev(model)(x[:1])
        weights = dict(model.named_parameters())
        torch.func.grad(lambda w: torch.func.functional_call(model, w, x).sum())(weights)

    same(watched(transformed), plain())
    same(watched(nothing, after=transformed), plain())


def test_a_part_goes_off_after_three_failures_in_a_row():
    """Each failure is noted once; a success in between starts the count anew."""
    guard, ran = Guard(), []

    def part(fails):
        ran.append(fails)
        if fails:
            raise ValueError("no")

    for fails in (True, True, False, True, True):
        guard("part", part, fails)
    assert (guard.faults, guard.off, len(ran)) == (["part: ValueError: no"], set(), 5)
    guard("part", part, True)
    guard("part", part, False)
    assert (guard.off, len(ran)) == ({"part"}, 6)


def test_forward_passes_of_other_threads_are_passed_over():
    """An evaluation under `no_grad` that has begun, and is not over, while the training's own pass runs."""

    class Asked(Net):
        def forward(self, x):
            if torch.is_grad_enabled():
                pool.submit(evaluated, self, x[:2])
                begun.wait(10)
                begun.clear()
            else:
                begun.set()
                over.wait(0.2)
            return super().forward(x)

    def evaluated(model, x):
        with torch.no_grad():
            model(x)

    pool, begun, over = ThreadPoolExecutor(1), Event(), Event()
    (x, y), model = images(), seeded(Asked)
    with pool:
        monitor = train(model, sgd(model, lr=0.1), x, y, steps=3)
    same(monitor, plain())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler's own
def test_a_compiler_does_not_trace_the_hooks():
    """A model compiled while it is watched: no operation of a compiled graph is the watch's, and all is read."""
    x, y = images()
    traced = []

    def backend(graph, inputs):
        traced.extend(str(node.stack_trace) for node in graph.graph.nodes)
        return graph.forward

    model = seeded(Net)
    optimizer = sgd(model, lr=0.1)
    torch.compiler.reset()
    with Monitor(model, optimizer, every=1) as monitor:
        compiled = torch.compile(model, backend=backend)
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(compiled(x), y).backward()
            optimizer.step()
    torch.compiler.reset()
    assert traced
    assert not [one for one in traced if "netassay" in one]
    same(monitor, plain())
    assert pickle.loads(pickle.dumps(Read(None))) is not None


def test_passes_that_nobody_differentiates_do_not_pile_up():
    """Handles at a graph go with it, though no gradient ever came; those of a graph that stands are kept."""
    model, (x, _) = seeded(Net), images()
    with Monitor(model, sgd(model), every=1) as monitor:
        kept = model(x)
        once = len(monitor.reader.handles._gradients)
        for _ in range(5):
            model(x)
        assert len(monitor.reader.handles._gradients) == 2 * once
    assert kept.grad_fn is not None


@pytest.mark.parametrize("kind", ["empty", "packed", "complex", "functional"])
def test_steps_without_a_gradient_are_told(kind):
    """What cannot be read must not read as healthy: one sentence, with the number of steps and the reasons."""
    model = {"packed": lambda: torch.nn.LSTM(6, 4), "complex": lambda: torch.nn.Linear(6, 4, dtype=torch.cfloat)}.get(
        kind, lambda: torch.nn.Linear(6, 4)
    )()
    x = torch.ones(0 if kind == "empty" else 5, 6)
    optimizer = sgd(model)
    with Monitor(model, optimizer, every=1) as monitor:
        for _ in range(3):
            optimizer.zero_grad()
            if kind == "packed":
                loss = model(pack_sequence([x, x[:3]]))[0].data.square().mean()
            elif kind == "complex":
                loss = model(x.to(torch.cfloat)).abs().sum()
            elif kind == "functional":
                loss = torch.nn.functional.linear(x, model.weight).sum()
            else:
                loss = model(x).sum()
            loss.backward()
            optimizer.step()
    told = [one for one in own(monitor) if "no gradient was read" in one]
    assert len(told) == 1, own(monitor)
    assert told[0].startswith("gradient: no gradient was read in 3 steps: the model was compiled before")
    assert "empty batches" in told[0]
