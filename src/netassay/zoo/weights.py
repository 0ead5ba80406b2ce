"""Weights from files: read without running code, matched name by name, copied only when everything fits."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netassay.errors import BadInput, listing

# What wrappers put before names: torch.nn.parallel, torch.compile, and Lightning modules by custom.
WRAPPERS = ("module.", "_orig_mod.", "model.")
# Checkpoints often hold the weights beside the optimizer's state, under one of these.
NESTED = ("state_dict", "model")
# Other names for our layers, used when the model has the right one and the file has not. torchvision's files of
# dense networks have a dot in the names of a layer's parts.
RENAMED = {r"^linear\.": "fc.", r"(\.denselayer\d+\.(?:norm|conv))\.(?=[12]\.)": r"\1"}
MOST = 4
SAVE = "write it with torch.save(model.state_dict(), path)"


def load(model: nn.Module, path: str | Path) -> None:
    """Copy the weights in `path` into `model`; when anything does not fit, the model stays as it was.

    Takes .safetensors, and .pt, .pth, .bin written by torch.save: a state dict, or one under "state_dict" or
    "model". No code in the file is run. Step counters of norms (`num_batches_tracked`) may be missing.
    """
    path = Path(path)
    state = _named_as_in(model, _state(_read(path), path))
    _check(state, model, path)
    model.load_state_dict(state, strict=False)


def _read(path: Path) -> Any:
    asked = f"weights {str(path)!r}"
    if path.is_dir():
        raise BadInput(asked, "a folder", "give the file inside it")
    if not path.is_file():
        raise BadInput(asked, "no such file", "check the path")
    if not path.stat().st_size:
        raise BadInput(asked, "an empty file", "write or fetch it again")
    if path.suffix not in READERS:
        raise BadInput(asked, f"ending {path.suffix!r}, not one of {listing(READERS)}", "convert it to .safetensors")
    try:
        return READERS[path.suffix](path)
    except ImportError:
        raise BadInput(asked, "safetensors is not installed", "pip install safetensors") from None
    except Exception as error:  # Damaged files make the readers raise nearly anything.
        raise BadInput(asked, *_trouble(error, path.suffix)) from error


def _trouble(error: Exception, suffix: str) -> tuple[str, str]:
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code:
        return f"more than tensors: it asks to run {code[1]}, and nothing of it was loaded", SAVE
    return f"not readable as {suffix}: damaged, or of another kind", "write or fetch the file again"


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _torch(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about old pickles; here it can read them or it cannot.
        return torch.load(path, map_location="cpu", weights_only=True)


READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
    ".bin": _torch,
}


def _state(read: Any, path: Path) -> dict[str, Tensor]:
    asked = f"weights {str(path)!r}"
    for key in NESTED:
        if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
            read = read[key]
    if not isinstance(read, Mapping) or not read:
        raise BadInput(asked, f"a {type(read).__name__} without named tensors", SAVE)
    odd = [str(key) for key, value in read.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if odd:
        raise BadInput(asked, f"entries that are no named tensors: {listing(odd, MOST)}", SAVE)
    return dict(read)


def _named_as_in(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    own = model.state_dict()
    while prefix := next((p for p in WRAPPERS if _begin(state, p) and not _begin(own, p)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return {_renamed(key, own, state): value for key, value in state.items()}


def _begin(state: Mapping[str, Any], prefix: str) -> bool:
    return all(key.startswith(prefix) for key in state)


def _renamed(key: str, own: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    names = (re.sub(theirs, ours, key) for theirs, ours in RENAMED.items())
    return next((name for name in names if key not in own and name in own and name not in state), key)


def _check(state: dict[str, Tensor], model: nn.Module, path: Path) -> None:
    own = model.state_dict()
    shapes = [
        f"{key} is {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    wrong = {
        "missing": [key for key in own if key not in state and not key.endswith("num_batches_tracked")],
        "not in the model:": [key for key in state if key not in own],
        "of another shape:": shapes,
    }
    found = [f"{what} {_first(names)}" for what, names in wrong.items() if names]
    if found:
        advice = "build the model the file was saved from, with the same sizes and options"
        raise BadInput(f"weights {str(path)!r} in {type(model).__name__}", "; ".join(found), advice)


def _first(names: list[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more
