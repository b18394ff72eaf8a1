"""Which namespace a command is about, and what happens when that cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from regent.cli.kubeconfig import namespace_of
from regent.cli.main import main
from regent.cli.options import ClusterOptions
from regent.domain.errors import SettingsError


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    contexts = [
        {"name": "eu", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
        {"name": "us", "context": {"cluster": "c", "user": "u"}},
    ]
    path = tmp_path / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "eu",
        "contexts": contexts,
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_context_gives_the_namespace(kubeconfig: Path) -> None:
    assert namespace_of(ClusterOptions(kubeconfig=str(kubeconfig))) == "shop"
    assert namespace_of(ClusterOptions(kubeconfig=str(kubeconfig), context="us")) == "default"


def test_the_option_wins(kubeconfig: Path) -> None:
    assert namespace_of(ClusterOptions(kubeconfig=str(kubeconfig), namespace="other")) == "other"


def test_the_environment_names_the_file(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{kubeconfig.parent}/nothing:{kubeconfig}")
    assert namespace_of(ClusterOptions()) == "shop"


def test_the_home_directory_is_the_last_place(kubeconfig: Path) -> None:
    assert namespace_of(ClusterOptions()) == "default"
    (kubeconfig.parent / ".kube").mkdir()
    kubeconfig.rename(kubeconfig.parent / ".kube" / "config")
    assert namespace_of(ClusterOptions()) == "shop"


def test_an_unknown_context_is_said(kubeconfig: Path) -> None:
    with pytest.raises(SettingsError, match="--namespace"):
        namespace_of(ClusterOptions(kubeconfig=str(kubeconfig), context="mars"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["region", "list"], "no cluster: give --kubeconfig"),
        (["--kubeconfig", "/nowhere/config", "region", "list"], "does not exist"),
        (["--context", "mars", "--kubeconfig", "FILE", "region", "list"], "mars"),
        (["region", "list", "--output", "xml"], "'xml' is not one of"),
        (["regions"], "No such command 'regions'"),
    ],
)
def test_wrong_use_ends_with_code_2_and_says_what_to_do(kubeconfig: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, [str(kubeconfig) if text == "FILE" else text for text in arguments])
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_an_api_server_that_does_not_answer_ends_with_code_1(kubeconfig: Path) -> None:
    result = CliRunner().invoke(main, ["--kubeconfig", str(kubeconfig), "region", "list"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: list Region: ")
    assert len(result.output.splitlines()) == 1
