"""Blocks of convolutions: against the definition in any configuration, at any size, scale and magnitude."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netassay.exchange import exchanged
from netassay.rules import blocks, find
from netassay.rules.convolution import overlap
from netassay.rules.exactly import exactly
from tests import gradients
from tests.gradients import far
from tests.reference import exchange as twin


@pytest.mark.parametrize("kind", gradients.FORWARD + gradients.TRANSPOSED)
def test_blocks_are_those_of_the_definition(kind):
    """Any kernel, stride, dilation, padding, padding mode, groups and precision; gradients that cancel, too."""

    @settings(max_examples=300)
    @given(gradients.convolutions(kind))
    def check(case):
        layer, x, gy = case
        assert far(blocks(layer, x, gy), layer, x, gy) <= 1

    check()


@pytest.mark.parametrize("kind", gradients.FORWARD + gradients.TRANSPOSED)
def test_the_definition_adds_up(kind):
    """Local gradients sum over outputs to autograd's gradient at the input, and overlap with it as the rule says."""

    @settings(max_examples=25)
    @given(gradients.convolutions(kind).filter(lambda case: case[0].padding != "same"))
    def check(case):
        layer, x, gy = (part.double() for part in case)
        parts = twin.local(layer, x, gy)
        gx = torch.autograd.grad(layer(leaf := x.clone().requires_grad_()), leaf, gy)[0]
        torch.testing.assert_close(parts.sum(1), gx.flatten(2), rtol=1e-10, atol=1e-10)
        with exactly():
            torch.testing.assert_close(overlap(layer, x, gy, gx), twin.overlap(parts), rtol=1e-9, atol=1e-9)

    check()


LARGE = {
    "block": (lambda: nn.Conv2d(64, 64, 3, padding=1), (2, 64, 56, 56)),
    "stem": (lambda: nn.Conv2d(3, 64, 7, stride=2, padding=3), (2, 3, 112, 112)),
    "up": (lambda: nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), (2, 32, 28, 28)),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("kind", ["random", "ramp", "smooth"])
def test_blocks_of_large_layers_are_consistent(name, kind):
    """Overlaps with any v sum to `<gx, v>`; with the gradient of one output alone, its own is its squared block."""
    make, shape = LARGE[name]
    layer, x = make(), torch.randn(shape)
    gradients.fill(layer.weight, "flat" if kind == "smooth" else "random", 2)
    leaf = x.clone().requires_grad_()
    y = layer(leaf)
    gy = gradients.gradient(kind, y.shape) if kind != "smooth" else wide(y.shape)
    gy = gy / gy.norm()
    alone = torch.zeros_like(gy[:1])
    alone[:, 5] = gy[:1, 5]
    (gx,) = torch.autograd.grad(y, leaf, gy, retain_graph=True)
    for v in (gx, torch.randn_like(gx), torch.randn_like(gx).cumsum(2)):
        with exactly():
            summed = overlap(layer, x, gy, v / v.norm()).sum(0)
        wanted = (gx.double() * v / v.norm()).sum((0, 2, 3))
        assert (summed - wanted).abs().max() < 1e-4 * gx.norm()
    precise = pulled_norms(layer, x[:1], alone)
    assert (blocks(layer, x, gy)[0, 5] / precise - 1).abs().max() < 1e-4


def wide(shape):
    """A bump as wide as the map."""
    made = torch.ones(shape)
    for axis, n in enumerate(shape[2:], 2):
        r = torch.arange(n, dtype=torch.float64) - n / 2
        made = made * torch.exp(-(r / n * 8).square() / 2).view(-1, *(1 for _ in shape[axis + 1 :])).float()
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_what_inner_products_cannot_tell_comes_from_the_definition(kind, dtype):
    """Blocks that are 1e-5 of their parts, in float64 too, keep the digits that are promised."""
    layer, x = kind(2, 3, 5, bias=False).to(dtype), torch.zeros(2, 2, 400, dtype=dtype)
    gradients.fill(layer.weight, "flat", 1)
    layer.weight.data[0, 0] = torch.randn(5)
    gy = wide(layer(x).shape).to(dtype)
    wanted = twin.blocks(twin.local(layer, x, gy))
    assert wanted[:, 1:].min() < 1e-5 * gy.norm()
    close(layer, x, gy, 1e-4 if dtype == torch.float32 else 1e-8)


def pulled_norms(layer, x, gy):
    """Norms of autograd's gradient in float64."""
    leaf = x.double().requires_grad_()
    plain = type(layer)(**{key: getattr(layer, key) for key in ("in_channels", "out_channels", "kernel_size")},
                        stride=layer.stride, padding=layer.padding, bias=False).double()  # fmt: skip
    plain.weight.data.copy_(layer.weight)
    return torch.autograd.grad(plain(leaf), leaf, gy.double())[0].flatten(2).norm(dim=2)[0]


SHAPES = {
    "one position": (nn.Conv2d(3, 4, 1), (2, 3, 1, 1)),
    "padded position": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 1, 1)),
    "huge padding": (nn.Conv2d(3, 4, 3, padding=9), (2, 3, 2, 3)),
    "huge padding, strided": (nn.Conv2d(3, 4, 2, padding=7, stride=3, dilation=2), (2, 3, 2, 2)),
    "kernel is the input": (nn.Conv2d(3, 4, (5, 6)), (2, 3, 5, 6)),
    "stride beyond kernel": (nn.Conv2d(3, 4, 2, stride=5), (2, 3, 11, 12)),
    "transposed, stride beyond kernel": (nn.ConvTranspose2d(3, 4, 2, stride=5), (2, 3, 3, 2)),
    "transposed, huge padding": (nn.ConvTranspose2d(3, 4, 5, padding=6), (2, 3, 9, 10)),
    "one sample": (nn.Conv2d(3, 4, 3), (1, 3, 5, 5)),
    "one channel": (nn.Conv2d(1, 1, 3), (2, 1, 5, 5)),
    "one channel, transposed": (nn.ConvTranspose1d(1, 1, 3), (1, 1, 1)),
    "large kernel": (nn.Conv2d(2, 2, 11, padding=5), (2, 2, 6, 6)),
}


