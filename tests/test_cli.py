"""The command line: every command in process, output that programs read, exit codes, and a real process or two."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.torch import save_file

import netassay as na
from netassay import cli
from netassay.cli import main
from netassay.result import Result, Table
from netassay.store import create

NET, DATA = "mlp[16]", "digits:split=test,n=60"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def two_runs():
    """Keep two runs with a number that is surely different."""
    for name, chi in (("a", 1.0), ("b", 2.0)):
        row = {"layer": "fc1", "chi": chi, "chi_low": chi - 0.1, "chi_high": chi + 0.1}
        with create(f"runs/{name}", model=NET) as writer:
            writer.add("made", Result("made", {"layers": Table.of([row])}))


def shell(*words, **options):
    """Run netassay as a shell does; return the finished process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "netassay", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)


def saved(path, spec=NET, **options):
    save_file({name: value.clone() for name, value in na.build(spec, **options).state_dict().items()}, path)
    return path


COMMANDS = {
    "summary": ["summary", NET],
    "capture": ["capture", NET],
    "channels": ["channels", NET, "--data", DATA],
    "exchange": ["exchange", NET, "--data", DATA, "--also", "blocks", "share"],
    "init": [
        *("init", NET, "--data", "digits:n=60", "--schemes", "orthogonal", "zeros", "--epochs", "1"),
        *("--seeds", "1", "--samples", "20", "--workers", "0"),
    ],
    "examine": ["examine", NET, "--data", "digits", "--epochs", "1"],
    "compare": ["compare", "runs/a", "runs/b"],
    "similarity": ["similarity", NET, "mlp[8]", "--data", DATA, "--permutations", "40"],
}
FIRST = {
    "init": ("scheme", {"orthogonal", "zeros"}),
    "compare": ("table", {"made/layers"}),
    "similarity": ("of", {"a", "b"}),
}
"""The first column of a command's main table, and what is in it; of the others the layers."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_something_and_returns_0(name, capsys):
    """Each command runs with its defaults and writes a few lines to standard output only."""
    two_runs()
    assert main(COMMANDS[name]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) >= 3
    assert shown.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_one_strict_document(name, capsys):
    """With --json, standard output is one document that a strict parser reads, also while a run and page are kept."""
    two_runs()
    assert main([*COMMANDS[name], "--json", "--out", "kept"]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["study" if name != "examine" else "run"]
    assert na.open_run("kept").page.exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_csv_is_a_table(name, capsys):
    """With --csv, standard output is the main table: a header, and as many fields in every row."""
    two_runs()
    assert main([*COMMANDS[name], "--csv"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    first, among = FIRST.get(name, ("layer", {"fc1", "head"}))
    assert rows[0][0] == first
    assert {len(row) for row in rows} == {len(rows[0])}
    assert among <= {row[0] for row in rows}


def test_the_commands_numbers_are_the_librarys(capsys):
    """What the shell prints is what Python returns for the same spec, data and seed."""
    assert main(["channels", NET, "--data", DATA, "--seed", "3", "--layers", "fc*", "head", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    result = na.channel_profile(na.build(NET, seed=3), DATA, ["fc*", "head"])
    assert [row["layer"] for row in rows] == ["fc1", "head"]
    for column in ("y_rms", "gy_norm", "y_zero_share"):
        np.testing.assert_array_equal([float(row[column]) for row in rows], result.tables["layers"].columns[column])


def test_summary_takes_an_input_size(capsys):
    """--input-size takes the size with the batch, as its help says, for a model that does not know its own."""
    assert main(["summary", "tests.pages:unlearned", "--input-size", "1", "1", "8", "8", "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert tables["totals"][0]["parameters"] == 610
    assert tables["layers"][0]["input"] == "[1, 1, 8, 8]"


def dead_weights():
    """Weights of NET with a silent hidden layer."""
    state = dict(na.build(NET).state_dict())
    state["fc1.bias"] = state["fc1.bias"] - 1e4
    save_file(state, "dead.safetensors")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([NET, "--weights", "dead.safetensors", "--fail-on", "finding"], 1),
        ([NET, "--weights", "dead.safetensors", "--fail-on", "warning"], 1),
        ([NET, "--weights", "dead.safetensors"], 0),
        ([NET, "--fail-on", "finding"], 0),
        (["tests.pages:unlearned", "--fail-on", "finding"], 0),
        (["tests.pages:unlearned", "--fail-on", "warning"], 1),
    ],
)
def test_fail_on_decides_the_exit_code(words, code, capsys):
    """A finding counts for both, a warning for `warning` only, and nothing counts unless asked."""
    dead_weights()
    assert main(["channels", *words, "--data", DATA]) == code
    assert ("finding: " in capsys.readouterr().out) == ("dead.safetensors" in words)


def test_fail_on_holds_for_an_examination_and_for_checkpoints(capsys):
    """An examination with findings is kept, its page written, and the exit code is 1; so for one bad checkpoint."""
    dead_weights()
    told = [NET, "--data", DATA, "--fail-on", "finding"]
    assert main(["examine", *told, "--weights", "dead.safetensors", "--out", "run"]) == 1
    assert capsys.readouterr().out.startswith("finding: ")
    assert na.open_run("run").page.exists()
    assert main(["channels", *told, "--checkpoints", "*.safetensors"]) == 1
    assert "finding: dead.safetensors: act1: 16 of 16" in capsys.readouterr().out


def test_checkpoints_are_a_row_each(capsys):
    """Each file of weights is a row, in the order of the names, with the counts of its own profile."""
    for step in (2, 1, 3):
        saved(f"step{step}.safetensors", seed=step)
    assert main(["channels", NET, "--data", DATA, "--checkpoints", "step*.safetensors", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["checkpoint"] for row in rows] == [f"step{step}.safetensors" for step in (1, 2, 3)]
    for step, row in enumerate(rows, 1):
        states = na.channel_profile(na.build(NET, seed=step), DATA).tables["channels"].columns["state"].tolist()
        assert {name: int(row[name]) for name in set(states)} == {name: states.count(name) for name in set(states)}
        assert int(row["channels"]) == len(states)
    assert main(["channels", NET, "--data", DATA, "--checkpoints", "step*.safetensors", "--out", "run"]) == 0
    assert na.open_run("run").result("checkpoints").provenance["weights"] == [row["checkpoint"] for row in rows]


def test_report_and_runs_find_what_was_kept(capsys):
    """A page is written again, byte for byte, and the runs of a folder are listed, the newest first."""
    assert main(["examine", NET, "--data", "digits", "--epochs", "1"]) == 0
    assert main(["summary", NET, "--out", "runs/other"]) == 0
    page = na.open_run("runs/examine-001").page
    before = page.read_bytes()
    page.unlink()
    capsys.readouterr()
    assert main(["report", "runs/examine-001"]) == 0
    assert (capsys.readouterr().out, page.read_bytes()) == (f"{page}\n", before)
    assert main(["report", "runs/examine-001", "--out", "elsewhere.html"]) == 0
    capsys.readouterr()
    assert main(["runs"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["other", "examine-001"]
    assert main(["runs", "runs", "--json"]) == 0
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == ["finished", "finished"]


def test_an_interrupted_command_says_so(monkeypatch, capsys):
    """Ctrl-C is one line and 130; what was measured until then is in the run."""
    monkeypatch.setattr("netassay.training.evaluate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main([*COMMANDS["examine"], "--out", "run"]) == 130
    assert capsys.readouterr().err == "netassay: interrupted; a run keeps what was measured until then\n"
    assert na.open_run("run").status == "failed"


def test_an_error_of_netassay_is_one_line_or_a_traceback(monkeypatch, capsys):
    """Exit code 3 and one line that says how to report it; with --debug the traceback too, and the same code."""
    monkeypatch.setattr("netassay.commands.networks.summarize", lambda *_: 1 / 0)
    assert main(["summary", NET]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "ZeroDivisionError: division by zero" in err
    assert "again with --debug" in err
    assert main(["summary", NET, "--debug"]) == 3
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    assert main(["--debug", "summary", "resnet19"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_study_killed_while_its_run_was_written_goes_on(capsys, monkeypatch):
    """The same command clears the beginning of a run, trains nothing anew, and ends; a run that ended is refused."""
    words = [*COMMANDS["init"], "--out", "kept"]
    assert main(words) == 0
    for name in ("run.db", "index.html"):
        os.remove(f"kept/{name}")
    with open("kept/run.db", "wb"):
        pass
    capsys.readouterr()
    monkeypatch.setattr("netassay.studies.init_cell._cell", lambda asked: pytest.fail("it trained again"))
    assert main(words) == 0
    assert na.open_run("kept").page.exists()
    assert main(words) == 2
    assert "it holds a run already" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused(capsys):
    """A file in its way is a sentence and no traceback, before anything is trained."""
    with open("file", "w"):
        pass
    assert main([*COMMANDS["init"], "--out", "file/kept"]) == 2
    assert "it cannot be made" in capsys.readouterr().err


def test_help_lists_every_command_and_option(capsys):
    """The front page names every command, and each command's help its options."""
    assert main(["--help"]) == 0
    front = capsys.readouterr().out
    assert all(name in front for name in cli.COMMANDS)
    assert "Exit codes" in front
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        told = capsys.readouterr().out
        options = ("--json", "--csv", "--out", "--fail-on", *(() if name == "compare" else ("--seed", "--device")))
        assert all(option in told for option in options)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == na.__version__


