"""Bad input on the command line: exit code 2, a sentence (asked, found, next), no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import netassay as na
from netassay.cli import main
from netassay.errors import BadInput
from netassay.store import create
from tests.pages import X, Y, net

NET = ["mlp[16]", "--data", "digits:n=20"]
MODULES = {
    "broken": "import nothing_of_that_name",
    "unwritten": "def net(:",
    "house": """
from torch import nn

def raising():
    raise ValueError("no such luck")

def number():
    return 3

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def mean(output, y):
    return output.mean()
""",
}


class Code:
    """What would run while it is read."""

    def __reduce__(self):
        return os.mkdir, ("run-by-pickle",)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with files of every bad kind."""
    folder = tmp_path_factory.mktemp("refusals")
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)
    state = dict(na.build("mlp[12]").state_dict())
    save_file(state, folder / "other.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "other.safetensors").read_bytes()[:300])
    (folder / "empty.safetensors").touch()
    (folder / "weights.npz").write_text("x")
    torch.save({"fc1.weight": Code()}, folder / "code.pt")
    pq.write_table(pa.table({"img": [b"x"], "label": [0]}), folder / "whole.parquet")
    (folder / "cut.parquet").write_bytes((folder / "whole.parquet").read_bytes()[:-50])
    (folder / "file").touch()
    (folder / "bare").mkdir()
    with create(folder / "kept", model="m"):
        pass
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.db").write_bytes((folder / "kept" / "run.db").read_bytes()[:3000])
    return folder


@pytest.fixture
def _there(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)


@pytest.mark.usefixtures("_there")
@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["summary", "resnet19"], ["model 'resnet19'", "closest: 'resnet18'", "use 'resnet18'"]),
        (["summary", "mlp[16"], ["spec 'mlp[16'", "not of the form name[sizes]", "e.g. resnet[1,1,1,1]"]),
        (["summary", ""], ["spec ''", "not of the form"]),
        (["summary", "mlp[0]"], ["mlp[0]", "must be 1 or more", "mlp[256,256]"]),
        (["summary", "mlp[16]:klasses=3"], ["'klasses'", "closest: 'classes'", "use 'classes'"]),
        (["summary", "mlp[16]:classes=ten"], ["classes=ten", "'ten' is no int", "give classes a int"]),
        (["summary", "resnet[1]:norm=bach"], ["'bach'", "closest: 'batch'", "use norm=batch|"]),
        (["summary", "nowhere.here:net"], ["no module 'nowhere'", "start in the folder that holds it"]),
        (["summary", "broken:net"], ["importing 'broken' fails: ModuleNotFoundError", "python -c 'import broken'"]),
        (["summary", "unwritten:net"], ["importing 'unwritten' fails: SyntaxError"]),
        (["summary", "house:nett"], ["'nett'", "closest: 'net'", "use 'net'"]),
        (["summary", "house:number"], ["it returns int, not a model", "return a torch.nn.Module"]),
        (["summary", "house:raising"], ["building it fails: ValueError: no such luck"]),
        (["summary", "house:net"], ["no input size", "input_size=(1, 3, 32, 32)"]),
        (["summary", "house:net", "--input-size", "1", "7"], ["with input (1, 7)", "give an input"]),
        (["summary", "house:net", "--input-size", "1", "x"], ["--input-size", 'unable to convert "x" into int']),
        (["summary", "mlp[16]", "--jsn"], ["Unknown option: --jsn", "Did you mean --json?"]),
        (["summary", "mlp[16]", "extra"], ["Unused", "extra"]),
        (["summary"], ["MODEL requires an argument"]),
        (["examin"], ['Unknown command "examin"', 'Did you mean "examine"?']),
        (["channels", "mlp[16]"], ["--data requires an argument"]),
        (["channels", "mlp[16]", "--data", "digitz"], ["data set 'digitz'", "closest: 'digits'", "use 'digits'"]),
        (["channels", "mlp[16]", "--data", "digits:split=tset"], ["'tset'", "use split=train|test|all"]),
        (["channels", "mlp[16]", "--data", "digits:n=0"], ["digits with n=0", "1797 samples", "n from 1 to 1797"]),
        (["channels", "mlp[16]", "--data", "digits:size=4"], ["digits:size=4", "8 pixels wide", "digits:size=8"]),
        (["channels", "mlp[16]", "--data", "noise:pink"], ["'pink'", "known: 'uniform'", "kind=uniform|normal"]),
        (["channels", "mlp[16]", "--data", "digits:size=16"], ["inputs (128, 1, 16, 16)", "give inputs (N, 64)"]),
        (["channels", "mlp[16]:classes=5", *NET[1:]], ["label 9, outside 0 to 4", "build the model with classes=10"]),
        (["channels", "mlp[16]", "--data", "whole.parquet"], ["a spec is needed", "parquet:whole.parquet"]),
        (["channels", "mlp[16]", "--data", "parquet:no.parquet"], ["no such file or folder", "check the path"]),
        (["channels", "mlp[16]", "--data", "parquet:cut.parquet"], ["not a whole parquet file", "fetch it again"]),
        (["channels", "mlp[16]", "--data", "parquet:bare"], ["a folder without train*.parquet", "give the folder"]),
        (["channels", *NET, "--layers", "fc9"], ["layer 'fc9'", "closest: 'fc1'", "use 'fc1', or list all with"]),
        (["channels", *NET, "--layers", "re:("], ["no regular expression", "e.g. re:"]),
        (["channels", *NET, "--objective", "mce"], ["objective 'mce'", "closest: 'mse'", "use 'mse'"]),
        (["channels", *NET, "--objective", "mse"], ["output (20, 10) and target (20,)", "or objective cross_entropy"]),
        (["channels", *NET, "--objective", "house:mean"], ["shape ()", "shape (20,), is needed", 'reduction="none"']),
        (["channels", *NET, "--objective", "nope:f"], ["No module named 'nope'", "give module:function"]),
        (["channels", *NET, "--batch-size", "0"], ["batch_size=0", "one sample or more", "batch_size=128"]),
        (["channels", *NET, "--batch-size", "two"], ["--batch-size", 'unable to convert "two" into int']),
        (["channels", *NET, "--fail-on", "all"], ["--fail-on", '"finding", "warning"']),
        (["channels", *NET, "--seed", "-1"], ["seed=-1", "a whole number from 0", "seed=0"]),
        (["channels", *NET, "--seed", str(2**64)], ["a whole number from 0 to 2**64 - 1"]),
        (["channels", *NET, "--device", "tpu9"], ["device 'tpu9'", "Invalid device string", "run on the CPU"]),
        (["channels", *NET, "--weights", "none.pt"], ["weights 'none.pt'", "no such file", "check the path"]),
        (["channels", *NET, "--weights", "bare"], ["a folder", "give the file inside it"]),
        (["channels", *NET, "--weights", "empty.safetensors"], ["an empty file", "fetch it again"]),
        (["channels", *NET, "--weights", "cut.safetensors"], ["not readable as .safetensors", "fetch the file again"]),
        (["channels", *NET, "--weights", "weights.npz"], ["ending '.npz'", "convert it to .safetensors"]),
        (["channels", *NET, "--weights", "code.pt"], ["it asks to run", "nothing of it was loaded"]),
        (["channels", *NET, "--weights", "other.safetensors"], ["fc1.weight is (12, 64) in", "the same sizes"]),
        (["channels", *NET, "--checkpoints", "no*.pt"], ["checkpoints 'no*.pt'", "no file", "quote the pattern"]),
        (["channels", *NET, "--out", "file/run"], ["'file' is a file", "give a folder"]),
        (["channels", *NET, "--out", "kept"], ["it holds a run already", "another folder"]),
        (["examine", *NET, "--out", "kept"], ["it holds a run already", "another folder"]),
        (["examine", *NET, "--out", "file/run"], ["'file' is a file", "give a folder"]),
        (["examine", *NET, "--epochs", "0"], ["epochs=0", "nothing to do", "epochs=1"]),
        (["examine", *NET, "--epochs", "-3"], ["epochs=-3", "nothing to do", "epochs=1"]),
        (["examine", *NET, "--epochs", "many"], ["--epochs", 'unable to convert "many" into int']),
        (["examine", *NET, "--lr", "0"], ["lr=0.0", "must be positive", "lr=0.05"]),
        (["examine", *NET, "--lr", "1e9", "--epochs", "9"], ["lr=1000000000.0", "the loss is", "lr=1e+08"]),
        (["examine", *NET, "--seed", "-1"], ["seed=-1", "a whole number from 0", "seed=0"]),
        (["examine", *NET, "--objective", "mse"], ["objective 'mse'", "cross-entropy only", "weights=PATH"]),
        (["examine", *NET, "--device", "tpu9"], ["device 'tpu9'", "leave it out to run on the CPU"]),
        (["examine", "--weights", "other.safetensors"], ["no model to put them into", "netassay examine SPEC"]),
        (["capture", "mlp[16]", "--layers", "type:Conv2d"], ["layer 'type:Conv2d'", "none matches", "summary"]),
        (["capture", "mlp[16]", "--batch-size", "-1"], ["batch_size=-1", "one sample or more"]),
        (["channels", "mlp[16]", "--data", "digits:size=1000000"], ["not enough memory for this"]),
        (["channels", "mlp[16]", "--data", "a" * 5000], ["data set 'aaa"]),
        (["channels", *NET, "--objective", ":"], ["objective ':'"]),
        (["summary", "mlp[1 2]"], ["spec 'mlp[1 2]'", "not of the form"]),
        (["channels", *NET, "--out=" + "a" * 300], ["begin a run in", "cannot be written"]),
        (["examine", *NET, "--lr", "inf"], ["train with lr=inf", "positive and finite"]),
        (["examine", "house:net", "--data", "digits:size=16"], ["forward pass of Sequential", "inputs that fit"]),
        (["channels", *NET, "--json", "--csv"], ["--json with --csv", "ask for one"]),
        (["channels", *NET, "--csv", "--out=kept"], ["begin a run in 'kept'", "holds a run already"]),
        (["summary", "mlp[16]", "--json", "--out=file/run"], ["'file' is a file", "give a folder"]),
        (["report", "nowhere"], ["open run 'nowhere'", "no such folder", "netassay runs"]),
        (["report", "bare"], ["a folder without a run.db", "give a run's folder"]),
        (["report", "damaged"], ["open run 'damaged'", "damaged or cut short", "take an intact copy"]),
        (["report", "kept", "--out", "file/page.html"], ["Not a directory", "name a folder that can be written"]),
        (["runs", "nowhere"], ["list the runs in 'nowhere'", "no such file", "give a folder that holds runs"]),
        (["runs", "file"], ["list the runs in 'file'", "not a directory", "give a folder that holds runs"]),
    ],
    ids=lambda value: " ".join(value[:9]) if isinstance(value, list) else None,
)  # fmt: skip
def test_bad_input_is_a_sentence(words, fragments, capsys):
    """Exit code 2; one refusal that names what was asked, what was found and what to type; standard output is free."""
    code = main(words)
    shown = capsys.readouterr()
    assert code == 2, shown.err
    assert shown.err.startswith("netassay: ")
    assert [fragment for fragment in fragments if fragment not in shown.err] == []
    assert "Traceback" not in shown.err
    assert shown.out == "" or "--out" in words
    assert not Path("run-by-pickle").exists()


