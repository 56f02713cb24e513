"""The door to Dask: tasks of a run on the workers of a cluster that people operate. Needs the extra `cluster`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobs import __version__
from jobs.errors import ClusterError, ReconcileError, RefusedError, SettingError

_SETTING = "RECONCILE_CLUSTER"
_LOOK_EVERY_SECONDS = 1.0
_CLOSE_WITHIN_SECONDS = 5
_NEVER_WARN = "1 TiB"


@dataclass(frozen=True, slots=True)
class Place:
    """The worker that a task runs on."""

    name: str
    """Its address and, where it has one, its name."""
    folder: Path
    """Where it keeps what it has no memory for."""
    bytes_a_task: int | None
    """Its memory, shared among as many tasks as it runs at one time; None where it has no limit."""


def this_worker() -> Place:
    """Return where the task that asks is run."""
    from distributed import get_worker  # noqa: PLC0415 - an extra that most installations do without

    worker = get_worker()
    limit = worker.memory_manager.memory_limit
    name = worker.address if worker.name in {None, worker.address} else f"{worker.address} ({worker.name})"
    return Place(name, Path(worker.local_directory), limit // worker.state.nthreads if limit else None)


class Cluster:
    """A connection to a scheduler; what it was asked for ends with it."""

    def __init__(self, client: Any, address: str, wait: timedelta) -> None:
        """Take the connected client, and how long to do without any worker."""
        self._client = client
        self._address = address
        self._wait = wait
        self._well_at = time.monotonic()

    @property
    def threads(self) -> int:
        """How many tasks run at one time on the workers that are there now."""
        return sum(self._client.nthreads().values())

    def submit(self, task: Callable[..., Any], *arguments: Any, name: str, ahead: bool = False) -> Any:
        """Ask for a task, which may run more than once; its results may be arguments of other tasks.

        `name` tells it apart from all others of this run; `ahead` lets it run before others that are ready.
        """
        return self._client.submit(task, *arguments, key=name, pure=False, priority=int(ahead))

    def ended(self, futures: Iterable[Any]) -> Iterator[Any]:
        """Yield tasks as they end well; raise what one of them raised, or `ClusterError`."""
        from distributed import wait  # noqa: PLC0415 - see `this_worker`

        pending = list(futures)
        while pending:
            with self._explained(), self._client.as_current():
                try:
                    done, _ = wait(pending, timeout=_LOOK_EVERY_SECONDS, return_when="FIRST_COMPLETED")
                except TimeoutError:
                    done = set()
            if not done:
                self._require_workers()
                continue
            self._well_at = time.monotonic()
            pending = [future for future in pending if future not in done]
            for future in done:
                with self._explained():
                    if future.status != "finished":
                        future.result()
                yield future

    def result(self, future: Any) -> Any:
        """Return what a task gave; its worker may be gone, and then it is run again."""
        for ended in self.ended([future]):
            with self._explained():
                return ended.result()
        raise AssertionError("one future ends once")

    def require_version(self) -> None:
        """Wait for a worker, and raise `RefusedError` unless all that are there are of this version of the job."""
        while not self._client.nthreads():
            self._require_workers()
            time.sleep(_LOOK_EVERY_SECONDS / 5)
        with self._explained():
            told = self._client.run(_version, on_error="return")
        for address, version in sorted(told.items()):
            refuse_other_version(address, version if isinstance(version, str) else None, __version__)

    def _require_workers(self) -> None:
        """Raise `ClusterError` where there has been no worker that takes tasks for longer than a run waits for one."""
        with self._explained():
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
        if any(worker["status"] == "running" for worker in workers.values()):
            self._well_at = time.monotonic()
        elif time.monotonic() - self._well_at > self._wait.total_seconds():
            seconds = f"{self._wait.total_seconds():g} seconds"
            paused = [address for address, worker in workers.items() if worker["status"] == "paused"]
            if paused:
                raise ClusterError(
                    f"no worker of {self._address} has taken a task for {seconds}: {_some(paused)} have no memory left",
                    "Give the workers more memory, or raise RECONCILE_CLUSTER_PARTS, so that each part is smaller",
                )
            raise ClusterError(
                f"the scheduler at {self._address} has had no worker for {seconds}",
                "Start workers of this version of the job, or raise RECONCILE_CLUSTER_WAIT where they come later",
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what Dask raises inside into one `ClusterError`."""
        from distributed import CancelledError, KilledWorker  # noqa: PLC0415 - see `this_worker`

        try:
            yield
        except ReconcileError:
            raise
        except KilledWorker as error:
            last = getattr(error.last_worker, "address", error.last_worker)
            raise ClusterError(
                f"{error.allowed_failures + 1} workers ended one after the other while they worked on {error.task}, "
                f"the last of them {last}",
                "See how they ended (killed for their memory, as a rule): give them more, or raise "
                "RECONCILE_CLUSTER_PARTS, so that each part is smaller",
            ) from error
        except (CancelledError, OSError, TimeoutError) as error:
            raise _lost(self._address) from error


@contextmanager
def open_cluster(address: str, *, wait: timedelta) -> Iterator[Cluster]:
    """Connect to a scheduler, and end what it was asked for when this is left.

    `wait` is how long to do without the scheduler at first, and without any worker. TLS is as Dask's own configuration
    says. Raise `SettingError` without Dask, `ClusterError` if the scheduler cannot be reached.
    """
    try:
        import dask  # noqa: PLC0415 - see `this_worker`
        from distributed import Client  # noqa: PLC0415 - see `this_worker`
    except ImportError as error:
        raise SettingError(
            f"{_SETTING} is set, but Dask is not installed", "Install litellm-lago-reconcile[cluster]"
        ) from error
    # What goes wrong is told once, by the error that ends the run.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": _NEVER_WARN}):
        try:
            # One that has never connected would try to close itself for seconds, and complain.
            quiet: Any = type("QuietClient", (Client,), {"__del__": lambda _: None})
            client = quiet(address, timeout=wait.total_seconds(), set_as_default=False, name="litellm-lago")
        except (OSError, ValueError, TypeError, TimeoutError) as error:  # it takes missing TLS for a TypeError
            reason = " ".join(str(error).split())
            raise ClusterError(
                f"cannot reach the Dask scheduler at {address}: {reason}",
                f"Check {_SETTING}, that it runs, and for tls:// what DASK_DISTRIBUTED__COMM__TLS__… names",
            ) from error
        try:
            cluster = Cluster(client, address, wait)
            cluster.require_version()
            yield cluster
        finally:
            # Whatever is still asked for is forgotten with the connection.
            client.close(timeout=_CLOSE_WITHIN_SECONDS)


def refuse_other_version(worker: str, version: str | None, asked: str) -> None:
    """Raise `RefusedError` unless a worker's version of this job, if it has any, is the run's."""
    if version != asked:
        raise RefusedError(
            f"worker {worker} has {f'version {version}' if version else 'no version'} of this job, and the run has "
            f"{asked}",
            "Run scheduler, workers and the job from one image",
        )


def _version() -> str:
    return __version__


def _lost(address: str) -> ClusterError:
    return ClusterError(
        f"the connection to the Dask scheduler at {address} is lost",
        "See why it ended, then run the same command again; nothing was written",
    )


def _some(names: list[str]) -> str:
    return ", ".join(sorted(names)[:3])
