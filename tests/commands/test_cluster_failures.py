"""A run over a cluster, and what it does when the cluster fails it: real ones, killed, stopped and starved.

That such a run leaves what a run alone leaves is shown for every scenario by `test_scenarios.py`, in the deep tests.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from jobs.errors import ClusterError, DiskFullError, ReconcileError, RefusedError, SettingError
from jobs.reconcile import reconcile
from tests.scenarios.test_scenarios import folder_bytes
from tests.support.clusters import started_processes
from tests.support.scenario import SCENARIOS, Scenario, SilentProgress

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization
    from tests.support.clusters import RunningCluster

# Dask leaves pipes of processes that were killed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SCENARIO = Scenario(SCENARIOS / "recorded-proxy")
READING, MATCHING = "reading spend logs and Lago's events", "matching"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect what a killed process left, so that no other test is blamed for it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class Sides:
    """A filled scenario, and the files that a run alone leaves of it."""

    def __init__(self, database_url: str, standin: LagoStandIn, folder: Path) -> None:
        self.database_url = database_url
        self.organization: Organization = SCENARIO.fill(database_url, standin)
        self.folder = folder
        self.store = {"RECONCILE_EVENTS_FROM": "postgres", "RECONCILE_LAGO_STORE_URL": standin.database_url}

    def environment(self) -> dict[str, str]:
        """What a worker gets: where the databases are, and no key of Lago's API."""
        known = SCENARIO.environment(self.database_url, self.organization, self.folder, **self.store)
        return {name: value for name, value in known.items() if name not in {"LAGO_API_KEY", "RECONCILE_OUTPUT"}}

    def alone(self) -> dict[str, bytes]:
        """Return what a run alone leaves, which reads Lago's events through its API."""
        SCENARIO.run(self.database_url, self.organization, self.folder / "alone")
        return folder_bytes(self.folder / "alone")

    def spread(self, address: str, progress: SilentProgress | None = None, **more: str) -> dict[str, bytes]:
        """Run over the cluster, and return what is left; nothing is left where it fails."""
        over = {"RECONCILE_CLUSTER": address, "RECONCILE_CLUSTER_PARTS": "4", "RECONCILE_CLUSTER_WAIT": "5s"}
        request = SCENARIO.request(
            self.database_url, self.organization, self.folder / "spread", **self.store, **over | more
        )
        try:
            reconcile(request, progress or SilentProgress(), now=SCENARIO.now, run_id="spread")
        except ReconcileError:
            assert not list((self.folder / "spread").iterdir()), "nothing half written"
            raise
        return folder_bytes(self.folder / "spread")


@pytest.fixture
def sides(litellm_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path) -> Sides:
    return Sides(litellm_database_at(SCENARIO.era), standin, tmp_path)


class Meanwhile(SilentProgress):
    """Does something when a step begins."""

    def __init__(self, step: str, act: Callable[[], object]) -> None:
        self._step = step
        self._act = act

    def step(self, name: str) -> None:
        if name == self._step:
            self._act()


def kill(process: Any) -> None:
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.deep
def test_a_killed_worker_costs_its_tasks_again_and_nothing_else(sides: Sides) -> None:
    """At that moment each worker holds what it has read, which nobody else has."""
    with started_processes(sides.folder, sides.environment()) as processes:
        found = sides.spread(processes.address, Meanwhile(MATCHING, lambda: kill(processes.workers[0])))
    assert found == sides.alone() != {}


@pytest.mark.deep
@pytest.mark.parametrize("step", [READING, MATCHING])
def test_a_killed_scheduler_ends_the_run_with_one_error(sides: Sides, step: str) -> None:
    with (
        started_processes(sides.folder, sides.environment()) as processes,
        pytest.raises(ClusterError, match=r"the connection to the Dask scheduler at tcp://.* is lost") as raised,
    ):
        sides.spread(processes.address, Meanwhile(step, lambda: kill(processes.scheduler)))
    assert raised.value.exit_code == 1
    assert "run the same command again; nothing was written" in raised.value.remedy


@pytest.mark.deep
def test_a_stopped_worker_is_waited_for_while_others_work(sides: Sides) -> None:
    with started_processes(sides.folder, sides.environment()) as processes:
        group = os.getpgid(processes.workers[0].pid)
        later = threading.Timer(6, os.killpg, [group, signal.SIGCONT])

        def stop() -> None:
            os.killpg(group, signal.SIGSTOP)
            later.start()

        began = time.monotonic()
        found = sides.spread(processes.address, Meanwhile(READING, stop))
        later.join()
    assert time.monotonic() - began > 5
    assert found == sides.alone()


