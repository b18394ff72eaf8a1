"""Kubeconfigs of member clusters: what is refused, and that a refusal never quotes a secret."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from regent.adapters.kubernetes.member import member_connection
from regent.domain.cluster_secrets import argo_cd_kubeconfig
from tests.fakes.certificates import Authority

TOKEN = "TOKEN-THAT-MUST-NOT-BE-TOLD"
PEM = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()


def kubeconfig() -> dict[str, Any]:
    authority = Authority()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "eu",
        "contexts": [{"name": "eu", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": "https://192.0.2.1:6443",
                    "certificate-authority-data": base64.b64encode(authority.pem.encode()).decode(),
                },
            }
        ],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
    }


async def test_inline_credentials_over_verified_tls_are_taken() -> None:
    connection = await member_connection(yaml.safe_dump(kubeconfig()), source="test")
    assert connection.server == "https://192.0.2.1:6443"
    assert await connection.authorization() == f"Bearer {TOKEN}"


async def test_a_kubeconfig_made_of_an_argo_cd_secret_is_taken() -> None:
    """Fails when what the conversion gives is not what is accepted here."""
    authority = cluster_of(kubeconfig())["certificate-authority-data"]
    config = {"bearerToken": TOKEN, "tlsClientConfig": {"caData": authority, "serverName": "kube.example.com"}}
    made = argo_cd_kubeconfig(server="https://192.0.2.1:6443", config=json.dumps(config))
    connection = await member_connection(made, source="test")
    assert connection.server == "https://192.0.2.1:6443"
    assert await connection.authorization() == f"Bearer {TOKEN}"
    with pytest.raises(ValueError, match="https://"):
        await member_connection(argo_cd_kubeconfig(server="http://192.0.2.1", config=json.dumps(config)), source="test")


def cluster_of(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["clusters"][0]["cluster"]
    return found


def user_of(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["users"][0]["user"]
    return found


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "exec": (lambda config: user_of(config).update(exec={"command": "/bin/sh"}), "runs a program"),
    "auth-provider": (lambda config: user_of(config).update({"auth-provider": {"name": "gcp"}}), "runs a program"),
    "token file": (lambda config: user_of(config).update(tokenFile="/etc/passwd"), "file path"),
    "key file": (lambda config: user_of(config).update({"client-key": "/etc/shadow"}), "file path"),
    "ca file": (lambda config: cluster_of(config).update({"certificate-authority": "/ca"}), "file path"),
    "insecure": (lambda config: cluster_of(config).update({"insecure-skip-tls-verify": True}), "not allowed"),
    "http": (lambda config: cluster_of(config).update(server="http://192.0.2.1"), "https://"),
    "proxy": (lambda config: cluster_of(config).update({"proxy-url": "http://evil"}), "proxy-url is not allowed"),
    "impersonation": (lambda config: user_of(config).update({"as": "root"}), "as is not allowed"),
    "password": (lambda config: user_of(config).update(username="a", password="b"), "not allowed"),
    "no credentials": (lambda config: user_of(config).clear(), "needs a token"),
    "half a certificate": (
        lambda config: (user_of(config).clear(), user_of(config).update({"client-certificate-data": PEM})),
        "client-key-data",
    ),
    "no context": (lambda config: config.update({"current-context": "other"}), "contexts"),
    "no user": (lambda config: config.update(users=[]), "users"),
    "clusters no list": (lambda config: config.update(clusters="c"), "clusters"),
    "data that is no certificate": (
        lambda config: cluster_of(config).update({"certificate-authority-data": "c2VjcmV0"}),
        "not PEM",
    ),
    "bad data": (lambda config: cluster_of(config).update({"certificate-authority-data": "%%%"}), "base64"),
}


@pytest.mark.parametrize("name", BAD)
async def test_refused(name: str) -> None:
    config = copy.deepcopy(kubeconfig())
    break_it, words = BAD[name]
    break_it(config)
    with pytest.raises(ValueError, match=words) as caught:
        await member_connection(yaml.safe_dump(config), source="test")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "a: b: c: " + TOKEN, "!!python/object/apply:os.system ['true']", "42"])
async def test_what_is_no_kubeconfig(text: str) -> None:
    with pytest.raises(ValueError, match=r"kubeconfig|YAML|context") as caught:
        await member_connection(text, source="test")
    assert TOKEN not in str(caught.value)
