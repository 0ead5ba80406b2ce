"""Stitches trained by later layers: which these are, what they hold, and the training from its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from netassay.cutting import Cut, cuts, passing
from netassay.cutting import model as opening
from netassay.data import splits
from netassay.errors import BadInput
from netassay.seeds import generator
from netassay.stitching import Samples, adapter, fit
from netassay.stitching.fitting import ORDER
from netassay.studies import stitch_halves
from netassay.studies.stitch_grid import stitch_grid
from netassay.testing import check_quiet
from netassay.zoo import built
from tests.reference import stitching as slow
from tests.stitches import same, trained  # noqa: F401
from tests.test_cutting import TINY, how, seen  # noqa: F401
from tests.test_cutting_odd import Turned, Vision

DATA, HOW = "digits:size=8", {"fit": 300, "samples": 200, "matching": "latents"}


class Turning(nn.Module):
    """A transformer that has its samples second, and so torch.fx none of it."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.inner, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.inner(x.transpose(0, 1))[0])


def inplace():
    """A layer's output that an operation after it overwrites, and one activation that is called twice."""
    act = nn.ReLU(inplace=True)
    return nn.Sequential(nn.Conv2d(3, 4, 3), act, nn.Conv2d(4, 4, 3), act, nn.Flatten(), nn.Linear(64, 3))


MODELS = {
    "residual": lambda: seen(TINY)[:2],
    "tiny10": lambda: seen("tiny10")[:2],
    "overwritten": lambda: (inplace().eval(), torch.randn(3, 3, 8, 8)),
    "vision": lambda: (Vision().eval(), torch.randn(3, 3, 8, 8)),
    "tokens": lambda: (Turning().eval(), torch.randn(3, 5, 8)),
    "turned": lambda: (nn.Sequential(nn.Linear(4, 5), Turned(), nn.ReLU(), Turned()).eval(), torch.randn(3, 4)),
}


def squares(made):
    return sum(one.square().sum() for one in made)


@pytest.mark.parametrize("name", MODELS)
def test_behind_a_cut_every_later_one_has_what_its_front_gives(name, how):  # noqa: F811
    """Bit for bit, samples first, then the output; gradient is that of differences, and nothing is left behind."""
    model, x = (one.double() for one in MODELS[name]())
    opened = opening.Model(model, x)
    clean = [one for one in cuts(opened, x, None) if isinstance(one, Cut)]
    assert len(clean) > 2
    wanted = [at.front(x) for at in clean] + [clean[0].whole(x)]
    for i, at in list(enumerate(clean))[::2]:
        half = passing(opened, at, [one.layer for one in clean[i + 1 :]])
        with check_quiet(model):
            y = at.front(x).requires_grad_()
            made = half(y)
        assert len(made) == len(wanted) - i - 1
        for one, other in zip(made, wanted[i + 1 :], strict=True):
            assert torch.equal(one, other)
            assert one.data_ptr() != y.data_ptr()
        value = squares(made)
        (grad,) = torch.autograd.grad(value, y)
        more = squares(half(y.detach() + 1e-6 * grad / grad.norm())) - value.detach()
        assert float(more) / 1e-6 == pytest.approx(float(grad.norm()), rel=1e-2)
    twins = {opened.twin, *([] if opened.graph is None else [opened.graph.twin])}
    assert not [one for twin in twins for one in twin.modules() if one._forward_hooks or one._forward_pre_hooks]


