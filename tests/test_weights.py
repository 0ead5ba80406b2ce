"""Weights: files of many kinds into models, published scores, and files that must not be trusted."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from netassay.data import load_data
from netassay.data.images import NORMALIZE, normalized
from netassay.errors import BadInput
from netassay.training import evaluate
from netassay.zoo import build
from netassay.zoo.weights import load

DATA = Path(__file__).parents[1].parent / "shared" / "data"
NET = "resnet[1]:input=8,width=4,classes=3"


def state(seed: int = 1) -> dict[str, torch.Tensor]:
    return build(NET, seed=seed).state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "lr": 0.1},
        lambda s: {f"module.{key}": value for key, value in s.items()},
        lambda s: {f"module._orig_mod.{key}": value for key, value in s.items()},
        lambda s: {"state_dict": {f"_orig_mod.{key}": value for key, value in s.items()}},
        lambda s: {"state_dict": {f"model.{key}": value for key, value in s.items()}},
        lambda s: {key.replace("fc.", "linear."): value for key, value in s.items()},
    ],
    ids=["plain", "state_dict", "model", "parallel", "parallel-compiled", "compiled", "lightning", "linear"],
)
@pytest.mark.parametrize("ending", ["pt", "pth", "bin"])
def test_state_dicts_load_however_they_were_saved(tmp_path, wrapped, ending):
    """Nested dicts, wrappers' prefixes and the head's other name all lead to the same weights."""
    path = tmp_path / f"net.{ending}"
    torch.save(wrapped(state()), path)
    model = build(NET, weights=path)
    assert equal(model.state_dict(), state())


def test_safetensors_load_without_step_counters(tmp_path):
    """A safetensors file without num_batches_tracked loads; the spec string alone rebuilds the model."""
    path = tmp_path / "net.safetensors"
    save_file({key: value for key, value in state().items() if "num_batches" not in key}, path)
    assert equal(build(f"{NET},weights={path}").state_dict(), state())


def test_a_model_with_a_child_called_module_keeps_its_names(tmp_path):
    """A wrapper's prefix is only taken off when the model has no such names itself."""
    model = nn.Sequential()
    model.add_module("module", nn.Linear(2, 2))
    torch.save(model.state_dict(), tmp_path / "net.pt")
    other = nn.Sequential()
    other.add_module("module", nn.Linear(2, 2))
    load(other, tmp_path / "net.pt")
    assert equal(model.state_dict(), other.state_dict())


def test_weights_given_twice_are_refused():
    """A path in the spec and another beside it is a contradiction."""
    with pytest.raises(BadInput, match="weights are given twice"):
        build("cnn:weights=a.pt", weights="b.pt")


class Code:
    """Runs when unpickled by a reader that trusts its file."""

    def __reduce__(self):
        return sys.modules["builtins"].exec, ("import sys; sys.netassay_was_here = True",)


def zipped(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "found", "next"),
    [
        ("a.pt", lambda: zipped({**state(), "x": Code()}), "asks to run exec", "model.state_dict()"),
        (
            "a.pt",
            lambda: zipped(nn.Linear(2, 2)),
            "asks to run torch.nn.modules.linear",
            "model.state_dict()",
        ),
        ("a.pt", lambda: pickle.dumps(Code(), 4), "not readable as .pt", "fetch the file again"),
        ("a.pt", lambda: pickle.dumps(Code(), 2), "asks to run", "model.state_dict()"),
        ("a.pt", lambda: b"not a file of weights", "not readable as .pt", "fetch the file again"),
        ("a.bin", lambda: b"", "an empty file", "fetch it again"),
        ("a.safetensors", lambda: b"\xff" * 40, "not readable as .safetensors", "fetch the file again"),
        ("a.onnx", lambda: b"1", "ending '.onnx', not one of '.safetensors'", ".safetensors"),
        ("a.pt", lambda: zipped([1, 2]), "a list without named tensors", "model.state_dict()"),
        ("a.pt", lambda: zipped({}), "a dict without named tensors", "model.state_dict()"),
        ("a.pt", lambda: zipped({"epoch": 3}), "no named tensors: 'epoch'", "model.state_dict()"),
        ("a.pt", lambda: zipped({0: torch.zeros(1)}), "no named tensors: '0'", "model.state_dict()"),
    ],
)
def test_bad_files_are_refused_and_nothing_runs(tmp_path, name, content, found, next):
    """Code, damage and other content end in a sentence; no code runs and the model stays as it was."""
    path = tmp_path / name
    path.write_bytes(content())
    model = build(NET)
    with pytest.raises(BadInput) as caught:
        load(model, path)
    assert found in caught.value.found
    assert next in caught.value.next
    assert not hasattr(sys, "netassay_was_here")
    assert equal(model.state_dict(), state(seed=0))


