"""A grid of independent cells, mapped over any executor, with a ledger from which a killed grid goes on."""

from netassay.engine.ledger import Status, status
from netassay.engine.payloads import Payload
from netassay.engine.running import grid

__all__ = ["Payload", "Status", "grid", "status"]
