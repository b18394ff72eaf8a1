"""PostgreSQL under Patroni in two regions, a service that writes to it, and a client that counts what was lost.

`cluster` starts the two Patroni clusters (the second is the standby cluster of the first) in network namespaces and
breaks them on command; `app` is the writer service of a region; `writer` is a client that writes increasing integers
and remembers which of them were acknowledged; `environment` brings Patroni itself. Needs root: PostgreSQL runs as the
user postgres.
"""

from testbed.database.cluster import Databases
from testbed.database.environment import DatabaseError
from testbed.database.region import Database
from testbed.database.writer import Outcome, Write, WriterLoop, Writes

__all__ = ["Database", "DatabaseError", "Databases", "Outcome", "Write", "WriterLoop", "Writes"]
