"""Slices of events that a reading has verified, kept on disk until the run that needs them has ended well.

A month through the API takes thousands of requests. A run that is killed, or fails, leaves what it has read, and the
next one over the same window asks Lago whether each slice is as it was, in one request instead of all its pages.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from jobs.adapters.lago.event_pages import Slice

_FOLDERS = ".events-read-"
_FORMAT = 1
_KEPT_FOR = timedelta(days=1)
_SHARE_OF_FREE_ROOM = 10


class KeptSlices:
    """A context manager: the slices go with a run that ends well, and stay after one that does not.

    One run at a time keeps slices of one question; another one beside it, or on a disk without locks, goes without.
    They take a tenth of the disk's free room at most: the run's own files, and its ledger, may lie there too. Safe to
    use from several threads.
    """

    def __init__(self, parent: Path, question: Mapping[str, Any], *, now: datetime) -> None:
        """Keep slices below `parent`; `question` is all that their content depends on, as JSON can hold it."""
        self.taken_up = 0
        """Rows that did not have to be read again."""
        self._now = now
        name = hashlib.sha256(orjson.dumps({**question, "format": _FORMAT}, option=orjson.OPT_SORT_KEYS)).hexdigest()
        self._folder = parent / f"{_FOLDERS}{name[:16]}"
        self._lock: int | None = None
        self._turn = threading.Lock()
        self._is_open = True
        self._room: int | None = None
        for folder in parent.glob(f"{_FOLDERS}*"):
            with suppress(OSError):  # somebody else's, or gone meanwhile
                if folder == self._folder:
                    self._take_up()
                elif _is_old(folder, now):
                    _remove_unless_locked(folder)

    def __enter__(self) -> Self:
        """Return the slices."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove them, unless the run failed."""
        with self._turn:
            self._is_open = False
            if self._lock is not None:
                if error is None:
                    shutil.rmtree(self._folder, ignore_errors=True)
                os.close(self._lock)
                self._lock = None

    def find(self, part: Slice) -> tuple[int, bytes] | None:
        """Return a slice's number of rows, and the rows; None where they were not kept, or longer than a day ago."""
        if self._lock is None:
            return None
        try:
            heading, rows = self._file(part).read_bytes().split(b"\n", 1)
            told = orjson.loads(heading)
            age = self._now - datetime.fromisoformat(told.pop("kept_at"))
            as_kept = told == self._heading(part, told["rows"], rows) and timedelta(0) <= age <= _KEPT_FOR
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return (told["rows"], rows) if as_kept else None

    def keep(self, part: Slice, count: int, rows: bytes) -> None:
        """Keep a slice's rows, whole or not at all."""
        heading = {**self._heading(part, count, rows), "kept_at": self._now.astimezone(UTC)}
        path = self._file(part)
        aside = path.with_suffix(".partial")
        with self._turn:
            try:
                if self._has_room(len(rows)):
                    aside.write_bytes(orjson.dumps(heading) + b"\n" + rows)
                    aside.replace(path)
            except OSError:  # reading goes on all the same
                self._room = 0
                with suppress(OSError):
                    aside.unlink()

    def count_as_taken_up(self, rows: int) -> None:
        """Count rows that were found and are as they were."""
        with self._turn:
            self.taken_up += rows

    def _take_up(self) -> None:
        self._lock = _locked(self._folder)
        if self._lock is not None:
            for path in self._folder.iterdir():
                if _is_old(path, self._now):
                    path.unlink()

    def _has_room(self, size: int) -> bool:
        """Tell whether so many bytes more may be kept, and count them if so."""
        if self._lock is None and self._is_open:
            self._lock = _locked(self._folder)
        if self._lock is None:
            return False
        if self._room is None:
            kept = sum(path.stat().st_size for path in self._folder.iterdir())
            self._room = (shutil.disk_usage(self._folder).free + kept) // _SHARE_OF_FREE_ROOM - kept
        if self._room < size:
            return False
        self._room -= size
        return True

    def _file(self, part: Slice) -> Path:
        return self._folder / hashlib.sha256(f"{part.start} {part.end} {part.code}".encode()).hexdigest()

    @staticmethod
    def _heading(part: Slice, count: int, rows: bytes) -> dict[str, Any]:
        return {
            "code": part.code,
            "start": part.start.isoformat(),
            "end": part.end.isoformat(),
            "rows": count,
            "sha256": hashlib.sha256(rows).hexdigest(),
        }


def _locked(folder: Path) -> int | None:
    """Make the folder, and return a descriptor that holds its lock; None where another run holds it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its run may have ended, and removed it, since it was opened.
        if os.path.samestat(folder.stat(), os.fstat(descriptor)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _is_old(path: Path, now: datetime) -> bool:
    return now.timestamp() - path.stat().st_mtime > _KEPT_FOR.total_seconds()


def _remove_unless_locked(folder: Path) -> None:
    descriptor = _locked(folder)
    if descriptor is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
