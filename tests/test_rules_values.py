"""Blocks of values that are odd: NaN, zeros, nothing, half precision; and what making them leaves as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from netassay.exchange import exchanged
from netassay.rules import blocks, find
from netassay.rules.exactly import exactly
from netassay.testing import check_quiet
from tests import gradients
from tests.gradients import FAMILIES, far, last
from tests.reference import exchange as twin

MIXING = [name for name in FAMILIES if name not in ("BatchNorm", "InstanceNorm", "ReLU", "MaxPool2d")]


def every_sum(layer, x, gy):
    """Blocks and all their sums."""
    made = blocks(layer, x, gy)
    with exactly():
        sums = exchanged(find(layer).tiles(layer, x, gy), tuple(made.shape), norm=True)
    return {"blocks": made} | {
        name: getattr(sums, name) for name in ("emission", "absorption", "total", "emission_norm")
    }


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_not_finite_stays_where_it_is(name, value):
    """One entry contaminates the blocks of its sample and output, sums of that sample and no other; no total."""
    layer, x, gy = gradients.family(name)
    x = x.abs() if name == "ReLU" else x
    clean = every_sum(layer, x, gy)
    gy.movedim(-1 if last(layer) else 1, 1)[(1, 2, *(0 for _ in gy.shape[2:]))] = value
    dirty = every_sum(layer, x, gy)
    there = torch.zeros_like(clean["blocks"], dtype=torch.bool)
    there[1, 2] = clean["blocks"][1, 2] > 0
    touched = {"blocks": there, "emission": there.any(2), "absorption": there.any(1)}
    for part, where in {**touched, "emission_norm": there.any(2)}.items():
        assert not dirty[part][where].isfinite().any(), part
        torch.testing.assert_close(dirty[part][~where], clean[part][~where], rtol=1e-5, atol=1e-30, msg=part)
    rest = torch.where(there, 0, clean["blocks"]).sum(0)
    torch.testing.assert_close(dirty["total"], rest, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_comes_of_nothing(name):
    """A channel whose gradient is 0 has blocks of exactly 0, and so have kernels of zeros; the others are as before."""
    layer, x, gy = gradients.family(name)
    gy.movedim(-1 if last(layer) else 1, 1)[0, 1] = 0
    found = blocks(layer, x, gy)
    assert torch.equal(found[0, 1], torch.zeros_like(found[0, 1]))
    assert far(found, layer, x, gy) <= 1
    assert torch.equal(blocks(layer, x, torch.zeros_like(gy)), torch.zeros_like(found))


@pytest.mark.parametrize("name", ["Conv2d", "stride", "Conv1d, circular", "1x1", "depthwise", "Linear"])
def test_kernels_of_zeros_pass_nothing(name):
    """A kernel of zeros among others, an output without any weight, and a layer without any."""
    layer, x, gy = gradients.family(name)
    layer.weight.data[1] = 0
    layer.weight.data[0, 0] = 0
    found = blocks(layer, x, gy)
    assert not found[:, 1].any()
    assert not found[:, 0, 0].any()
    assert far(found, layer, x, gy) <= 1
    layer.weight.data.zero_()
    assert not blocks(layer, x, gy).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_without_samples_has_no_blocks(name):
    """Their shape is `(0, O, I)`, and sums over samples are 0."""
    layer, x, gy = gradients.family(name)
    _, O, I = blocks(layer, x, gy).shape  # noqa: E741
    made = every_sum(layer, x[:0], gy[:0])
    assert made["blocks"].shape == (0, O, I)
    assert not made["total"].any()
    assert len(made["emission"]) == len(made["absorption"]) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("name", [name for name in MIXING if name not in ("LayerNorm", "GroupNorm")])
def test_half_precision_is_widened(name, weights, dtype):
    """Blocks and sums of a layer, or only of a gradient, in half precision are those of the same values."""
    layer, x, gy = gradients.family(name)
    layer, gy = layer.to(dtype) if weights else layer, gy.to(dtype)
    found, wanted = every_sum(layer, x, gy), twin.blocks(twin.local(layer, x, gy))
    torch.testing.assert_close(found["blocks"], wanted, rtol=1e-4, atol=1e-9)
    for part, axis in (("total", 0), ("absorption", 1), ("emission", 2)):
        torch.testing.assert_close(found[part], wanted.sum(axis), rtol=1e-4, atol=1e-9)
    overlap = find(layer).overlap
    if overlap is not None:
        gx = gradients.laid(twin.local(layer, x, gy).sum(1), x.float(), layer)
        with exactly():
            made = overlap(layer, x, gy, gx)
        wanted = twin.overlap(twin.local(layer, x, gy))
        assert (made - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", ["Conv2d", "stride", "ConvTranspose2d", "1x1", "depthwise", "BatchNorm", "MaxPool2d"])
def test_memory_order_does_not_matter(name):
    """Channels-last inputs, gradients and weights have the blocks of others."""
    layer, x, gy = gradients.family(name)
    once, order = blocks(layer, x, gy), torch.channels_last
    layer, x, gy = (part.to(memory_format=order) for part in (layer, x, gy))
    torch.testing.assert_close(blocks(layer, x, gy), once, rtol=1e-5, atol=0)
    wide = torch.zeros(*gy.shape[:-1], 2 * gy.shape[-1])[..., ::2].copy_(gy)
    torch.testing.assert_close(blocks(layer, x, wide), once, rtol=1e-5, atol=0)


def looking(name, how):
    """Blocks and overlap of a layer under some setting; its inputs are made there."""
    layer, x, gy = gradients.family(name)
    with how:
        x, gy = x.clone(), gy.clone()
        made, overlap = blocks(layer, x, gy), find(layer).overlap
        with exactly():
            return made, made if overlap is None else overlap(layer, x, gy, x.clone())


SETTINGS = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default dtype": lambda: Default(torch.bfloat16),
}


class Default:
    """A default dtype, for a while."""

    def __init__(self, dtype):
        self.dtype = dtype

    def __enter__(self):
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *_):
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", FAMILIES)
def test_settings_of_the_process_do_not_matter(name, setting):
    """In inference mode, under autocast and with another default dtype, blocks and overlaps are bit by bit the same."""
    plain, there = looking(name, torch.enable_grad()), looking(name, SETTINGS[setting]())
    for one, other in zip(plain, there, strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def precisions():
    yield
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.set_float32_matmul_precision("highest")


def switches():
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.mkldnn.matmul.fp32_precision,
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.is_inference_mode_enabled(),
    )


def failing(seen):
    seen += switches()
    raise ZeroDivisionError


@pytest.mark.usefixtures("precisions")
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_shortcuts_are_off_inside_and_back_outside(precision):
    """TF32 and bfloat16 products, autocast and inference mode; also when what runs inside fails."""
    torch.set_float32_matmul_precision(precision)
    with torch.autocast("cpu"), torch.inference_mode():
        before = switches()
        inside = []
        with pytest.raises(ZeroDivisionError), exactly():
            failing(inside)
        assert switches() == before
    assert inside[:2] == ["highest", False]
    assert inside[2] in ("none", "ieee")
    assert not any(inside[3:])


@pytest.mark.usefixtures("precisions")
def test_the_newer_interface_of_precision_is_heeded_too():
    """Where it was used, torch's older one raises; precisions are set and restored one by one."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with exactly():
        assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == torch.backends.cudnn.conv.fp32_precision == "tf32"
    layer, x, gy = gradients.family("Conv2d")
    assert far(blocks(layer, x, gy), layer, x, gy) <= 1


