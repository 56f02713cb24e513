"""Room on the disks that a run writes to: looked at before and during a run, and one line where it is gone anyway."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

import duckdb

from jobs.errors import DiskFullError
from jobs.steps.reconcile_values import Progress

LEAST_FREE = 16 * 1024 * 1024
"""Bytes: what ending a run in order takes at most (the ledger, a verdict, the page)."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("No space left", "File too large", "quota exceeded")


class RoomWatch:
    """A progress that looks whether there is still room, whenever a run says how far it is."""

    def __init__(self, progress: Progress, *folders: Path) -> None:
        """Pass everything on; raise `DiskFullError` from any call once one of the folders' disks is nearly full."""
        self._progress = progress
        self._folders = folders

    def step(self, name: str) -> None:
        """Begin the step of this name."""
        self._look(f"before {name}")
        self._progress.step(name)

    def note(self, text: str) -> None:
        """Say something about the step."""
        self._progress.note(text)

    def count(self, done: int, total: int | None) -> None:
        """Say how far the step is."""
        self._look(f"after {done:,} rows")
        self._progress.count(done, total)

    def _look(self, when: str) -> None:
        for folder in self._folders:
            refuse_full(folder, when)


def refuse_full(folder: Path, when: str) -> None:
    """Raise `DiskFullError` where the disk of this folder, or of the one it will be made in, is nearly full."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE:
        raise DiskFullError(str(folder), f"{free // 1024:,} KiB are free {when}")


def disk_trouble(error: BaseException) -> DiskFullError | None:
    """Return what to say where an error, or what it came of, is a full disk; None where it is something else."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return DiskFullError(str(seen.filename or "the output folder, the ledger or RECONCILE_SCRATCH"))
        if isinstance(seen, sqlite3.OperationalError) and "disk is full" in str(seen):
            return DiskFullError("the ledger")
        if isinstance(seen, duckdb.Error) and any(words in str(seen) for words in _FULL_WORDS):
            return DiskFullError("the working files (RECONCILE_SCRATCH, or the output folder)")
        seen = seen.__cause__ or seen.__context__
    return None
