"""Publishes how a command ended as metrics: files for a textfile collector, and a Pushgateway.

Each command has three groups: what a run found, when one last succeeded, and how the last one ended. A failed run
replaces only the last group, an incomplete apply the first and the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from jobs.adapters.metrics import metrics_text, push
from jobs.adapters.run_folder import replace_file
from jobs.core.telling.metrics import Gauge, findings_gauges, last_run_gauges, merged, of_command, success_gauge
from jobs.errors import NotAnnouncedError
from jobs.telling.announcing import Ended


@dataclass(frozen=True, slots=True)
class Publication:
    """Where metrics go."""

    folder: Path | None
    """A textfile collector's folder."""
    pushgateway: str | None
    """A Pushgateway's address, with credentials where it asks for some."""
    most: int
    """How many subscriptions of each code are named one by one."""
    timeout: timedelta = timedelta(seconds=10)
    """How long to wait for the Pushgateway."""

    def publish(self, ended: Ended) -> None:
        """Write and push the metrics; after everything was tried, raise `NotAnnouncedError` if something failed."""
        failures = []
        for group, gauges in _groups(ended, self.most):
            if self.folder is not None:
                try:
                    replace_file(self.folder / f"litellm-lago-{group}.prom", [metrics_text(gauges)])
                except OSError as error:
                    failures.append(f"cannot write metrics to {str(self.folder)!r}: {error.strerror}")
            if self.pushgateway is not None:
                try:
                    push(self.pushgateway, group, gauges, self.timeout)
                except NotAnnouncedError as error:
                    failures.append(error.what)
        if failures:
            raise NotAnnouncedError("; ".join(dict.fromkeys(failures)), "The next run tries again")


def _groups(ended: Ended, most: int) -> Iterator[tuple[str, tuple[Gauge, ...]]]:
    name = re.sub(r"[^a-z0-9]+", "-", ended.command).strip("-")
    if ended.finished and ended.backfills:
        found = findings_gauges(merged([one.measured for one in ended.backfills], most))
        yield f"{name}-findings", of_command(found, ended.command)
    if ended.did_its_work:
        yield f"{name}-success", of_command([success_gauge(ended.at)], ended.command)
    last_run = last_run_gauges(ended.at, ended.exit_code, ended.duration)
    yield f"{name}-last-run", of_command(last_run, ended.command)
