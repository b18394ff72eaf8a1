"""The limit of a storm: the writes that have to come before the weights, sent by a client that decides nothing.

A failover that can be resumed cannot do with fewer: the run, its plan, the commit in the policy's status, the intent to
write, the route. They go through the same API server, with the gateway behind it, as many policies at a time as the
operator takes. The operator is stopped meanwhile, and so are its probes and watches: what it needs on top of this limit
is its own, and what the limit itself takes is the machine's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from testbed.controlplane import Cluster
from tests.perf.idle_bench import NAMESPACE

Json = dict[str, Any]
REGENT = f"/apis/regent.dev/v1alpha1/namespaces/{NAMESPACE}"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes"


def floor(cluster: Cluster, *, at_once: int) -> list[float]:
    """Write what a failover of every policy writes; seconds from the beginning to each policy's weights.

    The operator must be stopped, and every policy must have a run that has ended.
    """
    runs = {
        str(run["spec"]["policyRef"]["name"]): run
        for run in cluster.api.get(f"{REGENT}/failovers")["items"]
        if (run.get("status") or {}).get("completionTime")
    }
    policies: Sequence[Json] = cluster.api.get(f"{REGENT}/failoverpolicies")["items"]
    routes = {str(route["metadata"]["name"]): route for route in cluster.api.get(ROUTES)["items"]}
    began = time.monotonic()

    def fail_over(policy: Json) -> float:
        app = str(policy["metadata"]["name"])
        run = runs[app]
        body = {key: run[key] for key in ("apiVersion", "kind", "spec")}
        body["metadata"] = {"name": f"{app}-floor", "labels": run["metadata"].get("labels") or {}}
        made = cluster.api.create(f"{REGENT}/failovers", body)
        path = f"{REGENT}/failovers/{app}-floor/status"
        # The plan, with the journal as far as it goes before the weights.
        steps = run["status"]["steps"]
        begun = {key: value for key, value in run["status"].items() if key != "completionTime"}
        planned = cluster.api.request(
            "PUT", path, {**made, "status": {**begun, "phase": "Pending", "steps": steps[:6]}}
        )
        status = {**policy["status"], "epoch": policy["status"]["epoch"] + 1}
        cluster.api.request("PUT", f"{REGENT}/failoverpolicies/{app}/status", {**policy, "status": status})
        cluster.api.request("PUT", path, {**planned, "status": {**begun, "phase": "Running", "steps": steps}})
        cluster.api.request("PUT", f"{ROUTES}/{app}", _turned(routes[app]))
        return time.monotonic() - began

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(fail_over, policies))


def _turned(route: Json) -> Json:
    """The route with its two weights the other way round."""
    (rule,) = route["spec"]["rules"]
    weights = [item.get("weight", 1) for item in rule["backendRefs"]][::-1]
    references = [{**item, "weight": weight} for item, weight in zip(rule["backendRefs"], weights, strict=True)]
    return {**route, "spec": {**route["spec"], "rules": [{**rule, "backendRefs": references}]}}
