"""Cutting users' models: transformers, sizes that go around, tuples, chance, buffers, in-place work, and refusals."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from netassay.cutting import Cut, cut, cuts
from netassay.cutting import model as opening
from netassay.errors import BadInput
from netassay.testing import check_quiet
from tests.reference import swapped


class Block(nn.Module):
    """A pre-norm transformer block with attention written out."""

    def __init__(self, C, heads=2):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.mlp = nn.Sequential(nn.Linear(C, 2 * C), nn.GELU(), nn.Dropout(), nn.Linear(2 * C, C))

    def forward(self, x):
        N, T, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(N, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-1, -2) * (C // self.heads) ** -0.5).softmax(-1) @ v
        x = x + self.proj(a.transpose(1, 2).reshape(N, T, C))
        return x + self.mlp(self.norm2(x))


class Vision(nn.Module):
    """A small vision transformer: patches, a class token for as many samples as come, positions, blocks, head."""

    def __init__(self, C=8, depth=2):
        super().__init__()
        self.patch = nn.Conv2d(3, C, 4, 4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, C)), nn.Parameter(torch.randn(1, 5, C))
        self.blocks = nn.Sequential(*(Block(C) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(C), nn.Linear(C, 3)

    def forward(self, x):
        samples = x.shape[0]
        h = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(samples, -1, -1), h], 1) + self.positions
        return self.head(self.norm(self.blocks(h))[:, 0])


def plain(model):
    """Freeze a model: which kernel torch takes for tokens depends on whether weights take gradients."""
    return model.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def _unfused():
    """Compare with the layers' own arithmetic: torch's fused transformer layer rounds otherwise."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def check(model, x, other):
    """Assert that layers are cut exactly where their output alone decides, with the same bits; return all by label."""
    with check_quiet(model):
        found = cuts(model, x)
    made, output = swapped.outputs(model, x)
    for one in found:
        name, _, call = one.layer.partition("#")
        if made[name, int(call or 0)] is not None:
            assert isinstance(one, Cut) == swapped.clean(model, x, other, name, int(call or 0)), str(one)
        if isinstance(one, Cut):
            assert torch.equal(one.whole(x), output)
            assert torch.equal(one.whole(other[:2]), model(other[:2]))
    return {one.layer: one for one in found}


def how(found):
    """Return how each layer was cut; "" where it was refused."""
    return {label: one.how if isinstance(one, Cut) else "" for label, one in found.items()}


def test_a_vision_transformer_is_cut_between_its_blocks():
    """The number of samples is read before the cut and used behind it; tokens are (N, T, C); skips are refused."""
    model, x, other = plain(Vision()), torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8)
    found = check(model, x, other)
    assert {label for label, one in found.items() if isinstance(one, Cut)} == {
        *("patch", "blocks.0", "blocks.1", "blocks", "norm", "head")
    }
    assert (found["patch"].kind, found["patch"].shape, found["patch"].how) == ("image", (8, 2, 2), "hooks")
    assert (found["blocks.0"].kind, found["blocks.0"].shape, found["blocks.0"].how) == ("tokens", (5, 8), "graph")
    assert str(found["blocks.1.mlp.1"]).startswith("blocks.1.mlp.1: the skip of blocks.1 goes around it, from add")


@pytest.mark.parametrize("first", [True, False])
def test_torchs_transformer_is_cut_by_hooks(first):
    """Batch first or not, the halves hand on (N, T, C); attention returns a tuple, and its skip goes around it."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=first)
    inner = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            samples = len(x)
            h = self.inner(x if first else x.transpose(0, 1))
            return (h if first else h.transpose(0, 1)).reshape(samples, -1)

    model, x, other = plain(Model()), torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    found = check(model, x, other)
    cutting = {label: one for label, one in found.items() if isinstance(one, Cut)}
    assert list(cutting) == [
        *("inner.layers.0.norm1", "inner.layers.0.norm2", "inner.layers.0"),
        *("inner.layers.1.norm1", "inner.layers.1.norm2", "inner.layers.1", "inner"),
    ]
    assert {(one.kind, one.shape) for one in cutting.values()} == {("tokens", (5, 8))}
    assert cutting["inner.layers.0"].front(other[:2]).shape == (2, 5, 8)
    said = str(found["inner.layers.1.self_attn"])
    assert said.startswith("inner.layers.1.self_attn: the skip of inner.layers.1 goes around it, from inner.layers.0")
    assert cut(model, "", x).shape == (5, 8)
    allowed = cut(model, "inner.layers.1.self_attn", x, allow_skips=True)
    assert torch.equal(allowed.whole(other), model(other))


def test_the_fused_kernel_of_torchs_transformer_is_not_used():
    """With it on, which bits came out would depend on whether a hook is on."""
    torch.backends.mha.set_fastpath_enabled(True)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model, x = plain(nn.Sequential(nn.Linear(32, 32), layer)), 3 * torch.randn(5, 17, 32)
    assert not torch.equal(model(x), cut(model, "", x).rest(x))
    outer, inner = cut(model, "0", x), cut(model, "1.norm1", x)
    assert (outer.how, inner.how) == ("graph", "hooks")
    assert torch.equal(outer.whole(x), inner.whole(x))
    assert torch.backends.mha.get_fastpath_enabled()


class Function(nn.Module):
    """A model with two linear layers and whatever happens around them."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        for name, part in parts.items():
            setattr(self, name, part)
        self.work = forward

    def forward(self, x):
        return self.work(self, x)


