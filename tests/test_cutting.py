"""Cutting the zoo: halves that give the model's own bits, and every other place refused by name."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from netassay.counting import counting
from netassay.cutting import Cut, Refused, cut, cuts
from netassay.cutting import model as opening
from netassay.errors import BadInput, LayerNotFound
from netassay.quiet import state_hash
from netassay.testing import check_quiet
from netassay.zoo import build
from tests.reference import swapped

TINY = "resnet[1,1]:input=8,width=4,classes=3"
ZOO = [
    TINY,
    f"{TINY},shortcut=A",
    f"{TINY},skip=none,act=tanh",
    f"{TINY},norm=none",
    f"{TINY},norm=layer,head=none",
    "resnet[2,1]:input=64,width=4,classes=3,block=bottleneck",
    "densenet[2,2]:input=8,growth=4,classes=3",
    "densenet[2,2]:input=8,growth=4,classes=3,skip=end",
    "densenet[2,2]:input=8,growth=4,classes=3,skip=none,norm=none",
    "densenet[2]:input=64,growth=4,classes=3,bottleneck=none",
    "vgg[1,1,1,1,1]:input=32,width=2,hidden=8,classes=3",
    "vgg[1,1,1,1,1]:input=32,width=2,hidden=8,classes=3,norm=batch",
    "cnn:input=8",
    "tiny10",
    "mlp[8,8]:input=16",
    "mlp[8]:input=16,norm=batch",
]


def seen(spec, seed=0):
    """Build a model whose norms are not at their beginning, in eval mode, and two inputs."""
    model = build(spec, seed=seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval(), torch.randn(3, *model.input_shape), torch.randn(3, *model.input_shape)


def key(label):
    """Split a label into a layer's name and the number of its call."""
    name, _, call = label.partition("#")
    return name, int(call or 0)


@pytest.fixture(params=["graph", "hooks"])
def how(request, monkeypatch):
    """Cut by torch.fx where it can, and by hooks alone."""
    if request.param == "hooks":
        monkeypatch.setattr(opening, "traced", lambda *_: None)
    return request.param


@pytest.mark.parametrize("spec", ZOO)
def test_every_clean_cut_gives_the_models_bits_and_every_other_is_refused(spec):
    """A place is cut exactly if its output alone decides; both halves then give what the whole model gives."""
    model, x, other = seen(spec)
    made, output = swapped.outputs(model, x)
    found = cuts(model, x)
    assert [key(one.layer) for one in found] == list(made)
    for one in found:
        name, call = key(one.layer)
        assert isinstance(one, Cut) == swapped.clean(model, x, other, name, call), str(one)
        if isinstance(one, Cut):
            assert one.how == "graph"
            assert torch.equal(one.front(x), made[name, call])
            assert torch.equal(one.rest(one.front(x)), output)
            # Fewer and other samples than the example's.
            assert torch.equal(one.rest(one.front(other[:2])), model(other[:2]))


@pytest.mark.parametrize("spec", [TINY, "densenet[2]:input=8,growth=4,classes=3", "cnn:input=8"])
def test_hooks_cut_where_the_graph_does_with_the_same_bits(spec, monkeypatch):
    """Without torch.fx the same places are cut, give the same, and the others are refused in the same words."""
    model, x, other = seen(spec)
    graph = cuts(model, x)
    monkeypatch.setattr(opening, "traced", lambda *_: None)
    for a, b in zip(graph, cuts(model, x), strict=True):
        assert (type(a), a.layer) == (type(b), b.layer)
        if isinstance(b, Cut):
            assert b.how == "hooks"
            assert (a.kind, a.shape, a.multiply_adds) == (b.kind, b.shape, b.multiply_adds)
            assert torch.equal(b.front(other), a.front(other))
            assert torch.equal(b.rest(b.front(other)), model(other))
        else:
            assert a.next == b.next
            assert a.found.partition(", from")[0] == b.found.partition(", from")[0]


