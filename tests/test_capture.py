"""Capture: what a layer receives and passes on, right in every way a model can be wired."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.grad import conv2d_input
from torch.utils.checkpoint import checkpoint

import netassay as na
from netassay.capturing import visit
from netassay.errors import BadInput, LayerNotFound
from netassay.testing import check_quiet


class Residual(nn.Module):
    """y = f(x) + x, whose input tensor therefore collects two gradients."""

    def __init__(self, inplace=False):
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 3, padding=1)
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x):
        x = self.stem(x)
        return self.relu(self.conv(x)) + x


class Twice(nn.Module):
    """One layer called twice, another never."""

    def __init__(self):
        super().__init__()
        self.shared, self.spare = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.shared(torch.tanh(self.shared(x)))


class Checkpointed(nn.Module):
    """Two segments, each calling two layers, one of them shared by both segments."""

    def __init__(self, reentrant):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(3, 3), nn.Linear(3, 3), nn.ReLU()
        self.use, self.reentrant = reentrant is not None, reentrant

    def forward(self, x):
        for layer in (self.a, self.b):
            if self.use:
                x = checkpoint(lambda x, layer=layer: self.act(layer(x)), x, use_reentrant=self.reentrant)
            else:
                x = self.act(layer(x))
        return x


@dataclass
class Output:
    logits: torch.Tensor
    extra: int = 0


class Wrapped(nn.Module):
    """A layer that returns its tensor inside something else."""

    def __init__(self, wrap):
        super().__init__()
        self.inner, self.wrap = Inner(wrap), wrap

    def forward(self, x):
        out = self.inner(x)
        return {tuple: lambda: out[0], dict: lambda: out["y"], Output: lambda: out.logits}[self.wrap]()


class Inner(nn.Linear):
    def __init__(self, wrap):
        super().__init__(3, 2)
        self.wrap = wrap

    def forward(self, x):
        y = super().forward(x)
        return {tuple: lambda: (y, 3), dict: lambda: {"n": 3, "y": y}, Output: lambda: Output(y)}[self.wrap]()


def image(*shape):
    return torch.randn(*shape, requires_grad=True)


@pytest.mark.parametrize("inplace", [False, True])
def test_residual_block_separates_the_branch_from_the_skip(inplace):
    """gx is the branch's share bit by bit, gx_total the sum with the skip, with an in-place ReLU behind too."""
    model, x = Residual(inplace), image(2, 2, 5, 5)
    with na.capture(model) as records:
        model(x).square().sum().backward()
    conv = records["conv"]
    assert torch.equal(conv.gx, conv2d_input(conv.x.shape, model.conv.weight, conv.gy, padding=1))
    assert not torch.allclose(conv.gx, conv.gx_total)
    assert torch.equal(conv.gx_total, records["stem"].gy)
    assert torch.equal(conv.y, F.conv2d(conv.x, model.conv.weight, padding=1))
    assert conv.y.min() < 0
    assert records["relu"].x.min() < 0
    assert torch.equal(records["relu"].y, conv.y.clamp(min=0))
    assert torch.equal(records["relu"].gx, conv.gy)
    assert torch.equal(records["stem"].gx, x.grad)


def test_orders_are_those_of_execution():
    """Forward order is the order of outputs, backward order that of gradients."""
    model = Residual()
    with na.capture(model) as records:
        model(image(1, 2, 4, 4)).sum().backward()
    assert records.forward_order == ["stem", "conv", "relu"]
    assert records.backward_order == ["relu", "conv", "stem"]
    assert list(records) == records.forward_order
    assert len(records) == 3
    assert "conv" in records


def test_a_layer_called_twice_has_a_record_for_each_call():
    """Labels carry the call; the bare name is refused with the labels to use."""
    model = Twice()
    with na.capture(model) as records:
        model(image(2, 3)).sum().backward()
    assert records.forward_order == ["shared#0", "shared#1"]
    assert records.backward_order == ["shared#1", "shared#0"]
    first, second = records["shared#0"], records["shared#1"]
    assert torch.equal(second.x, torch.tanh(first.y))
    torch.testing.assert_close(first.gy, second.gx * (1 - second.x**2))
    with pytest.raises(BadInput, match="use 'shared#0'"):
        records["shared"]