def counting(m, x):
    """Count calls in a buffer that the rest reads."""
    m.count += 1
    return m.b(m.a(x) * m.count)


def fed(m, x):
    """Add up inputs in a buffer that the rest reads."""
    m.count += x.mean()
    return m.b(m.a(x) * m.count)


def counted_late(m, x):
    """Count calls in a buffer behind the layer."""
    h = m.a(x)
    m.count += 1
    return m.b(h * m.count)


def swallowing(m, x):
    """Go on whatever happens."""
    try:
        h = m.a(x)
    except Exception:
        h = x
    return m.b(h)


def dropped(m, x):
    """Work in place behind a layer and drop what it returns."""
    h = m.a(x)
    h.relu_()
    return m.b(h)


def mask(m, x):
    """Make a mask of integers and use it late."""
    keep = x > 0
    return m.b(m.a(x) * keep)


WORKS = {
    "in place, dropped": (dropped, {"a": "graph", "b": "graph"}),
    "in place on the input": (lambda m, x: m.b(m.a(x.mul_(2))), {"a": "graph", "b": "graph"}),
    "a size from the front": (lambda m, x: m.b(m.a(x).view(x.size(0), 2, 2).flatten(1)), {"a": "hooks", "b": "graph"}),
    "a size of its own": (lambda m, x: m.b((h := m.a(x)).view(h.size(0), -1)), {"a": "graph", "b": "graph"}),
    "a constant": (lambda m, x: m.b(m.a(x) + torch.arange(4)), {"a": "graph", "b": "graph"}),
    "a parameter": (lambda m, x: m.b(m.a(x) @ m.a.weight), {"a": "graph", "b": "graph"}),
    "a mask": (mask, {"a": "", "b": "graph"}),
    "swallowing": (swallowing, {"a": "graph", "b": "graph"}),
    "an early choice by value": (lambda m, x: m.b(m.a(x if x.sum() > 0 else -x)), {"a": "", "b": ""}),
    "a late choice by value": (lambda m, x: m.b(h if (h := m.a(x)).sum() > 0 else -h), {"a": "hooks", "b": ""}),
    "a choice by size": (lambda m, x: m.b(m.a(x) if x.dim() == 2 else x), {"a": "hooks", "b": "hooks"}),
    "a loop over samples": (lambda m, x: m.b(torch.stack([m.a(r) for r in x])), {"a#0": "", "a#1": "", "b": "hooks"}),
    "a late buffer": (counted_late, {"a": "hooks", "b": "hooks"}),
    "an early buffer": (counting, {"a": "hooks", "b": "hooks"}),
    "an early buffer of values": (fed, {"a": "", "b": "graph"}),
    "early chance": (lambda m, x: m.b(m.a(x + torch.randn(4))), {"a": "hooks", "b": "hooks"}),
    "late chance": (lambda m, x: m.b(m.a(x) + torch.randn(x.shape)), {"a": "hooks", "b": "graph"}),
    "chance on both sides": (
        lambda m, x: m.b(m.a(x + torch.randn(x.shape)) + torch.randn(x.shape)),
        {"a": "", "b": "graph"},
    ),
    "dropout": (lambda m, x: m.b(nn.functional.dropout(m.a(x), 0.5, m.training)), {"a": "graph", "b": "graph"}),
    "no gradient": (lambda m, x: m.b(torch.no_grad()(m.a)(x)), {"a": "graph", "b": "graph"}),
}