def test_help_and_version_import_no_torch():
    """The front page comes at once: neither torch nor numpy is imported for it."""
    program = "import sys; from netassay.cli import main; code = main(sys.argv[1:]);"
    program += "print(code, {'torch', 'numpy', 'matplotlib'} & set(sys.modules))"
    for word in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", program, word], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "0 set()"


def test_in_a_process_json_stands_alone_and_progress_is_on_standard_error():
    """The document is all of standard output; what takes longer than two seconds is told in plain lines beside it."""
    words = ["examine", "resnet[1]:width=8", "--data", "digits:size=16", "--epochs", "1000", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "netassay", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        told = child.stderr.readline()
        child.send_signal(signal.SIGINT)
        out, rest = child.communicate(timeout=60)
    assert told.startswith("train: ")
    assert "s left - epoch" in told
    assert "\x1b" not in told + rest
    assert (out, child.returncode) == ("", 130)
    assert rest.splitlines()[-1] == "netassay: interrupted; a run keeps what was measured until then"
    assert len(na.open_run("runs/examine-001").series("training loss")) > 0
    done = shell("channels", NET, "--data", DATA, "--json")
    assert json.loads(done.stdout, parse_constant=pytest.fail)["study"] == "channel_profile"
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_reader_that_leaves_is_no_error():
    """`netassay runs | head -0` prints no complaint, from netassay or from Python."""
    with create("runs/one", model="m"):
        pass
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "netassay", "runs"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_exchange_has_the_librarys_numbers_its_claims_and_its_rows(capsys):
    """Layers as CSV; claims in words; checkpoints a row each; an unknown extra is refused."""
    assert main(["exchange", NET, "--data", DATA, "--seed", "3", "--objective", "entropy", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    wanted = na.exchange_map(na.build(NET, seed=3), DATA, objective="entropy").table("layers")
    assert [row["layer"] for row in rows] == [row["layer"] for row in wanted]
    assert float(rows[0]["exchanged"]) == pytest.approx(wanted[0]["exchanged"])
    assert main(["exchange", NET, "--data", DATA]) == 0
    assert "Emission varies more between channels than absorption: " in capsys.readouterr().out
    saved("step1.safetensors")
    assert main(["exchange", NET, "--data", DATA, "--checkpoints", "*.safetensors", "--csv"]) == 0
    assert "emission_variation" in capsys.readouterr().out
    assert main(["exchange", NET, "--data", DATA, "--also", "bloks"]) == 2
    assert "'blocks'" in capsys.readouterr().err
    assert main(["exchange", NET, "--data", DATA, "--skip", "*"]) == 2
    assert "no layer with a weight is left" in capsys.readouterr().err
