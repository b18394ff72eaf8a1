"""The Secrets in which other tools keep how a cluster is reached, read as a kubeconfig.

Cluster API writes a kubeconfig under the key `value` of the Secret `<cluster>-kubeconfig`. Argo CD has no kubeconfig:
its cluster Secrets hold an address (`server`) and a JSON document (`config`), of which one is made here. What is in the
kubeconfig is checked where it is used (`adapters.kubernetes.member`); here is refused what could not be carried over,
in the words of who wrote the Secret. No message quotes a value. Neighbour: `engine.region_secrets` reads the Secrets.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

DEFAULT_KEY = "kubeconfig"
"""Where a kubeconfig is when a Region names no key."""

CLUSTER_API_KEY = "value"
ARGO_CD_SERVER = "server"
ARGO_CD_CONFIG = "config"

_CLUSTER_API_TYPE = "cluster.x-k8s.io/secret"
_CLUSTER_API_LABEL = "cluster.x-k8s.io/cluster-name"
_ARGO_CD_LABEL = "argocd.argoproj.io/secret-type"

_CREDENTIALS = "write bearerToken, or tlsClientConfig.certData with keyData"
_REFUSED = {
    "execProviderConfig": f"runs a program, which the operator never does: {_CREDENTIALS}",
    "awsAuthConfig": f"runs a program that asks AWS for a token, which the operator never does: {_CREDENTIALS}",
    "username": f"is not taken by Kubernetes since 1.19: {_CREDENTIALS}",
    "password": f"is not taken by Kubernetes since 1.19: {_CREDENTIALS}",
    "proxyUrl": "is not supported: let server be an address that the operator reaches itself",
}
_IGNORED = frozenset({"disableCompression"})


class SecretForm(Enum):
    """By whose convention a Secret says how its cluster is reached."""

    KUBECONFIG = "kubeconfig"
    CLUSTER_API = "Cluster API"
    ARGO_CD = "Argo CD"


def form_of(*, secret_type: str, labels: Mapping[str, str], keys: Collection[str], key: str) -> SecretForm:
    """Say what the Secret is, for a Region that names `key`.

    A key that is there is what was meant, and so is one that was chosen: only without a choice, or where the choice can
    mean nothing else, the form counts. Argo CD's form is known without its label too, since a copy of the Secret that
    Argo CD is not to take for one of its clusters goes without.
    """
    labelled = labels.get(_ARGO_CD_LABEL) == "cluster"
    if labelled and key == ARGO_CD_CONFIG:
        return SecretForm.ARGO_CD
    if key != DEFAULT_KEY or key in keys:
        return SecretForm.KUBECONFIG
    if secret_type == _CLUSTER_API_TYPE or _CLUSTER_API_LABEL in labels:
        return SecretForm.CLUSTER_API
    return SecretForm.ARGO_CD if labelled or {ARGO_CD_SERVER, ARGO_CD_CONFIG} <= set(keys) else SecretForm.KUBECONFIG


def argo_cd_kubeconfig(*, server: str, config: str) -> str:
    """Return the kubeconfig (as JSON, which is YAML) that an Argo CD cluster Secret stands for; the same text for the
    same Secret, so that a connection is kept while nothing has changed.

    Args:
        server: the value of its key `server`.
        config: the value of its key `config`, a JSON object.

    Raises:
        ValueError: it cannot be used; the message says what to write instead.
    """
    said = _object(config, "config")
    for field in sorted(said):
        if field in _REFUSED and said[field]:
            raise ValueError(f"config.{field} {_REFUSED[field]}")
        if field not in (_REFUSED.keys() | _IGNORED | {"bearerToken", "tlsClientConfig"}):
            raise ValueError(f"config.{field[:40]} is not known: remove it")
    cluster, user = _tls(said.get("tlsClientConfig"))
    cluster["server"] = server.strip()
    token = said.get("bearerToken")
    if token and not isinstance(token, str):
        raise ValueError("config.bearerToken is not a string")
    if token:
        user["token"] = token
    if not user:
        raise ValueError(
            f"config has no credentials: {_CREDENTIALS}. A region in the operator's own cluster has no spec.cluster"
        )
    return json.dumps(_kubeconfig(cluster, user), sort_keys=True, ensure_ascii=False)


def _tls(given: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return what `tlsClientConfig` says about the cluster and about the user, by the names of a kubeconfig."""
    if given is None:
        return {}, {}
    if not isinstance(given, dict):
        raise ValueError("config.tlsClientConfig is not an object")
    for field in sorted(given):
        if field not in ("insecure", "serverName", "caData", "certData", "keyData"):
            raise ValueError(f"config.tlsClientConfig.{field[:40]} is not known: remove it")
    if given.get("insecure"):
        raise ValueError(
            "config.tlsClientConfig.insecure is not allowed, TLS is always verified: write the certificate authority "
            "into tlsClientConfig.caData (PEM in base64) and remove insecure"
        )
    name = given.get("serverName")
    if name and not isinstance(name, str):
        raise ValueError("config.tlsClientConfig.serverName is not a string")
    cluster = {"certificate-authority-data": _pem(given, "caData"), "tls-server-name": name or ""}
    user = {"client-certificate-data": _pem(given, "certData"), "client-key-data": _pem(given, "keyData")}
    if bool(user["client-certificate-data"]) != bool(user["client-key-data"]):
        raise ValueError("config.tlsClientConfig needs certData and keyData together")
    return _filled(cluster), _filled(user)


def _filled(part: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in part.items() if value}


def _pem(given: Mapping[str, Any], field: str) -> str:
    """Return a field with PEM in base64, in one line; "" when it is not there."""
    value = given.get(field)
    if not value:
        return ""
    try:
        # Go's reader passes over line breaks in base64, so Argo CD takes them.
        data = base64.b64decode(str(value).replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if b"-----BEGIN " not in data:
        raise ValueError(f"config.tlsClientConfig.{field} is not PEM in base64")
    return base64.b64encode(data).decode()


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        # Without the parser's words, and without it as a cause: it carries the document, with the token in it.
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object")
    return value


def _kubeconfig(cluster: Mapping[str, str], user: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "cluster",
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "cluster"}}],
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "cluster", "user": user}],
    }