@pytest.mark.parametrize("work", WORKS)
def test_what_happens_between_layers(work):
    """Sizes, constants and parameters may go around a layer, values may not; nothing of the model's changes."""
    forward, expected = WORKS[work]
    model = Function(forward).eval()
    model.register_buffer("count", torch.zeros(()))
    x = torch.randn(2, 4)
    with check_quiet(model):
        found = cuts(model, x)
    assert how({one.layer: one for one in found}) == expected
    for one in found:
        if isinstance(one, Cut):
            state = torch.get_rng_state()
            with check_quiet(model):
                got = one.whole(x)
            torch.set_rng_state(state)
            model.count.zero_()
            assert torch.equal(got, model(x.clone()))
            model.count.zero_()


def test_what_a_layer_works_on_last_is_what_the_front_gives():
    """A layer that works in place on what it then returns has done so when the front stops."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            h = self.linear(x)
            h.relu_()
            return h

    model, x = nn.Sequential(Inner(), nn.Linear(4, 2)), torch.randn(3, 4)
    made, _ = swapped.outputs(model, x)
    inner, outer = cut(model, "0.linear", x), cut(model, "0", x)
    assert inner.how == outer.how == "graph"
    assert torch.equal(inner.front(x), made["0.linear", 0])
    assert torch.equal(outer.front(x), made["0", 0])
    assert outer.front(x).min() == 0 > inner.front(x).min()


def test_a_layer_that_is_called_several_times():
    """Each call is a place of its own, by graph and by hooks."""
    model = Function(lambda m, x: m.a(m.b(m.a(m.a(x))))).eval()
    x, other = torch.randn(3, 4), torch.randn(3, 4)
    found = check(model, x, other)
    assert how(found) == dict.fromkeys(["a#0", "a#1", "b", "a#2"], "graph")
    assert [found[label].multiply_adds for label in found] == [16, 32, 48, 64]


@pytest.mark.parametrize(
    ("used", "cutting"), [(lambda out, h: out, True), (lambda out, h: h[0], False), (lambda out, h: out + h[0], False)]
)
def test_a_layer_that_returns_a_tuple_is_cut_at_its_first_tensor(used, cutting):
    """Where what follows takes another one, that goes around the cut."""

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x):
            out, (h, _) = self.lstm(x)
            return self.head(used(out[:, -1], h))

    model, x = plain(Recurrent()), torch.randn(3, 5, 4)
    (lstm, head) = cuts(model, x)
    assert isinstance(lstm, Cut) == cutting
    assert torch.equal(head.whole(x), model(x))
    if cutting:
        assert (lstm.kind, lstm.shape) == ("tokens", (5, 6))
        assert torch.equal(lstm.whole(x), model(x))
    else:
        assert "from lstm" in str(lstm)


@pytest.mark.parametrize(
    "pack", [lambda y, h: {"logits": y}, lambda y, h: (y, [y]), lambda y, h: SimpleNamespace(logits=y, other=None)]
)
def test_the_rest_returns_what_the_model_returns(pack):
    """Tuples, dicts and objects come out as they are."""
    model, x = Function(lambda m, x: pack(m.b(h := m.a(x)), h)), torch.randn(3, 4)
    at = cut(model, "a", x)
    assert type(at.whole(x)) is type(model(x))


@pytest.mark.parametrize("tracing", [True, False])
def test_a_model_that_also_returns_features_is_cut_at_them_only(tracing, monkeypatch):
    """What goes into the output goes around every layer behind it."""
    if not tracing:
        monkeypatch.setattr(opening, "traced", lambda *_: None)
    a, b = cuts(Function(lambda m, x: (m.b(h := m.a(x)), h)).eval(), torch.randn(3, 4))
    assert isinstance(a, Cut)
    assert str(b) == "b: the skip of the model goes around it, from a; pass allow_skips=True"


def test_tokens_by_number_are_cut_behind_their_embedding():
    """Integers are no place to stitch into; features are."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)).eval()
    x = torch.randint(9, (3, 5))
    assert [one.kind for one in cuts(model, x)] == ["tokens", "tokens"]
    with pytest.raises(BadInput, match=r"inputs \(3, 5\) of torch.int64 are no features"):
        cut(model, "", x)


