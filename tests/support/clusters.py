"""Real Dask clusters on this machine: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunningCluster:
    """One that answers."""

    address: str
    """Of its scheduler."""
    cluster: Any
    """Dask's own handle."""
    client: Any
    """A connection of the test's own."""

    def give(self, environment: Mapping[str, str]) -> None:
        """Let all workers have this environment: where they read is theirs to know."""
        self.client.run(_take, dict(environment))


@contextmanager
def running_cluster(workers: int = 2, **options: Any) -> Iterator[RunningCluster]:
    """Start one, and end it; options are those of Dask's `LocalCluster`."""
    from distributed import Client, LocalCluster  # noqa: PLC0415 - heavy, and for these tests only

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
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
