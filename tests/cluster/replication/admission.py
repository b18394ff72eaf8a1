"""A cluster's own policy that refuses something in one namespace, while it is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from testbed.controlplane import ApiError
from tests.cluster.replication.bench import Bench

ROOT = "/apis/admissionregistration.k8s.io/v1"


@contextmanager
def refused(
    bench: Bench, region: str, *, operation: str, group: str, plural: str, message: str, canary: Callable[[], object]
) -> Iterator[None]:
    """Refuse an operation on a kind in the test's namespace of a region.

    Args:
        canary: tries something that is refused, without doing it: a policy is in force a moment after it was made.
    """
    name = bench.namespace
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": [plural]}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [{"name": "here", "expression": f"request.namespace == '{name}'"}],
            "validations": [{"expression": "false", "message": message}],
        },
    }  # fmt: skip
    binding = {
        **policy, "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }  # fmt: skip
    plane = bench.planes[region]
    plane.apply([policy, binding])
    try:
        bench.until(lambda: _refuses(canary, message), "the cluster's policy to be in force")
        yield
    finally:
        for plural_ in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            plane.api.delete(f"{ROOT}/{plural_}/{name}")


def _refuses(canary: Callable[[], object], message: str) -> bool:
    try:
        canary()
    except ApiError as error:
        assert message in str(error), error
        return True
    return False
