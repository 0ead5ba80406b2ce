"""DenseNet: published counts and names, a numpy twin, what each switch changes, old files, and refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from netassay.errors import BadInput
from netassay.spec import parse
from netassay.zoo import build, fitted
from netassay.zoo.weights import load
from tests.reference import densenet as twin
from tests.test_zoo import count, same

TINY = "densenet[2,3]:input=9,growth=4,classes=3"


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        ("densenet121", 7_978_856),
        ("densenet161", 28_681_000),
        ("densenet169", 14_149_480),
        ("densenet201", 20_013_928),
        ("densenet40", 1_019_722),
        ("densenet[16,16,16]:growth=12,input=32,classes=10", 769_162),
    ],
)
def test_parameters_are_counted_as_published(spec, parameters):
    """Networks for ImageNet and for CIFAR, the latter plain and with bottleneck and compression, have their sizes."""
    assert count(spec) == parameters


@pytest.mark.parametrize(
    ("spec", "blocks", "growth", "stem"),
    [("densenet121", [6, 12, 24, 16], 32, 64), ("densenet161", [6, 12, 36, 24], 48, 96)],
)
def test_names_are_torchvisions(spec, blocks, growth, stem):
    """Published weights load by name: the state dict has torchvision's names and shapes, in order."""
    with torch.device("meta"):
        found = [(name, tuple(value.shape)) for name, value in build(spec).state_dict().items()]
    assert found == list(twin.names(blocks, growth, stem).items())


@pytest.mark.parametrize("skip", ["all", "end", "none"])
@pytest.mark.parametrize("options", ["input=9", "input=9,bottleneck=none,compression=1", "input=64,channels=1"])
def test_the_forward_pass_is_the_papers(skip, options):
    """In float64 the logits are those of a numpy twin, for either form, every skip, with and without bottleneck."""
    model = build(f"densenet[2,3]:growth=4,classes=3,skip={skip},{options}")
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2)
    model.double().eval()
    x = torch.rand(2, *model.input_shape, dtype=torch.float64)
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    large = model.input_shape[1] >= 64
    expected = twin.logits(state, x.numpy(), [2, 3], skip=skip, bottleneck="none" not in options, large=large)
    with torch.no_grad():
        found = model(x).numpy()
    assert abs(found - expected).max() <= 1e-12 * abs(expected).max()
    assert abs(expected).max() > 0.1


@pytest.mark.parametrize(
    ("skip", "seen", "given"),
    [("all", [8, 12, 16], 20), ("end", [8, 4, 4], 20), ("none", [8, 4, 4], 4)],
)
def test_a_skip_says_what_a_layer_sees(skip, seen, given):
    """Channels that each layer of a block sees, and those that the block gives, are as the skip says."""
    block = build(f"densenet[3]:input=8,growth=4,skip={skip}").features.denseblock1
    assert [layer.norm1.num_features for layer in block] == seen
    assert block(torch.rand(2, 8, 5, 5)).shape == (2, given, 5, 5)


@pytest.mark.parametrize(
    "spec",
    [
        TINY,
        f"{TINY},skip=none,norm=none",
        f"{TINY},skip=end,norm=layer,bottleneck=none",
        f"{TINY},norm=none,init=default",
        "densenet[1,1]:input=8,classes=3,norm=group,compression=1,channels=1",
        "densenet[1,1,1]:input=64,growth=2,classes=3,compression=0.4",
    ],
)
def test_every_switch_gives_a_model_that_runs_and_learns(spec):
    """A model built with any switch maps its own input shape to logits, and every parameter gets gradient."""
    model = build(spec)
    logits = model(torch.rand(4, *model.input_shape))
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_switches_change_what_they_name():
    """Stem, bottleneck, compression and norms are there or not, as the spec says."""
    tiny = build(TINY)
    assert [name for name, _ in tiny.features.named_children()] == [
        *("conv0", "denseblock1", "transition1", "denseblock2", "norm5")
    ]
    assert tiny.features.conv0.weight.shape == (8, 3, 3, 3)
    assert tiny.features.transition1.conv.weight.shape == (8, 16, 1, 1)
    assert tiny.features.denseblock1.denselayer1.conv1.weight.shape == (16, 8, 1, 1)
    other = build(f"{TINY},stem=5,bottleneck=2,compression=0.29")
    assert other.features.conv0.weight.shape == (5, 3, 3, 3)
    assert other.features.transition1.conv.weight.shape == (3, 13, 1, 1)
    assert other.features.denseblock1.denselayer1.conv1.weight.shape == (8, 5, 1, 1)
    assert not any("norm" in name for name in build(f"{TINY},norm=none").state_dict())
    assert build(f"{TINY},norm=layer").features.norm5.num_groups == 1
    assert build("densenet[25]:input=8,growth=4,stem=100,compression=0.29").features.norm5.num_features == 200
    exact = build("densenet[1,1]:input=8,growth=50,stem=50,compression=0.29,bottleneck=1")
    assert exact.features.transition1.conv.weight.shape == (29, 100, 1, 1)


