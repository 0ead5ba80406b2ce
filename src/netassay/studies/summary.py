"""Summary: what a model is made of, layer by layer in order of execution, and what one pass costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from netassay.capturing import visit
from netassay.counting import counting
from netassay.errors import BadInput
from netassay.layers import Layer, Place, named_layers, shaped
from netassay.quiet import quiet
from netassay.records import Record
from netassay.result import Result, Table
from netassay.studies.provenance import describe

MEGA = 10**6


def summary(model: nn.Module, input_size: Sequence[int] | None = None, *, x: Tensor | None = None) -> Result:
    """Run `model` once, in eval mode, and list its layers with shapes, parameters, multiply-adds and memory.

    `input_size` includes the batch; a model of the zoo knows its own. `x` is an input to use instead, such as token
    numbers. Multiply-adds are those of matrix products and convolutions, one per product, wherever they happen: what
    no layer accounts for stands in the row "(functional)". Activation memory is that of the outputs of layers with
    parameters, counted twice, forward and backward; megabytes are 10**6 bytes. A parameter that several layers share
    counts at the first.

    Tables "layers" and "totals".

    >>> result = summary(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (2, 4))
    >>> [(row["layer"], row["output"], row["parameters"], row["multiply_adds"]) for row in result.table("layers")]
    [('0', '[2, 3]', 15, 24), ('1', '[2, 3]', 0, 0)]
    >>> result.to_dict()["tables"]["totals"][0]["parameters"]
    15
    """
    if isinstance(input_size, Tensor):
        raise BadInput("summary of a model", "a tensor in the place of a size", "summary(model, x=tensor)")
    layers = [layer for layer in named_layers(model) if _accounts(layer.module)]
    x = _example(model, input_size) if x is None else x
    calls, places, flops = _run(model, layers, x)
    own = _own_parameters(layers)
    names = [record["name"] for _, record in calls]
    each = {name: count // max(names.count(name), 1) for name, count in _exclusive(layers, flops).items()}
    rows = [_row(label, record, own, each, places) for label, record in calls]
    ran = set(names)
    rows += [_never(layer, own[layer.name]) for layer in layers if layer.name not in ran and own[layer.name][0]]
    functional = flops[""] - sum(row["multiply_adds"] for row in rows)
    if functional:
        rows.append(_blank("(functional)", "") | {"multiply_adds": functional})
    notes = tuple(f"never ran: {layer.name}" for layer in layers if layer.name not in ran)
    tables = {"layers": Table.of(rows), "totals": Table.of([_totals(model, rows, x)])}
    return Result("summary", tables, notes=notes, provenance=describe(model))


def _accounts(module: nn.Module) -> bool:
    """Tell whether a module is listed: it has parameters of its own, or nothing inside."""
    return bool(module._parameters) or not any(True for _ in module.children())


def _example(model: nn.Module, input_size: Sequence[int] | None) -> Tensor:
    shape = tuple(input_size or (1, *getattr(model, "input_shape", ())))
    if len(shape) < 2 or any(size < 1 for size in shape):
        raise BadInput(
            f"summary of {type(model).__name__}",
            "no input size" if input_size is None else f"input size {shape}",
            "give it with the batch: input_size=(1, 3, 32, 32)",
        )
    first = next(model.parameters(), torch.zeros(()))
    dtype = first.dtype if first.is_floating_point() else torch.get_default_dtype()
    return torch.zeros(shape, dtype=dtype, device=first.device)


def _run(
    model: nn.Module, layers: Sequence[Layer], x: Tensor
) -> tuple[list[tuple[str, dict[str, Any]]], Mapping[Any, Place], dict[str, int]]:
    """Run once; return the calls by label, their places, and multiply-adds by module name ("" for all)."""
    shaped(model, "summary of")
    seen: dict[tuple[str, int], dict[str, Any]] = {}

    def note(record: Record) -> None:
        seen[record.key] = _shapes(record)

    leaf = x.detach().requires_grad_() if x.is_floating_point() else x
    with (
        quiet(model),
        torch.inference_mode(False),
        torch.enable_grad(),
        visit(model, layers, on_forward=note) as watch,
        counting() as counter,
    ):
        begin = leaf.clone()
        try:
            output = model(begin)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise BadInput(
                f"summary of {type(model).__name__} with input {tuple(x.shape)}",
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
                "give an input size that fits the model, or an example: summary(model, x=...)",
            ) from error
        places = watch.places(output, [begin])
        calls = [(watch.label(record), seen[record.key]) for record in watch.forward]
    counts = {name.partition(".")[2]: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}
    return calls, places, {**counts, "": counter.get_total_flops() // 2}


def _shapes(record: Record) -> dict[str, Any]:
    y = record.y
    return {
        "name": record.layer.name,
        "key": record.key,
        "kind": record.layer.kind,
        "input": "" if record.x_shape is None else str(list(record.x_shape)),
        "output": "" if y is None else str(list(y.shape)),
        "bytes": 0 if y is None else y.numel() * y.element_size(),
    }


def _exclusive(layers: Sequence[Layer], flops: Mapping[str, int]) -> dict[str, int]:
    """Return each layer's multiply-adds without those of the listed layers inside it."""
    counts = {layer.name: flops.get("" if layer.name == "model" else layer.name, 0) for layer in layers}
    alone = dict(counts)
    for name, count in counts.items():
        above = [other for other in counts if name.startswith(f"{other}.")]
        if above:
            alone[max(above, key=len)] -= count
    return alone