@pytest.mark.deep
def test_all_workers_lost_is_told_after_a_while(sides: Sides) -> None:
    with started_processes(sides.folder, sides.environment()) as processes:

        def kill_all() -> None:
            for worker in processes.workers:
                kill(worker)

        with pytest.raises(ClusterError, match=r"has had no worker for 5 seconds.*RECONCILE_CLUSTER_WAIT"):
            sides.spread(processes.address, Meanwhile(MATCHING, kill_all))


@pytest.mark.deep
def test_a_worker_whose_disk_is_full_is_named(sides: Sides) -> None:
    """Files of more than 64 KiB are refused there, as on a disk without room."""
    limited = ("/bin/sh", "-c", 'ulimit -f 128; exec "$@"', "limited")
    with (
        started_processes(sides.folder, sides.environment(), workers=1, wrap=limited) as processes,
        pytest.raises(DiskFullError, match=r"worker tcp://127.0.0.1:\d+ \(worker-0\): the disk of .* is full"),
    ):
        sides.spread(processes.address)


@pytest.mark.deep
def test_workers_without_memory_are_named(sides: Sides) -> None:
    """Dask ends a worker that is over its limit, or gives it no more tasks."""
    with (
        started_processes(sides.folder, sides.environment(), "--memory-limit", "90MB", workers=1) as processes,
        pytest.raises(ClusterError) as raised,
    ):
        sides.spread(processes.address)
    assert "memory" in str(raised.value)
    assert "tcp://" in raised.value.what


def test_a_run_over_a_cluster_leaves_what_a_run_alone_leaves(sides: Sides, cluster: RunningCluster) -> None:
    cluster.give(sides.environment())
    assert sides.spread(cluster.address) == sides.alone() != {}


def test_workers_need_no_key_and_must_reach_the_databases(sides: Sides, cluster: RunningCluster) -> None:
    environment = sides.environment()
    del environment["DATABASE_URL"]
    cluster.give(environment)
    with pytest.raises(SettingError, match=r"worker tcp://.*: no database is set"):
        sides.spread(cluster.address)


def test_workers_of_another_version_are_refused(
    sides: Sides, cluster: RunningCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.adapters.cluster.__version__", "9.9")
    told = r"worker tcp://.* has version 0\.1\.0 of this job, and the run has 9\.9"
    with pytest.raises(RefusedError, match=told):
        sides.spread(cluster.address)
    # One that joins later is refused by the task itself.
    monkeypatch.undo()
    monkeypatch.setattr("jobs.steps.spread.__version__", "9.9")
    with pytest.raises(RefusedError, match=told):
        sides.spread(cluster.address)


@pytest.mark.deep
def test_a_worker_that_would_read_other_events_is_refused(sides: Sides, cluster: RunningCluster) -> None:
    cluster.give({**sides.environment(), "RECONCILE_EVENTS_FROM": "api"})
    with pytest.raises(
        SettingError, match="this worker would read Lago's events from api, and the run reads them from"
    ):
        sides.spread(cluster.address)


@pytest.mark.deep
def test_a_cluster_that_takes_tls_is_reached_by_dasks_own_settings(sides: Sides) -> None:
    """The variables of docs/scaling.md; who comes without a certificate is not let in."""
    import dask  # noqa: PLC0415 - heavy, and for these tests only

    authority = trustme.CA()
    files = {"ca.crt": authority.cert_pem, "tls": authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem}
    for name, blob in files.items():
        blob.write_to_path(sides.folder / name)
    whose = [f"{side}__{kind}" for side in ("SCHEDULER", "WORKER", "CLIENT") for kind in ("CERT", "KEY")]
    tls = {
        "REQUIRE_ENCRYPTION": "true",
        "DEFAULT_SCHEME": "tls",
        "TLS__CA_FILE": str(sides.folder / "ca.crt"),
        **{f"TLS__{one}": str(sides.folder / "tls") for one in whose},
    }
    variables = {f"DASK_DISTRIBUTED__COMM__{name}": text for name, text in tls.items()}
    scaling = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert set(re.findall(r"DASK_DISTRIBUTED__COMM__[A-Z_]+", scaling)) == variables.keys()
    known = {
        f"distributed.comm.{name.lower().replace('__', '.').replace('_', '-')}": text for name, text in tls.items()
    }
    with dask.config.set(known), started_processes(sides.folder, {**sides.environment(), **variables}) as processes:
        assert processes.address.startswith("tls://")
        with dask.config.set({"distributed.comm.tls.client.cert": None}), pytest.raises(ClusterError, match="TLS"):
            sides.spread(processes.address)
        found = sides.spread(processes.address)
    assert found == sides.alone()


def test_nobody_there_is_told_with_the_setting(sides: Sides) -> None:
    with pytest.raises(
        ClusterError, match=r"cannot reach the Dask scheduler at tcp://127.0.0.1:1: .*RECONCILE_CLUSTER"
    ):
        sides.spread("tcp://127.0.0.1:1", RECONCILE_CLUSTER_WAIT="1s")