def test_missing_files_and_folders_are_refused(tmp_path):
    """A path to nothing or to a folder is a sentence."""
    for path, found in ((tmp_path / "none.pt", "no such file"), (tmp_path, "a folder")):
        with pytest.raises(BadInput, match=found):
            load(build(NET), path)


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_file_cut_anywhere_is_refused(tmp_path, ending):
    """However many bytes are missing, the sentence is the same and the model stays as it was."""
    path, model = tmp_path / f"net.{ending}", build(NET)
    (torch.save if ending == "pt" else save_file)(state(), path)
    whole = path.read_bytes()
    for length in range(1, len(whole), len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="not readable"):
            load(model, path)
    assert equal(model.state_dict(), state(seed=0))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda s: s.pop("bn1.weight"), "missing bn1.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "not in the model: extra"),
        (
            lambda s: s.update({"fc.weight": torch.zeros(5, 4)}),
            "fc.weight is (5, 4) in the file, (3, 4) in the model",
        ),
        (lambda s: s.clear() or s.update({f"k{i}": torch.zeros(1) for i in range(9)}), "k3 and 5 more"),
    ],
)
def test_weights_that_do_not_fit_are_refused_whole(tmp_path, change, found):
    """Missing, unknown and mis-shaped entries are named, and not even the fitting ones are copied."""
    other = state()
    change(other)
    torch.save(other, tmp_path / "net.pt")
    model = build(NET)
    with pytest.raises(BadInput) as caught:
        load(model, tmp_path / "net.pt")
    assert found in caught.value.found
    assert equal(model.state_dict(), state(seed=0))


@pytest.fixture(scope="module")
def images():
    """The 4,000 test images, decoded once, in [0, 1]."""
    path = DATA / "cifar10-jpeg" / "test.parquet"
    if not path.exists():
        pytest.skip(f"needs {path.name} of the CIFAR-10 images")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield list(load_data(f"parquet:{path}", batch_size=500))
    torch.set_num_threads(threads)


PUBLISHED = [
    ("resnet20", "resnet20/resnet20", "imagenet", 0.8015),
    *(
        ("tiny10", f"tiny10/tiny10-{i}", "cifar10", score)
        for i, score in enumerate((0.7642, 0.7673, 0.7607, 0.7673, 0.7685, 0.7635))
    ),
]


@pytest.mark.parametrize(("spec", "file", "constants", "accuracy"), PUBLISHED)
def test_published_weights_score_what_they_should(images, spec, file, constants, accuracy):
    """Weights trained elsewhere, loaded by name, reach their known accuracy on 4,000 real images."""
    path = DATA / f"{file}.safetensors"
    if not path.exists():
        pytest.skip(f"needs {path.name}")
    batches = [batch._replace(x=normalized(batch.x, NORMALIZE[constants])) for batch in images]
    score = evaluate(build(f"{spec}:weights={path}"), batches)
    assert score.n == 4000
    assert score.accuracy == pytest.approx(accuracy, abs=0.001)
