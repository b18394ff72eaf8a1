"""Go that is missing, too old or broken, and archives with a wrong hash: each gives a sentence with the remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.toolchain import golang, upstream
from testbed.toolchain.errors import ToolchainError


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    golang.go_toolchain.cache_clear()
    yield
    golang.go_toolchain.cache_clear()


def fake_go(directory: Path, monkeypatch: pytest.MonkeyPatch, *, version: str, download: object = None) -> None:
    """A `go` of which only the answers are made up."""
    environment = json.dumps({"GOVERSION": version, "GOOS": "linux", "GOARCH": "amd64"})
    script = directory / "go"
    script.write_text(
        f"#!/bin/sh\necho run >> {directory}/calls\n"
        f"case \"$1\" in env) echo '{environment}';; mod) echo '{json.dumps(download)}';; esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go1.26.8", (1, 26, 8)),
        ("go1.27", (1, 27, 0)),
        ("go1.27rc1", (1, 27, 0)),
        ("devel go1.28-abcdef", (1, 28, 0)),
        ("nonsense", (0, 0, 0)),
    ],
)
def test_versions_are_read_as_numbers(text: str, expected: tuple[int, int, int]) -> None:
    assert golang.parse_version(text) == expected


def test_missing_go_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolchainError, match=r"no `go` on the PATH\. Install Go 1\.26\.0 or newer .*KUBEBUILDER_ASSETS"
    ):
        golang.go_toolchain()


def test_an_old_go_says_which_one_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(tmp_path, monkeypatch, version="go1.25.9")
    with pytest.raises(ToolchainError, match=r"go is go1\.25\.9, which is too old .*Go 1\.26\.0 or newer"):
        golang.go_toolchain()


def test_the_oldest_accepted_go_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_go(tmp_path, monkeypatch, version="go1.26.0")
    assert golang.go_toolchain().version == "go1.26.0"


def test_a_build_uses_the_local_toolchain_and_only_its_own_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-race")
    monkeypatch.setenv("GOTOOLCHAIN", "auto")
    environment = golang.go_environment("-mod=mod")
    assert environment["GOFLAGS"] == "-buildvcs=false -mod=mod"
    assert environment["GOTOOLCHAIN"] == "local"


def test_an_archive_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGENT_CACHE", str(tmp_path / "cache"))
    fake_go(tmp_path, monkeypatch, version="go1.26.8", download={"Dir": str(tmp_path), "Sum": "h1:forged="})
    with pytest.raises(ToolchainError, match="has the hash h1:forged=, but h1:pinned= is pinned"):
        upstream.module_directory("example.com/m", "v1.0.0", checksum="h1:pinned=")


def test_a_known_archive_asks_nobody_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGENT_CACHE", str(tmp_path / "cache"))
    fake_go(tmp_path, monkeypatch, version="go1.26.8", download={"Dir": str(tmp_path), "Sum": "h1:pinned="})
    assert upstream.module_directory("example.com/m", "v1.0.0", checksum="h1:pinned=") == tmp_path
    calls = (tmp_path / "calls").read_text()
    assert upstream.module_directory("example.com/m", "v1.0.0", checksum="h1:pinned=") == tmp_path
    assert (tmp_path / "calls").read_text() == calls
    with pytest.raises(ToolchainError, match="h1:newpin= is pinned"):
        upstream.module_directory("example.com/m", "v1.0.0", checksum="h1:newpin=")
