"""The chart's admission policies on a real API server: what they refuse, to whom, and what they leave alone.

A control plane of its own: the policies judge Failovers in every namespace. Each refusal here was seen to be missing
with its validation taken out of the chart.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regent.adapters.kubernetes.errors import refused
from regent.domain.errors import FencedOffError
from regent.domain.failover.fence import parse_fence
from regent.engine.resources import SERVICES
from testbed.controlplane import ApiClient, ApiError, ControlPlane
from testbed.network import spawn
from testbed.network.processes import stop
from testbed.toolchain import gateway_api_crds
from tests.chart_render import only, render_chart
from tests.fakes.certificates import Authority

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NAMESPACE = "regent-system"
POLICIES = ("ValidatingAdmissionPolicy", "MutatingAdmissionPolicy")
ROOT = Path(__file__).resolve().parents[2]
FAILOVERS = "/apis/regent.dev/v1alpha1/namespaces/default/failovers"
BY, APPROVED = "regent.dev/requested-by", "regent.dev/approved-by"


def admission_objects(**values: Any) -> list[dict[str, Any]]:
    return [obj for obj in render_chart(values) if obj["kind"].startswith(POLICIES)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane.start(name="admission") as started:
        started.install_crds(ROOT / "crds")
        started.install_crds(gateway_api_crds())
        started.create_namespace(NAMESPACE)
        accounts = [(NAMESPACE, "regent"), ("default", "ann"), ("default", "bob")]
        subjects = [{"kind": "ServiceAccount", "namespace": space, "name": name} for space, name in accounts]
        started.apply(
            [
                *(
                    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": space, "name": name}}
                    for space, name in accounts
                ),
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": "everything"},
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": "ClusterRole",
                        "name": "cluster-admin",
                    },
                    "subjects": subjects,
                },
                *admission_objects(),
            ]
        )
        wait_in_force(started)
        yield started


def wait_in_force(cluster: ControlPlane) -> None:
    """Policies take effect a moment after they are made; ask until a forged name is refused and a name is stamped."""

    def stamped() -> bool:
        try:
            made = cluster.api.create(f"{FAILOVERS}?dryRun=All", failover("probe"))
        except ApiError as error:
            assert error.status == 503, error  # it does not know the definition's schema yet
            return False
        return BY in made["metadata"].get("annotations", {})

    def guarded() -> bool:
        with contextlib.closing(user(cluster, "regent", NAMESPACE)) as regent:
            low = config_map("probe", "1.1.0")
            try:
                regent.patch(path_of(low), {"metadata": low["metadata"]}, dryRun="All")
            except ApiError as error:
                return "fenced off" in error.message
            return False

    def counted() -> bool:
        with contextlib.closing(user(cluster, "regent", NAMESPACE)) as regent:
            try:
                regent.patch(path_of(epochs), {"data": {"default.shop": "1.0.0"}}, dryRun="All")
            except ApiError as error:
                return "fenced off" in error.message
            return False

    cluster.api.create("/api/v1/namespaces/default/configmaps", config_map("probe", "2.0.0"))
    epochs = cluster.api.create(PLACES["ConfigMap"], config_map("regent-epochs", None, **{"default.shop": "2.0.0"}))
    eventually(stamped)
    eventually(guarded)
    eventually(counted)
    cluster.api.delete(path_of(epochs))


def eventually(condition: Callable[[], bool], *, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def user(cluster: ControlPlane, name: str, namespace: str = "default") -> ApiClient:
    return cluster.client(cluster.service_account_kubeconfig(namespace, name))


@pytest.fixture(scope="module")
def regent(cluster: ControlPlane) -> Iterator[ApiClient]:
    with contextlib.closing(user(cluster, "regent", NAMESPACE)) as client:
        yield client


@pytest.fixture(scope="module")
def ann(cluster: ControlPlane) -> Iterator[ApiClient]:
    with contextlib.closing(user(cluster, "ann")) as client:
        yield client


@pytest.fixture(scope="module")
def bob(cluster: ControlPlane) -> Iterator[ApiClient]:
    with contextlib.closing(user(cluster, "bob")) as client:
        yield client


def config_map(name: str, fence: str | None, **data: str) -> dict[str, Any]:
    annotations = {} if fence is None else {"regent.dev/fence": fence}
    metadata = {"name": name, "namespace": "default", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(name: str, fence: str | None) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    return {**config_map(name, fence), "apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}


def route(name: str, fence: str | None) -> dict[str, Any]:
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    return {**config_map(name, fence), **kind, "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}}


PLACES = {
    "ConfigMap": "/api/v1/namespaces/default/configmaps",
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes",
}
MAKERS = {"ConfigMap": config_map, "Deployment": deployment, "HTTPRoute": route}


def path_of(obj: dict[str, Any]) -> str:
    return f"{PLACES[obj['kind']]}/{obj['metadata']['name']}"


def failover(name: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "regent.dev/v1alpha1",
        "kind": "Failover",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
        "spec": {"policyRef": {"name": "shop"}, "from": "a", **spec},
    }


PATHS = {
    kind: f"/apis/regent.dev/v1alpha1/namespaces/default/{plural}"
    for kind, plural in (
        ("FailoverPolicy", "failoverpolicies"),
        ("ReplicationPolicy", "replicationpolicies"),
        ("PlacementPolicy", "placementpolicies"),
    )
}


def failover_policy(*regions: str, name: str = "shop") -> dict[str, Any]:
    spec = {"regions": [{"name": region} for region in regions]}
    return {"apiVersion": "regent.dev/v1alpha1", "kind": "FailoverPolicy", "metadata": {"name": name}, "spec": spec}


def copies(source: str, *targets: str, **spec: Any) -> dict[str, Any]:
    """A ReplicationPolicy; without a source it follows a FailoverPolicy."""
    given = {
        "source": {"region": source} if source else {"followPolicy": "shop"},
        "targets": [{"region": region, "namespace": "copies"} for region in targets],
        "resources": [{"category": "Config"}],
        **spec,
    }
    return {"apiVersion": "regent.dev/v1alpha1", "kind": "ReplicationPolicy", "metadata": {}, "spec": given}


def expression(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "k", "operator": operator, **({"values": list(values)} if values else {})}]}


def place(cluster: ControlPlane, rule: dict[str, Any]) -> None:
    """Make this the only PlacementPolicy that selects anything here, and wait until the API server judges by it."""
    clear(cluster)
    mark = {"canary": secrets.token_hex(4)}
    canary = {"selector": {"matchLabels": mark}, "allowedRegions": ["nowhere"]}
    for name, spec in (("home", rule), ("canary", canary)):
        kind = {"apiVersion": "regent.dev/v1alpha1", "kind": "PlacementPolicy"}
        cluster.api.create(PATHS["PlacementPolicy"], {**kind, "metadata": {"name": name}, "spec": spec})
    marked = failover_policy("eu")
    marked["metadata"]["labels"] = mark
    # The one is made after the other, and both come by one watch.
    eventually(lambda: not taken(cluster, marked), within=60)


def clear(cluster: ControlPlane) -> None:
    for item in cluster.api.get(PATHS["PlacementPolicy"])["items"]:
        cluster.api.delete(f"{PATHS['PlacementPolicy']}/{item['metadata']['name']}")


def taken(cluster: ControlPlane, obj: dict[str, Any]) -> bool:
    try:
        cluster.api.create(f"{PATHS[obj['kind']]}?dryRun=All", obj)
    except ApiError as error:
        assert "PlacementDenied" in error.message
        return False
    return True


def annotate(client: ApiClient, path: str, **values: str | None) -> dict[str, Any]:
    """Set annotations of regent.dev; None takes one away."""
    names = {f"regent.dev/{name.replace('_', '-')}": value for name, value in values.items()}
    return client.patch(path, {"metadata": {"annotations": names}})


FENCES = [
    ("7.2.12", "7.2.12", True),
    ("7.2.12", "7.2.13", True),
    (None, "1.0.0", True),
    ("7.2.12", "7.2.11", False),
    ("7.2.12", None, False),
]
MORE_FENCES = [
    ("7.2.12", "7.3.0", True),
    ("7.2.12", "8.0.0", True),
    ("9.9.9", "10.0.0", True),  # as numbers, not as text
    ("by hand", "1.0.0", True),
    ("7.2.12", "7.1.99", False),
    ("7.2.12", "6.9.99", False),
    ("10.0.0", "9.9.9", False),
    ("7.2.12", "7.2", False),
    ("7.2.12", "eight", False),
    ("9" * 30 + ".0.0", "9" * 17 + ".0.0", False),
]
CASES = [(kind, *case) for kind in PLACES for case in FENCES] + [("ConfigMap", *case) for case in MORE_FENCES]


@pytest.mark.parametrize(("kind", "held", "given", "taken"), CASES)
def test_a_fence_never_goes_back(  # noqa: PLR0917
    cluster: ControlPlane, regent: ApiClient, kind: str, held: str | None, given: str | None, taken: bool
) -> None:
    obj = cluster.api.create(PLACES[kind], MAKERS[kind]("fenced", held))
    try:
        if taken:
            assert annotate(regent, path_of(obj), fence=given)["metadata"]["annotations"]["regent.dev/fence"] == given
        else:
            with pytest.raises(ApiError, match="fenced off") as error:
                annotate(regent, path_of(obj), fence=given)
            assert error.value.status == 403
        # What the operator reads and what the policy reads is the same.
        old, new = parse_fence(held or ""), parse_fence(given or "")
        assert taken is (old is None or (new is not None and new >= old))
    finally:
        cluster.api.delete(path_of(obj))


def test_others_may_write_any_fence(cluster: ControlPlane, ann: ApiClient) -> None:
    obj = cluster.api.create(PLACES["ConfigMap"], config_map("free", "7.2.12"))
    annotate(ann, path_of(obj), fence="1.0.0")
    assert "annotations" not in annotate(ann, path_of(obj), fence=None)["metadata"]
    cluster.api.delete(path_of(obj))


def test_a_write_that_leaves_the_fence_alone_passes(cluster: ControlPlane, regent: ApiClient) -> None:
    obj = cluster.api.create(PLACES["Deployment"], deployment("kept", "7.2.12"))
    assert regent.patch(path_of(obj), {"spec": {"replicas": 3}})["spec"]["replicas"] == 3
    cluster.api.delete(path_of(obj))


def test_a_refusal_is_known_as_one(cluster: ControlPlane, regent: ApiClient) -> None:
    obj = cluster.api.create(PLACES["ConfigMap"], config_map("known", "7.2.12"))
    with pytest.raises(ApiError) as error:
        annotate(regent, path_of(obj), fence="7.2.11")
    found = refused("put ConfigMap known", SERVICES, error.value.status, {}, json.dumps(error.value.body).encode())
    assert isinstance(found, FencedOffError)
    assert "7.2.12" in str(found)
    cluster.api.delete(path_of(obj))


def test_epochs_of_a_region_never_go_back(cluster: ControlPlane, regent: ApiClient, ann: ApiClient) -> None:
    held = {"default.shop": "7.2.12", "default.blog": "1.0.0", "default.note": "by hand"}
    obj = cluster.api.create(PLACES["ConfigMap"], config_map("regent-epochs", None, **held))
    path = path_of(obj)
    for lower in (
        {"default.shop": "7.2.11"},
        {"default.shop": None},
        {"default.shop": "new"},
        {"default.blog": "0.9.9"},
    ):
        with pytest.raises(ApiError, match="fenced off"):
            regent.patch(path, {"data": lower})
    with pytest.raises(ApiError, match="fenced off"):
        regent.patch(path, {"data": None})
    higher = {"default.shop": "7.2.13", "default.blog": "1.0.0", "default.note": "2.0.0", "default.new": "1.0.0"}
    assert regent.patch(path, {"data": higher})["data"] == higher
    ann.patch(path, {"data": {"default.shop": "1.0.0"}})
    cluster.api.delete(path)


def test_who_asked_is_who_signed_in(cluster: ControlPlane, ann: ApiClient, bob: ApiClient) -> None:
    made = ann.create(FAILOVERS, failover("asked", annotations={BY: "bob", APPROVED: "bob"}))
    assert made["metadata"]["annotations"] == {BY: "system:serviceaccount:default:ann"}
    path = f"{FAILOVERS}/asked"
    for forged in ("bob", None):
        changed = annotate(bob, path, requested_by=forged, approved_by=forged)
        assert changed["metadata"]["annotations"] == {BY: "system:serviceaccount:default:ann"}
    # A client that writes the object whole, without annotations that it does not know, loses nothing.
    whole = cluster.api.get(path)
    del whole["metadata"]["annotations"]
    kept = bob.request("PUT", path, whole)
    assert kept["metadata"]["annotations"] == {BY: "system:serviceaccount:default:ann"}
    cluster.api.delete(path)


def test_who_approved_is_who_changed_what_is_permitted(cluster: ControlPlane, ann: ApiClient, bob: ApiClient) -> None:
    ann.create(FAILOVERS, failover("approved"))
    path = f"{FAILOVERS}/approved"
    paused = ann.patch(path, {"spec": {"control": {"desired": "Pause"}}})
    assert APPROVED not in paused["metadata"]["annotations"], "pausing permits nothing"
    for field, value in (("approvedPlan", "sha256:1"), ("acceptDataLoss", True), ("force", True)):
        for who, client in (("ann", ann), ("bob", bob)):
            client.patch(path, {"spec": {"control": {field: None}}})
            changed = client.patch(path, {"spec": {"control": {field: value}}})
            assert changed["metadata"]["annotations"][APPROVED] == f"system:serviceaccount:default:{who}", field
    ann.patch(path, {"spec": {"control": {"desired": "Run"}}})
    assert cluster.api.get(path)["metadata"]["annotations"][APPROVED] == "system:serviceaccount:default:bob"
    made = ann.create(FAILOVERS, failover("forced", control={"force": True}))
    assert made["metadata"]["annotations"][APPROVED] == "system:serviceaccount:default:ann"
    for name in ("approved", "forced"):
        cluster.api.delete(f"{FAILOVERS}/{name}")


def test_nobody_passes_a_run_off_as_one_of_regent(cluster: ControlPlane, ann: ApiClient, regent: ApiClient) -> None:
    run = failover("label")
    run["metadata"]["labels"] = {"regent.dev/managed-by": "regent"}
    with pytest.raises(ApiError, match="managed-by"):
        ann.create(FAILOVERS, run)
    made = regent.create(FAILOVERS, run)
    assert BY not in made["metadata"].get("annotations", {}), "nothing at admission is in the way of Regent"
    with pytest.raises(ApiError, match="managed-by"):
        ann.patch(f"{FAILOVERS}/label", {"metadata": {"labels": {"regent.dev/managed-by": None}}})
    cluster.api.delete(f"{FAILOVERS}/label")


@pytest.fixture
def unstamped(cluster: ControlPlane) -> Iterator[ControlPlane]:
    """An API server without MutatingAdmissionPolicy: names may be left out, but not made up."""
    binding = only(admission_objects(), "MutatingAdmissionPolicyBinding")
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings/{binding['metadata']['name']}"
    cluster.api.delete(path)

    def gone() -> bool:
        made = cluster.api.create(f"{FAILOVERS}?dryRun=All", failover("probe"))
        return BY not in made["metadata"].get("annotations", {})

    eventually(gone)
    yield cluster
    cluster.apply(binding)
    eventually(lambda: not gone())


def test_a_made_up_name_is_refused(unstamped: ControlPlane, ann: ApiClient, bob: ApiClient) -> None:
    with pytest.raises(ApiError, match="requested-by"):
        ann.create(FAILOVERS, failover("plain", annotations={BY: "system:serviceaccount:default:bob"}))
    with pytest.raises(ApiError, match="approved-by"):
        ann.create(FAILOVERS, failover("plain", annotations={APPROVED: "system:serviceaccount:default:ann"}))
    assert "annotations" not in ann.create(FAILOVERS, failover("plain"))["metadata"]
    with pytest.raises(ApiError, match="requested-by"):
        annotate(ann, f"{FAILOVERS}/plain", requested_by="system:serviceaccount:default:ann")
    unstamped.api.delete(f"{FAILOVERS}/plain")

    ann.create(FAILOVERS, failover("own", annotations={BY: "system:serviceaccount:default:ann"}))
    for forged in ("bob", None):
        with pytest.raises(ApiError, match="requested-by"):
            annotate(bob, f"{FAILOVERS}/own", requested_by=forged)
    unstamped.api.delete(f"{FAILOVERS}/own")


def test_an_approval_is_not_anothers(unstamped: ControlPlane, ann: ApiClient, bob: ApiClient) -> None:
    path = f"{FAILOVERS}/other"
    ann.create(FAILOVERS, failover("other"))
    approval = {"spec": {"control": {"acceptDataLoss": True}}}
    with pytest.raises(ApiError, match="approved-by"):
        bob.patch(path, {**approval, "metadata": {"annotations": {APPROVED: "system:serviceaccount:default:ann"}}})
    own = {"metadata": {"annotations": {APPROVED: "system:serviceaccount:default:bob"}}}
    assert bob.patch(path, {**approval, **own})["metadata"]["annotations"] == own["metadata"]["annotations"]
    # Another's approval must not stand under bob's name.
    with pytest.raises(ApiError, match="approved-by"):
        ann.patch(path, {"spec": {"control": {"force": True}}})
    unstamped.api.delete(path)


@pytest.fixture
def hooked(unstamped: ControlPlane, tmp_path: Path) -> Iterator[ControlPlane]:
    """An API server without MutatingAdmissionPolicy that asks the operator's webhook, as the chart makes it."""
    authority = Authority()
    issued = authority.issue("127.0.0.1")
    for name, text in (("tls.crt", issued.certificate), ("tls.key", issued.key)):
        (tmp_path / name).write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    served = f"AdmissionServer({address!r}, certificate='{tmp_path}/tls.crt', key='{tmp_path}/tls.key').run()"
    program = f"import asyncio\nfrom regent.server.admission import AdmissionServer\nasyncio.run({served})"
    process = spawn([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    values = {
        "admission.stampWith": "Webhook",
        "admission.webhook.url": f"https://{address}",
        "admission.webhook.secretName": "own",
        "admission.webhook.caBundle": base64.b64encode(authority.pem.encode()).decode(),
    }
    hook = only(render_chart(values), "MutatingWebhookConfiguration")
    unstamped.apply(hook)

    def stamped() -> bool:
        made = unstamped.api.create(f"{FAILOVERS}?dryRun=All", failover("probe"))
        return BY in made["metadata"].get("annotations", {})

    try:
        eventually(stamped, within=60)
        yield unstamped
    finally:
        path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{hook['metadata']['name']}"
        unstamped.api.delete(path)
        stop(process)
    eventually(lambda: not stamped())


def test_the_webhook_writes_the_same_names(hooked: ControlPlane, ann: ApiClient, bob: ApiClient) -> None:
    names = {name: f"system:serviceaccount:default:{name}" for name in ("ann", "bob")}
    made = ann.create(FAILOVERS, failover("hooked", annotations={BY: "bob", APPROVED: "bob"}))
    assert made["metadata"]["annotations"] == {BY: names["ann"]}
    path = f"{FAILOVERS}/hooked"
    for forged in ("bob", None):
        changed = annotate(bob, path, requested_by=forged, approved_by=forged)
        assert changed["metadata"]["annotations"] == {BY: names["ann"]}
    changed = bob.patch(path, {"spec": {"control": {"acceptDataLoss": True}}})
    assert changed["metadata"]["annotations"] == {BY: names["ann"], APPROVED: names["bob"]}
    hooked.api.delete(path)


def test_the_webhook_is_not_asked_about_regents_own_runs(hooked: ControlPlane, regent: ApiClient) -> None:
    made = regent.create(f"{FAILOVERS}?dryRun=All", failover("own"))
    assert BY not in made["metadata"].get("annotations", {})


def test_a_webhook_that_does_not_answer_keeps_nobody_from_making_a_run(hooked: ControlPlane, ann: ApiClient) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/regent-requester"
    client = {"url": "https://127.0.0.1:1/stamp"}
    hooks = hooked.api.get(path)["webhooks"]
    hooked.api.patch(path, {"webhooks": [{**hooks[0], "clientConfig": client}]})

    def unnamed() -> bool:
        made = ann.create(f"{FAILOVERS}?dryRun=All", failover("alone"))
        return BY not in made["metadata"].get("annotations", {})

    eventually(unnamed)
    hooked.api.patch(path, {"webhooks": hooks})


ALLOWED = {"allowedRegions": ["eu", "fr"]}
PERSONAL = {"selector": {"matchLabels": {"data": "personal"}}}
PLACED = [
    ("one of its regions is not allowed", ALLOWED, {}, failover_policy("eu", "us"), "us is not in spec.allowedRegions"),
    ("all are", ALLOWED, {}, failover_policy("eu", "fr"), ""),
    ("a target is not", ALLOWED, {}, copies("eu", "fr", "us"), "us is not in spec.allowedRegions of PlacementPolicy"),
    ("what is elsewhere may be fetched home", ALLOWED, {}, copies("us", "fr"), ""),
    ("but not with both directions", ALLOWED, {}, copies("us", "fr", direction="Bidirectional"), "us is not in"),
    ("it is rather there than elsewhere", {**ALLOWED, "locality": "Region"}, {}, failover_policy("us"), ""),
    ("others are meant", {**ALLOWED, **PERSONAL}, {"data": "public"}, failover_policy("us"), ""),
    ("it is meant", {**ALLOWED, **PERSONAL}, {"data": "personal"}, failover_policy("us"), "out of spec.regions"),
    *(
        (f"{operator} {values} of {labels}", {**ALLOWED, "selector": expression(operator, *values)}, labels,
         copies("eu", "us"), "us is not in" if meant else "")
        for operator, values, labels, meant in (
            ("In", ("a", "b"), {"k": "b"}, True), ("In", ("a",), {"k": "b"}, False), ("In", ("a",), {}, False),
            ("NotIn", ("a",), {"k": "a"}, False), ("NotIn", ("a",), {}, True), ("Exists", (), {"k": "x"}, True),
            ("Exists", (), {}, False), ("DoesNotExist", (), {}, True), ("DoesNotExist", (), {"k": "x"}, False),
        )
    ),
    ("nothing may be copied", {"crossRegionTransfer": "Denied"}, {}, copies("eu", "us"), "this copies from eu to us"),
    ("whoever is the source", {"crossRegionTransfer": "Denied"}, {}, copies("", "eu", "us"), "copies to eu, to us"),
    ("within a region", {"crossRegionTransfer": "Denied"}, {}, copies("eu", "eu"), ""),
    ("roles may move", {"crossRegionTransfer": "Denied"}, {}, failover_policy("eu", "us"), ""),
    ("labels of Regions are not known here", {"compliance": ["GDPR"]}, {}, failover_policy("us"), ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def placed(cluster: ControlPlane) -> ControlPlane:
    """The API server once it looks PlacementPolicies up."""
    place(cluster, ALLOWED)
    return cluster


@pytest.mark.parametrize(("what", "rule", "labels", "policy", "refusal"), PLACED, ids=[case[0] for case in PLACED])
def test_placement_binds_what_is_written(  # noqa: PLR0917
    placed: ControlPlane, what: str, rule: dict[str, Any], labels: dict[str, str], policy: dict[str, Any], refusal: str
) -> None:
    """Each is judged as the operator judges it, by labels and by regions; what only it can know is let through."""
    place(placed, rule)
    obj, path = {**policy, "metadata": {"name": "shop", "labels": labels}}, f"{PATHS[policy['kind']]}?dryRun=All"
    if not refusal:
        placed.api.create(path, obj)
        return
    with pytest.raises(ApiError, match=re.escape(refusal)) as refused_:
        placed.api.create(path, obj)
    assert refused_.value.status == 403, what


def test_what_was_there_before_the_rule_can_be_changed(placed: ControlPlane, regent: ApiClient) -> None:
    """Fails when a rule that came later stands in the way of suspending a policy, or of the operator."""
    clear(placed)
    path = f"{PATHS['FailoverPolicy']}/shop"
    eventually(lambda: taken(placed, failover_policy("us")))
    placed.api.create(PATHS["FailoverPolicy"], failover_policy("eu", "us"))
    try:
        place(placed, ALLOWED)
        assert not taken(placed, failover_policy("eu", "us", name="other"))
        assert placed.api.patch(path, {"spec": {"suspend": True}})["spec"]["suspend"] is True
        more = {"spec": {"regions": [{"name": name} for name in ("eu", "us", "ap")]}}
        with pytest.raises(ApiError, match="PlacementDenied: ap is not in"):
            placed.api.patch(path, more)
        placed.api.patch(path, {"spec": {"regions": [{"name": "eu"}]}})
        with pytest.raises(ApiError, match="PlacementDenied: us is not in"):
            placed.api.patch(path, {"spec": {"regions": [{"name": "eu"}, {"name": "us"}]}})
        assert regent.patch(path, more)["spec"]["regions"][2]["name"] == "ap"
    finally:
        placed.api.delete(path)
        clear(placed)


@pytest.mark.parametrize(
    ("values", "versions"),
    [
        ({}, {"v1"}),
        ({"admission.stampWith": "V1beta1"}, {"v1beta1"}),
        ({"admission.stampWith": "None"}, set()),
        ({"admission.stampWith": "Webhook"}, set()),
        ({"admission.requester": False}, set()),
    ],
)
def test_the_version_that_stamps(values: dict[str, Any], versions: set[str]) -> None:
    found = [obj for obj in render_chart(values) if obj["kind"].startswith("MutatingAdmissionPolicy")]
    assert {obj["apiVersion"].partition("/")[2] for obj in found} == versions


def test_they_can_be_left_out() -> None:
    without = {f"admission.{name}": False for name in ("fence", "requester", "placement")}
    kinds = {obj["kind"] for obj in render_chart(without)}
    assert not any(kind.startswith(POLICIES) for kind in kinds)


def test_the_guarded_accounts_can_be_named() -> None:
    objects = render_chart({"admission.fencedAccounts": ["system:serviceaccount:a:b", "C"]})
    condition = only(objects, "ValidatingAdmissionPolicy", "regent-fence")["spec"]["matchConditions"][0]
    assert condition["expression"] == "request.userInfo.username in ['system:serviceaccount:a:b', 'C']"