@pytest.mark.parametrize("kind", gradients.GRADIENTS)
@pytest.mark.parametrize("name", SHAPES)
def test_odd_shapes(name, kind):
    """Inputs of one position, kernels as large as the input, strides that leave gaps, padding that no tap reaches."""
    layer, shape = SHAPES[name]
    layer, x = layer.double(), torch.zeros(shape, dtype=torch.float64)
    gy = gradients.gradient(kind, layer(x).shape, torch.float64)
    assert far(blocks(layer, x, gy), layer, x, gy) <= 1
    assert far(blocks(layer.float(), x.float(), gy.float()), layer, x.float(), gy.float()) <= 1


@pytest.mark.parametrize("width", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("kernel", [1, 2])
def test_gradient_in_the_padding_does_not_hide_what_reaches_the_input(kernel, width):
    """What no tap puts on the input may be 1e30 larger."""
    layer = nn.Conv1d(2, 3, kernel, padding=6, bias=False)
    places = torch.arange(6 + 12 - kernel + 1)
    gy = torch.exp(-(places / width / 4).square() / 2).expand(2, 3, -1).clone()
    gy[..., :2] *= 1e20
    assert far(blocks(layer, torch.zeros(2, 2, 6), gy), layer, torch.zeros(2, 2, 6), gy) <= 1


MAGNITUDES = [1e-16, 1e16, 1.0, 1e-12, 1e6, 1e-8]


@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("kernel", [1, 3])
def test_weights_of_very_different_magnitude_keep_their_digits(kind, kernel, along):
    """Between outputs or inputs, by up to 1e32: each block to 1e-4 of itself, and no emission or absorption lost."""
    layer, x = kind(6, 6, kernel, bias=False), torch.zeros(2, 6, 5, 5)
    factors = torch.tensor(MAGNITUDES).view(*(-1 if axis == along else 1 for axis in range(4)))
    gradients.fill(layer.weight, "random", 2)
    layer.weight.data *= factors
    gy = gradients.gradient("random", layer(x).shape)
    close(layer, x, gy, 1e-4)


@pytest.mark.parametrize("size", [1e-40, 1e-44, 3e37])
@pytest.mark.parametrize("make", [lambda: nn.Conv2d(3, 4, 3), lambda: nn.Conv2d(3, 4, 1), lambda: nn.Linear(3, 4)])
def test_subnormal_and_huge_weights(make, size):
    """At both ends of float32's range blocks and all sums of them are those of the rounded weights."""
    layer, x = make(), torch.zeros(2, 3, *([] if "Linear" in repr(make()) else [5, 5]))
    layer.weight.data = (torch.randn(layer.weight.shape) * size).clamp(-3e38, 3e38)
    close(layer, x, torch.randn(layer(x).shape), 1e-5)


def close(layer, x, gy, tolerance):
    """Assert that every block, and every sum of blocks, is right to a part of itself."""
    wanted = twin.blocks(twin.local(layer, x, gy))
    torch.testing.assert_close(blocks(layer, x, gy), wanted, rtol=tolerance, atol=0)
    with exactly():
        sums = exchanged(find(layer).tiles(layer, x, gy), tuple(wanted.shape), norm=True)
    for found, right in zip(
        (sums.emission, sums.absorption, sums.total, sums.emission_norm),
        (wanted.sum(2), wanted.sum(1), wanted.sum(0), wanted.norm(dim=2)),
        strict=True,
    ):
        torch.testing.assert_close(found, right, rtol=tolerance, atol=0)


SCALED = ["Conv2d", "Linear", "tokens", "ConvTranspose2d", "1x1", "depthwise", "Conv1d, circular"]


@pytest.mark.parametrize("name", SCALED)
@given(k=st.sampled_from([-120, -80, 60, 120]))
def test_blocks_scale_as_the_gradient_does(name, k):
    """Times 2^k the blocks and their sums are 2^k times what they were, at scales whose squares no float32 holds."""
    layer, x, gy = gradients.family(name)
    once = blocks(layer, x, gy)
    with exactly():
        sums = exchanged(find(layer).tiles(layer, x, gy * 2.0**k), tuple(once.shape))
    for found, right in (
        (blocks(layer, x, gy * 2.0**k), once),
        (sums.emission, once.sum(2)),
        (sums.absorption, once.sum(1)),
    ):
        torch.testing.assert_close(found, right * 2.0**k, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", SCALED)
def test_subnormal_gradients_count(name):
    """Of a gradient near 1e-42 the blocks are those of the values it was rounded to."""
    layer, x, gy = gradients.family(name)
    gy = gy * 2.0**-70 * 2.0**-70
    assert 0 < gy.abs().max() < torch.finfo(torch.float32).tiny
    close(layer, x, gy, 1e-5)


@pytest.mark.parametrize("k", [-900, -300, 300, 900])
def test_float64_has_its_own_range(k):
    """In float64 gradients beyond float32's range are no different."""
    layer, x, gy = gradients.family("Conv2d", torch.float64)
    torch.testing.assert_close(blocks(layer, x, gy * 2.0**k), blocks(layer, x, gy) * 2.0**k, rtol=1e-9, atol=0)