@pytest.mark.parametrize(
    ("model", "data", "options", "fragments"),
    [
        (net, [], {}, ["no batch came out", "give data that is not empty"]),
        (net, (X[:0], Y[:0]), {}, ["no batch came out", "give data that is not empty"]),
        (net, X, {}, ["data without labels", "give data as (x, y)"]),
        (net, (X[:, :9], Y), {}, ["input (1, 9)", "cannot be multiplied"]),
        (net, (X, Y - 1), {}, ["label -1, outside 0 to 9", "number the classes from 0"]),
        (net, (torch.where(X > 3, torch.nan, X), Y), {}, ["samples hold NaN or Inf, the first with id", "mend them"]),
        (net, (X, Y[:9]), {}, ["x is (60, 64) float32 and y is (9,)", "one entry of y per sample"]),
        (net, (X, Y), {"layers": "fc9"}, ["layer 'fc9'", "closest: 'fc1'"]),
        (net, (X, Y), {"weights": "a.pt"}, ["a module that has weights", "load them first"]),
        (net, (X, Y), {"seed": -1}, ["seed=-1"]),
        (net, (X, Y), {"batch_size": "8"}, ["batch_size='8'"]),
        (net, (X, Y), {"layers": [5]}, ["layers 5", "a int, not a pattern"]),
        (net, (X, Y), {"objective": None}, ["found: None", "give a name"]),
        (lambda: 3, (X, Y), {}, ["examine a model", "found: 3", "pass a module, or a spec"]),
        (lambda: "mlp[16]", (torch.where(X > 3, torch.nan, X), Y), {}, ["samples hold NaN or Inf", "mend them"]),
    ],
)
def test_bad_input_in_python_is_the_same_sentence(model, data, options, fragments, tmp_path):
    """What is passed as tensors and modules is refused as in the shell; the run says that it failed, and why."""
    with pytest.raises(BadInput) as caught:
        na.examine(model(), data, out=tmp_path / "run", **options)
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []
    run = na.open_run(tmp_path / "run")
    assert run.status == "failed"
    assert caught.value.found in run.meta["error"]


@pytest.mark.parametrize(
    "words",
    [["summary", "resnet19"], ["channels", *NET, "--weights", "code.pt"], ["report", "damaged"], ["examine", "--nope"]],
)
def test_a_real_process_refuses_alike(place, words):
    """In a process of its own: exit code 2, the sentence on standard error, nothing on standard output."""
    command = [sys.executable, "-m", "netassay", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("netassay: ")
    assert "Traceback" not in done.stderr


def test_layers_that_never_run_are_refused():
    """A profile of layers that the forward pass leaves out says so."""
    with pytest.raises(BadInput, match="the forward pass calls none of them"):
        na.channel_profile(Idle(), (X, Y), layers="idle")


class Idle(torch.nn.Linear):
    """A layer with another in it that it never calls."""

    def __init__(self):
        super().__init__(64, 10)
        self.idle = torch.nn.Linear(3, 3)
