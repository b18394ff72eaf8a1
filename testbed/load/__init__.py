"""A steady stream of client requests, and what became of each: how long an outage was, as a client saw it.

`client` is the program that sends (`python -m testbed.load.client`), `loop` its handle, and `timeline` turns the
records into figures.
"""

from testbed.load.loop import ClientLoop, Connections
from testbed.load.timeline import Outcome, Record, Timeline

__all__ = ["ClientLoop", "Connections", "Outcome", "Record", "Timeline"]
