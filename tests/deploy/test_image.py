"""What the image holds: an installed wheel that needs no checkout, and a Dockerfile that keeps its rules."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import yaml

from jobs import __version__
from tests.support import pods
from tests.support.images import built_image
from tests.support.scenario import SCENARIOS, Scenario

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn
    from tests.support.postgres_choice import PostgresChoice

_CHECKOUT = Path(__file__).parents[2]
_DOCKERFILE = (_CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
# Locked for Pythons before or after the one that runs the tests.
_OTHERS = ("backports-zstd", "importlib-metadata", "zipp")
_OF_OTHER_PYTHONS = {name for name in _OTHERS if not list(metadata.distributions(name=name))}
_WINDOW = ("--from", "2026-11-10T12:00:00Z", "--to", "2026-11-10T13:00:00Z")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the Dockerfile's build stage makes, built from what `.dockerignore` lets through."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_CHECKOUT / name, source)
    for name in ("jobs", "sql"):
        shutil.copytree(_CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="session")
def packages(wheel: Path) -> Iterator[Path]:
    """A folder that the wheel is installed into, and that any user can read."""
    with tempfile.TemporaryDirectory(prefix="litellm-lago-wheel-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _pip("install", "--no-deps", "--no-index", "--target", name, str(wheel))
        yield folder


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, cwd="/")


def test_the_wheel_holds_every_file_of_the_package_and_every_query(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if not name.startswith("litellm_lago_reconcile-")}
    package = (path for path in (_CHECKOUT / "jobs").rglob("*") if path.is_file() and path.suffix != ".pyc")
    # With the queries go the rules that their folders are checked by.
    files = (path for path in (_CHECKOUT / "sql").rglob("*") if path.is_file())
    queries = {f"jobs/{path.relative_to(_CHECKOUT).as_posix()}" for path in files}
    assert len(queries) > 50
    assert inside == {path.relative_to(_CHECKOUT).as_posix() for path in package} | queries


def test_an_installed_wheel_finds_its_queries_from_another_folder(packages: Path, tmp_path: Path) -> None:
    script = (
        "import jobs, sys; from jobs.drivers.queries import query; "
        "print(jobs.__file__, len(query('workspace', 'workspace_schema')))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    file, length = answer.stdout.split()
    assert Path(file).is_relative_to(packages), "the installed one, not this checkout"
    assert int(length) > 1000


@pytest.fixture
def environment(litellm_database: str, standin: LagoStandIn) -> dict[str, str]:
    """Three spend logs in LiteLLM's database, two events in Lago, and how to reach both."""
    scenario = Scenario(SCENARIOS / "class-d-lago-refused")
    organization = scenario.make_organization(standin)
    scenario.send(organization)
    with psycopg.connect(litellm_database, autocommit=True) as connection:
        scenario.fill_litellm(connection)
    return {
        "DATABASE_URL": litellm_database,
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": "llm_tokens",
    }


@pytest.fixture
def pod(packages: Path) -> Iterator[pods.Pod]:
    """Where the installed command runs as in a pod."""
    refused = pods.refusal()
    if refused:
        pytest.skip(refused)
    with pods.pod(packages) as made:
        yield made


def test_the_command_runs_as_another_user_on_a_read_only_root(pod: pods.Pod, environment: dict[str, str]) -> None:
    started = pod.start(environment, "reconcile", *_WINDOW)
    output, errors = started.communicate(timeout=120)
    assert started.returncode == 3, errors
    assert "1 missing event" in output
    (run,) = pod.output.iterdir()
    assert {path.name for path in run.iterdir()} >= {"discrepancies.csv", "plan.jsonl", "run.json"}
    assert run.stat().st_uid == pods.USER
    assert not list(pod.scratch.iterdir()), "temporary files go when the run ends"


@pytest.mark.deep
def test_it_applies_and_keeps_its_ledger_there_too(pod: pods.Pod, environment: dict[str, str]) -> None:
    started = pod.start(environment, "reconcile", *_WINDOW, "--apply")
    _, errors = started.communicate(timeout=120)
    assert started.returncode == 0, errors
    assert (pod.output / "ledger.sqlite").stat().st_uid == pods.USER
    assert not list(pod.scratch.iterdir())


