"""Manifests from a file, a directory, a text and dictionaries; directories that a control plane must not take over."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from testbed.controlplane import ControlPlane
from testbed.controlplane.api import api_root
from testbed.controlplane.cluster import read_manifests
from testbed.controlplane.local import _make_directory
from testbed.toolchain.progress import Progress

A, B = {"kind": "A"}, {"kind": "B"}


def test_a_directory_gives_its_yaml_files_in_order_without_kustomizations(tmp_path: Path) -> None:
    (tmp_path / "2.yml").write_text("kind: B\n")
    (tmp_path / "1.yaml").write_text("---\nkind: A\n---\n# nothing\n")
    (tmp_path / "3.yaml").write_text("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n")
    (tmp_path / "notes.txt").write_text("kind: C\n")
    assert read_manifests(tmp_path) == [A, B]
    assert read_manifests(tmp_path / "2.yml") == [B]


def test_text_and_dictionaries() -> None:
    assert read_manifests("kind: A\n---\nkind: B\n") == [A, B]
    assert read_manifests(A) == [A]
    assert read_manifests(entry for entry in (A, B)) == [A, B]


def test_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no YAML file"):
        read_manifests(tmp_path)


def test_api_roots() -> None:
    assert api_root("v1") == "/api/v1"
    assert api_root("regent.dev/v1alpha1") == "/apis/regent.dev/v1alpha1"


def test_a_directory_with_something_in_it_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="is not empty: give a control plane a directory of its own"):
        _make_directory("x", tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 100)
    with pytest.raises(ValueError, match="too long a path for a socket"):
        _make_directory("x", directory)
    assert not directory.exists()


def test_a_network_namespace_needs_an_address() -> None:
    with pytest.raises(ValueError, match="needs an advertise_address"):
        ControlPlane.start(netns="somewhere")


def test_progress_in_a_log_comes_at_intervals_only() -> None:
    log = io.StringIO()
    progress = Progress(stream=log, interval=3600)
    for _ in range(5):
        progress.tick("building x")
    progress.say("done")
    assert log.getvalue().splitlines() == ["building x, 0 s so far", "done"]