ODD = {
    "skip": ("residual", "layer1.0.conv1", ["layer1.0"], "goes around the cut"),
    "order": ("overwritten", "0", ["1#1", "2"], "not each runs behind the one before it"),
    "twice": ("overwritten", "0", ["2", "2"], "not each runs behind the one before it"),
    "itself": ("overwritten", "0", ["0"], "not each runs behind the one before it"),
    "before": ("overwritten", "2", ["0", "5"], "not each runs behind the one before it"),
    "flat": ("flat", "0", ["1", "2"], r"2: its output \(12,\) has no axis for the 4 samples"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_does_not_pass_is_refused(what, how):  # noqa: F811
    """A skip, a layer that is no place to cut at, and any order but that of execution."""
    name, layer, later, said = ODD[what]
    flat = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Flatten(0)), torch.randn(4, 2)
    model, x = flat if name == "flat" else MODELS[name]()
    opened = opening.Model(model, x)
    (at,) = cuts(opened, x, layer, allow_skips=True)
    with pytest.raises(BadInput, match=said):
        passing(opened, at, later)


def first(data, n):
    batches = list(data.first(n))
    return torch.cat([one.x for one in batches]), torch.cat([one.y for one in batches])


@torch.no_grad()
def perceptron(spec, layer, x):
    """What a perceptron makes at a layer, and weights and biases of what follows, as numpy arrays."""
    model = built(spec, splits(DATA)[0].input_shape, 10).eval()
    at = [name for name, _ in model.named_children()].index(layer) + 1
    behind = [one for one in model[at:] if isinstance(one, nn.Linear)]
    layers = [(one.weight.double().numpy(), one.bias.double().numpy()) for one in behind]
    return [model[:at](part).double().numpy() for part in x], layers


def test_a_grid_trains_by_the_definition(trained):  # noqa: F811
    """By numpy: closed form, squared errors at every later ReLU and at the answers, Adam, a fifth that decides."""
    (x, labels), (test, y) = (first(data, n) for data, n in zip(splits(DATA), (300, 200), strict=True))
    asked = {"adapter": "affine", "ridge": 10.0, "epochs": 4, "lr": 5e-3, "controls": False, **HOW}
    found = stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, DATA, **asked)
    out = np.arange(300) % 5 == 4
    orders = [torch.randperm(240, generator=generator(0, ORDER, epoch)).tensor_split(8) for epoch in range(4)]
    batches = [[one.numpy() for one in order] for order in orders]
    epochs = []
    for row in found.table("cells"):
        (sent, given), _ = perceptron(trained["a"], row["sender_layer"], (x, test))
        (own, theirs), layers = perceptron(trained["b"], row["receiver_layer"], (x, test))
        held = sent[out], own[out]
        *best, kept = slow.trained_by_latents(
            sent[~out], own[~out], layers, batches, held, labels[out].numpy(), 10.0, 5e-3
        )
        made = given @ best[0].T + best[1]
        assert row["note"].endswith(f"; {kept} epochs of training kept")
        assert row["accuracy"] == (slow.onward(made, layers)[-1].argmax(1) == y.numpy()).mean()
        assert row["mse"] == pytest.approx(((made - theirs) ** 2).sum() / ((theirs - theirs.mean(0)) ** 2).sum(), 1e-3)
        epochs.append(kept)
    assert set(epochs) >= {0, 2, 3}


def test_samples_are_trained_on_one_by_one(trained):  # noqa: F811
    """Every cell is stitched, those of random receivers too, and judged."""
    asked = {**HOW, "layers": ["act1", "act2"], "adapter": "affine", "batch": 1, "epochs": 1}
    found = stitch_grid({"a": trained["a"]}, {"b": trained["b"]}, DATA, controls=["random_receiver"], **asked)
    assert np.isfinite(found.array("penalty")).all()
    assert np.isfinite(found.array("accuracy/random_receiver")).all()
    assert any(row["note"].endswith("; 1 epochs of training kept") for row in found.table("cells"))


