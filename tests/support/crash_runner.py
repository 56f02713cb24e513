"""Runs a backfill in a process of its own that kills itself at a numbered point; see `tests/laws/test_crash_matrix.py`.

The points are the use case's own steps, every durable write of the ledger, and every file or folder that is made,
renamed or removed on the way. The process is forked from a server that has imported everything already.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest  # noqa: F401 - what a child's main module imports, so that it need not
from sqlalchemy import Engine, event

from jobs.adapters.lago import sending
from jobs.adapters.ledger import ledger
from jobs.errors import ReconcileError
from jobs.steps.backfill_values import BackfillSettings
from tests.support.backfilling import run_one
from tests.support.children import CHILDREN

_FILE_EFFECTS = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"})
_DEADLINE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run in a process of its own ended."""

    killed: bool
    """Whether it killed itself at its point."""
    points: tuple[str, ...]
    """The points it came by; empty for a killed one."""
    sent: int
    """Events it sent or found sent."""
    complete: bool
    """Whether everything planned was applied and verified, and nothing is left to look at."""
    error: str
    """Why it failed; empty where it did not."""


class _Points:
    """Counts the points and kills the process at one of them."""

    def __init__(self, kill_at: int | None, only: Collection[str] | None, output: Path) -> None:
        self.names: list[str] = []
        self._only = only
        self._kill_at = kill_at
        self._output = str(output)
        self._turn = threading.Lock()

    def step(self, name: str) -> None:
        if self._only is not None and name not in self._only:
            return
        with self._turn:
            self.names.append(name)
            if len(self.names) == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, effect: str, arguments: Iterable[Any]) -> None:
        if effect in _FILE_EFFECTS:
            path = str(next(iter(arguments)))
            if path.startswith(self._output):
                self.step(f"{effect} {'.'.join(Path(path).name.split('.')[-2:])}")


def run_apart(
    settings: BackfillSettings, run_id: str, *, kill_at: int | None = None, only: Collection[str] | None = None
) -> Ended:
    """Run the backfill in a new process, killed at its point of this number, from 1; `only` these names are points."""
    ours, theirs = CHILDREN.Pipe(duplex=False)
    process = CHILDREN.Process(target=_work, args=(settings, run_id, kill_at, only, theirs))
    process.start()
    theirs.close()
    try:
        ended = ours.recv() if ours.poll(_DEADLINE_SECONDS) else None
    except EOFError:
        ended = None
    finally:
        process.join(_DEADLINE_SECONDS)
        code = process.exitcode
        process.close()
    if ended is None:
        assert code == -signal.SIGKILL, f"the run ended with {code} and told nothing"
        return Ended(True, (), 0, False, "")
    assert isinstance(ended, Ended)
    return ended


def _work(
    settings: BackfillSettings, run_id: str, kill_at: int | None, only: Collection[str] | None, told: Connection
) -> None:
    points = _Points(kill_at, only, settings.reconcile.output)
    sys.addaudithook(points.audit)
    event.listen(Engine, "commit", lambda connection: points.step("ledger: commit"))
    # Only time is changed here: how long to wait after a failed request, and no public certificates to read for each of
    # a dozen clients that speak plain HTTP to this machine.
    sending._FIRST_BACK_OFF_SECONDS = 0.01
    # And how many intents one transaction holds, so that a kill falls between two of them.
    ledger._ROWS_PER_TRANSACTION = 40
    os.environ.pop("SSL_CERT_FILE", None)
    try:
        os.environ["SSL_CERT_DIR"] = os.fspath(settings.reconcile.output)
        result = run_one(settings, run_id, step=points.step)
    except ReconcileError as error:
        told.send(Ended(False, tuple(points.names), 0, False, f"{type(error).__name__}: {error}"))
        return
    applied = result.applied
    complete = (applied is None or applied.complete) and not result.discrepancies_remain
    told.send(Ended(False, tuple(points.names), applied.outcomes.total() if applied else 0, complete, ""))
