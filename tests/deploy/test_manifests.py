"""The manifests under k8s/: strict schemas, kustomize, and what neither knows about this job."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import kubernetes_validate
import pytest
import yaml
from cronsim import CronSim
from kubernetes_validate.utils import all_versions

from jobs import __version__
from jobs.cli import cli, group
from jobs.core.durations import parse_duration
from jobs.errors import RefusedError, SettingError
from jobs.settings import SETTINGS, load_settings, reconcile_settings
from tests.support.pods import USER

_FOLDER = Path(__file__).parents[2] / "k8s"
# Neither is a kind of Kubernetes' own that a core schema knows; tests/deploy/test_monitoring.py looks at the alerts.
_OTHERS = {"kustomization.yaml", "alerts.yaml"}
_FILES = sorted(path for path in _FOLDER.rglob("*.yaml") if path.name not in _OTHERS)
_NEWEST = sorted(all_versions(), key=lambda text: tuple(map(int, text.split("."))))[-3:]
_LABEL = "app.kubernetes.io/name"
# What the project's files leave to the user, by kind and name, and the keys that must be in it.
_FROM_OUTSIDE = {
    ("ConfigMap", "litellm-lago-deployment"): set[str](),
    ("ConfigMap", "litellm-env-configmap"): set[str](),
    ("ConfigMap", "litellm-lago-settings"): set[str](),
    ("ConfigMap", "litellm-lago-files"): set[str](),
    ("Secret", "psql-secret"): {"username", "password"},
    ("Secret", "lago-secret"): {"api-key", "ledger-url", "store-url", "webhook-url", "pushgateway-url"},
}
_OPTIONAL = {
    "litellm-env-configmap",
    "litellm-lago-settings",
    "litellm-lago-files",
    "ledger-url",
    "store-url",
    "webhook-url",
    "pushgateway-url",
}
# What an operator fills in, by README's example.
_DEPLOYMENT = {
    "DATABASE_HOST": "postgresql.database:5432",
    "DATABASE_NAME": "litellm",
    "LAGO_API_BASE": "https://api.getlago.com",
    "LAGO_API_EVENT_CODE": "llm_tokens",
    "LAGO_API_CHARGE_BY": "end_user_id",
}
_SECRETS = {"username": "reader", "password": "p@ss/word", "api-key": "key"}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every document with the name of its file."""
    for path in _FILES:
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield path.relative_to(_FOLDER).as_posix(), document


DOCUMENTS = list(documents())
JOBS = {
    name: document["spec"]["jobTemplate"]["spec"] if document["kind"] == "CronJob" else document["spec"]
    for name, document in DOCUMENTS
    if document["kind"] in {"CronJob", "Job"}
}
(CRON_JOB,) = (document for _, document in DOCUMENTS if document["kind"] == "CronJob")


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    """Return the pod's specification."""
    pod: dict[str, Any] = job["template"]["spec"]
    return pod


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    """Return the only container."""
    (container,) = pod_of(job)["containers"]
    return dict(container)


def deployment() -> dict[str, Any]:
    """Return the ConfigMap that an operator fills in."""
    (found,) = (document for name, document in DOCUMENTS if name == "deployment.yaml")
    return found


def environment_of(job: dict[str, Any]) -> dict[str, str]:
    """Return what the container's process would see, with made-up contents of the user's objects."""
    environment = {**deployment()["data"], **_DEPLOYMENT}
    for variable in container_of(job)["env"]:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            if source["secretKeyRef"]["key"] in _SECRETS:
                environment[variable["name"]] = _SECRETS[source["secretKeyRef"]["key"]]
        else:
            environment[variable["name"]] = variable.get("value", "0")
    return environment


def test_the_jobs_are_these() -> None:
    assert {"cronjob.yaml", "backfill-job.yaml", "cluster/job.yaml"} == JOBS.keys()


@pytest.mark.parametrize("version", _NEWEST)
def test_every_document_passes_the_strict_schema(version: str) -> None:
    for _, document in DOCUMENTS:
        kubernetes_validate.validate(document, version, strict=True)


