"""What the chart makes: least privilege, two replicas that are spread, and arguments that the operator understands."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from cryptography import x509

from regent.adapters.kubernetes.rbac import operator_rules
from regent.adapters.kubernetes.standby_rules import standby_rules
from regent.adapters.promotion.rules import step_rules
from regent.adapters.replication.rules import category_rules
from regent.api.v1alpha1.schema import custom_resource_definitions
from regent.cli.run import run
from regent.settings import load
from tests.chart_render import CHART, HelmError, helm, only, operator_arguments, render_chart


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return render_chart()


def kinds(objects: list[dict[str, Any]]) -> set[str]:
    return {obj["kind"] for obj in objects}


def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = only(objects, "Deployment")["spec"]["template"]
    return found


def test_the_operator_understands_its_arguments(objects: list[dict[str, Any]]) -> None:
    command, *arguments = operator_arguments(objects)
    assert command == "run"
    parsed = run.make_context("run", arguments).params
    assert parsed["config"] == "/etc/regent/settings.yaml"
    assert parsed["namespace"] == "regent-system"
    assert parsed["http_address"] == "0.0.0.0:8080"
    assert parsed["leader_elect"] is True


def test_one_replica_without_election() -> None:
    objects = render_chart({"leaderElection.enabled": False, "replicaCount": 1, "http.port": 9090})
    parsed = run.make_context("run", operator_arguments(objects)[1:]).params
    assert parsed["leader_elect"] is False
    assert parsed["http_address"] == "0.0.0.0:9090"
    assert only(objects, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_permissions_are_what_the_code_calls(objects: list[dict[str, Any]]) -> None:
    rules = operator_rules()
    assert only(objects, "ClusterRole", "regent")["rules"] == rules["cluster"]
    assert only(objects, "Role")["rules"] == rules["namespace"]
    assert only(objects, "Role")["metadata"]["namespace"] == "regent-system"


def test_no_permission_is_a_wildcard(objects: list[dict[str, Any]]) -> None:
    for obj in objects:
        for rule in obj.get("rules") or ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], obj["metadata"]["name"]


def test_the_operator_cannot_write_secrets_nor_read_them_everywhere(objects: list[dict[str, Any]]) -> None:
    for rule in only(objects, "ClusterRole", "regent")["rules"]:
        assert "secrets" not in rule["resources"]
    for rule in only(objects, "Role")["rules"]:
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"]


def test_promotion_steps_get_nothing_unless_asked_for(objects: list[dict[str, Any]]) -> None:
    assert not [obj for obj in objects if "promotion" in obj["metadata"]["name"]]
    for obj in objects:
        for rule in obj.get("rules") or ():
            assert "impersonate" not in rule["verbs"]
            assert not {"deployments", "statefulsets", "cronjobs"} & set(rule["resources"])


def test_each_kind_of_promotion_step_brings_its_rules() -> None:
    steps = step_rules()
    objects = render_chart({"promotion.kinds": ["Scale", "VirtualMachine"]})
    assert only(objects, "ClusterRole", "regent-promotion")["rules"] == steps["Scale"] + steps["VirtualMachine"]
    assert only(objects, "ClusterRoleBinding", "regent-promotion")["subjects"][0]["name"] == "regent"
    for kind in steps:
        assert only(render_chart({"promotion.kinds": [kind]}), "ClusterRole", "regent-promotion")["rules"]


def test_promotion_steps_can_be_kept_to_namespaces_and_accounts() -> None:
    accounts = [{"namespace": "shop", "name": "failover"}]
    objects = render_chart(
        {"promotion.kinds": ["Scale"], "promotion.namespaces": ["shop", "pay"], "promotion.serviceAccounts": accounts}
    )
    bound = [obj for obj in objects if obj["metadata"]["name"] == "regent-promotion" and "Binding" in obj["kind"]]
    assert {(obj["kind"], obj["metadata"]["namespace"]) for obj in bound} == {
        ("RoleBinding", "shop"),
        ("RoleBinding", "pay"),
    }
    role = only(objects, "Role", "regent-impersonates-failover")
    assert role["metadata"]["namespace"] == "shop"
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["failover"], "verbs": ["impersonate"]}
    ]


def test_copies_get_nothing_unless_asked_for(objects: list[dict[str, Any]]) -> None:
    assert not [obj for obj in objects if obj["metadata"]["name"].endswith("-replication")]
    for rule in only(objects, "ClusterRole", "regent")["rules"]:
        assert not {"configmaps", "secrets", "deployments"} & set(rule["resources"])


def test_each_category_of_copies_brings_its_rules_in_its_namespaces() -> None:
    categories = category_rules()
    own = [{"apiGroups": ["shop.example.com"], "resources": ["carts"], "verbs": ["get", "list", "watch"]}]
    values = {"replication.categories": ["Config", "Workload"], "replication.rules": own}
    objects = render_chart({**values, "replication.namespaces": ["shop", "pay"]})
    rules = only(objects, "ClusterRole", "regent-replication")["rules"]
    assert rules == categories["Config"] + categories["Workload"] + own
    assert not any("secrets" in rule["resources"] for rule in rules)
    bound = [obj for obj in objects if obj["metadata"]["name"] == "regent-replication" and "Binding" in obj["kind"]]
    assert {(obj["kind"], obj["metadata"]["namespace"]) for obj in bound} == {
        ("RoleBinding", "shop"),
        ("RoleBinding", "pay"),
    }
    assert only(render_chart(values), "ClusterRoleBinding", "regent-replication")["subjects"][0]["name"] == "regent"
    for category in categories:
        assert only(render_chart({"replication.categories": [category]}), "ClusterRole", "regent-replication")["rules"]


def test_secret_namespaces_get_a_role_each() -> None:
    objects = render_chart({"settings": {"secretNamespaces": ["tls", "keys"]}})
    named = [obj for obj in objects if obj["metadata"]["name"] == "regent-secrets"]
    places = {(obj["kind"], obj["metadata"]["namespace"]) for obj in named}
    assert places == {(kind, namespace) for kind in ("Role", "RoleBinding") for namespace in ("tls", "keys")}
    role = next(obj for obj in named if obj["kind"] == "Role")
    assert role["rules"] == operator_rules()["secretNamespaces"]


def test_only_a_standby_hub_may_write_what_it_copies(objects: list[dict[str, Any]]) -> None:
    assert not [obj for obj in objects if obj["metadata"]["name"].endswith("-standby")]
    follows = {"standby": {"follow": "active-hub"}, "secretNamespaces": ["tls"]}
    found = [
        obj
        for obj in render_chart({"settings": follows})
        if obj["metadata"]["name"] == "regent-standby" and "rules" in obj
    ]
    assert [(obj["kind"], obj["rules"]) for obj in found] == [("ClusterRole", standby_rules()["standby"])]
    follows["standby"] = {"follow": "active-hub", "secrets": True}
    named = [obj for obj in render_chart({"settings": follows}) if obj["metadata"]["name"] == "regent-standby"]
    roles = {obj["metadata"]["namespace"]: obj["rules"] for obj in named if obj["kind"] == "Role"}
    assert roles == dict.fromkeys(("regent-system", "tls"), standby_rules()["standbySecrets"])
    bound = [obj["subjects"] for obj in named if obj["kind"].endswith("Binding")]
    assert bound == [[{"kind": "ServiceAccount", "name": "regent", "namespace": "regent-system"}]] * 3


def test_the_lease_may_have_another_name() -> None:
    objects = render_chart({"settings": {"leaderElection": {"leaseName": "blue"}}})
    named = [rule["resourceNames"] for rule in only(objects, "Role")["rules"] if "resourceNames" in rule]
    assert named == [["blue"]]


def test_bindings_name_the_account_of_the_deployment(objects: list[dict[str, Any]]) -> None:
    account = pod(objects)["spec"]["serviceAccountName"]
    assert only(objects, "ServiceAccount")["metadata"]["name"] == account
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        assert only(objects, kind)["subjects"] == [
            {"kind": "ServiceAccount", "name": account, "namespace": "regent-system"}
        ]


def restricted(spec: dict[str, Any]) -> None:
    """What the Pod Security Standard `restricted` asks, and what it does not: a read-only root, a numeric user."""
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all({"configMap", "emptyDir"} & set(volume) for volume in spec.get("volumes", ()))
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert "host" not in container.get(probe, {}).get("httpGet", {})


def test_pods_are_restricted(objects: list[dict[str, Any]]) -> None:
    restricted(pod(objects)["spec"])
    hook = helm("template", "regent", str(CHART), "--show-only", "templates/tests/ready.yaml")
    restricted(yaml.safe_load(hook)["spec"])


def test_two_replicas_that_are_probed_spread_and_not_drained_at_once(objects: list[dict[str, Any]]) -> None:
    deployment, spec = only(objects, "Deployment"), pod(objects)["spec"]
    labels = deployment["spec"]["selector"]["matchLabels"]
    assert deployment["spec"]["replicas"] == 2
    assert labels.items() <= pod(objects)["metadata"]["labels"].items()
    assert {item["topologyKey"] for item in spec["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert all(item["labelSelector"]["matchLabels"] == labels for item in spec["topologySpreadConstraints"])
    assert only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert only(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    container = spec["containers"][0]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_service_and_policy_select_the_operator_only(objects: list[dict[str, Any]]) -> None:
    labels = only(objects, "Deployment")["spec"]["selector"]["matchLabels"]
    assert only(objects, "Service")["spec"]["selector"] == labels
    policy = only(objects, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert policy["egress"] == [{}]


def test_the_network_can_be_narrowed() -> None:
    peer = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    egress = [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]
    policy = only(render_chart({"networkPolicy.ingressFrom": peer, "networkPolicy.egress": egress}), "NetworkPolicy")[
        "spec"
    ]
    assert policy["ingress"][0]["from"] == peer
    assert policy["egress"] == egress


def test_crds_are_those_of_the_api_and_stay(objects: list[dict[str, Any]]) -> None:
    rendered = {obj["metadata"]["name"]: obj for obj in objects if obj["kind"] == "CustomResourceDefinition"}
    for crd in custom_resource_definitions():
        found = rendered.pop(crd["metadata"]["name"])
        assert found["spec"] == crd["spec"]
        assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not rendered


def test_crds_can_be_left_out_or_let_go() -> None:
    assert "CustomResourceDefinition" not in kinds(render_chart({"crds.enabled": False}))
    for obj in render_chart({"crds.keep": False}):
        assert "helm.sh/resource-policy" not in obj["metadata"].get("annotations", {})


def test_user_roles(objects: list[dict[str, Any]]) -> None:
    def verbs(name: str, resource: str) -> set[str]:
        rules = only(objects, "ClusterRole", name)["rules"]
        return {verb for rule in rules if resource in rule["resources"] for verb in rule["verbs"]}

    assert verbs("regent-viewer", "regions") == {"get", "list", "watch"}
    assert "create" in verbs("regent-editor", "failovers")
    assert verbs("regent-editor", "regions") == set()
    assert "update" in verbs("regent-operator", "regions")
    labels = only(objects, "ClusterRole", "regent-operator")["metadata"]["labels"]
    assert not [label for label in labels if "aggregate-to" in label], "Regions are for those who run the platform"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("serviceAccount.create", "ServiceAccount"),
        ("service.enabled", "Service"),
        ("networkPolicy.enabled", "NetworkPolicy"),
        ("podDisruptionBudget.enabled", "PodDisruptionBudget"),
    ],
)
def test_parts_can_be_turned_off(value: str, kind: str) -> None:
    assert kind in kinds(render_chart())
    assert kind not in kinds(render_chart({value: False, "serviceAccount.name": "mine"}))


def test_no_permissions_when_they_are_given_by_somebody_else() -> None:
    objects = render_chart({"rbac.create": False, "rbac.userRoles": False})
    assert not kinds(objects) & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def test_service_monitor() -> None:
    assert "ServiceMonitor" not in kinds(render_chart())
    monitor = only(
        render_chart({"serviceMonitor.enabled": True, "serviceMonitor.labels": {"team": "a"}}), "ServiceMonitor"
    )
    assert monitor["metadata"]["labels"]["team"] == "a"
    assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]


def test_a_change_of_settings_makes_new_pods(objects: list[dict[str, Any]]) -> None:
    changed = render_chart({"settings": {"failover": {"suspendAll": True}}})
    key = "checksum/settings"
    assert pod(changed)["metadata"]["annotations"][key] != pod(objects)["metadata"]["annotations"][key]


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "regent:0.1.0"),
        (
            {"image.repository": "registry.example.com/regent", "image.tag": "1.2.3"},
            "registry.example.com/regent:1.2.3",
        ),
        ({"image.digest": "sha256:" + "a" * 64}, "regent@sha256:" + "a" * 64),
    ],
)
def test_image(values: dict[str, Any], image: str) -> None:
    assert pod(render_chart(values))["spec"]["containers"][0]["image"] == image


def test_names_of_releases() -> None:
    assert only(render_chart(release="eu"), "Deployment")["metadata"]["name"] == "eu-regent"
    long = render_chart(release="r" * 53)
    assert all(len(obj["metadata"]["name"]) <= 63 for obj in long if obj["kind"] != "CustomResourceDefinition")


def test_versions_agree() -> None:
    from regent import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__
    assert chart["kubeVersion"] == ">=1.32.0-0"


def test_an_older_kubernetes_is_refused() -> None:
    with pytest.raises(HelmError, match=r"1\.32"):
        helm("template", "regent", str(CHART), "--kube-version", "1.31.9")
    assert helm("template", "regent", str(CHART), "--kube-version", "v1.32.0-eks-1")


def _webhook(values: dict[str, Any]) -> dict[str, Any]:
    found = [obj for obj in render_chart(values) if obj["kind"] == "MutatingWebhookConfiguration"]
    return found[0] if found else {}


def test_the_webhook_and_its_certificate_belong_together() -> None:
    objects = render_chart({"admission.stampWith": "Webhook"})
    secret = only(objects, "Secret")
    client = only(objects, "MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"]
    assert client["caBundle"] == secret["data"]["ca.crt"]
    host = f"{client['service']['name']}.{client['service']['namespace']}.svc"
    leaf = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["tls.crt"]))
    authority = x509.load_pem_x509_certificate(base64.b64decode(secret["data"]["ca.crt"]))
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert host in names.get_values_for_type(x509.DNSName)
    service = only(objects, "Service", client["service"]["name"])
    assert service["spec"]["ports"][0]["port"] == client["service"]["port"]
    container = pod(objects)["spec"]["containers"][0]
    assert service["spec"]["ports"][0]["targetPort"] in {port["name"] for port in container["ports"]}
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    settings = load(environment={k: v for k, v in environment.items() if v and "ADMISSION" in k}, flags={}).admission
    assert settings.address.endswith(":9443")
    mounted = next(mount for mount in container["volumeMounts"] if mount["name"] == "webhook")["mountPath"]
    assert {settings.certificate, settings.key} == {f"{mounted}/tls.crt", f"{mounted}/tls.key"}
    ports = [port["port"] for rule in only(objects, "NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]]
    assert ports == ["http", "webhook"]


@pytest.mark.parametrize(
    ("values", "hooked"),
    [
        ({}, False),
        ({"admission.stampWith": "Webhook"}, True),
        ({"admission.stampWith": "Webhook", "admission.requester": False}, False),
        ({"admission.stampWith": "None"}, False),
    ],
)
def test_the_webhook_is_there_where_it_is_needed(values: dict[str, Any], hooked: bool) -> None:
    assert bool(_webhook(values)) is hooked


def test_an_api_server_that_serves_no_policies_is_given_the_webhook() -> None:
    text = helm("template", "regent", str(CHART), "--kube-version", "1.33.0", "--set", "crds.enabled=false")
    kinds_of = [document["kind"] for document in yaml.safe_load_all(text) if document]
    assert "MutatingWebhookConfiguration" in kinds_of
    assert "MutatingAdmissionPolicy" not in kinds_of


def test_a_certificate_of_the_users_own() -> None:
    values = {
        "admission.stampWith": "Webhook",
        "admission.webhook.secretName": "own",
        "admission.webhook.caBundle": "Q0E=",
    }
    objects = render_chart(values)
    assert "Secret" not in kinds(objects)
    assert only(objects, "MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"]["caBundle"] == "Q0E="
    volumes = {volume["name"]: volume for volume in pod(objects)["spec"]["volumes"]}
    assert volumes["webhook"]["secret"]["secretName"] == "own"