def refuse(*_):
    raise AssertionError("the layer was called")


@pytest.mark.parametrize("name", FAMILIES)
def test_looking_changes_nothing(name):
    """Weights, `.grad`, buffers, hooks, generators, the input and its gradient stay; no hook of the layer is called."""
    layer, x, gy = gradients.family(name)
    for one in layer.parameters():
        one.grad = torch.ones_like(one)
    layer.register_forward_hook(refuse)
    layer.register_full_backward_hook(refuse)
    x, gy = x.requires_grad_(), gy.requires_grad_()
    kept = x.detach().clone(), gy.detach().clone()
    with check_quiet(layer):
        assert not every_sum(layer, x, gy)["blocks"].requires_grad
        if find(layer).overlap is not None:
            with exactly():
                assert not find(layer).overlap(layer, x, gy, x).requires_grad
    assert torch.equal(x, kept[0])
    assert torch.equal(gy, kept[1])
    assert x.grad is gy.grad is None


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d", "Linear"])
def test_looking_does_not_step_a_spectral_norm(name):
    """In train mode each reading of its weight would; blocks are those of the weight that ran last."""
    layer, x, gy = gradients.family(name)
    layer = torch.nn.utils.parametrizations.spectral_norm(layer).train()
    layer(x)
    with check_quiet(layer):
        found = blocks(layer, x, gy)
        with exactly():
            find(layer).overlap(layer, x, gy, x)
    plain, _, _ = gradients.family(name)
    plain.weight.data.copy_(layer.eval().weight)
    assert far(found, plain, x, gy) <= 1


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True)])
def test_looking_leaves_the_statistics_of_batches(layer):
    """In train mode a norm's running statistics do not move."""
    x, gy = torch.randn(2, 4, 3, 5, 5)
    with check_quiet(layer):
        blocks(layer, x, gy)
