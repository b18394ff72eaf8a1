"""`python -m testbed.network -- COMMAND`: run a command as root of fresh user, network and mount namespaces.

For people without root: the network namespaces of the test bed can be made inside. There is no way out of it to any
other network, so what the command needs from the Internet must be there already.
"""

from __future__ import annotations

import os
import sys

from testbed.network.commands import tool

# `ip netns` keeps its names under /run, which only a file system of our own lets us write.
_PREPARE = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"'


def main(arguments: list[str]) -> None:
    """Replace this process by the command, run inside."""
    argv = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not argv:
        sys.exit("usage: python -m testbed.network -- COMMAND [ARGUMENT…]")
    unshare = tool("unshare")
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    os.execve(unshare, [unshare, "-Urnm", "sh", "-c", _PREPARE, "sh", *argv], environment)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
