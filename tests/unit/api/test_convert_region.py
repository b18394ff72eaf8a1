"""Region objects become plans: addresses, TLS, checks, figures, facts."""

from __future__ import annotations

from typing import Any

import pytest

from regent.api.v1alpha1.convert_region import region_plan
from regent.domain.health.model import AdminState, GrpcCheck, HttpCheck, ProbeRole, ProbeSpec, TcpCheck
from regent.domain.health.plan import RegionPlan, SecretReference


def plan_of(*probes: dict[str, Any], endpoint: str = "https://eu.example.com", **spec: Any) -> RegionPlan:
    named = [{"name": f"p{number}", **probe} for number, probe in enumerate(probes)]
    body = {"endpoint": endpoint, "probes": named, **spec}
    return region_plan({"kind": "Region", "metadata": {"name": "eu", "uid": "u1"}, "spec": body})


def probe_of(probe: dict[str, Any], **spec: Any) -> ProbeSpec:
    return plan_of(probe, **spec).probes[0].spec


@pytest.mark.parametrize(
    ("endpoint", "probe", "host", "port", "tls"),
    [
        ("https://eu.example.com", {"http": {}}, "eu.example.com", 443, True),
        ("http://eu.example.com", {"http": {}}, "eu.example.com", 80, False),
        ("https://eu.example.com:8443/base", {"http": {}}, "eu.example.com", 8443, True),
        ("http://[2001:db8::1]:8080", {"http": {}}, "2001:db8::1", 8080, False),
        ("https://eu.example.com", {"http": {}, "url": "http://10.0.0.1:9"}, "10.0.0.1", 9, False),
        ("https://eu.example.com", {"tcp": {"port": 5432}}, "eu.example.com", 5432, False),
        ("https://eu.example.com", {"tcp": {"port": 5432}, "tls": {"serverName": "db"}}, "eu.example.com", 5432, True),
        ("", {"tcp": {"port": 5432}, "url": "tcp://db.example.com"}, "db.example.com", 5432, False),
        ("https://eu.example.com", {"grpc": {"port": 9000}}, "eu.example.com", 9000, True),
        ("https://a.example.com", {"grpc": {"port": 9000}, "url": "grpc://b.test"}, "b.test", 9000, False),
        ("grpcs://eu.example.com", {"grpc": {"port": 9000}}, "eu.example.com", 9000, True),
    ],
)  # fmt: skip
def test_addresses(endpoint: str, probe: dict[str, Any], host: str, port: int, tls: bool) -> None:
    spec = probe_of(probe, endpoint=endpoint)
    assert (spec.host, spec.port, spec.tls is not None) == (host, port, tls)


@pytest.mark.parametrize(
    ("probe", "name"),
    [
        ({"http": {}}, "eu.example.com"),
        ({"http": {"host": "shop.example.com:8443"}}, "shop.example.com"),
        ({"http": {"host": "shop.example.com"}, "tls": {"serverName": "sni.example.com"}}, "sni.example.com"),
    ],
)
def test_server_names(probe: dict[str, Any], name: str) -> None:
    tls = probe_of(probe).tls
    assert tls is not None and tls.server_name == name and not tls.insecure_skip_verify


def test_defaults() -> None:
    spec = probe_of({"http": {}})
    assert (spec.interval, spec.timeout, spec.retry_interval) == (1.0, 2.0, 0.1)
    assert (spec.failure_threshold, spec.success_threshold, spec.role) == (3, 2, ProbeRole.REQUIRED)
    assert spec.check == HttpCheck(path="/healthz", expected_statuses=((200, 299),))
    plan = plan_of({"http": {}})
    assert (plan.quorum, plan.thresholds.recovery_period, plan.thresholds.degraded_latency) == (1, 120.0, 1.0)
    assert not plan.secrets and not plan.prometheus


