"""netassay opens up a PyTorch network: what every channel carries, and where gradient arrives.

Names resolve on first use (PEP 562), so importing netassay imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

PUBLIC = {
    "ADAPTERS": "netassay.stitching",
    "Batch": "netassay.data.batches",
    "Claim": "netassay.result",
    "INITS": "netassay.inits",
    "MEASURES": "netassay.measures",
    "Result": "netassay.result",
    "Run": "netassay.store",
    "Verdict": "netassay.result",
    "absorption": "netassay.exchange",
    "blocks": "netassay.rules",
    "build": "netassay.zoo",
    "capture": "netassay.capturing",
    "channel_profile": "netassay.studies.channel_profile",
    "compare": "netassay.comparing",
    "emission": "netassay.exchange",
    "examine": "netassay.front",
    "exchange_map": "netassay.studies.exchange_map",
    "flow_profile": "netassay.studies.flow_profile",
    "flow_study": "netassay.studies.flow_study",
    "identify_init": "netassay.inits",
    "init_study": "netassay.studies.init_study",
    "initialize": "netassay.inits",
    "load_data": "netassay.data",
    "open_run": "netassay.store",
    "prescribe": "netassay.studies.prescribe",
    "select": "netassay.layers",
    "signal": "netassay.studies.signal",
    "similarity": "netassay.measures",
    "similarity_map": "netassay.studies.similarity_map",
    "similarity_trend": "netassay.studies.similarity_trend",
    "stitch_grid": "netassay.studies.stitch_grid",
    "stitch_trend": "netassay.studies.stitch_trend",
    "summary": "netassay.studies.summary",
    "visit": "netassay.capturing",
    "watch": "netassay.front",
}

__all__ = sorted(PUBLIC)


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'netassay' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
