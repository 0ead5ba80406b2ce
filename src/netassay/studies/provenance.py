"""Provenance: what was looked at, with which versions, so that a number can be had again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from netassay.data import Batch, Data
from netassay.data.fingerprint import MODULUS, fingerprint
from netassay.quiet import state_hash as state_hash

SCALING = "gradients of the objective's sum over samples; a mean loss over N samples gives 1/N of them"


@dataclass
class Seen:
    """Samples that went by: how many, and their fingerprint."""

    samples: int = 0
    hash: int = 0

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        self.samples += len(batch.x)
        self.hash = (self.hash + fingerprint(batch)) % MODULUS


def makeup_hash(model: nn.Module) -> str:
    """Hash a model as it prints, and its state: equal weights do not make equal functions."""
    return hashlib.sha256(f"{model} {state_hash(model)}".encode()).hexdigest()[:16]


def describe(model: nn.Module) -> dict[str, Any]:
    """Describe a model, where it lives, and the versions at work."""
    parameter = next(model.parameters(), torch.zeros(()))
    return {
        "model": str(getattr(model, "spec", f"<{type(model).__module__}.{type(model).__qualname__}>")),
        "model_hash": state_hash(model),
        "device": str(parameter.device),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "versions": {
            "netassay": version("netassay"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def describe_pass(
    model: nn.Module, data: Data, seen: Seen, *, objective: str | Callable[..., Any], training: bool
) -> dict[str, Any]:
    """Describe a pass of data through a model."""
    name = objective if isinstance(objective, str) else getattr(objective, "__qualname__", repr(objective))
    mode = "train" if training else "eval"
    told = {"data": data.spec, "data_hash": f"{seen.hash:016x}", "samples": seen.samples}
    return {**describe(model), **told, "objective": name, "scaling": SCALING, "mode": mode}


def joined(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Describe two parts of one pass as one."""
    data = a["data"] if a["data"] == b["data"] else f"{a['data']} + {b['data']}"
    both = (int(a["data_hash"], 16) + int(b["data_hash"], 16)) % MODULUS
    return {**a, "data": data, "data_hash": f"{both:016x}", "samples": a["samples"] + b["samples"]}
