"""What the source says about itself, read from its syntax tree."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import netassay

ROOT = Path(netassay.__file__).parent


def room_of(path: Path) -> str:
    """Return the room that a file belongs to: its folder, or its own name."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "netassay" if first == "__init__" else first


MODULES = [(room_of(path), path) for path in sorted(ROOT.rglob("*.py"))]


def imports(room: str, *, late: bool) -> set[str]:
    """Return the other rooms that a room's files import; with `late`, inside functions too."""
    found: set[str] = set()
    for one, path in MODULES:
        if one == room:
            tree = ast.parse(path.read_text())
            inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
            nodes = [node for node in ast.walk(tree) if late or id(node) not in inside]
            found |= {target for node in nodes for target in targets(node)}
    return found - {room, "netassay"}


def targets(node: ast.AST) -> set[str]:
    """Return the rooms that an import statement names."""
    if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "netassay":
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names if alias.name.partition(".")[0] == "netassay"]
    else:
        names = []
    rooms = {room for room, _ in MODULES}
    return {name.split(".")[1] if "." in name else "netassay" for name in names} & rooms


def functions(path: Path) -> list[int]:
    """Return how many lines each function has, its docstring not counted."""
    lengths = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            told = node.body[0] if ast.get_docstring(node) else None
            doc = told.end_lineno - told.lineno + 1 if told is not None and told.end_lineno else 0
            lengths.append((node.end_lineno or node.lineno) - node.lineno + 1 - doc)
    return lengths


def public(thing: object) -> str:
    """Return all that a public name's docstrings say, those of a class's methods included."""
    methods = vars(thing).values() if inspect.isclass(thing) else ()
    return "\n".join(inspect.getdoc(one) or "" for one in (thing, *methods))