def test_a_strict_schema_finds_a_misspelled_field() -> None:
    wrong = {**CRON_JOB, "spec": {**CRON_JOB["spec"], "concurencyPolicy": "Forbid"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, _NEWEST[-1], strict=True)


def test_no_document_says_its_namespace() -> None:
    assert not [name for name, document in DOCUMENTS if "namespace" in document["metadata"]]


def test_kustomize_renders_what_the_files_say(tmp_path: Path) -> None:
    own = tmp_path / "kustomization.yaml"
    for file in _FOLDER.glob("*.yaml"):
        (tmp_path / "k8s").mkdir(exist_ok=True)
        (tmp_path / "k8s" / file.name).write_bytes(file.read_bytes())
    own.write_text(
        "resources: [k8s]\nnamespace: gateway\nimages:\n"
        "  - {name: litellm-lago-reconcile, newName: registry.example/lago, digest: 'sha256:" + "0" * 64 + "'}\n",
        encoding="utf-8",
    )
    rendered = list(yaml.safe_load_all(_kubectl("kustomize", str(tmp_path))))
    kinds = {(document["kind"], document["metadata"]["name"]) for document in rendered}
    assert kinds == {
        ("ConfigMap", "litellm-lago-deployment"),
        ("CronJob", "litellm-lago"),
        ("NetworkPolicy", "litellm-lago"),
    }
    assert {document["metadata"]["namespace"] for document in rendered} == {"gateway"}
    (cron_job,) = (document for document in rendered if document["kind"] == "CronJob")
    container = container_of(cron_job["spec"]["jobTemplate"]["spec"])
    assert container["image"] == "registry.example/lago@sha256:" + "0" * 64
    for document in rendered:
        kubernetes_validate.validate(document, _NEWEST[-1], strict=True)


def test_a_backfill_is_made_from_the_cron_job_by_the_runbooks_command(tmp_path: Path) -> None:
    """Without a cluster: `create job --from` copies the Job template, and the patch is done by kubectl itself."""
    runbook = (_FOLDER.parent / "docs" / "runbook.md").read_text(encoding="utf-8")
    (patch,) = re.findall(r"kubectl patch --local -f - --type=json -o yaml -p '([^']+)'", runbook)
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": JOBS["cronjob.yaml"]}
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(made), encoding="utf-8")
    patched = yaml.safe_load(_kubectl("patch", "--local", "-f", str(file), "--type=json", "-o", "yaml", "-p", patch))
    check_arguments(container_of(patched["spec"])["args"])
    kubernetes_validate.validate(patched, _NEWEST[-1], strict=True)


def _kubectl(*arguments: str) -> str:
    program = Path(sys.executable).parent / "kubectl"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def test_the_schedule_and_its_zone_exist() -> None:
    spec = CRON_JOB["spec"]
    firings = CronSim(spec["schedule"], datetime(2026, 3, 1, tzinfo=ZoneInfo(spec["timeZone"])))
    first, second = islice(firings, 2)
    gap = second - first
    window_length = next(setting.default for setting in SETTINGS if setting.name == "window_length")
    assert parse_duration(window_length or "") > gap, "windows overlap"
    # A run that begins last must be over before the next firing, which would otherwise be skipped.
    assert spec["startingDeadlineSeconds"] + JOBS["cronjob.yaml"]["activeDeadlineSeconds"] < gap.total_seconds()


