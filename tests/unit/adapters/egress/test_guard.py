"""Which addresses are refused, in every way to write them."""

from __future__ import annotations

import pytest

from regent.adapters.egress.guard import METADATA, refusal

LOCAL = [
    "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe", "169.254.1.1", "fe80::1", "fe80::1%eth0", "febf::1",
    "::ffff:169.254.0.1",
]  # fmt: skip
NEVER = [
    "0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1",
    "::ffff:255.255.255.255", "64:ff9b::0", "2002::",
]  # fmt: skip
FINE = ["10.0.0.1", "192.168.1.1", "172.16.0.1", "8.8.8.8", "2001:4860:4860::8888", "fd12:3456::1", "100.64.0.1",
        "::ffff:10.0.0.1", "64:ff9b::808:808", "2002:808:808::"]  # fmt: skip


@pytest.mark.parametrize("address", LOCAL)
def test_loopback_and_link_local_need_the_setting(address: str) -> None:
    assert "egress.allowLoopback" in refusal(address, allow_loopback=False)
    assert not refusal(address, allow_loopback=True)


@pytest.mark.parametrize("address", [*NEVER, *sorted(map(str, METADATA)), "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe"])
def test_some_are_never_called(address: str) -> None:
    assert refusal(address, allow_loopback=True)
    assert refusal(address, allow_loopback=False)


@pytest.mark.parametrize("address", FINE)
def test_others_are(address: str) -> None:
    assert not refusal(address, allow_loopback=False)
