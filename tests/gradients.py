"""Gradients and convolutions for the tests of rules, easy and awkward, and by how far blocks are off."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch import nn

from tests.reference import exchange as twin

GRADIENTS = ("random", "constant", "ramp", "bump", "dead")
KERNELS = ("random", "zero-sum", "sparse")
MODES = ("zeros", "zeros", "zeros", "circular", "reflect", "replicate")
FORWARD = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
TOLERANCE = {torch.float64: 1e-8}
"""Largest error of a block; 1e-4 in every other precision."""


def gradient(kind, shape, dtype=torch.float32, seed=0):
    """A gradient `(N, C, *sizes)`; constants and ramps are multiples of 1/8, so that what cancels does so exactly."""
    g = torch.Generator().manual_seed(seed)
    size = torch.randint(1, 9, shape[:2], generator=g).double().view(*shape[:2], *(1 for _ in shape[2:])) / 8
    along = [
        torch.arange(n, dtype=torch.float64).view(-1, *(1 for _ in shape[3 + a :])) for a, n in enumerate(shape[2:])
    ]
    if kind == "constant":
        made = size.expand(shape)
    elif kind == "ramp":
        made = size * (1 + sum(along, torch.zeros(())))
    elif kind == "bump":
        made = (
            size * torch.exp(-sum(((r - len(r) / 3) / 2).square() for r in along) - torch.zeros(())) if along else size
        )
    else:
        made = torch.randn(shape, generator=g, dtype=torch.float64)
    if kind == "dead":
        made[torch.rand(shape[:2], generator=g) < 0.5] = 0
    return made.to(dtype).contiguous()


def fill(weight, kind, axes, seed=0):
    """Fill a convolution's weight; zero-sum kernels are multiples of 1/8 that add up to exactly 0.

    Flat ones leave nothing of a quadratic function, but for rounding.
    """
    g = torch.Generator().manual_seed(seed)
    made = torch.randn(weight.shape, generator=g, dtype=torch.float64)
    if kind == "zero-sum":
        made = (made * 8).round() / 8
        flat = made.flatten(-axes)
        flat[..., -1] -= flat.sum(-1)
        made = flat.view(made.shape)
    if kind == "flat":
        line = torch.linspace(-1, 1, made.shape[-1], dtype=torch.float64)
        grid = torch.meshgrid(*[line] * axes, indexing="ij")
        basis = torch.stack([torch.ones_like(grid[0]), *grid, *(one.square() for one in grid)]).flatten(1)
        basis = torch.linalg.qr(basis.T)[0]
        flat = made.flatten(-axes)
        made = (flat - flat @ basis @ basis.T).view(made.shape)
    if kind == "sparse":
        made = made * (torch.rand(made.shape, generator=g) < 0.5)
        made.flatten(0, 1)[0] = 0
    weight.data.copy_(made)


def error(found, wanted):
    """Largest error of blocks `(N, O, I)`, each beside itself or 1e-9 of its sample's largest."""
    assert (found.dtype, found.shape) == (torch.float64, wanted.shape)
    floor = 1e-9 * wanted.amax((1, 2), keepdim=True)
    beside = torch.maximum(wanted, floor)
    return (
        torch.where(beside > 0, (found - wanted).abs() / beside, torch.where(found == 0, 0.0, torch.inf)).max().item()
    )


def far(found, layer, x, gy, tolerance=None):
    """By how much blocks miss those of the definition, in units of what is tolerated."""
    return error(found, twin.blocks(twin.local(layer, x, gy))) / (tolerance or TOLERANCE.get(gy.dtype, 1e-4))


@st.composite
def convolutions(draw, kind):
    """A convolution, its input and a gradient at its output, of any kind."""
    axes = 1 + (FORWARD if kind in FORWARD else TRANSPOSED).index(kind)
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    kernel, stride, dilation = each(1, 4), each(1, 3), each(1, 2)
    groups, q, i = (draw(st.integers(1, 3)) for _ in range(3))
    how = {"stride": stride, "dilation": dilation, "groups": groups, "bias": False}
    how |= (forward if kind in FORWARD else backward)(draw, each, kernel, stride, dilation)
    dtype, seed = draw(st.sampled_from([torch.float32, torch.float64])), draw(st.integers(0, 10**6))
    sizes, out = sized(draw, kind in TRANSPOSED, kernel, how)
    layer = kind(groups * i, groups * q, kernel, **how).to(dtype)
    fill(layer.weight, draw(st.sampled_from(KERNELS)), axes, seed)
    N = draw(st.integers(1, 3))
    gy = gradient(draw(st.sampled_from(GRADIENTS)), (N, groups * q, *out), dtype, seed)
    if how.get("padding_mode", "zeros") != "zeros":
        # Folded onto one position, a zero-sum kernel leaves nothing: exactly, if all are multiples of 1/8.
        gy = (gy * 8).round() / 8
    return layer, torch.zeros(N, groups * i, *sizes, dtype=dtype), gy


