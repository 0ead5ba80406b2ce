"""The zoo: counts, names, shapes, switches, seeds, schemes, and the sentences of refusal."""

from __future__ import annotations

import random
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from netassay.errors import BadInput, UnknownName
from netassay.zoo import ALIASES, MODELS, build
from tests.reference import resnet_names

TINY = "resnet[1,1]:input=8,width=4,classes=3"


def count(spec: str) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(spec).parameters())


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        ("resnet[3,4,6,3]:input=32,head=none", 21_276_992),
        ("resnet50:classes=200", 23_917_832),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("resnet20", 269_722),
        ("vgg19:classes=10", 139_611_210),
        ("vgg38:classes=10", 161_219_018),
        ("cnn", 448 + 2 * 2_320 + 524_800 + 5_130),
        ("tiny10", 86_778),
        ("mlp[256,256,256,256]", 64 * 256 + 256 + 3 * (256 * 256 + 256) + 2_570),
    ],
)
def test_parameters_are_counted_as_published(spec, parameters):
    """Each architecture has the number of parameters that its publication or experiment states."""
    assert count(spec) == parameters


@pytest.mark.parametrize(
    ("spec", "blocks", "convs", "expansion"),
    [("resnet18", [2, 2, 2, 2], 2, 1), ("resnet50", [3, 4, 6, 3], 3, 4)],
)
def test_names_are_torchvisions(spec, blocks, convs, expansion):
    """Published ResNet weights load by name: the state dict has torchvision's names and shapes."""
    found = {name: tuple(value.shape) for name, value in build(spec).state_dict().items()}
    assert found == resnet_names.names(blocks, convs, expansion)


def test_layer_shapes_of_the_32_pixel_resnet34():
    """The CIFAR form keeps 32 pixels through layer1, halves three times, and ends in [1, 512, 1, 1]."""
    model = build("resnet[3,4,6,3]:input=32,head=none").eval()
    seen = {}
    for name in ("conv1", "layer1", "layer2", "layer3", "layer4"):
        model.get_submodule(name).register_forward_hook(lambda m, x, y, name=name: seen.__setitem__(name, [*y.shape]))
    assert model.maxpool is None
    with torch.no_grad():
        assert model(torch.zeros(1, *model.input_shape)).shape == (1, 512, 1, 1)
    assert seen == {
        "conv1": [1, 64, 32, 32],
        "layer1": [1, 64, 32, 32],
        "layer2": [1, 128, 16, 16],
        "layer3": [1, 256, 8, 8],
        "layer4": [1, 512, 4, 4],
    }


def test_the_stem_follows_the_input():
    """From 64 pixels on the stem divides the size by four; the stride of bottlenecks sits on the 3x3."""
    with torch.device("meta"):
        model = build("resnet[1,1]:input=64,block=bottleneck,head=none")
        assert model.maxpool(model.conv1(torch.zeros(1, 3, 64, 64))).shape == (1, 64, 16, 16)
    block = model.get_submodule("layer2.0")
    assert (block.conv1.stride, block.conv2.stride, block.conv3.stride) == ((1, 1), (2, 2), (1, 1))


def test_vgg38_doubles_each_convolution_of_vgg19():
    """Every convolution of VGG19 is there in order, each followed by one of equal channels in and out."""
    with torch.device("meta"):
        convs = {name: [m for m in build(name).features if isinstance(m, nn.Conv2d)] for name in ("vgg19", "vgg38")}
        names = list(build("vgg19").state_dict())
    channels = {name: [(m.in_channels, m.out_channels) for m in found] for name, found in convs.items()}
    assert channels["vgg38"][0::2] == channels["vgg19"]
    assert channels["vgg38"][1::2] == [(out, out) for _, out in channels["vgg19"]]
    assert [name for name in names if name.endswith("weight")][-4:] == [
        "features.34.weight",
        "classifier.0.weight",
        "classifier.3.weight",
        "classifier.6.weight",
    ]


def test_small_models_name_their_modules():
    """Features before and after each activation are modules with names of their own."""

    def names(spec):
        return " ".join(name for name, _ in build(spec).named_children())

    assert names("cnn") == "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 flatten fc1 relu4 fc2"
    assert names("mlp[5,5]:norm=layer") == "flatten fc1 norm1 act1 fc2 norm2 act2 head"
    assert names("tiny10").endswith("bn7 relu7 conv8 bn8 relu8 avgpool flatten fc")
    assert not any(getattr(module, "inplace", False) for module in build("cnn").modules())


