"""`python -m testbed.database.client URL`: writes increasing integers at a steady pace, one line for each.

An open loop in a process of its own, as `testbed.load.client`: the next integer leaves at its time whether or not the
ones before were answered, and none is sent twice. Lines on standard output: `n sent latency outcome status region`,
with monotonic seconds. `acknowledged` is an answer 200; `failed` only what surely was not written (the service says
so, or there was no connection); everything else is `unknown`: the database may have it or not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time

import aiohttp

_CONNECTIONS = 500


async def run(arguments: argparse.Namespace) -> None:
    """Write until the count is reached, or SIGTERM; then wait for the answers that are due."""
    stopped = asyncio.Event()
    for interrupt in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(interrupt, stopped.set)
    headers = {"host": arguments.host} if arguments.host else {}
    timeout = aiohttp.ClientTimeout(total=arguments.timeout)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        writes: set[asyncio.Task[None]] = set()
        start = time.monotonic()
        for number in range(arguments.count):
            due = start + number * arguments.interval
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), max(due - time.monotonic(), 0.0))
            if stopped.is_set():
                break
            write = asyncio.create_task(_write(session, arguments.url + "/write", arguments.first + number))
            writes.add(write)
            write.add_done_callback(writes.discard)
        await asyncio.gather(*writes)


async def _write(session: aiohttp.ClientSession, url: str, number: int) -> None:
    sent = time.monotonic()
    outcome, status, region = "unknown", 0, ""
    try:
        async with session.post(url, json={"n": number}, allow_redirects=False) as answer:
            await answer.read()
            status, region = answer.status, answer.headers.get("x-region", "")
            if status == 200:
                outcome = "acknowledged"
            elif answer.headers.get("x-outcome") == "refused":
                outcome = "failed"
    except aiohttp.ClientConnectorError:
        outcome = "failed"
    except (TimeoutError, aiohttp.ClientError):
        pass
    sys.stdout.write(f"{number} {sent:.6f} {time.monotonic() - sent:.6f} {outcome} {status} {region}\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(prog="python -m testbed.database.client")
    parser.add_argument("url")
    parser.add_argument("--host", default="", help="the Host header, when it is not the URL's")
    parser.add_argument("--interval", type=float, default=0.02, help="seconds between two writes")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds until a write is given up")
    parser.add_argument("--first", type=int, default=1, help="the first integer")
    parser.add_argument("--count", type=int, default=1_000_000)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
