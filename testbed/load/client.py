"""`python -m testbed.load.client`: sends a given number of requests per second and writes one line for each.

An open loop: a request leaves at its time whether or not earlier ones are answered, as with many independent users,
so that an outage is seen by every request it would have hit. Runs in a process of its own, away from the test's event
loop. As browsers do, the client library sends a GET once more when a kept connection was closed before the answer.
Lines on standard output: `sent latency outcome status region`, with monotonic seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time

import aiohttp

_CONNECTIONS = 2000


async def run(arguments: argparse.Namespace) -> None:
    """Send until the count or the time is reached, or SIGTERM; then wait for the answers that are due."""
    stopped = asyncio.Event()
    for interrupt in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(interrupt, stopped.set)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS, force_close=arguments.connections == "fresh")
    headers = {"host": arguments.host} if arguments.host else {}
    timeout = aiohttp.ClientTimeout(total=arguments.timeout)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        requests: set[asyncio.Task[None]] = set()
        start = time.monotonic()
        for number in range(arguments.count):
            due = start + number / arguments.rate
            if due - start > arguments.duration:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), max(due - time.monotonic(), 0.0))
            if stopped.is_set():
                break
            request = asyncio.create_task(_request(session, arguments.url))
            requests.add(request)
            request.add_done_callback(requests.discard)
        await asyncio.gather(*requests)


async def _request(session: aiohttp.ClientSession, url: str) -> None:
    sent = time.monotonic()
    status, region = 0, ""
    try:
        async with session.get(url, allow_redirects=False) as answer:
            await answer.read()
            status, region = answer.status, answer.headers.get("x-region", "")
            outcome = "good" if status < 500 else "status"
    except TimeoutError:
        outcome = "timeout"
    except aiohttp.ClientConnectorError:
        outcome = "refused"
    except aiohttp.ClientError:
        outcome = "broken"
    sys.stdout.write(f"{sent:.6f} {time.monotonic() - sent:.6f} {outcome} {status} {region}\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line and send."""
    parser = argparse.ArgumentParser(prog="python -m testbed.load.client")
    parser.add_argument("url")
    parser.add_argument("--host", default="", help="the Host header, when it is not the URL's")
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds until a request counts as lost")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds")
    parser.add_argument("--connections", choices=["kept", "fresh"], default="kept")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