def test_channels_come_where_the_kind_says():
    """Sequences (N, C, T) are handed on as tokens (N, T, C), and images with channels last as images."""
    sequence = nn.Sequential(nn.Conv1d(4, 6, 1), nn.ReLU(), nn.Conv1d(6, 2, 1)).eval()
    at = cut(sequence, "1", torch.randn(3, 4, 5))
    assert (at.kind, at.shape, at.front(torch.randn(2, 4, 5)).shape) == ("tokens", (5, 6), (2, 5, 6))
    x = torch.randn(2, 4, 5)
    assert torch.equal(at.whole(x), sequence(x))
    last = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)).eval()
    x = torch.randn(2, 5, 6, 4)
    at = cut(last, "0", x)
    assert (at.kind, at.shape) == ("image", (4, 5, 6))
    assert torch.equal(at.whole(x), last(x))
    assert torch.equal(at.rest(at.front(x).clone(memory_format=torch.contiguous_format)), last(x))
    viewing = nn.Sequential(nn.LayerNorm(4), nn.Unflatten(-1, (2, 2)), Viewing()).eval()
    at = cut(viewing, "0", x)
    assert torch.equal(at.rest(at.front(x).clone(memory_format=torch.contiguous_format)), viewing(x))


REFUSED = {
    "no samples": (lambda m, x: m.b(x + m.a(torch.ones(1, 4))), "a: what it makes is the same for any number"),
    "more rows than samples": (lambda m, x: m.b(m.a(x.repeat(2, 1)))[: len(x)], "a: its output (6, 4) has no axis"),
    "five axes": (lambda m, x: m.b(m.a(x.view(-1, 1, 1, 1, 4)).flatten(1)), "a: its output (3, 1, 1, 1, 4) is no"),
    "one axis": (lambda m, x: m.b(x * m.c(m.a(x))[:, None]), "c: its output (3,) is no image"),
    "no tensor": (lambda m, x: m.b(m.d(m.a(x))), "d: it returns int, without a floating tensor"),
}


class Turned(nn.Module):
    """Puts samples last."""

    def forward(self, x):
        return x.t()


def test_samples_come_first_wherever_the_layer_has_them():
    """A vector whose samples are last is handed on as (N, C)."""
    model, x = nn.Sequential(nn.Linear(4, 5), Turned(), nn.ReLU(), Turned(), nn.Linear(5, 2)).eval(), torch.randn(3, 4)
    for layer in ("1", "2"):
        at = cut(model, layer, x)
        assert (at.kind, at.shape, at.front(x[:2]).shape) == ("vector", (5,), (2, 5))
        assert torch.equal(at.whole(x), model(x))


class Viewing(nn.Module):
    """Takes its input's memory as it lies."""

    def forward(self, x):
        return x.view(len(x), -1)


class Sum(nn.Module):
    """Sum over channels."""

    def forward(self, x):
        return x.sum(1)


class Size(nn.Module):
    """Give a number."""

    def forward(self, x):
        return len(x)


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_layer_makes_must_be_features_of_samples(case):
    """Each refusal names the layer and what it makes."""
    forward, said = REFUSED[case]
    if case == "no tensor":

        def forward(m, x):
            return m.b(x) / m.d(m.a(x))

    found = cuts(Function(forward, c=Sum(), d=Size()).eval(), torch.randn(3, 4))
    assert any(str(one).startswith(said) for one in found), [str(one) for one in found]


def test_weights_that_are_computed_stay_computed():
    """Parametrized and weight-normed layers, old and new, are cut; a tied weight stays one."""
    old = nn.utils.spectral_norm(nn.Linear(4, 4))
    new = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    tied = nn.Linear(4, 4)
    model = nn.Sequential(old, new, tied, nn.ReLU(), tied).eval()
    x, other = torch.randn(3, 4), torch.randn(3, 4)
    model(x)
    assert all(isinstance(one, Cut) for one in check(model, x, other).values())


def test_the_halves_follow_the_model_they_share_weights_with():
    """No weight is copied: what trains the model trains what the halves compute."""
    model, x = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval(), torch.randn(3, 4)
    at = cut(model, "0", x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model.train()(torch.randn(9, 4))
    assert torch.equal(at.whole(x), model.eval()(x))


class Uncopyable(nn.Module):
    """Holds what cannot be copied."""

    def __init__(self):
        super().__init__()
        self.lines = (line for line in "ab")

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(Uncopyable()), "cannot be copied: TypeError"),
        (nn.LazyLinear(3), "has no shape yet"),
        (3, "no torch.nn.Module"),
    ],
)
def test_models_that_cannot_be_cut_are_refused(model, said):
    """What cannot be copied, has no weights yet, or is no model."""
    with pytest.raises(BadInput, match=said):
        cuts(model, torch.randn(3, 4))


def test_a_model_without_modules_inside_is_its_own_layer():
    """One layer is cut behind itself."""
    model, x = nn.Linear(4, 2), torch.randn(3, 4)
    (at,) = cuts(model, x)
    assert at.layer == "model"
    assert torch.equal(at.whole(x), model(x))
