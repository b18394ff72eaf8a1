"""The databases of the test bed themselves: what a killed run leaves, and what the writer service says."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from testbed.database.region import postmasters

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("patroni"),
]
ROOT = Path(__file__).resolve().parents[3]
ALONE = """
import sys, time
from testbed.database import Databases
from testbed.network import NetworkNamespaces
with NetworkNamespaces() as network, Databases(["alone"], network=network) as databases:
    print(databases["alone"].layout.directory, databases["alone"].app_url, flush=True)
    time.sleep(300)
"""


def post(url: str, body: bytes) -> tuple[int, str]:
    request = urllib.request.Request(url, data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, str(answer.headers.get("x-outcome", ""))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, str(error.headers.get("x-outcome", ""))


def test_a_killed_run_leaves_no_process_and_no_file_and_the_service_tells_the_truth_until_then() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", ALONE], stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        where, url = owner.stdout.readline().decode().split()
        directory, data = Path(where), Path(where) / "data"
        assert post(f"{url}/write", b'{"n": 7}') == (200, "")
        assert post(f"{url}/write", b'{"n": "x"}') == (400, "refused")
        assert post(f"{url}/elsewhere", b"{}")[0] == 404
        with urllib.request.urlopen(f"{url}/list", timeout=5) as answer:
            assert json.loads(answer.read()) == {"numbers": [7]}
            assert answer.headers["x-region"] == "alone"
        with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
            assert json.loads(answer.read())["role"] == "primary"
        assert postmasters(data)
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while postmasters(data) or directory.exists():
        assert time.monotonic() < deadline, (postmasters(data), directory.exists())
        time.sleep(0.1)
