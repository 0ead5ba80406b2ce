"""The front door in a shell: words, help and exit codes. Imports no torch; a command's module comes when it runs."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from netassay import __version__
from netassay.errors import InternalError, NetassayError

COMMANDS = {
    "examine": "Open a network end to end: findings, figures and a page.",
    "channels": "What every channel carries, and which are dead.",
    "exchange": "How much gradient every channel absorbs and emits, exactly.",
    "init": "What each initialisation does at the start, and what training makes of it.",
    "flow": "How gradient flows through a training: its law, what is sick, the cause, the remedy.",
    "similarity": "Which layers of two networks are alike, calibrated against chance, and in what pattern.",
    "summary": "Layers, shapes, parameters, multiply-adds, memory.",
    "capture": "One batch at each layer, forward and backward.",
    "compare": "Two runs of any study beside each other, with intervals of the differences.",
    "report": "Write the page of a run again.",
    "runs": "List the runs of a folder.",
}
HELP = """See inside a neural network: what every channel carries and where gradient arrives.

Begin with `netassay examine`: it trains a small network on data inside the package and opens it up.

Exit codes: 0; 1 findings, with --fail-on; 2 bad input; 3 an error of netassay (--debug for the traceback).
"""


def app() -> App:
    """Build the command line."""
    made = App(
        name="netassay", help=HELP, version=__version__, help_format="markdown", suppress_keyboard_interrupt=False
    )
    for name, told in COMMANDS.items():
        made.command(f"netassay.commands:{'report_' if name == 'report' else name}", name=name, help=told)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        code = int(app()(words, exit_on_error=False, print_error=False, result_action="return_value") or 0)
        sys.stdout.flush()
        return code
    except CycloptsError as error:
        return _refuse(str(error), 2)
    except NetassayError as error:
        return _refuse(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        return _refuse("interrupted; a run keeps what was measured until then", 130, debug)
    except BrokenPipeError:
        # Whoever read has left (`netassay runs | head`); Python would flush, and complain, once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return _refuse(f"not enough memory for this: {str(error) or 'ask for less'}", 2, debug)
        told = InternalError(
            "run " + " ".join(words), f"{type(error).__name__}: {error}", "again with --debug, and report it"
        )
        return _refuse(" ".join(str(told).split()), told.exit_code, debug)


def _refuse(sentence: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"netassay: {sentence}", file=sys.stderr)
    return code


def run() -> None:
    """Leave with the exit code of the command in `sys.argv`."""
    sys.exit(main())
