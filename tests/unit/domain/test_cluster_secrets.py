"""Cluster Secrets of other tools: which form a Secret has, and the kubeconfig that Argo CD's stands for."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from regent.domain.cluster_secrets import SecretForm, argo_cd_kubeconfig, form_of

TOKEN = "TOKEN-THAT-MUST-NOT-BE-TOLD"
SERVER = "https://192.0.2.1:6443"
CAPI_TYPE = "cluster.x-k8s.io/secret"
CAPI_LABEL = {"cluster.x-k8s.io/cluster-name": "eu"}
ARGO_LABEL = {"argocd.argoproj.io/secret-type": "cluster"}
ARGO_KEYS = "name server config"


def pem(what: str = "CERTIFICATE") -> str:
    return base64.b64encode(f"-----BEGIN {what}-----\n".encode()).decode()


@pytest.mark.parametrize(
    ("secret_type", "labels", "keys", "key", "form"),
    [
        ("Opaque", {}, "kubeconfig", "kubeconfig", SecretForm.KUBECONFIG),
        ("Opaque", {}, "value", "kubeconfig", SecretForm.KUBECONFIG),  # somebody's Secret: the key is missing
        (CAPI_TYPE, {}, "value", "kubeconfig", SecretForm.CLUSTER_API),
        ("Opaque", CAPI_LABEL, "value", "kubeconfig", SecretForm.CLUSTER_API),
        (CAPI_TYPE, CAPI_LABEL, "tls.crt tls.key", "kubeconfig", SecretForm.CLUSTER_API),
        (CAPI_TYPE, CAPI_LABEL, "value", "value", SecretForm.KUBECONFIG),
        (CAPI_TYPE, CAPI_LABEL, "value kubeconfig", "kubeconfig", SecretForm.KUBECONFIG),
        (CAPI_TYPE, CAPI_LABEL, "value", "other", SecretForm.KUBECONFIG),
        ("Opaque", ARGO_LABEL, ARGO_KEYS, "kubeconfig", SecretForm.ARGO_CD),
        ("Opaque", ARGO_LABEL, ARGO_KEYS, "config", SecretForm.ARGO_CD),
        ("Opaque", {}, ARGO_KEYS, "kubeconfig", SecretForm.ARGO_CD),  # a copy in a standby hub has no labels
        ("Opaque", {}, "server config", "config", SecretForm.KUBECONFIG),  # a kubeconfig under the key config
        ("Opaque", ARGO_LABEL, ARGO_KEYS, "other", SecretForm.KUBECONFIG),
        ("Opaque", ARGO_LABEL, "name server", "kubeconfig", SecretForm.ARGO_CD),  # told that config is missing
        ("Opaque", {"argocd.argoproj.io/secret-type": "repository"}, "url", "kubeconfig", SecretForm.KUBECONFIG),
    ],
)
def test_the_form_is_known_by_type_label_and_keys(
    secret_type: str, labels: dict[str, str], keys: str, key: str, form: SecretForm
) -> None:
    assert form_of(secret_type=secret_type, labels=labels, keys=keys.split(), key=key) is form


def parts(config: dict[str, Any], server: str = SERVER) -> tuple[dict[str, str], dict[str, str]]:
    """The cluster and the user of the kubeconfig that is made."""
    made = json.loads(argo_cd_kubeconfig(server=server, config=json.dumps(config)))
    [context], [cluster], [user] = made["contexts"], made["clusters"], made["users"]
    assert made["current-context"] == context["name"]
    assert context["context"] == {"cluster": cluster["name"], "user": user["name"]}
    return cluster["cluster"], user["user"]


def test_a_token_and_an_authority_are_carried_over() -> None:
    tls = {"insecure": False, "serverName": "kube.example.com", "caData": pem()}
    cluster, user = parts({"bearerToken": TOKEN, "tlsClientConfig": tls, "disableCompression": True}, f"{SERVER}\n")
    assert cluster == {
        "server": SERVER,
        "certificate-authority-data": pem(),
        "tls-server-name": "kube.example.com",
    }
    assert user == {"token": TOKEN}


def test_a_client_certificate_is_carried_over_and_base64_may_be_folded() -> None:
    tls = {"caData": pem()[:20] + "\r\n" + pem()[20:], "certData": pem(), "keyData": pem("EC PRIVATE KEY")}
    cluster, user = parts({"tlsClientConfig": tls, "username": "", "password": "", "execProviderConfig": None})
    assert cluster == {"server": SERVER, "certificate-authority-data": pem()}
    assert user == {"client-certificate-data": pem(), "client-key-data": pem("EC PRIVATE KEY")}


def test_the_same_secret_gives_the_same_text() -> None:
    one, other = '{"bearerToken":"t","tlsClientConfig":{}}', '{"tlsClientConfig": {}, "bearerToken": "t"}'
    assert argo_cd_kubeconfig(server=SERVER, config=one) == argo_cd_kubeconfig(server=SERVER, config=other)


BAD: dict[str, tuple[Any, str]] = {
    "exec": ({"execProviderConfig": {"command": TOKEN}}, "execProviderConfig runs a program.*write bearerToken"),
    "aws": ({"awsAuthConfig": {"clusterName": TOKEN}}, "awsAuthConfig runs a program.*write bearerToken"),
    "user": ({"username": TOKEN, "password": TOKEN}, "password is not taken by Kubernetes.*write bearerToken"),
    "proxy": ({"bearerToken": TOKEN, "proxyUrl": "http://192.0.2.9"}, "proxyUrl is not supported"),
    "insecure": (
        {"bearerToken": TOKEN, "tlsClientConfig": {"insecure": True}},
        "insecure is not allowed, TLS is always verified: write the certificate authority into tlsClientConfig.caData",
    ),
    "unknown": ({"bearerToken": TOKEN, "Impersonate": "root"}, "config.Impersonate is not known"),
    "unknown in tls": ({"bearerToken": TOKEN, "tlsClientConfig": {"caFile": "/ca"}}, "caFile is not known"),
    "tls of another type": ({"bearerToken": TOKEN, "tlsClientConfig": TOKEN}, "tlsClientConfig is not an object"),
    "token of another type": ({"bearerToken": {"a": TOKEN}}, "bearerToken is not a string"),
    "name of another type": ({"tlsClientConfig": {"serverName": [TOKEN]}}, "serverName is not a string"),
    "no PEM": ({"bearerToken": TOKEN, "tlsClientConfig": {"caData": TOKEN}}, "caData is not PEM in base64"),
    "PEM without base64": (
        {"bearerToken": TOKEN, "tlsClientConfig": {"caData": "-----BEGIN CERTIFICATE-----é"}},
        "caData is not PEM in base64",
    ),
    "half a certificate": ({"tlsClientConfig": {"certData": pem()}}, "certData and keyData together"),
    "nothing": ({}, "config has no credentials: write bearerToken"),
    "a list": ([TOKEN], "config is not a JSON object"),
}


@pytest.mark.parametrize(("config", "match"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_used_is_refused_in_the_words_of_the_secret(config: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match) as refused:
        argo_cd_kubeconfig(server=SERVER, config=json.dumps(config))
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    "text", [f'{{"bearerToken": "{TOKEN}"', "", "[" * 200_000], ids=["cut off", "empty", "too deep"]
)
def test_what_is_no_json_is_refused_and_never_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="config is not a JSON object") as refused:
        argo_cd_kubeconfig(server=SERVER, config=text)
    assert refused.value.__cause__ is None and refused.value.__context__ is None