def test_a_layer_that_never_ran_is_reported():
    """A layer that was asked for and not called is listed, and its record refused with the reason."""
    model = Twice()
    with na.capture(model) as records:
        model(image(2, 3))
    assert records.never_ran == ["spare"]
    with pytest.raises(BadInput, match="never ran: the last forward pass did not call it"):
        records["spare"]
    with pytest.raises(LayerNotFound, match="none matches; closest: 'shared#"):
        records["sparse"]


def test_attention_says_why_its_out_proj_never_runs():
    """nn.MultiheadAttention reads out_proj's weight itself; its own record is right."""
    model = nn.Sequential(nn.Linear(4, 4), Attention())
    with na.capture(model) as records:
        model(image(2, 5, 4)).square().sum().backward()
    assert records.never_ran == ["1.attention.out_proj"]
    with pytest.raises(BadInput, match="MultiheadAttention uses its weight without calling it"):
        records["1.attention.out_proj"]
    record = records["1.attention"]
    torch.testing.assert_close(record.gx, records["0"].gy)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


@pytest.mark.parametrize("wrap", [tuple, dict, Output])
def test_outputs_inside_something_else_are_found(wrap):
    """The tensor of a tuple, dict or dataclass output is y, and its gradient is read."""
    model = Wrapped(wrap)
    with na.capture(model, "inner") as records:
        model(image(4, 3)).square().sum().backward()
    record = records["inner"]
    torch.testing.assert_close(record.gy, 2 * record.y)
    torch.testing.assert_close(record.gx, record.gy @ model.inner.weight)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(reentrant):
    """Recomputed calls are recognised: as many records, with the same tensors, as without checkpointing."""
    plain, same = Checkpointed(None), Checkpointed(reentrant)
    same.load_state_dict(plain.state_dict())
    x = image(4, 3)
    with na.capture(plain) as expected:
        plain(x).square().sum().backward()
    with na.capture(same) as records:
        same(x).square().sum().backward()
    assert records.forward_order == expected.forward_order == ["a", "act#0", "b", "act#1"]
    assert records.backward_order == expected.backward_order
    for name in expected:
        for part in ("x", "y", "gy", "gx", "gx_total"):
            assert torch.equal(getattr(records[name], part), getattr(expected[name], part)), (name, part)


@pytest.mark.parametrize("dims", [(5,), (5, 7), (2, 3, 4)])
def test_linear_with_tokens_has_its_gx(dims):
    """A Linear over tokens is several autograd nodes in a row; gx is read at the last of them."""
    model = nn.Sequential(nn.Tanh(), nn.Linear(3, 4), nn.Tanh())
    with na.capture(model, "1") as records:
        model(image(*dims, 3)).square().sum().backward()
    torch.testing.assert_close(records["1"].gx, records["1"].gy @ model[1].weight)


