"""The zoo: models by name, built from a spec string and a seed, with or without weights from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from math import prod
from pathlib import Path

from torch import nn

from netassay import spec as specs
from netassay.errors import BadInput, UnknownName
from netassay.seeds import seeded
from netassay.spec import Spec
from netassay.zoo import foreign, small
from netassay.zoo.densenet import densenet
from netassay.zoo.resnet import resnet
from netassay.zoo.vgg import vgg
from netassay.zoo.weights import load

MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet": resnet,
    "densenet": densenet,
    "vgg": vgg,
    "cnn": small.cnn,
    "tiny10": small.tiny10,
    "mlp": small.mlp,
}
SCHEMES: dict[str, Callable[[Spec], nn.Module]] = {"timm": foreign.timm, "torchvision": foreign.torchvision}
CIFAR = "input=32,width=16,shortcut=A,classes=10"
ALIASES = {
    "resnet18": "resnet[2,2,2,2]",
    "resnet34": "resnet[3,4,6,3]",
    "resnet50": "resnet[3,4,6,3]:block=bottleneck",
    "resnet101": "resnet[3,4,23,3]:block=bottleneck",
    "resnet152": "resnet[3,8,36,3]:block=bottleneck",
    "resnet20": f"resnet[3,3,3]:{CIFAR}",
    "resnet32": f"resnet[5,5,5]:{CIFAR}",
    "resnet44": f"resnet[7,7,7]:{CIFAR}",
    "resnet56": f"resnet[9,9,9]:{CIFAR}",
    "resnet110": f"resnet[18,18,18]:{CIFAR}",
    "densenet121": "densenet[6,12,24,16]",
    "densenet161": "densenet[6,12,36,24]:growth=48",
    "densenet169": "densenet[6,12,32,32]",
    "densenet201": "densenet[6,12,48,32]",
    "densenet40": "densenet[12,12,12]:input=32,growth=12,stem=16,bottleneck=none,compression=1,classes=10",
    "vgg11": "vgg[1,1,2,2,2]",
    "vgg13": "vgg[2,2,2,2,2]",
    "vgg16": "vgg[2,2,3,3,3]",
    "vgg19": "vgg[2,2,4,4,4]",
    "vgg38": "vgg[4,4,8,8,8]",
}
# A user's choice, and the alias's option that it leaves without meaning: no skips, no shortcuts.
MOOT = {("skip", "none"): "shortcut"}


def build(spec: str, *, weights: str | Path | None = None, seed: int = 0) -> nn.Module:
    """Build a model from a spec string; the same spec and seed give the same bits.

    `spec` is a name of the zoo with options ("resnet18:classes=10"), "package.module:factory,key=value",
    "timm:NAME" or "torchvision:NAME". `weights=PATH`, here or in the spec, loads a file afterwards. The
    global random state is left as it was. A built model knows its `spec`, and one of the zoo its `input_shape`,
    without the batch.

    >>> build("mlp[16]:input=64,classes=10").input_shape
    (64,)
    """
    if not isinstance(spec, str):
        raise BadInput(f"build({type(spec).__name__})", "not a spec string", 'build("resnet18")')
    full = expanded(specs.parse(spec))
    path = full.options.get("weights", weights)
    if weights is not None and path is not weights:
        raise BadInput(f"build({spec!r}, weights={str(weights)!r})", "weights are given twice", "leave one out")
    with seeded(seed):
        model = _made(full.without("weights"))
    if path is not None:
        load(model, path)
    model.spec = str(specs.parse(spec))  # type: ignore[assignment]
    return model


def placed(model: nn.Module, device: str | None) -> nn.Module:
    """Move a model to a device; None leaves it where it is.

    Raises `BadInput` for a device that this machine, or this torch, does not have.
    """
    if device is None:
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        raise BadInput(f"device {device!r}", str(error).splitlines()[0], "leave it out to run on the CPU") from error


def expanded(spec: Spec) -> Spec:
    """Replace an alias by what it stands for; options already in the spec win.

    >>> str(expanded(specs.parse("resnet20:skip=none,classes=100")))
    'resnet[3,3,3]:input=32,width=16,classes=100,skip=none'
    """
    if spec.name not in ALIASES:
        return spec
    if spec.sizes:
        found = f"{spec.name!r} stands for {ALIASES[spec.name]!r}, which has sizes"
        raise BadInput(f"model '{spec}'", found, f"leave out the brackets of {spec.name!r}")
    alias = specs.parse(ALIASES[spec.name])
    moot = {MOOT.get(choice) for choice in spec.options.items()}
    options = {key: value for key, value in alias.options.items() if key not in moot}
    return replace(alias, items=spec.items, options={**options, **spec.options})


def fitted(spec: Spec, input_shape: Sequence[int] | None, classes: int | None) -> Spec:
    """Fill in what a model of the zoo was not told and the data knows: image size, channels, classes.

    >>> str(fitted(specs.parse("resnet[1,1]:classes=3"), (1, 8, 8), 10))
    'resnet[1,1]:classes=3,input=8,channels=1'
    """
    full = expanded(spec)
    if full.name not in MODELS or not input_shape:
        return spec
    takes = signature(MODELS[full.name]).parameters
    image = len(input_shape) == 3 and "channels" in takes
    size = input_shape[-1] if image else prod(input_shape)
    facts = {"input": size, "channels": input_shape[0] if image else None, "classes": classes}
    missing = {key: value for key, value in facts.items() if key in takes and key not in full.options and value}
    return spec.including(**missing)


def built(
    spec: str,
    input_shape: Sequence[int] | None,
    classes: int | None,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
) -> nn.Module:
    """Build the network of a spec so that it fits the data, on a device; `weights` as in `build`.

    >>> built("mlp[16]", (1, 8, 8), 10).input_shape
    (64,)
    """
    fitting = str(fitted(specs.parse(spec), input_shape, classes))
    return placed(build(fitting, weights=weights, seed=seed), device)


def _made(spec: Spec) -> nn.Module:
    if spec.name in MODELS:
        model: nn.Module = specs.call(MODELS[spec.name], spec)
        return model
    if spec.name in SCHEMES:
        return SCHEMES[spec.name](spec)
    if spec.items:
        return foreign.imported(spec)
    raise UnknownName("model", spec.name, [*MODELS, *ALIASES])