def test_a_linear_stitch_is_found():
    """A sender with the receiver's activations turned and moved, all that follows linear: training undoes just that."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 5), nn.Linear(5, 6)).eval(), torch.randn(64, 6)
    opened = opening.Model(model, x)
    at, later, _ = cuts(opened, x)
    for layer in model:
        nn.init.orthogonal_(layer.weight)
    own, turn, move = at.front(x), nn.init.orthogonal_(torch.empty(4, 4)), torch.randn(4)
    made = adapter("affine", (4,), (4,))
    samples = Samples(own @ turn + move, torch.zeros(64, dtype=torch.long), own)
    found = fit(
        made, at.rest, samples, loss="latents", later=passing(opened, at, [later.layer]), epochs=500, lr=1e-2, batch=64
    )
    assert found.losses[0] > 0.5
    assert found.losses[-1] < 1e-5
    torch.testing.assert_close(made.core.weight @ turn.T, torch.eye(4), atol=0.02, rtol=0)
    torch.testing.assert_close(made(samples.sent), own, atol=0.02, rtol=0)


def noted(monkeypatch):
    """Note which layers a grid compares at, by the layer stitched into."""
    found = {}

    def noting(opened, at, later):
        found.setdefault(at.layer, []).append(later)
        return passing(opened, at, later)

    monkeypatch.setattr(stitch_halves, "passing", noting)
    return found


def test_later_layers_are_the_receivers_own_whatever_was_asked(trained, monkeypatch):  # noqa: F811
    """Every clean activation that runs later, of a random receiver too; a cell has its numbers in any grid."""
    found = noted(monkeypatch)
    layers = ["", "conv1", "relu", "layer1.0.conv1", "layer1.0", "avgpool"]
    asked = {"adapter": "affine", "layers": "relu", "epochs": 1, **HOW}
    asked |= {"fit": 100, "samples": 50, "controls": ["random_receiver"]}
    many = stitch_grid(trained["r"], data=DATA, receiver_layers=layers, **asked)
    every = ["relu", "layer1.0.relu#1", "layer2.0.relu#1"]
    at = {"": every, "conv1": every, "relu": every[1:], "layer1.0": every[2:], "avgpool": []}
    assert found == {layer: [later] * 2 for layer, later in at.items()}
    one = stitch_grid(trained["r"], data=DATA, receiver_layers="conv1", **asked)
    names = ("control", "accuracy", "mse", "cka", "ood", "madds", "note")
    row, drawn, other, too = (
        [row[name] for name in names]
        for grid in (one, many)
        for row in grid.table("cells")
        if row["receiver_layer"] == "conv1"
    )
    assert (row, drawn) == (other, too)
    assert not row[-1].endswith("; 0 epochs of training kept")


def test_where_no_activation_is_clean_every_later_layer_counts(monkeypatch):
    """As where no layers are asked for: a transformer's activations have skips around them."""
    found = noted(monkeypatch)
    torch.manual_seed(0)
    data = torch.randn(60, 3, 8, 8), torch.arange(60) % 3
    asked = {**HOW, "layers": "blocks.?", "epochs": 1, "controls": False}
    made = stitch_grid({"a": Vision()}, {"b": Vision()}, data, **asked)
    later = ["blocks.1", "blocks", "norm", "head"]
    assert found == {"blocks.0": [later] * 2, "blocks.1": [later[1:]] * 2}
    assert np.isfinite(made.array("accuracy")).all()


class Around(nn.Module):
    """A network that can be cut nowhere but at its input."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return x + self.fc(x)


def test_what_is_nowhere_is_looked_for_once(monkeypatch):
    """A receiver without a clean cut behind the stitch is not cut again for every cell; answers alone are compared."""
    looked, cut = [], stitch_halves.Bench.cut

    def noting(self, side, layers):
        looked.append((type(side.model), layers))
        return cut(self, side, layers)

    monkeypatch.setattr(stitch_halves.Bench, "cut", noting)
    torch.manual_seed(0)
    data, sender = (
        (torch.randn(60, 3), torch.arange(60) % 3),
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)),
    )
    asked = {**HOW, "layers": ["0", "1"], "receiver_layers": "", "epochs": 1, "controls": False}
    made = stitch_grid({"a": sender}, {"b": Around()}, data, **asked)
    assert np.isfinite(made.array("accuracy")).all()
    assert looked.count((Around, None)) == 1


def test_hooks_and_graph_train_to_the_same_bits(trained, monkeypatch):  # noqa: F811
    """A residual network and its random twin: by torch.fx, and by hooks alone."""
    asked = {**HOW, "layers": "layer1.0", "epochs": 1, "ridge": 10.0}
    asked["controls"] = ["random_receiver"]
    graph = stitch_grid(trained["r"], data=DATA, **asked)
    assert any(row["note"].endswith("; 1 epochs of training kept") for row in graph.table("cells"))
    monkeypatch.setattr(opening, "traced", lambda *_: None)
    same(graph, stitch_grid(trained["r"], data=DATA, **asked))