def test_gx_of_a_block_is_computed_on_request_by_running_it_alone():
    """A module of many nodes has the vector-Jacobian product of itself alone as gx, and is left as it was."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1), Residual(), nn.BatchNorm2d(3))
    block = model[1]
    before = copy.deepcopy(model.state_dict())
    with na.capture(model, ["1", "2"]) as records:
        out = model(image(3, 2, 4, 4))
        mean = model[2].running_mean.clone()
        (out**3).sum().backward()
        gx = records["1"].gx
    leaf = records["1"].x.clone().requires_grad_()
    expected = torch.autograd.grad(block(leaf), leaf, records["1"].gy)[0]
    torch.testing.assert_close(gx, expected)
    assert torch.equal(model[2].running_mean, mean)
    assert not torch.equal(before["2.running_mean"], mean)
    assert records.forward_order == ["1", "2"]


def test_gx_without_a_gradient_of_the_input_is_computed_too():
    """The first layer's gx exists though nobody asked autograd for the input's gradient."""
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    with na.capture(model, "0") as records:
        model(torch.randn(4, 3)).sum().backward()
    torch.testing.assert_close(records["0"].gx, records["0"].gy @ model[0].weight)
    assert records["0"].gx_total is None


def test_gx_of_a_random_block_is_refused():
    """A second run of dropout is not the first, so no gx is made up from it."""
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.Linear(3, 3), nn.Softsign()))
    with na.capture(model, "0") as records:
        model(image(4, 3)).sum().backward()
    with pytest.raises(BadInput, match="draws random numbers"):
        _ = records["0"].gx


def test_recurrent_layers_give_their_sequence_and_no_more():
    """y and gy of an LSTM are those of its output sequence; packed sequences, which mix samples, are refused."""
    model = nn.LSTM(3, 4, batch_first=True)
    holder = Holder(model)
    with na.capture(holder, "inner") as records:
        holder(image(2, 5, 3)).square().sum().backward()
    record = records["inner"]
    torch.testing.assert_close(record.gy, 2 * record.y)
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 3), torch.randn(2, 3)])
    holder = nn.Sequential(Pass(nn.LSTM(3, 4)))
    with na.capture(holder, "0.inner") as records:
        holder(packed)
    with pytest.raises(BadInput, match="returns tuple, without a tensor that has a sample axis"):
        _ = records["0.inner"]


class Holder(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


def test_cells_called_in_a_loop_have_a_record_for_each_step():
    """A GRUCell run over time is one layer with as many calls as steps."""
    model = Loop()
    with na.capture(model, "cell") as records:
        model(image(2, 4, 3)).sum().backward()
    assert records.forward_order == [f"cell#{t}" for t in range(4)]
    assert records["cell#3"].gy.eq(1).all()


class Pass(Holder):
    def forward(self, x):
        return self.inner(x)


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 3)

    def forward(self, x):
        state = torch.zeros(len(x), 3)
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return state


def test_identity_and_idle_dropout_hand_the_gradient_on():
    """A layer that returns its input untouched has gx = gy, and does not take its neighbour's for its own."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Identity(), nn.Dropout(), nn.Linear(3, 1)).eval()
    with na.capture(model) as records:
        model(image(2, 3)).sum().backward()
    for name in ("1", "2"):
        assert torch.equal(records[name].gy, records["3"].gx)
        assert torch.equal(records[name].gx, records[name].gy)
    assert records.backward_order[0] == "3"


def test_later_in_place_operations_do_not_reach_the_record():
    """y and gy are those of the layer's own output, though `x += 1; x[:, 0] = 0` come after it."""
    model = Scribble()
    with na.capture(model) as records:
        model(image(2, 3)).square().sum().backward()
    record = records["linear"]
    torch.testing.assert_close(record.y, F.linear(record.x, model.linear.weight, model.linear.bias))
    expected = 2 * (record.y + 1)
    expected[:, 0] = 0
    torch.testing.assert_close(record.gy, expected)


class Scribble(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        x = self.linear(x)
        x += 1
        x[:, 0] = 0
        return x


def test_bfloat16_passes_through():
    """Records keep the dtype they saw."""
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).to(torch.bfloat16)
    with na.capture(model) as records:
        model(image(1, 2, 5, 5).to(torch.bfloat16)).sum().backward()
    assert {records[name].gy.dtype for name in records} == {torch.bfloat16}
    assert records["0"].gx.dtype == torch.bfloat16


def test_nested_captures_do_not_disturb_each_other():
    """Each capture keeps its own layers; leaving the inner one leaves the outer one on."""
    model, x = Residual(), image(1, 2, 4, 4)
    with na.capture(model) as outer:
        with na.capture(model, "conv") as inner:
            model(x).sum().backward()
        first = outer["conv"].gy
        model(x).square().sum().backward()
    assert torch.equal(inner["conv"].gy, first)
    assert not torch.equal(outer["conv"].gy, first)


def test_only_the_last_pass_is_kept():
    """A second forward pass starts afresh."""
    model = Residual()
    with na.capture(model) as records:
        model(image(1, 2, 4, 4)).sum().backward()
        model(image(2, 2, 4, 4))
    assert records["conv"].y.shape[0] == 2
    assert records["conv"].gy is None
    assert records["conv"].gx is None
    assert records.backward_order == []