@pytest.mark.deep
def test_scheduler_workers_and_run_work_as_the_manifests_say(pod: pods.Pod, environment: dict[str, str]) -> None:
    """Their own commands, as another user on a read-only root; the scheduler knows no secret."""
    scheduler, worker, job = (cluster_words(name) for name in ("scheduler.yaml", "workers.yaml", "job.yaml"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, here = f"tcp://127.0.0.1:{port}", f"={pod.scratch}"
    known = dict.fromkeys(("tcp://litellm-lago-scheduler:8786", "--cluster=tcp://litellm-lago-scheduler:8786"))
    assert known.keys() & {*worker, *job} == known.keys()
    started = [
        pod.start_program({}, sys.executable, "-m", "dask", *(w.replace("8786", str(port)) for w in scheduler)),
        pod.start_program(
            environment,
            *(sys.executable, "-m", "dask"),
            *(address if "//" in w else re.sub(r"port=\d+", "port=0", w).replace("=/tmp", here) for w in worker),
        ),
    ]
    try:
        window = [w for w in job if w.startswith(("--from", "--to"))]
        assert window, "one window"
        run = pod.start(environment, "reconcile", *_WINDOW, f"--cluster={address}")
        output, errors = run.communicate(timeout=120)
        assert run.returncode == 3, errors
        assert "1 missing event" in output
    finally:
        for process in started:
            os.kill(pods.process_one(process), signal.SIGKILL)
            process.communicate(timeout=30)


def cluster_words(name: str) -> list[str]:
    """Return the arguments of the container in a manifest of k8s/cluster/, which runs `dask` or the job itself."""
    documents = yaml.safe_load_all((_CHECKOUT / "k8s" / "cluster" / name).read_text(encoding="utf-8"))
    (spec,) = (document["spec"] for document in documents if document["kind"] in {"Deployment", "Job"})
    (container,) = spec["template"]["spec"]["containers"]
    assert container.get("command", ["dask"]) == ["dask"]
    return list(container["args"])


def test_process_one_ends_at_sigterm(pod: pods.Pod, environment: dict[str, str]) -> None:
    """A process 1 without a handler would ignore it, and be killed when the grace period is over."""
    nowhere = environment | {"LAGO_API_BASE": "http://127.0.0.1:1"}
    started = pod.start(nowhere, "reconcile", *_WINDOW)
    deadline = time.monotonic() + 60
    while not list(pod.output.glob("*/workspace/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(pods.process_one(started), signal.SIGTERM)
    _, errors = started.communicate(timeout=30)
    assert started.returncode == 1
    assert "the run was stopped by SIGTERM" in errors
    assert not list(pod.output.iterdir())


def test_the_root_of_such_a_pod_is_read_only(pod: pods.Pod, environment: dict[str, str]) -> None:
    """Without this, the two tests above would prove nothing."""
    started = pod.start({**environment, "RECONCILE_OUTPUT": "/var/tmp/runs"}, "reconcile", *_WINDOW)  # noqa: S108 - refused
    _, errors = started.communicate(timeout=120)
    assert started.returncode == 2
    assert "Read-only file system" in errors


def test_the_dockerfile_is_clean() -> None:
    checked = _hadolint(_CHECKOUT / "Dockerfile")
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python\nRUN pip install requests\n", encoding="utf-8")
    assert _hadolint(wrong).returncode == 1


def _hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).parent / "hadolint"
    return subprocess.run([linter, file], capture_output=True, text=True, check=False)


def test_the_dockerfile_keeps_what_a_linter_does_not_know() -> None:
    bases = re.findall(r"^FROM (\S+)", _DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", bases[0]), "one exact release"
    assert bases == [bases[0]] * 2
    build, final = _DOCKERFILE.split("\nFROM ")[1:]
    assert build.count("--require-hashes --only-binary=:all:") == 2, "the locks are hashed, and nothing is compiled"
    assert not re.search(r"\b(pip|apt-get|gcc)\b", final), "nothing is installed in the image that runs"
    assert "HEALTHCHECK" not in _DOCKERFILE
    assert f"\nUSER {pods.USER}:{pods.USER}\n" in final
    assert 'ENTRYPOINT ["litellm-lago"]' in final
    assert f"litellm-lago-reconcile:{__version__} " in _DOCKERFILE


@pytest.mark.deep
def test_what_the_image_leaves_out_is_not_needed(packages: Path, tmp_path: Path) -> None:
    """The Dockerfile's own commands, run on a copy of the locked packages; then all but the demo is imported."""
    lock = (_CHECKOUT / "locks" / "run.txt").read_text(encoding="utf-8")
    locked = [name for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE) if name not in _OF_OTHER_PYTHONS]
    for name in locked:
        for file in metadata.files(name) or ():
            if ".." not in file.parts:
                target = tmp_path / file
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    os.link(file.locate(), target)
    before = _size(tmp_path)
    (command,) = re.findall(r"^RUN (find /opt/litellm-lago .+?)\n[^ ]", _DOCKERFILE, re.MULTILINE | re.DOTALL)
    script = command.replace("/opt/litellm-lago", str(tmp_path))
    subprocess.run(["/bin/sh", "-euc", script], check=True)
    # More where an installer compiles the tests as well, as pip does in the image.
    assert before - _size(tmp_path) > 20_000_000
    assert not [path for path in tmp_path.rglob("tests") if path.is_dir()]
    every = (
        "import importlib, pkgutil, jobs\n"
        "for module in pkgutil.walk_packages(jobs.__path__, 'jobs.'):\n"
        "    if not any(name in module.name for name in ('__main__', 'standin', 'launcher', 'jobs.demo')):\n"
        "        importlib.import_module(module.name)\n"
        "import distributed.cli.dask_scheduler, distributed.cli.dask_worker\n"
    )
    # Without this environment's own packages: what is not in the copy is not there.
    paths = [str(packages), str(tmp_path), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    script = f"import sys; sys.path += {paths!r}\n{every}"
    ended = subprocess.run([sys.executable, "-ISc", script], capture_output=True, text=True, check=False, cwd="/")
    assert ended.returncode == 0, ended.stderr


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_no_file_in_the_image_lends_rights() -> None:
    final = _DOCKERFILE.split("\nFROM ")[2]
    assert "find / -xdev -type f -perm /6000 -exec chmod ug-s {} +" in final.partition("USER ")[0]


def test_what_the_dockerfile_copies_is_what_the_engine_is_given() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", _DOCKERFILE, re.MULTILINE)
    wanted = {source for sources in copied for source in sources.split()}
    ignored = (_CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == wanted
    assert "*" in ignored
    assert all((_CHECKOUT / source).exists() for source in wanted)


def test_the_image_runs_as_in_a_pod(
    environment: dict[str, str], postgres_choice: PostgresChoice, tmp_path: Path
) -> None:
    if postgres_choice.kind != "docker":
        pytest.skip(f"the image is built and run where the tests use Docker; here {postgres_choice.header}")
    import docker  # type: ignore[import-untyped]  # noqa: PLC0415 - only where Docker is used

    tmp_path.chmod(stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)
    client = docker.from_env()
    with closing(client), built_image(client, _CHECKOUT) as image:
        assert image.attrs["Config"]["User"] == f"{pods.USER}:{pods.USER}"
        assert not image.attrs["Config"].get("Healthcheck")
        assert image.attrs["Size"] < 450_000_000
        container = client.containers.run(
            image.id,
            ["reconcile", *_WINDOW],
            detach=True,
            network_mode="host",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            tmpfs={"/tmp": ""},  # noqa: S108 - the container's own
            volumes={str(tmp_path): {"bind": "/runs", "mode": "rw"}},
            environment=environment,
        )
        try:
            assert container.wait(timeout=120)["StatusCode"] == 3, container.logs()
        finally:
            container.remove(force=True)
        (run,) = tmp_path.iterdir()
        assert run.stat().st_uid == pods.USER
