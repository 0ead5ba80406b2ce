"""Models from elsewhere: any importable factory, timm, torchvision. Their options are Python literals."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import nn

from netassay.errors import BadInput, UnknownName
from netassay.spec import Spec

WORDS = {"true": True, "false": False, "none": None}


def imported(spec: Spec) -> nn.Module:
    """Build from "package.module:factory,key=value"; the current folder is searched too."""
    asked = f"model '{spec}'"
    if len(spec.items) != 1 or spec.sizes:
        raise BadInput(asked, "not of the form package.module:factory,key=value", f"{spec.name}:{spec.items[0]}")
    with _here():
        module = _module(spec.name, asked)
        factory = getattr(module, spec.items[0], None)
        if factory is None:
            known = [name for name, value in vars(module).items() if callable(value) and name[0] != "_"]
            raise UnknownName(f"factory of {spec.name!r}", spec.items[0], known)
        if isinstance(factory, nn.Module) or not callable(factory):
            found = f"a {type(factory).__name__}, not something to call"
            raise BadInput(asked, found, "name a class, or a function that returns a model")
        return _called(factory, (), spec)


def timm(spec: Spec) -> nn.Module:
    """Build from "timm:NAME,key=value", without pretrained weights."""
    library = _library("timm", spec)
    name = _known(spec, library.list_models())
    return _called(library.create_model, (name,), spec)


def torchvision(spec: Spec) -> nn.Module:
    """Build from "torchvision:NAME,key=value", without pretrained weights."""
    library = _library("torchvision.models", spec)
    name = _known(spec, library.list_models())
    return _called(library.get_model, (name,), spec)


def _library(module: str, spec: Spec) -> Any:
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except (ImportError, RuntimeError, OSError) as error:
        # A torchvision made for another torch raises RuntimeError, a missing shared library OSError.
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        found = f"{package} is not installed" if missing else f"{package} does not load here: {_said(error)}"
        # Left to itself, pip may replace torch by another build.
        use = f"pip install {package} torch=={torch.__version__.partition('+')[0]}"
        raise BadInput(f"model '{spec}'", found, use) from error


def _known(spec: Spec, known: list[str]) -> str:
    name = spec.items[0] if spec.items else ""
    # timm names weights after a dot: resnet18.a1_in1k.
    if name.partition(".")[0] not in known:
        raise UnknownName(f"model of {spec.name}", name, known)
    return name


def _module(name: str, asked: str) -> Any:
    try:
        return import_module(name)
    except Exception as error:  # Importing runs the user's own code.
        if isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name):
            found = f"no module {error.name!r} is installed or in this folder"
            raise BadInput(asked, found, "start in the folder that holds it, or give a name of the zoo") from None
        raise BadInput(asked, f"importing {name!r} fails: {_said(error)}", f"python -c 'import {name}'") from error


def _called(factory: Callable[..., Any], items: tuple[str, ...], spec: Spec) -> nn.Module:
    options = {key: literal(text) for key, text in spec.options.items()}
    asked = f"model '{spec}'"
    try:
        model = factory(*items, **options)
    except Exception as error:  # The factory is the user's own code, too.
        raise BadInput(asked, f"building it fails: {_said(error)}", _signature(factory, spec)) from error
    if not isinstance(model, nn.Module):
        raise BadInput(asked, f"it returns {type(model).__name__}, not a model", "return a torch.nn.Module")
    return model


def literal(text: str) -> Any:
    """Read an option's text as a Python literal; what is none is a string.

    >>> [literal(text) for text in ("3", "1e-3", "true", "none", "relu")]
    [3, 0.001, True, None, 'relu']
    """
    try:
        return WORDS[text.lower()] if text.lower() in WORDS else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _signature(factory: Callable[..., Any], spec: Spec) -> str:
    try:
        return f"it takes {spec.items[0]}{inspect.signature(factory)}"
    except (TypeError, ValueError):
        return f"see the documentation of {spec.items[0]}"


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _here() -> Iterator[None]:
    # A console script's path begins at its own folder, not at the user's.
    folder = os.getcwd()
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
