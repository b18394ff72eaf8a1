"""A cached program is used only where everything that decides about it is the same."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from testbed.toolchain import catalog, store
from testbed.toolchain.catalog import MODULES, TOOLS, CommittedModule, DerivedModule, Tool
from testbed.toolchain.golang import GoToolchain

GO = GoToolchain(command="/usr/bin/go", version="go1.26.8", platform="linux-amd64")


def key(tool: Tool, go: GoToolchain = GO) -> str:
    return store.build_key(tool, go)


def test_the_key_stays_the_same_for_the_same_recipe() -> None:
    assert key(TOOLS["traefik"]) == key(dataclasses.replace(TOOLS["traefik"]))


@pytest.mark.parametrize(
    "change",
    [
        {"version": "v9.9.9"},
        {"module": "example.com/other"},
        {"package": "example.com/other/cmd"},
        {"variables": {"a.b": "c"}},
        {"source": DerivedModule(checksum="h1:other=")},
        {"source": CommittedModule("etcd")},
    ],
)
def test_every_part_of_a_tools_recipe_changes_the_key(change: dict[str, object]) -> None:
    tool = TOOLS["traefik"]
    assert key(dataclasses.replace(tool, **change)) != key(tool)


@pytest.mark.parametrize("change", [{"version": "go1.27.0"}, {"platform": "linux-arm64"}])
def test_the_go_release_and_the_platform_change_the_key(change: dict[str, str]) -> None:
    assert key(TOOLS["etcd"], dataclasses.replace(GO, **change)) != key(TOOLS["etcd"])


@pytest.mark.parametrize(
    ("tool", "file"), [("etcd", "etcd/go.sum"), ("kubectl", "kubernetes/go.mod"), ("traefik", "traefik/ext/ext.go")]
)
def test_a_change_in_a_committed_module_file_changes_the_key(
    tool: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(TOOLS[tool])
    copy = tmp_path / "modules"
    shutil.copytree(MODULES, copy)
    monkeypatch.setattr(store, "MODULES", copy)
    assert key(TOOLS[tool]) == before
    (copy / file).write_text((copy / file).read_text() + "\n")
    assert key(TOOLS[tool]) != before


def test_what_says_how_long_a_build_takes_does_not_change_the_key() -> None:
    assert key(dataclasses.replace(TOOLS["etcd"], first_build_seconds=1)) == key(TOOLS["etcd"])


@pytest.mark.parametrize("tool", [t for t in TOOLS.values() if isinstance(t.source, CommittedModule)], ids=str)
def test_a_committed_module_requires_the_catalogued_version_and_names_its_program(tool: Tool) -> None:
    assert isinstance(tool.source, CommittedModule)
    text = (MODULES / tool.source.directory / "go.mod").read_text()
    assert f"{tool.module} {tool.version}" in text
    assert tool.package in text


@pytest.mark.parametrize("tool", [t for t in TOOLS.values() if isinstance(t.source, DerivedModule)], ids=str)
def test_a_derived_module_has_a_pinned_hash_and_its_stand_ins_exist(tool: Tool) -> None:
    assert isinstance(tool.source, DerivedModule)
    assert tool.source.checksum.startswith("h1:")
    assert all((MODULES / stand_in / "go.mod").is_file() for _, stand_in in tool.source.replacements)


def test_kubernetes_reports_its_version_in_both_packages_that_are_asked() -> None:
    flags = TOOLS["kubectl"].linker_flags
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        assert f"-X {package}.gitVersion={catalog.KUBERNETES}" in flags
        assert f"-X {package}.gitMajor=1" in flags
