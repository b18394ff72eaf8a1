"""Settings: precedence, and every mistake named with where it came from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regent.domain.errors import SettingsError
from regent.settings import MAX_FILE, Settings, fields, load, reference_markdown


def loaded(text: str = "", tmp_path: Path | None = None, environment: Any = None, **flags: Any) -> Settings:
    file = ""
    if tmp_path is not None:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        file = str(path)
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    return load(file=file, environment=environment or {}, flags=dotted)


def problems(*arguments: Any, **options: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(*arguments, **options)
    return str(caught.value).splitlines()


def test_defaults_are_those_of_the_contract() -> None:
    settings = loaded()
    assert settings.namespace == "regent-system"
    assert settings.http.address == "127.0.0.1:8080"
    assert settings.failover.startup_grace == 10
    assert settings.failover.suspend_all is False
    assert settings.egress.allow_loopback is False
    assert settings.secret_namespaces == []
    assert (settings.leader_election.lease_duration, settings.leader_election.renew_interval) == (5, 1)


def test_file_before_environment_before_flags(tmp_path: Path) -> None:
    text = "failover: {startupGrace: 1s, suspendAll: true}\nwatch: {resyncInterval: 1m}\nnamespace: from-file\n"
    environment = {"REGENT_WATCH__RESYNC_INTERVAL": "3m", "REGENT_NAMESPACE": "from-environment", "PATH": "/bin"}
    settings = loaded(text, tmp_path, environment, namespace="from-flag", http__address=None)
    assert settings.failover.startup_grace == 1
    assert settings.watch.resync_interval == 180
    assert settings.failover.suspend_all is True
    assert settings.namespace == "from-flag"


@pytest.mark.parametrize("name", ["REGENT_FAILOVER__SUSPEND_ALL", "REGENT_FAILOVER__SUSPENDALL"])
def test_environment_names_with_and_without_inner_underscores(name: str) -> None:
    assert loaded(environment={name: "true"}).failover.suspend_all is True


def test_lists_and_numbers_from_the_environment() -> None:
    environment = {"REGENT_SECRET_NAMESPACES": "team-a, team-b", "REGENT_RECONCILE__WORKERS": "4"}
    settings = loaded(environment=environment)
    assert settings.secret_namespaces == ["team-a", "team-b"]
    assert settings.reconcile.workers == 4


def test_all_problems_at_once_each_with_its_origin(tmp_path: Path) -> None:
    text = "failover: {startupGrace: soon, nonsense: 1}\nfailovr: {}\nreconcile: {workers: 0}\n"
    found = problems(text, tmp_path, {"REGENT_EGRESS__ALLOW_LOOPBACKS": "true", "REGENT_LOG__LEVEL": "loud"})
    text = "\n".join(found)
    assert len(found) == 6
    assert "failover.startupGrace (file" in text
    assert "such as 250ms, 2s or 1m30s" in text
    assert "failover.nonsense (file" in text
    assert "failovr" in text
    assert "did you mean failover" in text
    assert "reconcile.workers" in text
    assert "did you mean REGENT_EGRESS__ALLOW_LOOPBACK?" in text
    assert "log.level (environment REGENT_LOG__LEVEL)" in text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("failover: {startupGrace: 10}", "write a duration as text"),
        ("failover: {startupGrace: -1s}", "duration"),
        ("failover: {startupGrace: 11m}", "between 0s and 10m"),
        ("failover: {suspendAll: 7}", "boolean"),
        ("http: {address: localhost}", "host:port"),
        ("http: {address: 'nowhere:99999'}", "host:port"),
        ("http: {address: 'nowhere:80'}", "IPv4 or IPv6"),
        ("namespace: Not_A_Name", "pattern"),
        ("secretNamespaces: all", "list"),
        ("kubernetes: []", "dictionary"),
        ("failover: null", "dictionary"),
        ("leaderElection: {leaseDuration: 1500ms, renewInterval: 500ms}", "whole seconds"),
        ("leaderElection: {renewInterval: 3s}", "40 %"),
        ("- a list", "must be a mapping"),
        ("1: x", "must be a mapping"),
        ("a: [", "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_bad_values_say_what_to_write(text: str, word: str, tmp_path: Path) -> None:
    assert any(word in problem for problem in problems(text, tmp_path)), problems(text, tmp_path)


def test_a_missing_and_a_huge_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(file=str(tmp_path / "absent"), environment={}, flags={})
    with pytest.raises(SettingsError, match="larger than"):
        loaded("#" * (MAX_FILE + 1), tmp_path)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert loaded("", tmp_path) == Settings()


def test_service_links_of_kubernetes_are_not_settings() -> None:
    """Beside a Service named regent (or regent-metrics) every container gets these."""
    links = {
        "REGENT_SERVICE_HOST": "10.0.0.1",
        "REGENT_SERVICE_PORT": "8080",
        "REGENT_SERVICE_PORT_HTTP_METRICS": "8080",
        "REGENT_PORT": "tcp://10.0.0.1:8080",
        "REGENT_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "REGENT_PORT_8080_TCP_ADDR": "10.0.0.1",
        "REGENT_METRICS_SERVICE_HOST": "10.0.0.2",
    }
    assert loaded(environment=links) == Settings()


def test_other_variables_with_our_prefix_are_refused() -> None:
    assert problems(environment={"REGENT_FAILOVER_STARTUP_GRACE": "1s"}), "one underscore is a typo, not a setting"


def test_every_field_is_documented_and_in_the_reference() -> None:
    reference = reference_markdown()
    for key, field in fields():
        assert field.description, f"{key} has no text"
        assert f"| `{key}` |" in reference


def test_every_setting_can_be_set_by_the_environment_name_in_the_reference() -> None:
    rows = re.findall(r"\| `([\w.]+)` \| `(REGENT_\w+)` \| `(.*?)` \|", reference_markdown())
    assert len(rows) == len(list(fields()))
    environment = {variable: value.strip('"') for _, variable, value in rows if value != "[]"}
    assert loaded(environment=environment) == Settings()


@given(st.dictionaries(st.text(max_size=12), st.recursive(st.none() | st.integers() | st.text(), st.lists), max_size=4))
def test_any_mapping_is_settings_or_a_settings_error(tree: dict[str, Any]) -> None:
    try:
        load(file="", environment={}, flags={key or "x": value for key, value in tree.items()})
    except SettingsError as error:
        assert str(error)