def _own_parameters(layers: Sequence[Layer]) -> dict[str, tuple[int, int]]:
    """Count each layer's own parameters and the trainable ones; a shared one at its first layer only."""
    seen: set[int] = set()
    counts: dict[str, tuple[int, int]] = {}
    for layer in layers:
        fresh = {id(p): p for p in _parameters(layer.module) if id(p) not in seen}
        seen |= fresh.keys()
        total = sum(p.numel() for p in fresh.values())
        counts[layer.name] = total, sum(p.numel() for p in fresh.values() if p.requires_grad)
    return counts


def _parameters(module: nn.Module) -> list[nn.Parameter]:
    """List a module's own parameters; those behind a parametrization, which live in a submodule, are its own."""
    hidden = getattr(module, "parametrizations", None)
    return [*module.parameters(recurse=False), *(hidden.parameters() if hidden is not None else ())]


def _row(
    label: str,
    call: Mapping[str, Any],
    own: Mapping[str, tuple[int, int]],
    flops: Mapping[str, int],
    places: Mapping[Any, Place],
) -> dict[str, Any]:
    name, number = call["key"]
    total, trainable = own[name]
    place = places.get(call["key"], Place())
    return _blank(label, call["kind"]) | {
        "input": call["input"],
        "output": call["output"],
        "parameters": total if number == 0 else 0,
        "trainable": trainable if number == 0 else 0,
        "multiply_adds": flops[name],
        "activation_bytes": call["bytes"] if total else 0,
        "depth": place.depth,
        "path": place.path,
    }


def _never(layer: Layer, own: tuple[int, int]) -> dict[str, Any]:
    row = _blank(layer.name, layer.kind)
    return row | {"output": "never ran", "parameters": own[0], "trainable": own[1]}


def _blank(label: str, kind: str) -> dict[str, Any]:
    counts = {"parameters": 0, "trainable": 0, "multiply_adds": 0, "activation_bytes": 0}
    return {"layer": label, "kind": kind, "input": "", "output": "", **counts, "depth": -1, "path": "unknown"}


def _totals(model: nn.Module, rows: Sequence[Mapping[str, Any]], x: Tensor) -> dict[str, Any]:
    parameters = list(model.parameters())
    sizes = {
        "input_megabytes": x.numel() * x.element_size() / MEGA,
        "activation_megabytes": 2 * sum(row["activation_bytes"] for row in rows) / MEGA,
        "parameter_megabytes": sum(p.numel() * p.element_size() for p in parameters) / MEGA,
    }
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "multiply_adds": sum(row["multiply_adds"] for row in rows),
        **sizes,
        "total_megabytes": sum(sizes.values()),
    }