def test_a_refusal_says_what_goes_around_and_where_to_cut():
    """The sentences name the skip, where it begins, and the block behind which nothing goes around."""
    model, x, _ = seen(TINY)
    said = {one.layer: str(one) for one in cuts(model, x) if isinstance(one, Refused)}
    ways = "or pass allow_skips=True"
    assert said["layer1.0.conv1"] == (
        f"layer1.0.conv1: the skip of layer1.0 goes around it, from relu; cut at layer1.0 {ways}"
    )
    assert said["layer2.0.downsample"] == (
        f"layer2.0.downsample: the skip of layer2.0 goes around it, from layer2.0.bn2; cut at layer2.0 {ways}"
    )
    with pytest.raises(BadInput, match=r"cut ResNet at 'layer1.0.conv1'\n.*the skip of layer1.0 .*\n.*cut at layer1.0"):
        cut(model, "layer1.0.conv1", x)
    dense, x, _ = seen("densenet[4]:input=8,growth=4,classes=3")
    (last,) = cuts(dense, x, "features.denseblock1.denselayer4")
    block = "features.denseblock1"
    assert str(last) == (
        f"{block}.denselayer4: the skip of {block} goes around it, from features.conv0, {block}.denselayer1.conv2, "
        f"{block}.denselayer2.conv2 and 1 more; cut at {block} {ways}"
    )


def test_where_nothing_holds_the_skip_no_other_layer_is_named(how):
    """A skip of the model itself leaves allow_skips."""

    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            h = self.a(x)
            return h + self.b(h)

    (a, b) = cuts(Skipping(), torch.randn(3, 4))
    assert isinstance(a, Cut)
    assert str(b) == "b: the skip of the model goes around it, from a; pass allow_skips=True"


def test_the_front_stops_and_the_rest_starts_at_the_layer(how):
    """No module behind the cut runs in the front, none before it on values in the rest; products add up."""
    counts = []

    def count(i):
        return lambda module, args, y: counts.append(i) if type(y) is torch.Tensor else None

    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    at = cut(model, "1", torch.randn(5, 4))
    assert at.how == how
    for i, part in enumerate(at.front._within[0]):  # hooks on the model stay with it
        part.register_forward_hook(count(i))
    y = at.front(torch.randn(5, 4))
    assert counts == [0, 1]
    counts.clear()
    with counting() as counter:
        at.rest(y)
    assert counts == [2, 3]
    assert counter.get_total_flops() // 2 == 5 * 2 * 16
    assert at.multiply_adds == 32


def test_multiply_adds_of_the_halves_add_up_to_the_models(how):
    """What one half computes the other does not."""
    model, x, _ = seen(TINY)
    with counting() as counter, torch.no_grad():
        model(x)
    whole = counter.get_total_flops() // 2 // len(x)
    for name in ("conv1", "layer1", "layer2.0", "avgpool", ""):
        at = cut(model, name, x)
        y = at.front(x)
        with counting() as counter:
            at.rest(y)
        assert at.multiply_adds + counter.get_total_flops() // 2 // len(x) == whole


@pytest.mark.parametrize("layer", ["", "conv1", "bn1", "relu", "layer1", "fc"])
def test_nothing_that_is_given_is_overwritten(layer, how):
    """In-place activations behind the cut, or at it, work on copies."""
    model, x, _ = seen(TINY)
    at = cut(model, layer, x)
    before = x.clone()
    y = at.front(x)
    kept = y.clone()
    first, second = at.rest(y), at.rest(y)
    assert torch.equal(x, before)
    assert torch.equal(y, kept)
    assert torch.equal(first, second)


def test_cuts_at_the_input_and_behind_the_last_layer(how):
    """Before the first layer the rest is the model; behind the last one nothing is left to do."""
    model, x, _ = seen(TINY)
    first, last = cut(model, "", x), cut(model, "fc", x)
    assert (first.kind, first.shape) == ("image", (3, 8, 8))
    assert (last.kind, last.shape) == ("vector", (3,))
    assert torch.equal(first.front(x), x)
    assert torch.equal(first.rest(x), model(x))
    assert torch.equal(last.rest(last.front(x)), model(x))
    assert first.multiply_adds == 0
    assert [one.layer for one in cuts(model, x, ["", "fc"])] == ["", "fc"]


def test_skips_that_are_allowed_come_from_the_models_own_run(how):
    """The rest takes y at the layer and everything else from x; that is what a swap by hook gives."""
    model, x, other = seen(TINY)
    for one in cuts(model, x, "layer2*", allow_skips=True):
        name, call = key(one.layer)
        y = one.front(x)
        assert torch.equal(one.whole(x), model(x))
        assert torch.equal(one.rest(y, other), swapped.swapped(model, other, name, call, y))
    assert one.skips == ""
    at = cut(model, "layer2.0.conv1", x, allow_skips=True)
    assert at.skips == "layer1.0.relu" if how == "graph" else at.skips.startswith("layer1.0")
    with pytest.raises(BadInput, match=r"layer1.0.* goes around the cut, .*own run on x\n.*rest\(y, x\)"):
        at.rest(at.front(x))


