"""Blocks of every layer but convolutions, and overlaps of all: against the definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netassay.errors import BadInput
from netassay.rules import blocks, find, pointwise
from netassay.rules.exactly import exactly
from tests import gradients
from tests.gradients import far, laid
from tests.reference import exchange as twin

DTYPES = [torch.float32, torch.float64]


def check(layer, x, gy):
    """Compare blocks, and overlaps with the input gradient and with another, with those of the definition."""
    assert far(blocks(layer, x, gy), layer, x, gy) <= 1
    overlap, parts = find(layer).overlap, twin.local(layer, x, gy)
    if overlap is not None:
        for other in (parts.sum(1), torch.randn_like(parts[:, 0])):
            other = laid(other, x, layer)
            wanted = twin.overlap(parts, flat(other, layer))
            with exactly():
                found = overlap(layer, x, gy, other)
            tolerance = 1e-9 if gy.dtype == torch.float64 else 1e-5
            assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()


def flat(tensor, layer):
    """Lay `(N, C, ...)` or `(N, ..., C)` out as `(N, C, P)`, in float64."""
    tensor = tensor.double()
    first = tensor.movedim(-1, 1) if gradients.last(layer) else tensor
    return first.reshape(*first.shape[:2], -1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in gradients.FAMILIES if name != "attention"])
def test_one_of_each_family(name, dtype):
    """Blocks and overlaps of a layer of each family."""
    check(*gradients.family(name, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", [True, False])
def test_attention_is_its_last_projection(first, dtype):
    """Blocks of attention go from the output to what enters its projection, wherever samples are."""
    layer = nn.MultiheadAttention(4, 2, batch_first=first).to(dtype)
    x = torch.randn(3, 5, 4, dtype=dtype)
    gy = torch.randn(3, 5, 4, dtype=dtype)
    found = blocks(layer, x, gy)
    assert found.shape == ((3 if first else 5), 4, 4)
    assert far(found, layer, x, gy) <= 1


@pytest.mark.parametrize("shape", [(3, 6), (3, 5, 6), (2, 3, 4, 6), (1, 1, 6), (2, 0, 6)])
def test_linear_over_any_tokens(shape):
    """Tokens are positions, along however many axes; without tokens, a sample is one."""
    layer = nn.Linear(6, 3, bias=False)
    check_or_zero(layer, torch.randn(shape), torch.randn(*shape[:-1], 3))


def check_or_zero(layer, x, gy):
    if x.numel():
        check(layer, x, gy)
    else:
        assert torch.equal(blocks(layer, x, gy), torch.zeros(len(x), 3, 6, dtype=torch.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gain", [True, False])
@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (3, 7, 5), (2, 3, 4, 8), (1, 1, 4)])
@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_norms_over_tokens(kind, shape, gain, dtype):
    """With and without gain, one token or many, small inputs that eps dominates and inputs with one large channel."""
    layer = kind(shape[-1], elementwise_affine=gain).to(dtype)
    for one in layer.parameters():
        one.data.normal_()
    for size in (1e-4, 1.0, 3.0):
        x = torch.randn(shape, dtype=dtype) * size
        x[..., 0] *= 4
        check(layer, x, torch.randn(shape, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_rms_norm_in_half_precision_adds_what_torch_adds(dtype):
    """Without eps, torch adds that of float32 there: the forward pass of the same values tells."""
    layer, x = nn.RMSNorm(4).to(dtype), torch.full((1, 4), 1e-3).to(dtype)
    step = x.double()[0, 0] / layer(x).double()[0, 0]
    found = blocks(layer, x, torch.ones(1, 4, dtype=dtype))
    hat = x.double()[0, 0] / step
    assert found[0, 0, 1] == pytest.approx((hat**2 / 4 / step).item(), rel=0.02)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("places", [(), (1, 1), (4,), (3, 3), (2, 2, 2)])
@pytest.mark.parametrize(("groups", "channels"), [(1, 4), (2, 4), (3, 6), (1, 2), (4, 4), (1, 1)])
def test_group_norms(groups, channels, places, dtype):
    """From one group to a channel each, with positions and without."""
    layer = nn.GroupNorm(groups, channels).to(dtype)
    for one in layer.parameters():
        one.data.normal_()
    x, gy = torch.randn(2, 3, channels, *places, dtype=dtype)
    if channels // groups * max(1, torch.Size(places).numel()) > 1:
        check(layer, x, gy)


@pytest.mark.parametrize(
    "make", [lambda: nn.LayerNorm(1), lambda: nn.GroupNorm(1, 1), lambda: nn.GroupNorm(1, 1).double()]
)
def test_a_norm_of_one_entry_passes_nothing(make):
    """What it returns does not depend on its input: blocks are exactly 0."""
    layer = make()
    x = torch.randn(3, 1, dtype=layer.weight.dtype)
    assert torch.equal(blocks(layer, x, torch.randn_like(x)), torch.zeros(3, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("make", [lambda: nn.LayerNorm(2), lambda: nn.GroupNorm(1, 2)])
def test_two_entries_nearly_cancel(make, size):
    """Of two entries d apart, all four blocks are `|gy| eps / (v + eps)^1.5 / 2`, with `v = d^2 / 4`."""
    layer, x, gy = make().double(), torch.tensor([[size, -size]], dtype=torch.float64), torch.tensor([[2.0, -3.0]])
    one = 1e-5 / (size**2 + 1e-5) ** 1.5 / 2
    wanted = torch.tensor([[[2.0, 2.0], [3.0, 3.0]]], dtype=torch.float64) * one
    torch.testing.assert_close(blocks(layer, x, gy.double()), wanted, rtol=1e-7, atol=0)


@pytest.mark.parametrize("size", [1e-3, 0.1])
def test_an_rms_norm_of_one_entry_passes_what_eps_leaves(size):
    """The block is `|gy| eps / (x^2 + eps)^1.5`."""
    x, gy = torch.tensor([[[size], [-2 * size]]]), torch.tensor([[[1.0], [0.0]]])
    eps = torch.finfo(torch.float32).eps
    squared = x[0, 0, 0].double().item() ** 2
    found = blocks(nn.RMSNorm(1), x, gy)[0, 0, 0]
    assert found == pytest.approx(eps / (squared + eps) ** 1.5, rel=1e-6)


SAMPLED = [
    (nn.BatchNorm1d(3), ()), (nn.BatchNorm1d(3), (4,)), (nn.BatchNorm2d(3), (3, 2)), (nn.BatchNorm3d(3), (2, 2, 2)),
    (nn.BatchNorm2d(3, affine=False), (3, 3)), (nn.BatchNorm2d(3, track_running_stats=False), (3, 3)),
    (nn.InstanceNorm1d(3), (4,)), (nn.InstanceNorm2d(3, affine=True), (3, 3)), (nn.InstanceNorm3d(3), (2, 2, 2)),
    (nn.InstanceNorm2d(3, affine=True, track_running_stats=True), (3, 3)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("layer", "places"), SAMPLED)
def test_batch_and_instance_norms(layer, places, training, dtype):
    """By running statistics or those of the batch, in both modes; blocks are diagonal, the size of the gradient."""
    layer = layer.to(dtype).train(training)
    for one in layer.parameters():
        one.data.normal_()
    if layer.running_var is not None:
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.3, 3)
    x, gy = torch.randn(2, 4, 3, *places, dtype=dtype)
    found = blocks(layer, x, gy)
    assert far(found, layer, x, gy) <= 1
    assert torch.equal(found, torch.diag_embed(found.diagonal(dim1=1, dim2=2)))


def built(kind):
    """A layer of the class, and how many axes of positions its inputs have."""
    name = kind.__name__
    axes = int(name[-2]) if name[-2:] in ("1d", "2d", "3d") else 2
    if "LPPool" in name:
        return kind(2, 2), axes
    if "Pool" in name:
        return kind(2), axes
    if "psampl" in name:
        return kind(scale_factor=2), axes
    return kind(0.1, 0.2) if kind is nn.Threshold else kind(), axes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", pointwise.ACTIVATIONS + pointwise.POOLS)
def test_activations_and_pools(kind, dtype):
    """Each class in the tables: diagonal, the size of the gradient channel by channel."""
    layer, axes = built(kind)
    layer = layer.to(dtype).eval()
    x = torch.randn(2, 3, *[4] * axes, dtype=dtype)
    gy = torch.randn(layer(x).shape, dtype=dtype)
    found = blocks(layer, x, gy)
    assert far(found, layer, x, gy) <= 1
    assert torch.equal(found, torch.diag_embed(found.diagonal(dim1=1, dim2=2)))


@pytest.mark.parametrize("layer", [nn.ReLU(inplace=True), nn.MaxPool1d(2, return_indices=True), nn.PReLU(3)])
def test_layers_that_write_in_place_or_return_more(layer):
    """The input stays as it is; of several outputs the first one counts."""
    x, gy = torch.randn(2, 3, 4), torch.randn(2, 3, 2 if isinstance(layer, nn.MaxPool1d) else 4)
    before = x.clone()
    assert far(blocks(layer, x, gy), layer, x, gy) <= 1
    assert torch.equal(x, before)


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.RReLU(), nn.AlphaDropout(), nn.Dropout2d()])
def test_layers_that_draw_numbers_are_refused_in_train_mode(layer):
    """A second run would not be the first."""
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(BadInput, match="draws random numbers"):
        blocks(layer, x, x)


WRONG = {
    "Conv2d": (nn.Conv2d(2, 3, 3), (1, 2, 5, 5), (1, 3, 5, 5)),
    "channels": (nn.Conv2d(2, 3, 3), (1, 2, 5, 5), (1, 2, 3, 3)),
    "no batch": (nn.Conv2d(2, 3, 3), (2, 5, 5), (3, 3, 3)),
    "samples": (nn.Conv2d(2, 3, 3), (1, 2, 5, 5), (2, 3, 3, 3)),
    "circular": (nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), (1, 2, 5), (1, 3, 4)),
    "transposed, less": (nn.ConvTranspose1d(2, 3, 3, stride=2), (1, 2, 5), (1, 3, 10)),
    "transposed, more": (nn.ConvTranspose1d(2, 3, 3, stride=2), (1, 2, 5), (1, 3, 13)),
    "Linear": (nn.Linear(2, 3), (1, 2), (1, 2)),
    "tokens": (nn.Linear(2, 3), (1, 4, 2), (1, 5, 3)),
    "no samples": (nn.Linear(2, 3), (2,), (3,)),
    "attention": (nn.MultiheadAttention(4, 2), (3, 4), (3, 4)),
    "LayerNorm": (nn.LayerNorm(3), (2, 3), (1, 3)),
    "two axes": (nn.LayerNorm((2, 3)), (4, 2, 3), (4, 2, 3)),
    "GroupNorm": (nn.GroupNorm(1, 3), (2, 3, 4), (2, 3, 5)),
    "BatchNorm": (nn.BatchNorm1d(3).eval(), (2, 3, 4), (2, 3, 5)),
    "InstanceNorm": (nn.InstanceNorm1d(3), (2, 3, 4), (2, 3, 5)),
    "MaxPool1d": (nn.MaxPool1d(2), (2, 3, 4), (2, 3, 4)),
}


@pytest.mark.parametrize("name", WRONG)
def test_shapes_that_do_not_fit_are_refused(name):
    """The sentence has the layer's class."""
    layer, shape, out = WRONG[name]
    with pytest.raises(BadInput, match=type(layer).__name__.partition("_")[0].rstrip("0123456789d")):
        blocks(layer, torch.ones(shape), torch.ones(out))
