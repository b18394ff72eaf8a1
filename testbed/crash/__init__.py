"""Ends a replica at an exact point of a run, and tells afterwards what became of the objects.

`program` is `regent run` with its boundaries told, `boundaries` the tests' end of it, `history` reads every version
that an object has had.
"""

from testbed.crash.boundaries import HEADER, PROGRAM, Boundaries, End, Reached, agent

__all__ = ["HEADER", "PROGRAM", "Boundaries", "End", "Reached", "agent"]
