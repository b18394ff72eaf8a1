"""The kind back end as far as it goes without Docker: its commands, and what it says where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.controlplane import ControlPlaneError, kind, start_cluster


def script(directory: Path, name: str, body: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{body}\n")
    (directory / name).chmod(0o755)


def test_create_writes_into_a_kubeconfig_of_its_own() -> None:
    command = kind.create_command("dev", kubeconfig=Path("/k"), config=Path("/c.yaml"))
    assert command == [
        *("kind", "create", "cluster", "--name", "regent-dev", "--image", kind.NODE_IMAGE),
        *("--kubeconfig", "/k", "--wait", "180s", "--config", "/c.yaml"),
    ]
    assert "--config" not in kind.create_command("dev", kubeconfig=Path("/k"), config=None)


def test_delete_and_logs_name_the_cluster_that_create_made() -> None:
    assert kind.delete_command("dev", kubeconfig=Path("/k")) == [
        *("kind", "delete", "cluster", "--name", "regent-dev", "--kubeconfig", "/k")
    ]
    assert kind.logs_command("dev", directory=Path("/l")) == [*("kind", "export", "logs", "/l", "--name", "regent-dev")]


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ({}, "needs `kind` on the PATH"),
        ({"kind": "exit 0"}, "needs `docker` on the PATH"),
        ({"kind": "exit 0", "docker": "echo Cannot connect >&2; exit 1"}, r"does not answer \(Cannot connect\)"),
    ],
)
def test_what_is_missing_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: dict[str, str], message: str
) -> None:
    for name, body in present.items():
        script(tmp_path, name, body)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REGENT_CLUSTER", "kind")
    with pytest.raises(ControlPlaneError, match=f"{message}.*unset REGENT_CLUSTER"):
        start_cluster()


def test_a_cluster_that_did_not_come_up_is_deleted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "docker", "exit 0")
    script(tmp_path, "kind", f'echo "$@" >> {tmp_path}/calls\n[ "$1" != create ] || {{ echo no space >&2; exit 1; }}')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ControlPlaneError, match="no space"):
        kind.KindCluster.start(name="x", workdir=tmp_path / "work")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["create", "delete"]


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGENT_CLUSTER", "minikube")
    with pytest.raises(ValueError, match=r"REGENT_CLUSTER is 'minikube': use `local` .* or `kind`"):
        start_cluster()
