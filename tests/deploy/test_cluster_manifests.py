"""The manifests under k8s/cluster/: a scheduler that knows nothing, workers that only read, a run that reaches both."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from jobs import __version__
from jobs.settings import load_settings
from jobs.settings.commands import sources_here
from tests.deploy.test_manifests import _FOLDER as FOLDER
from tests.deploy.test_manifests import DOCUMENTS, JOBS, container_of, environment_of
from tests.deploy.test_manifests import _kubectl as kubectl
from tests.support.pods import USER

DEPLOYMENTS = {name: document for name, document in DOCUMENTS if document["kind"] == "Deployment"}
SCHEDULER, WORKERS = "cluster/scheduler.yaml", "cluster/workers.yaml"
(SERVICE,) = (document for _, document in DOCUMENTS if document["kind"] == "Service")
POLICIES = {
    document["metadata"]["name"]: document["spec"]
    for name, document in DOCUMENTS
    if name == "cluster/network-policy.yaml"
}
PORT = 8786


def labels_of(manifest: dict[str, Any]) -> dict[str, str]:
    """Return the labels of the pods that a Deployment or a Job's specification makes."""
    labels: dict[str, str] = manifest.get("spec", manifest)["template"]["metadata"]["labels"]
    return labels


def test_the_deployments_are_these() -> None:
    assert DEPLOYMENTS.keys() == {SCHEDULER, WORKERS}
    rendered = yaml.safe_load_all(kubectl("kustomize", str(FOLDER / "cluster")))
    assert {document["kind"] for document in rendered} == {"Deployment", "Service", "NetworkPolicy"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_are_restricted_and_of_this_version(name: str) -> None:
    pod = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    container = container_of(DEPLOYMENTS[name]["spec"])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {USER}
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["image"] == f"litellm-lago-reconcile:{__version__}"
    assert {"readinessProbe", "livenessProbe"} <= container.keys()
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert limits.keys() == requests.keys() == {"cpu", "memory", "ephemeral-storage"}
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108 - the pod's own
    selector = DEPLOYMENTS[name]["spec"]["selector"]["matchLabels"]
    assert labels_of(DEPLOYMENTS[name]).items() >= selector.items()


def test_secrets_are_only_where_they_are_needed() -> None:
    scheduler, worker = (container_of(DEPLOYMENTS[name]["spec"]) for name in (SCHEDULER, WORKERS))
    assert not {"env", "envFrom"} & scheduler.keys()
    secrets = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for variable in worker["env"]
        if "secretKeyRef" in variable["valueFrom"]
    }
    assert secrets == {"username", "password", "api-key", "store-url"}
    run = {source["configMapRef"]["name"] for source in container_of(JOBS["cluster/job.yaml"])["envFrom"]}
    assert {source["configMapRef"]["name"] for source in worker["envFrom"]} == run, "one place for what both read"


def test_a_worker_finds_its_sources_in_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in environment_of(DEPLOYMENTS[WORKERS]["spec"]).items():
        monkeypatch.setenv(name, text)
    found = sources_here()
    assert (found.database.host, found.database.password) == ("postgresql.database", "p@ss/word")
    assert found.lago is not None
    assert found.names == ("api", "https://api.getlago.com")
    monkeypatch.delenv("LAGO_API_KEY")
    assert sources_here().lago is None


def test_run_workers_and_scheduler_find_each_other() -> None:
    worker, run = container_of(DEPLOYMENTS[WORKERS]["spec"]), container_of(JOBS["cluster/job.yaml"])
    scheduler = container_of(DEPLOYMENTS[SCHEDULER]["spec"])
    address = f"tcp://{SERVICE['metadata']['name']}:{PORT}"
    assert address in worker["args"]
    assert f"--cluster={address}" in run["args"]
    assert load_settings({"RECONCILE_CLUSTER": address}).values["cluster"].value == address
    assert f"--port={PORT}" in scheduler["args"]
    assert [port["port"] for port in SERVICE["spec"]["ports"]] == [PORT]
    assert labels_of(DEPLOYMENTS[SCHEDULER]).items() >= SERVICE["spec"]["selector"].items()
    assert {f"--{port['name']}-port={port['containerPort']}" for port in worker["ports"]} <= set(worker["args"])


def test_a_worker_has_more_memory_than_dask_gives_it() -> None:
    worker = container_of(DEPLOYMENTS[WORKERS]["spec"])
    (limit,) = (word for word in worker["args"] if word.startswith("--memory-limit="))
    given = int(limit.removeprefix("--memory-limit=").removesuffix("GiB"))
    assert given + 1 <= int(worker["resources"]["limits"]["memory"].removesuffix("Gi"))
    assert "--nthreads=1" in worker["args"]
    assert worker["resources"]["limits"]["cpu"] == "1"


def lets_in(policy: dict[str, Any], labels: dict[str, str], port: int) -> bool:
    """Tell whether pods of these labels reach this port of the policy's pods."""
    return any(
        port in {item["port"] for item in rule["ports"]}
        and any(labels.items() >= peer["podSelector"]["matchLabels"].items() for peer in rule["from"])
        for rule in policy["ingress"]
    )


def test_only_run_and_workers_reach_the_scheduler_and_only_the_cluster_a_worker() -> None:
    """Whoever reaches a scheduler can run code on its workers."""
    scheduler, worker, run = (
        labels_of(found) for found in (DEPLOYMENTS[SCHEDULER], DEPLOYMENTS[WORKERS], JOBS["cluster/job.yaml"])
    )
    daily = labels_of(JOBS["cronjob.yaml"])
    into_scheduler, into_worker = POLICIES["litellm-lago-scheduler"], POLICIES["litellm-lago-worker"]
    assert scheduler.items() >= into_scheduler["podSelector"]["matchLabels"].items()
    assert worker.items() >= into_worker["podSelector"]["matchLabels"].items()
    assert lets_in(into_scheduler, run, PORT)
    assert lets_in(into_scheduler, worker, PORT)
    assert not lets_in(into_scheduler, daily, PORT)
    ports = [port["containerPort"] for port in container_of(DEPLOYMENTS[WORKERS]["spec"])["ports"]]
    assert all(lets_in(into_worker, labels, port) for labels in (worker, scheduler) for port in ports)
    assert not any(lets_in(into_worker, labels, port) for labels in (run, daily) for port in ports)
    out = POLICIES["litellm-lago-cluster"]
    for labels in (scheduler, worker, run):
        assert labels.items() >= out["podSelector"]["matchLabels"].items()
    (rule,) = out["egress"]
    assert {item["port"] for item in rule["ports"]} == {PORT, *ports}