def test_backward_after_the_context_is_not_watched():
    """Once the context is left nothing is recorded, on a graph that still stands either."""
    model, x = Residual(), image(1, 2, 4, 4)
    with na.capture(model) as records:
        out = model(x)
    out.sum().backward()
    assert records["conv"].gy is None
    assert not x._backward_hooks


class Broken(nn.Module):
    def __init__(self, where):
        super().__init__()
        self.first, self.second, self.where = nn.Linear(3, 3), nn.Linear(3, 3), where

    def forward(self, x):
        x = self.first(x)
        if self.where == "forward":
            raise RuntimeError("user code broke")
        if self.where == "backward":
            x.register_hook(_break)
        return self.second(x)


def _break(gradient):
    raise RuntimeError("user code broke")


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_exceptions_of_user_code_leave_no_trace(where):
    """An exception in the middle of forward or backward passes through; hooks are gone, what was seen is kept."""
    model, x = Broken(where), image(2, 3)
    with check_quiet(model):
        with pytest.raises(RuntimeError, match="user code broke"), na.capture(model) as records:
            torch.autograd.grad(model(x).sum(), model.first.weight)
        assert records["first"].y.shape == (2, 3)
    model.where = None
    with na.capture(model) as records:
        model(image(2, 3)).sum().backward()
    assert records.forward_order == ["first", "second"]


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_a_watched_model_copies_and_pickles(how):
    """Copies made while the model is watched work, need no netassay to load, and watch nothing."""
    model, x = Residual(), image(1, 2, 4, 4)
    with na.capture(model) as records:
        model(x)
        if how == "deepcopy":
            twin = copy.deepcopy(model)
        elif how == "pickle":
            data = pickle.dumps(model)
            assert b"netassay" not in data
            twin = pickle.loads(data)
        else:
            buffer = io.BytesIO()
            torch.save(model, buffer)
            twin = torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
        seen = records["conv"].y
        assert torch.equal(twin(x + 1), model(x + 1))
        twin(x * 2)
    assert torch.equal(records["conv"].x, model.stem(x + 1))
    assert not torch.equal(seen, records["conv"].y)


def test_capture_watches_without_touching():
    """Outputs are bit-equal with and without hooks, and nothing of the model differs afterwards."""
    model, x = Residual(inplace=True), image(2, 2, 5, 5)
    plain = model(x)
    with check_quiet(model), na.capture(model):
        watched = model(x)
        torch.autograd.grad(watched.sum(), x)
    assert torch.equal(plain, watched)


def test_compiled_and_scripted_models_are_refused():
    """Hooks that would be passed over in silence are refused with what to do."""
    compiled = torch.compile(nn.Sequential(nn.Linear(2, 2)), backend="eager")
    with pytest.raises(BadInput, match=r"model\._orig_mod"):
        na.capture(compiled)


def test_a_model_without_submodules_is_its_own_layer():
    """A bare layer is named "model"."""
    with na.capture(nn.Linear(2, 2)) as records:
        records._model(torch.ones(1, 2))
    assert records["model"].y.shape == (1, 2)


def test_visit_keeps_nothing_and_sees_everything():
    """Callbacks see live tensors; afterwards a record holds none."""
    model, x = Residual(inplace=True), image(2, 2, 4, 4)
    seen = {}

    def forward(record):
        seen[record.key] = (record.x is not None, record.y.shape)

    def backward(record):
        seen[record.key] += (record.gy.shape, record.gx is not None)

    with visit(model, "*", on_forward=forward, on_backward=backward) as watch:
        out = model(x)
        place = watch.places(out, [x])
        torch.autograd.grad(out.sum(), x)
        assert all(r.x is r.y is r.gy is r.gx is None for r in watch.forward)
    shape = (2, 3, 4, 4)
    assert seen[("conv", 0)] == (True, shape, shape, True)
    assert seen[("relu", 0)] == (False, shape, shape, True)
    assert {name: (p.depth, p.path) for (name, _), p in place.items()} == {
        "stem": (1, "trunk"),
        "conv": (2, "branch"),
        "relu": (2, "branch"),
    }