def test_runs_do_not_overlap_and_old_ones_go() -> None:
    spec = CRON_JOB["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["successfulJobsHistoryLimit"] >= 1
    assert spec["failedJobsHistoryLimit"] >= 1
    # Kubernetes appends eleven characters to a CronJob's name, and a Job's name is a label's value.
    assert len(CRON_JOB["metadata"]["name"]) <= 52


@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends_and_is_removed(name: str) -> None:
    job = JOBS[name]
    assert job["activeDeadlineSeconds"] > 0
    assert job["ttlSecondsAfterFinished"] > 0
    assert job["backoffLimit"] >= 1


@pytest.mark.parametrize("name", JOBS)
def test_only_what_another_try_can_mend_is_tried_again(name: str) -> None:
    job = JOBS[name]
    # Kubernetes refuses a podFailurePolicy with any other restartPolicy.
    assert pod_of(job)["restartPolicy"] == "Never"
    assert job["podReplacementPolicy"] == "Failed", "never two pods of one run"
    fails, disrupted = job["podFailurePolicy"]["rules"]
    assert fails["action"] == "FailJob"
    assert fails["onExitCodes"]["operator"] == "In"
    assert fails["onExitCodes"]["containerName"] == container_of(job)["name"]
    final = {group.DISCREPANCIES_REMAIN, SettingError.exit_code, RefusedError.exit_code}
    assert set(fails["onExitCodes"]["values"]) == final
    assert group.FAILED not in final
    assert disrupted == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize("name", JOBS)
def test_pods_are_restricted(name: str) -> None:
    pod, container = pod_of(JOBS[name]), container_of(JOBS[name])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {USER}
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "a Service called `database` would set DATABASE_… variables"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert not {"livenessProbe", "readinessProbe", "startupProbe"} & container.keys(), "a job that ends has no health"


@pytest.mark.parametrize("name", JOBS)
def test_what_a_pod_names_is_there(name: str) -> None:
    pod, container = pod_of(JOBS[name]), container_of(JOBS[name])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    claims = {document["metadata"]["name"] for _, document in DOCUMENTS if document["kind"] == "PersistentVolumeClaim"}
    assert volumes["runs"]["persistentVolumeClaim"]["claimName"] in claims
    used: list[tuple[str, dict[str, Any], str | None]]
    used = [("ConfigMap", source["configMapRef"], None) for source in container["envFrom"]]
    used += [("ConfigMap", volumes["files"]["configMap"], None)]
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        used += [("Secret", reference, reference["key"])] if reference else []
    for kind, reference, key in used:
        assert (kind, reference["name"]) in _FROM_OUTSIDE
        assert key is None or key in _FROM_OUTSIDE[kind, reference["name"]]
        assert reference.get("optional", False) is ((key or reference["name"]) in _OPTIONAL), reference


def test_every_secret_setting_of_the_job_can_come_from_a_secret() -> None:
    named = {variable["name"] for variable in container_of(JOBS["cronjob.yaml"])["env"] if "valueFrom" in variable}
    # The manifest names the database by its parts; LiteLLM's other ways to name it would go before them.
    others = {"DATABASE_URL", "DIRECT_URL", "DATABASE_URL_READ_REPLICA", "DATABASE_PASSWORD_READ_REPLICA"}
    assert {setting.variable for setting in SETTINGS if setting.secret} - others <= named


@pytest.mark.parametrize("name", JOBS)
def test_what_is_written_goes_to_a_volume(name: str) -> None:
    job, container = JOBS[name], container_of(JOBS[name])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    environment = environment_of(job)
    output, scratch = Path(environment["RECONCILE_OUTPUT"]), environment["RECONCILE_SCRATCH"]
    assert {mounts[str(path)] for path in (output, *output.parents) if str(path) in mounts} == {"runs"}
    assert mounts[scratch] == mounts["/tmp"] == "scratch"  # noqa: S108 - the pod's own
    assert environment["RECONCILE_TERMINATION_LOG"] == container["terminationMessagePath"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    (volume,) = (volume for volume in pod_of(job)["volumes"] if volume["name"] == "scratch")
    assert _bytes(volume["emptyDir"]["sizeLimit"]) <= _bytes(container["resources"]["limits"]["ephemeral-storage"])


@pytest.mark.parametrize("name", JOBS)
def test_resources_fit_the_settings(name: str) -> None:
    container = container_of(JOBS[name])
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert limits.keys() == requests.keys() == {"cpu", "memory", "ephemeral-storage"}
    environment = environment_of(JOBS[name])
    # Besides the matching there are Python, what it imports, frames of the report and the connections.
    matching = int(environment["RECONCILE_MEMORY_LIMIT"].removesuffix("GB")) * 10**9
    assert _bytes(limits["memory"]) >= matching + 500_000_000
    assert environment["RECONCILE_THREADS"] == limits["cpu"]


def _bytes(quantity: str) -> int:
    return int(quantity.removesuffix("Gi")) * 2**30


@pytest.mark.parametrize("name", JOBS)
def test_the_command_takes_its_variables_and_arguments(name: str) -> None:
    container = container_of(JOBS[name])
    known = {setting.variable for setting in SETTINGS}
    own = {variable["name"] for variable in container["env"]}
    assert own <= known
    assert container["image"] == f"litellm-lago-reconcile:{__version__}"
    for expanded in re.findall(r"\$\((\w+)\)", " ".join(container.get("args", []))):
        assert expanded in own
    assert "command" not in container, "the job itself is process 1, which is told to stop"
    check_arguments(container["args"])
    settings = load_settings(environment_of(JOBS[name]))
    request = reconcile_settings(settings, None, None, datetime(2026, 11, 24, tzinfo=UTC))
    assert (request.database.host, request.database.password) == ("postgresql.database", "p@ss/word")


def check_arguments(arguments: list[str]) -> None:
    """Let the command line itself parse them, as far as that goes without running anything."""
    command = cli.commands[arguments[0]]
    context = command.make_context(arguments[0], arguments[1:])
    assert isinstance(context, click.Context)


def test_the_job_name_that_decides_the_window_comes_from_the_label() -> None:
    (variable,) = (item for item in container_of(JOBS["cronjob.yaml"])["env"] if item["name"] == "RECONCILE_JOB_NAME")
    path = variable["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['batch.kubernetes.io/job-name']"


def test_the_network_policy_covers_the_pods_and_lets_nothing_in() -> None:
    (policy,) = (document["spec"] for name, document in DOCUMENTS if name == "network-policy.yaml")
    selected = policy["podSelector"]["matchLabels"]
    for job in JOBS.values():
        assert job["template"]["metadata"]["labels"].items() >= selected.items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["ingress"] == []
    ports = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert {("UDP", 53), ("TCP", 53), ("TCP", 5432), ("TCP", 443), ("TCP", 9091)} <= ports
    assert not [rule for rule in policy["egress"] if "to" in rule], "names may be answered outside kube-system"


def test_the_example_secret_holds_none() -> None:
    (secret,) = (document for _, document in DOCUMENTS if document["kind"] == "Secret")
    assert not any(secret["stringData"].values())
    assert secret["stringData"].keys() <= _FROM_OUTSIDE["Secret", secret["metadata"]["name"]]
    assert "secret" not in (_FOLDER / "kustomization.yaml").read_text(encoding="utf-8")


# LiteLLM's own ConfigMap as its chart makes it; host and name of the database are values of the chart (`db.endpoint`,
# `db.database`), and stand in no object.
_CHARTS_CONFIG_MAP = {"STORE_MODEL_IN_DB": "True", "LITELLM_LOG": "INFO"}


def test_a_deployment_that_is_filled_in_works_at_the_first_try() -> None:
    environment = {**environment_of(JOBS["cronjob.yaml"]), **_CHARTS_CONFIG_MAP}
    settings = load_settings(environment)
    request = reconcile_settings(settings, None, None, datetime(2026, 11, 24, tzinfo=UTC))
    assert (request.database.address, request.database.name) == ("postgresql.database:5432", "litellm")
    assert settings.notes == ()
    readme = (_FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert all(f"{name}: {value}" in readme for name, value in _DEPLOYMENT.items() if name.startswith("DATABASE"))


def test_all_that_is_missing_is_told_at_once() -> None:
    environment = {**environment_of(JOBS["cronjob.yaml"]), **deployment()["data"], **_CHARTS_CONFIG_MAP}
    del environment["LAGO_API_KEY"]
    with pytest.raises(SettingError) as raised:
        reconcile_settings(load_settings(environment), None, None, datetime(2026, 11, 24, tzinfo=UTC))
    assert raised.value.what == (
        "DATABASE_HOST, DATABASE_NAME, LAGO_API_BASE, LAGO_API_KEY and LAGO_API_EVENT_CODE are not set"
    )
    assert "\n" not in str(raised.value)
    assert "k8s/deployment.yaml" in raised.value.remedy
    assert "psql-secret" not in raised.value.remedy, "what is there is not named"
    assert "lago-secret" in raised.value.remedy


def test_every_value_that_an_operator_changes_stands_in_one_place() -> None:
    """What `env` holds wins over every ConfigMap, so nothing that a runbook changes may stand there."""
    for name, job in JOBS.items():
        fixed = {variable["name"] for variable in container_of(job)["env"] if "value" in variable}
        assert fixed == {"RECONCILE_OUTPUT", "RECONCILE_SCRATCH", "RECONCILE_TERMINATION_LOG"}, name
        sources = [source["configMapRef"]["name"] for source in container_of(job)["envFrom"]]
        assert sources == ["litellm-lago-deployment", "litellm-env-configmap", "litellm-lago-settings"]


def test_what_is_kept_outlives_the_manifests() -> None:
    """`kubectl delete -k` removes what `apply -k` made."""
    rendered = yaml.safe_load_all(_kubectl("kustomize", str(_FOLDER)))
    assert "PersistentVolumeClaim" not in {document["kind"] for document in rendered}
