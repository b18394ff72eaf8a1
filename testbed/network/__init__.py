"""Network namespaces with real addresses for simulated regions, and faults on their links.

`namespaces` builds and removes them, `faults` breaks a link on command, `subnets` lets several test runs live side by
side, `commands` runs `ip` and `nft`, and `processes` starts programs that never outlive their owner.
"""

from testbed.network.commands import NetworkError
from testbed.network.namespaces import NetworkNamespace, NetworkNamespaces
from testbed.network.processes import spawn

__all__ = ["NetworkError", "NetworkNamespace", "NetworkNamespaces", "spawn"]
