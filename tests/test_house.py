"""The house: which room may import which, how large a room may grow, and what each works without."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

import netassay
from tests.house import MODULES, functions, imports, public

# Each room and the rooms it imports, lower floors first. An edge that is not here, or no longer in the code, fails.
DIRECTIONS = {
    "errors": "",
    "named": "",
    "result": "errors named; late: plots report",
    "seeds": "errors",
    "spec": "errors",
    "progress": "",
    "counting": "",
    "streams": "errors",
    "shape": "errors streams",
    "rules": "errors",
    "exchange": "rules",
    "inference": "errors",
    "flow": "inference named result",
    "verdicts": "flow inference named result",
    "meanfield": "errors",
    "layers": "errors",
    "quiet": "seeds",
    "records": "errors layers quiet",
    "reactions": "",
    "hooks": "layers reactions records",
    "capturing": "errors hooks layers records",
    "inits": "capturing errors layers quiet records result seeds",
    "axes": "errors records",
    "cutting": "axes capturing counting errors hooks layers quiet records seeds",
    "watching": "axes capturing errors flow hooks layers reactions records result shape verdicts",
    "measures": "errors inference result seeds spec",
    "patterns": "errors inference",
    "stitching": "counting errors inference measures seeds spec",
    "objectives": "errors",
    "training": "errors objectives quiet seeds",
    "zoo": "errors seeds spec",
    "data": "errors seeds spec",
    "engine": "errors progress",
    "studies": "axes capturing counting cutting data engine errors exchange flow hooks inference inits layers "
    "meanfield measures objectives patterns progress quiet records result rules seeds shape spec stitching streams "
    "training verdicts watching zoo",
    "store": "errors result",
    "comparing": "errors inference result store",
    "figures": "errors patterns result",
    "plots": "errors figures result",
    "report": "errors figures result store",
    "front": "objectives report result store studies watching",
    "terminal": "report result store verdicts",
    "options": "errors store zoo",
    "commands": "comparing data errors front objectives options quiet report result spec stitching store studies "
    "terminal training zoo",
    "cli": "errors",
    "testing": "rules",
    "__main__": "cli",
}
WITHOUT_TORCH = (
    "errors",
    "result",
    "spec",
    "inference",
    "meanfield",
    "flow",
    "verdicts",
    "engine",
    "store",
    "patterns",
    "comparing",
    "figures",
    "plots",
    "report",
    "terminal",
)
LONGEST, MEMORABLE = 250, 20


@pytest.mark.parametrize("room", sorted({room for room, _ in MODULES} - {"netassay"}))
def test_rooms_import_what_the_table_says_and_nothing_else(room):
    """Directions hold edge by edge; an edge inside a function counts, and is named as late."""
    always, _, late = DIRECTIONS[room].partition("; late: ")
    assert imports(room, late=False) == set(always.split())
    assert imports(room, late=True) - imports(room, late=False) == set(late.split())


def test_directions_have_no_circle():
    """Read in the order of the table, a room imports only what stands before it."""
    order = list(DIRECTIONS)
    for room, allowed in DIRECTIONS.items():
        for below in allowed.partition("; late: ")[0].split():
            assert order.index(below) < order.index(room), f"{room} imports {below}"


def test_one_file_registers_hooks():
    """Nothing but `hooks` touches a model's hooks."""
    found = {path.name for _, path in MODULES if ".register_" in path.read_text() and "_hook(" in path.read_text()}
    assert found == {"hooks.py"}


@pytest.mark.parametrize("path", [path for _, path in MODULES], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_is_a_room(path):
    """A file has at most 250 lines, and says in its first line what it is for."""
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text))


def test_functions_are_short():
    """Nine functions of ten have under 20 lines."""
    lengths = sorted(length for _, path in MODULES for length in functions(path))
    assert lengths[int(0.9 * len(lengths))] < MEMORABLE


@pytest.mark.parametrize("name", netassay.__all__)
def test_public_names_are_documented(name):
    """Every public name resolves, begins its docstring with a sentence, and shows itself at work once."""
    thing = getattr(netassay, name)
    first = (thing.__doc__ or "").strip().split("\n")[0]
    assert first.endswith((".", ":")), first
    assert ">>>" in public(thing)


def test_unknown_name_lists_what_there_is():
    """A name that netassay lacks is answered with those it has."""
    with pytest.raises(AttributeError, match=r"no attribute 'exmaine'; it has .*examine"):
        importlib.import_module("netassay").exmaine  # noqa: B018


def fresh(program):
    """Run a program in a process of its own; return what it printed."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_netassay_imports_nothing_heavy():
    """`import netassay` brings neither torch nor numpy."""
    program = "import sys, netassay; print({'torch', 'numpy', 'matplotlib', 'rich'} & set(sys.modules))"
    assert fresh(program) == "set()\n"


BARRED = """
import sys
sys.modules.update(dict.fromkeys({barred!r}))
"""


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_keeping_and_showing_need_no_torch(room):
    """What keeps and shows results imports on a machine without torch."""
    fresh(BARRED.format(barred={"torch"}) + f"import netassay.{room}")


def test_a_run_is_read_and_its_page_written_without_torch(tmp_path):
    """A run folder copied to a machine without torch gives its results, its page and its figures."""
    netassay.examine("mlp[8]", "digits", epochs=1, out=tmp_path / "run")
    program = f"""
import netassay as na
from netassay.report import write_page
run = na.open_run({str(tmp_path / "run")!r})
page = run.page.read_bytes()
assert write_page(run).read_bytes() == page
run.results["channels/end"].plot()
print(run.labels)
"""
    assert "channels/end" in fresh(BARRED.format(barred={"torch"}) + program)


def test_the_library_works_with_torch_and_numpy_alone():
    """Studies, capture, models and data need none of the libraries that pages, plots and the shell do."""
    barred = {"safetensors", "jinja2", "cyclopts", "rich", "matplotlib", "PIL", "pyarrow", "scipy", "pandas", "tqdm"}
    program = """
import netassay as na
model, data = na.build("resnet[1]:width=4"), na.load_data("digits:size=8")
na.summary(model, input_size=(1, 3, 8, 8)).to_dict()
model = na.build("mlp[8]")
with na.capture(model, "*") as records:
    model(next(iter(data)).x)
result = na.channel_profile(model, data)
result.merge(result)
print(len(result.table("layers")))
"""
    assert fresh(BARRED.format(barred=barred) + program) == "3\n"