def test_an_http_check_in_full() -> None:
    http = {
        "path": "/live",
        "expectedStatuses": ["204", "300-302"],
        "host": "shop.example.com",
        "headers": [{"name": "X-A", "value": "b"}],
        "body": {"contains": "ok"},
    }
    check = probe_of({"http": http, "role": "Informational", "interval": "250ms"}).check
    assert check == HttpCheck(
        path="/live",
        expected_statuses=((204, 204), (300, 302)),
        host="shop.example.com",
        headers=(("X-A", "b"),),
        body_contains="ok",
    )


def test_other_checks() -> None:
    assert probe_of({"tcp": {"port": 1}}).check == TcpCheck()
    assert probe_of({"grpc": {"port": 1, "service": "shop.v1.Cart"}}).check == GrpcCheck(service="shop.v1.Cart")


def test_figures_come_from_the_first_http_probe_only() -> None:
    load = {"healthBody": {"errorRatePercent": ".errors", "capacityAvailablePercent": ".free"}}
    plan = plan_of({"tcp": {"port": 1}}, {"http": {}}, {"http": {}}, load=load)
    paths = [
        (probe.spec.check.error_rate_path, probe.spec.check.capacity_path)
        for probe in plan.probes
        if isinstance(probe.spec.check, HttpCheck)
    ]
    assert paths == [(".errors", ".free"), ("", "")]


def test_secrets_are_named_and_not_read() -> None:
    tls = {
        "caSecretRef": {"name": "ca", "namespace": "extra", "key": "bundle.pem"},
        "clientCertificateSecretRef": {"name": "client"},
    }
    plan = plan_of({"http": {}, "tls": tls})
    assert plan.secrets
    assert plan.probes[0].ca == SecretReference(name="ca", namespace="extra", key="bundle.pem")
    assert plan.probes[0].client_certificate == SecretReference(name="client", key="tls.crt")
    assert plan_of({"http": {}, "tls": {"caSecretRef": {"name": "ca"}}}).probes[0].ca == SecretReference(
        name="ca", key="ca.crt"
    )
    empty = plan_of({"http": {}, "tls": {"caSecretRef": {}, "clientCertificateSecretRef": {}}})
    assert not empty.secrets


def test_tls_material_on_a_plain_connection_is_not_asked_for() -> None:
    plan = plan_of({"http": {}, "tls": {"caSecretRef": {"name": "ca"}}}, endpoint="http://eu.example.com")
    assert not plan.secrets


def test_facts() -> None:
    plan = plan_of(
        {"http": {}},
        tier="Tertiary",
        priority=7,
        adminState="Drained",
        capacity={"total": 1000},
        cost={"multiplier": "1.1"},
        compliance=["GDPR"],
        cluster={"kubeconfigSecretRef": {"name": "eu"}, "uid": "k"},
    )
    facts = plan.facts
    assert (facts.name, facts.uid, facts.tier, facts.priority) == ("eu", "u1", "Tertiary", 7)
    assert facts.admin_state is AdminState.DRAINED
    assert (facts.capacity_total, facts.cost_multiplier, facts.compliance) == (1000, 1.1, frozenset({"GDPR"}))
    assert facts.cluster is not None
    assert facts.cluster.kubeconfig == SecretReference(name="eu", key="kubeconfig") and facts.cluster.uid == "k"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"endpoint": "", "probes": [{"name": "web", "http": {}}]}, "set spec.endpoint"),
        ({"endpoint": "tcp://db:1", "probes": [{"name": "web", "http": {}}]}, "http:// or https://"),
        ({"endpoint": "https://a", "probes": [{"name": "web", "http": {}, "timeout": "soon"}]}, "soon"),
        ({"endpoint": "https://a:99999", "probes": [{"name": "web", "http": {}}]}, "ort"),
        ({"probes": "none"}, "probes"),
    ],
)
def test_what_cannot_be_used_is_a_value_error_that_says_why(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        region_plan({"kind": "Region", "metadata": {"name": "eu"}, "spec": spec})