@pytest.mark.parametrize(
    "spec",
    [
        "cnn:input=8,channels=1,classes=3",
        "tiny10:input=28,channels=1,classes=3",
        "mlp[5]:input=7,classes=3,act=gelu,norm=batch",
        "mlp[5,4]:input=7,classes=3,act=tanh,norm=layer,init=default",
        "mlp[5]:input=7,classes=3,act=sigmoid",
        TINY,
        f"{TINY},channels=1,skip=none",
        f"{TINY},shortcut=A",
        f"{TINY},norm=none",
        f"{TINY},norm=layer",
        f"{TINY},block=bottleneck,shortcut=A",
        f"{TINY},block=bottleneck,act=gelu,norm=none",
        "vgg[1,1,1,1,2]:input=32,width=2,hidden=5,classes=3,act=tanh",
        "vgg[1,1,1,1,1]:input=32,width=2,hidden=5,classes=3,norm=layer,init=default",
        "vgg[1,1,1,1,1]:input=32,width=32,hidden=5,classes=3,norm=group,act=sigmoid",
        "resnet[1]:input=8,width=32,classes=3,norm=group,init=default",
        "resnet20:classes=3,skip=none",
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
    """Skips, norms, shortcuts and head are there or not, as the spec says."""
    plain = build(TINY)
    assert plain.layer2[0].downsample[0].weight.shape == (8, 4, 1, 1)
    assert build(f"{TINY},skip=none").layer2[0].downsample is None
    assert not list(build(f"{TINY},shortcut=A").layer2[0].downsample.parameters())
    assert not any("bn" in name for name in build(f"{TINY},norm=none").state_dict())
    assert build("resnet[1]:input=8,norm=group").bn1.num_groups == 32
    assert build(f"{TINY},norm=layer").bn1.num_groups == 1
    assert build(f"{TINY},head=none").fc is None


@pytest.mark.parametrize("spec", [TINY, f"{TINY},block=bottleneck", "vgg[1,1,1,1,1]:input=32,width=2,hidden=3"])
def test_the_activation_is_the_one_asked_for_and_draws_nothing(spec):
    """Every activation is of the kind that was named; names, shapes and bits of the parameters stay."""
    relu, tanh = build(spec), build(f"{spec},act=tanh")
    kinds = (nn.ReLU, nn.Tanh)
    found = [[type(module) for module in model.modules() if isinstance(module, kinds)] for model in (relu, tanh)]
    assert set(found[0]) == {nn.ReLU}
    assert found[1] == [nn.Tanh] * len(found[0])
    assert all(module.inplace for module in relu.modules() if isinstance(module, nn.ReLU))
    assert same(relu, tanh)


def test_a_narrow_vgg_keeps_its_proportions():
    """Stages have 1, 2, 4, 8 and 8 widths, each convolution its norm, and the head its hidden units."""
    model = build("vgg[1,1,1,1,2]:input=32,width=32,hidden=7,classes=3,norm=group")
    assert [m.out_channels for m in model.features if isinstance(m, nn.Conv2d)] == [32, 64, 128, 256, 256, 256]
    assert [m.num_channels for m in model.features if isinstance(m, nn.GroupNorm)] == [32, 64, 128, 256, 256, 256]
    sizes = [m.weight.shape for m in model.classifier if isinstance(m, nn.Linear)]
    assert sizes == [(7, 256 * 49), (7, 7), (3, 7)]
    narrow = [m for m in build("vgg[1,1,1,1,1]:input=32,width=8,hidden=1024").classifier if isinstance(m, nn.Linear)]
    published = [0.01**2 * fan_in for fan_in in (512 * 49, 4096, 4096)]
    assert [m.in_features * m.weight.var().item() for m in narrow] == pytest.approx(published, rel=0.01)


def test_skip_residual_adds_the_input():
    """With its branch at zero a block passes its (positive) input on; without skip it passes nothing."""
    x = torch.rand(2, 4, 8, 8)
    for skip, expected in (("residual", x), ("none", torch.zeros_like(x))):
        block = build(f"{TINY},norm=none,skip={skip}").layer1[0]
        nn.init.zeros_(block.conv2.weight)
        assert torch.equal(block(x), expected)


def test_option_a_subsamples_and_pads_with_zeros():
    """Shortcut A takes every second pixel, with zero channels on both sides, as many before as after."""
    x = torch.rand(1, 4, 5, 5)
    y = build(f"{TINY},shortcut=A").layer2[0].downsample(x)
    expected = torch.zeros(1, 8, 3, 3)
    for c in range(4):
        for i in range(3):
            for j in range(3):
                expected[0, c + 2, i, j] = x[0, c, 2 * i, 2 * j]
    assert torch.equal(y, expected)


def test_he_initialisation_has_its_variance():
    """Weights of an mlp have variance 2 / fan-in and biases are zero; convolutions 2 / fan-out."""
    head = build("mlp[400]:input=900,classes=50")
    assert head.fc1.weight.var().item() == pytest.approx(2 / 900, rel=0.02)
    assert head.head.weight.var().item() == pytest.approx(2 / 400, rel=0.05)
    assert not head.fc1.bias.any()
    assert not head.head.bias.any()
    conv = build("resnet[1,1]:input=32").layer2[0].conv1.weight
    assert conv.var().item() == pytest.approx(2 / (128 * 9), rel=0.02)
    assert build("resnet[1,1]:input=32,init=default").layer2[0].conv1.weight.var().item() == pytest.approx(
        1 / (3 * 64 * 9), rel=0.02
    )


def test_vgg_is_initialised_as_torchvision_does():
    """Convolutions have variance 2 / fan-out, linear layers 0.01 squared; init=default is torch's."""
    model = build("vgg[1,1,1,1,1]:input=32,classes=3")
    assert model.features[-3].weight.var().item() == pytest.approx(2 / (512 * 9), rel=0.02)
    assert model.classifier[3].weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not any(value.any() for name, value in model.named_parameters() if name.endswith("bias"))
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    del model
    model = build("vgg[1,1,1,1,1]:input=32,classes=3,norm=batch,init=default")
    assert model.features[1].num_features == 64
    assert model.classifier[3].weight.std().item() == pytest.approx((3 * 4096) ** -0.5, rel=0.01)


def test_an_mlp_has_the_activation_and_init_it_was_asked_for():
    """Each name stands for its module; init=default keeps torch's biases and variance 1 / (3 fan-in)."""
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "sigmoid": nn.Sigmoid}
    assert {act: type(build(f"mlp[2]:act={act}").act1) for act in kinds} == kinds
    default = build("mlp[400]:input=900,init=default")
    assert default.fc1.bias.any()
    assert default.fc1.weight.var().item() == pytest.approx(1 / (3 * 900), rel=0.02)


def test_one_seed_gives_the_same_bits_and_leaves_the_global_state():
    """Two builds with one seed are equal bit by bit, another seed differs, and no global generator moves."""
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    a, b, c = build(TINY, seed=3), build(TINY, seed=3), build(TINY, seed=4)
    assert same(a, b)
    assert not same(a, c)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def test_every_alias_is_a_spec_of_the_zoo():
    """Each alias names a model of the zoo and builds; the user's options win over the alias's."""
    with torch.device("meta"):
        for alias, meaning in ALIASES.items():
            assert meaning.partition("[")[0] in MODELS
            assert build(alias).input_shape[0] == 3
        assert build("resnet20:classes=100,width=8").fc.weight.shape == (100, 32)


@pytest.mark.parametrize(
    ("spec", "found", "next"),
    [
        ("resnet", "no blocks per stage", "resnet[2,2,2,2]"),
        ("resnet[2,0]", "blocks per stage [2, 0]", "resnet[2,2,2,2]"),
        ("resnet[1,1]:skip=none,shortcut=A", "there is no shortcut", "skip=none"),
        ("resnet[1,1]:norm=group,width=16", "32 groups do not divide 16", "width=32"),
        ("resnet[1,1,1,1]:input=7", "4 stages need 8 pixels, and 7 are too few", "input=8"),
        ("resnet[1,1,1,1,1,1]:input=64", "6 stages need 128 pixels", "input=128"),
        ("resnet[1,1,1,1,1,1,1]:input=32", "7 stages need 256 pixels", "input=256"),
        ("resnet[1]:classes=0", "classes must be 1 or more", "classes=1"),
        ("resnet[1]:skip=no", "closest: 'none'", "skip=residual|none"),
        ("resnet18[1,1]", "'resnet[2,2,2,2]'", "leave out the brackets"),
        ("resnet18:imagenet", "'imagenet' stands alone", "imagenet=..."),
        ("vgg[1,1]", "2 stages; a VGG network has 5", "vgg19"),
        ("vgg19:input=31", "32 pixels", "input=32"),
        ("vgg[]", "no convolutions per stage", "vgg19"),
        ("vgg[1,1,1,1,1]:widht=3", "option of 'vgg' 'widht'", "use 'width'"),
        ("vgg[1,1,1,1,1]:hidden=0", "hidden must be 1 or more", "hidden=1"),
        ("vgg[1,1,1,1,1]:norm=group,width=8", "32 groups do not divide 8", "width=32"),
        ("resnet[1]:act=rleu", "closest: 'relu'", "act=relu|tanh|gelu|sigmoid"),
        ("cnn:input=3", "4 pixels", "cnn:input=4"),
        ("cnn:channels=0", "channels must be 1 or more", "channels=1"),
        ("tiny10:input=20", "meets", "tiny10:input=32"),
        ("mlp", "no hidden widths", "mlp[256,256]"),
        ("mlp[3,0]", "hidden widths [3, 0]", "mlp[256,256]"),
        ("mlp[3]:act=rleu", "closest: 'relu'", "act=relu|tanh|gelu|sigmoid"),
        ("resnt18", "closest: 'resnet18'", "use 'resnet18'"),
    ],
)
def test_impossible_models_are_refused_with_a_sentence(spec, found, next):
    """Each refusal says what was found and what to type."""
    with pytest.raises(BadInput) as caught:
        build(spec)
    assert found in str(caught.value)
    assert next in caught.value.next


def test_a_model_is_no_spec():
    """Building something that is no string is refused."""
    with pytest.raises(BadInput, match="not a spec string"):
        build(nn.Linear(1, 1))


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A folder with user code in it, as the current one."""
    (tmp_path / "my_models.py").write_text(
        "import random, torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def __init__(self, width=2, bias=True):\n"
        "        super().__init__(width, 1, bias=bias)\n"
        "        self.drawn = random.random()\n"
        "def broken(): raise ValueError('no such thing')\n"
        "def number(): return 3\n"
        "model = torch.nn.ReLU()\n"
    )
    (tmp_path / "half.py").write_text("import not_there_at_all\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("my_models", "half"):
        sys.modules.pop(name, None)


def test_a_users_factory_is_imported_from_here(module):
    """A factory in the current folder is called with its options as literals, seeded throughout."""
    path = list(sys.path)
    a = build("my_models:Net,width=3,bias=false", seed=1)
    assert (a.in_features, a.bias) == (3, None)
    assert build("my_models:Net,width=3,bias=false", seed=1).drawn == a.drawn
    assert sys.path == path


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("my_modls:Net", "no module 'my_modls' is installed or in this folder"),
        ("half:Net", "importing 'half' fails: ModuleNotFoundError"),
        ("my_models:Nett", "closest: 'Net'"),
        ("my_models:broken", "building it fails: ValueError: no such thing"),
        ("my_models:Net,depth=3", "unexpected keyword argument 'depth'"),
        ("my_models:number", "it returns int, not a model"),
        ("my_models:model", "a ReLU, not something to call"),
        ("my_models:Net,width", "not of the form package.module:factory"),
    ],
)
def test_factories_that_fail_are_answered_with_a_sentence(module, spec, found):
    """Whatever a user's module does wrong, the sentence says what it was."""
    with pytest.raises(BadInput) as caught:
        build(spec)
    assert found in str(caught.value)


def library(name: str) -> types.ModuleType:
    made = types.ModuleType(name)
    made.list_models = lambda: ["tiny", "tinier"]
    make = lambda name, pretrained=False, weights=None, width=1: nn.Linear(width, 1)  # noqa: E731
    made.create_model = made.get_model = make
    return made


@pytest.mark.parametrize(("scheme", "module"), [("timm", "timm"), ("torchvision", "torchvision.models")])
def test_libraries_of_models_are_asked_by_name(monkeypatch, scheme, module):
    """timm:NAME and torchvision:NAME build the library's model, or name the nearest one."""
    monkeypatch.setitem(sys.modules, scheme, types.ModuleType(scheme))
    monkeypatch.setitem(sys.modules, module, library(module))
    assert build(f"{scheme}:tiny,width=3").in_features == 3
    with pytest.raises(UnknownName, match="use 'tinier'"):
        build(f"{scheme}:tinierr")


class Broken:
    """An importer that fails as a torchvision made for another torch does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("timm", "torchvision"):
            raise self.error


@pytest.mark.parametrize("scheme", ["timm", "torchvision"])
@pytest.mark.parametrize(
    ("error", "found", "next"),
    [
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "does not load here: RuntimeError",
            "torch==",
        ),
        (OSError("libcudart.so not found"), "does not load here: OSError", "torch=="),
        (ModuleNotFoundError("No module named"), "is not installed", "pip install"),
    ],
)
def test_libraries_that_do_not_load_are_refused(monkeypatch, scheme, error, found, next):
    """A missing or mismatched library is a sentence with what to install, whatever it raises."""
    if isinstance(error, ModuleNotFoundError):
        error = ModuleNotFoundError("No module", name=scheme)
    for name in [name for name in sys.modules if name.partition(".")[0] == scheme]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(error), *sys.meta_path])
    with pytest.raises(BadInput) as caught:
        build(f"{scheme}:resnet18")
    assert found in caught.value.found
    assert next in caught.value.next
    assert scheme in caught.value.next
