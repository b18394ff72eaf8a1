"""`regent crds` prints what crds/ holds."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from click.testing import CliRunner

from regent.cli.main import main

CRDS = Path(__file__).resolve().parents[3] / "crds"


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["crds", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_yaml_is_what_the_repository_holds() -> None:
    stored = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CRDS.glob("*.yaml"))]
    shown = sorted(yaml.safe_load_all(printed()), key=lambda crd: str(crd["metadata"]["name"]))
    assert shown == stored
    assert "&id" not in printed(), "anchors are for machines"


def test_json_is_a_list() -> None:
    assert len(json.loads(printed("-o", "json"))["items"]) == len(list(CRDS.glob("*.yaml")))


def test_table_names_them() -> None:
    assert "regions.regent.dev\n" in printed("-o", "table")