def test_observers_see_before_and_after_each_activation():
    """Every activation is a module, and none works in place: what others hold stays as it was."""
    model = build(f"{TINY},norm=none,skip=end").eval()
    assert sum(isinstance(module, nn.ReLU) for module in model.modules()) == 2 * 5 + 1 + 1
    x, held = torch.randn(2, *model.input_shape), {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda m, x, y, name=name: held.__setitem__(name, (y, y.clone())))
    model(x)
    assert len(held) == len(list(model.modules()))
    assert all(torch.equal(y, kept) for y, kept in held.values())
    assert (held["features.denseblock1.denselayer1"][0] < 0).any()


def test_he_initialisation_has_its_variance():
    """Convolutions have variance 2 / fan-in and the head no bias; init=default is torch's, 1 / (3 fan-in)."""
    he, default = (build(f"densenet[2]:input=8,growth=64,init={init}") for init in ("he", "default"))
    for conv, fan in ((he.features.denseblock1.denselayer1.conv2, 256 * 9), (he.features.conv0, 27)):
        assert conv.weight.var().item() == pytest.approx(2 / fan, rel=0.05)
    assert not he.classifier.bias.any()
    assert default.classifier.bias.any()
    plain = default.features.denseblock1.denselayer1.conv2.weight.var().item()
    assert plain == pytest.approx(1 / (3 * 256 * 9), rel=0.05)


def test_one_seed_gives_the_same_bits_and_a_model_can_be_copied():
    """Two builds with one seed are equal, another seed differs, and a copy computes the same."""
    a, b, c = build(TINY, seed=3), build(TINY, seed=3), build(TINY, seed=4)
    assert same(a, b)
    assert not same(a, c)
    x = torch.rand(2, *a.input_shape)
    assert torch.equal(copy.deepcopy(a)(x), b(x))


def test_what_the_data_knows_is_filled_in():
    """Image size, channels and classes come from the data unless the spec says them."""
    assert str(fitted(parse("densenet[1]"), (1, 8, 8), 10)) == "densenet[1]:input=8,channels=1,classes=10"
    assert build(str(fitted(parse("densenet40"), (1, 8, 8), 10))).input_shape == (1, 32, 32)


def old(key: str) -> str:
    """Spell a name as torchvision's published files do."""
    for part in ("norm1", "norm2", "conv1", "conv2"):
        key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.") if "denselayer" in key else key
    return key


def test_published_files_load_by_their_old_names(tmp_path):
    """Names with a dot before the number, as published files have them, find their layers."""
    state = build(TINY, seed=1).state_dict()
    spelled = {old(key): value for key, value in state.items()}
    assert "features.denseblock1.denselayer2.norm.1.running_var" in spelled
    assert "features.transition1.conv.weight" in spelled
    torch.save({key: value for key, value in spelled.items() if "num_batches" not in key}, tmp_path / "net.pth")
    assert same(build(TINY, weights=tmp_path / "net.pth"), build(TINY, seed=1))


def test_a_layer_under_both_its_names_is_refused(tmp_path):
    """A file with the old and the new name of one layer is not what it seems; nothing is copied."""
    state = build(TINY, seed=1).state_dict()
    key = "features.denseblock1.denselayer1.conv1.weight"
    torch.save({**state, old(key): state[key] + 1}, tmp_path / "net.pth")
    model = build(TINY)
    with pytest.raises(BadInput, match=r"not in the model: features\.denseblock1\.denselayer1\.conv\.1\.weight"):
        load(model, tmp_path / "net.pth")
    assert same(model, build(TINY))


@pytest.mark.parametrize(
    ("spec", "found", "next"),
    [
        ("densenet", "no layers per block", "densenet[6,12,24,16]"),
        ("densenet[2,0]", "layers per block [2, 0]", "densenet[6,12,24,16]"),
        ("densenet[1,1,1,1]:input=7", "4 stages need 8 pixels, and 7 are too few", "input=8"),
        ("densenet[1]:growth=0", "growth must be 1 or more", "growth=1"),
        ("densenet[1]:stem=0", "stem must be 1 or more", "stem=1"),
        ("densenet[1]:bottleneck=0", "bottleneck must be 1 or more", "bottleneck=1"),
        ("densenet[1]:compression=0", "above 0 and at most 1", "compression=0.5"),
        ("densenet[1]:compression=1.5", "above 0 and at most 1", "compression=0.5"),
        ("densenet[1]:compression=nan", "above 0 and at most 1", "compression=0.5"),
        ("densenet[1,1]:growth=4,compression=0.01", "nothing is left of 12 channels", "compression=0.09"),
        ("densenet[1,1]:growth=12,norm=group", "32 groups do not divide 24 channels", "norm=layer"),
        ("densenet[1]:skip=residual", "known: 'all', 'end', 'none'", "skip=all|end|none"),
        ("densenet121[1]", "'densenet[6,12,24,16]'", "leave out the brackets"),
        ("densenet122", "closest: 'densenet121'", "use 'densenet121'"),
    ],
)
def test_impossible_models_are_refused_with_a_sentence(spec, found, next):
    """Each refusal says what was found and what to type."""
    with pytest.raises(BadInput) as caught:
        build(spec)
    assert found in str(caught.value)
    assert next in caught.value.next
