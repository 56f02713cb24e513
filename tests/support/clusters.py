"""Real Dask clusters on this machine: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Dask's profiler looks at all threads a hundred times a second, which can stop a process for ever with a Python before
# 3.11.9 (CPython's issue 106883, Dask's 8616). A worker that stands still is replaced when it has been silent so long,
# which Dask looks at as often: else after 5 to 10 minutes.
_SETTINGS = {"distributed.worker.profile.enabled": False, "distributed.scheduler.worker-ttl": "60s"}


@dataclass(frozen=True)
class RunningCluster:
    """One that answers."""

    address: str
    """Of its scheduler."""
    cluster: Any
    """Dask's own handle."""
    client: Any
    """A connection of the test's own."""

    def processes(self) -> dict[str, int]:
        """Return the workers' process ids by their addresses."""
        told: dict[str, int] = self.client.run(os.getpid)
        return told

    def give(self, environment: Mapping[str, str]) -> None:
        """Let all workers have this environment: where they read is theirs to know."""
        self.client.run(_take, dict(environment))


@dataclass(frozen=True)
class Processes:
    """A scheduler and its workers as people start them, which a test may stop or kill."""

    address: str
    """Of the scheduler."""
    scheduler: subprocess.Popen[bytes]
    workers: tuple[subprocess.Popen[bytes], ...]


@contextmanager
def started_processes(
    folder: Path, environment: Mapping[str, str], *options: str, workers: int = 2, wrap: Sequence[str] = ()
) -> Iterator[Processes]:
    """Start them with this environment and these options of `dask worker`; `wrap` is a command that starts a worker."""
    from distributed import Client  # noqa: PLC0415 - heavy, and for these tests only

    file = folder / "scheduler.json"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILE_")}
    settings = {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(_SETTINGS[name]) for name in _SETTINGS}
    known = {**inherited, **settings, **environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (folder / f"{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(words, env=known, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        started.append(process)
        return process

    dask = (sys.executable, "-m", "dask")
    common = ("--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard")
    try:
        scheduler = start(*dask, "scheduler", *common, "--port", "0")
        running = tuple(
            start(*wrap, *dask, "worker", *common, "--nthreads", "1", "--name", f"worker-{number}", *options)
            for number in range(workers)
        )
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with Client(scheduler_file=str(file), set_as_default=False, timeout=60) as client:
            client.wait_for_workers(workers, timeout=60)
            address = client.scheduler.address
        yield Processes(address, scheduler, running)
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def running_cluster(workers: int = 2, **options: Any) -> Iterator[RunningCluster]:
    """Start one, and end it; options are those of Dask's `LocalCluster`."""
    import dask  # noqa: PLC0415 - heavy, and for these tests only
    from distributed import Client, LocalCluster  # noqa: PLC0415 - see above

    with (
        dask.config.set(_SETTINGS),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # another cluster may run beside it
            silence_logs=50,
            **{"memory_limit": "2GB", **options},
        ) as cluster,
        Client(cluster.scheduler_address, set_as_default=False) as client,
    ):
        client.wait_for_workers(workers, timeout=60)
        yield RunningCluster(cluster.scheduler_address, cluster, client)


def _take(environment: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(("RECONCILE_", "LAGO_", "DATABASE_"))]:
        del os.environ[name]
    os.environ.update(environment)