def trained(half, y, steps=3):
    """Train an adapter before a half as users do: the whole in train mode, every parameter in the optimizer."""
    stitched = nn.Sequential(nn.BatchNorm2d(y.shape[1]), half).train()
    stitched.requires_grad_(True)
    optimizer = torch.optim.SGD(stitched.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        stitched(y).square().sum().backward()
        optimizer.step()
    return stitched


@pytest.mark.parametrize("layer", ["", "relu", "layer1"])
def test_halves_stay_frozen_in_whatever_trains(layer, how):
    """Balogh and Jelasity's lock: no BatchNorm statistic drifts and no weight moves, while the adapter learns."""
    model, x, _ = seen(TINY)
    model.train()
    before, at = state_hash(model), cut(model, layer, x)
    y = at.front(x)
    stitched = trained(at.rest, y)
    trained(nn.Sequential(at.front, nn.BatchNorm2d(y.shape[1])), x)
    assert state_hash(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in stitched[1].modules())
    assert torch.equal(at.front(x), y)
    assert stitched[0].weight.grad.abs().sum() > 0


def test_a_copy_of_what_contains_a_half_shares_it():
    """Whoever keeps the best of several adapters copies the adapter alone."""
    model, x, _ = seen(TINY)
    at = cut(model, "layer1", x)
    stitched = nn.Sequential(nn.Conv2d(4, 4, 1), at.rest)
    again = copy.deepcopy(stitched)
    assert again[1] is at.rest
    assert again[0].weight is not stitched[0].weight
    assert len(list(stitched.parameters())) == 2


def test_the_hash_sees_the_drift_that_a_bare_model_has():
    """A model put in the place of its rest drifts: train() reaches its norms, and the optimizer its weights."""
    model, x, _ = seen(TINY)
    before = state_hash(model)
    model.requires_grad_(False)
    with torch.no_grad():
        nn.Sequential(nn.Identity(), model).train()(x)
    assert state_hash(model) != before


def test_the_hash_covers_buffers_that_are_not_saved():
    """A buffer outside of the state dict is part of what must not change."""
    model = nn.Linear(2, 2)
    saved = state_hash(model)
    model.register_buffer("count", torch.zeros(()), persistent=False)
    fresh = state_hash(model)
    model.count += 1
    assert len({saved, fresh, state_hash(model)}) == 3


def test_gradient_reaches_what_the_rest_is_given(how):
    """The gradient at y is the whole model's own, and none is made for parameters."""
    model, x, _ = seen(TINY)
    at = cut(model, "layer1", x)
    y = at.front(x).requires_grad_()
    at.rest(y).sum().backward()
    got = []
    handle = model.layer1.register_forward_hook(lambda m, a, out: (got.append(out), out.retain_grad())[:0] or None)
    model(x).sum().backward()
    handle.remove()
    torch.testing.assert_close(y.grad, got[0].grad)


@pytest.mark.parametrize("layer", ["relu", "layer1.0.conv1"])
def test_cutting_and_running_halves_touch_nothing(layer, how):
    """Modes, buffers, gradients, hooks, attributes and random generators stay as they were, train mode included."""
    model, x, _ = seen(TINY)
    model.layer1.train()
    with check_quiet(model):
        at = cut(model, layer, x, allow_skips=True)
        at.rest(at.front(x), x)
        cuts(model, x, "layer2*")
        assert at.multiply_adds


def test_a_wrong_name_is_answered_with_the_right_ones():
    """Unknown layers, calls that must be told apart, and layers that never run."""
    model, x, _ = seen(TINY)
    model.spare = nn.ReLU()
    with pytest.raises(LayerNotFound, match=r"closest: .*'layer1"):
        cut(model, "layer1.0.conv9", x)
    with pytest.raises(BadInput, match=r"called 2 times\n.*layer1.0.relu#0, layer1.0.relu#1"):
        cut(model, "layer1.0.relu", x)
    with pytest.raises(BadInput, match="the forward pass does not call"):
        cut(model, "spare", x)
    with pytest.raises(LayerNotFound, match="none matches"):
        cuts(model, x, "stage*")


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ({"x": torch.ones(2, 3, 8, 8)}, "an example that is a dict"),
        (torch.ones(8), r"an example \(8,\)"),
        (torch.ones(2, 5, 8, 8), "raises RuntimeError"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(example, said):
    """One tensor with samples in front, and such as the model takes."""
    with pytest.raises(BadInput, match=said):
        cuts(seen(TINY)[0], example)
