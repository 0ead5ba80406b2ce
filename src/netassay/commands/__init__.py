"""Commands: what each word of the command line does. Arguments in, an exit code out; printing is `terminal`'s."""

from netassay.commands.flows import flow
from netassay.commands.kept import compare, report_, runs
from netassay.commands.networks import capture, channels, exchange, summary
from netassay.commands.similarities import similarity
from netassay.commands.trainings import examine, init

__all__ = [
    "capture",
    "channels",
    "compare",
    "examine",
    "exchange",
    "flow",
    "init",
    "report_",
    "runs",
    "similarity",
    "summary",
]