def forward(draw, each, kernel, stride, dilation):
    """Padding of any kind."""
    kinds = ["number", "number", "valid", *(["same"] if set(stride) == {1} else [])]
    padding = draw(st.sampled_from(kinds))
    return {"padding": each(0, 3) if padding == "number" else padding, "padding_mode": draw(st.sampled_from(MODES))}


def backward(draw, each, kernel, stride, dilation):
    """Padding, and more output on one side."""
    more = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    return {"padding": each(0, 3), "output_padding": more}


def sized(draw, transposed, kernel, how):
    """Draw sizes that fit, and say those of the output."""
    sizes, out = [], []
    for a, k in enumerate(kernel):
        s, span = how["stride"][a], how["dilation"][a] * (k - 1)
        extra = draw(st.integers(0, 4))
        if transposed:
            p, more = how["padding"][a], how["output_padding"][a]
            least = max(1, 1 + math.ceil((2 * p - span - more) / s))
            sizes.append(least + extra)
            out.append((sizes[-1] - 1) * s - 2 * p + span + more + 1)
        else:
            pads = (
                {"valid": 0, "same": span}.get(how["padding"])
                if isinstance(how["padding"], str)
                else 2 * how["padding"][a]
            )
            folded = 0 if how["padding_mode"] == "zeros" else (pads + 1) // 2 + (how["padding_mode"] == "reflect")
            sizes.append(max(1, span + 1 - pads, folded) + extra)
            out.append((sizes[-1] + pads - span - 1) // s + 1)
    return sizes, out


FAMILIES = {
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (3, 4, 5, 6)),
    "stride": (lambda: nn.Conv2d(3, 4, 3, stride=2), (3, 3, 7, 6)),
    "Conv1d, circular": (lambda: nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular"), (3, 3, 5)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), (3, 3, 4, 3)),
    "1x1": (lambda: nn.Conv2d(3, 4, 1), (3, 3, 5, 4)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), (3, 4, 5, 4)),
    "Linear": (lambda: nn.Linear(3, 4), (3, 3)),
    "tokens": (lambda: nn.Linear(3, 4), (3, 5, 3)),
    "attention": (lambda: nn.MultiheadAttention(4, 2, batch_first=True), (3, 5, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(5), (3, 4, 5)),
    "RMSNorm": (lambda: nn.RMSNorm(5), (3, 4, 5)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 6), (3, 6, 4)),
    "BatchNorm": (lambda: nn.BatchNorm2d(4).eval(), (3, 4, 3, 3)),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(4, affine=True), (3, 4, 3, 3)),
    "ReLU": (nn.ReLU, (3, 4, 5)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (3, 4, 6, 6)),
}
"""One layer of each kind, and the shape of an input."""


def family(name, dtype=torch.float32):
    """A layer with drawn parameters, an input and a random gradient at its output."""
    make, shape = FAMILIES[name]
    g = torch.Generator().manual_seed(1)
    layer = make().to(dtype)
    for one in layer.parameters():
        one.data.copy_(torch.randn(one.shape, generator=g))
    x = torch.randn(shape, generator=g).to(dtype)
    return layer, x, torch.randn(output(layer, x).shape, generator=g).to(dtype)


def output(layer, x):
    """What a layer makes of an input, attention of it with itself."""
    with torch.no_grad():
        return layer(x, x, x)[0] if isinstance(layer, nn.MultiheadAttention) else layer(x)


def last(layer):
    """Tell whether a layer's channels are at the last axis."""
    return isinstance(layer, nn.Linear | nn.LayerNorm | nn.RMSNorm | nn.MultiheadAttention)


def laid(passed, x, layer):
    """Lay a gradient `(N, I, P)` out as the layer's input."""
    return (passed.mT if last(layer) else passed).reshape(x.shape).to(x.dtype)
