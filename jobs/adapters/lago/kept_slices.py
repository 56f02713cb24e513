"""Slices of events that a reading has verified, kept on disk until the run that needs them has ended well.

A month through the API takes thousands of requests. A run that is killed, or fails, leaves what it has read, and the
next one over the same window asks Lago whether each slice is as it was, in one request instead of all its pages.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from jobs.adapters.lago.event_pages import EventSlice
from jobs.drivers.folder_locks import lock_folder, remove_if_abandoned

_FOLDERS = ".events-read-"
_FORMAT = 2
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
                elif _age(folder, now) > _KEPT_FOR:
                    remove_if_abandoned(folder)

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

    def find(self, part: EventSlice) -> tuple[int, bytes] | None:
        """Return a slice's number of rows, and the rows, or None where they were not kept within a day."""
        if self._lock is None:
            return None
        try:
            heading, rows = self._file(part).read_bytes().split(b"\n", 1)
            count = orjson.loads(heading)["rows"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (count, rows) if heading == self._heading(part, count, rows) else None

    def keep(self, part: EventSlice, count: int, rows: bytes) -> None:
        """Keep a slice's rows, whole or not at all."""
        path, moment = self._file(part), (self._now.timestamp(),) * 2
        aside = path.with_suffix(".partial")
        with self._turn:
            try:
                if self._has_room(len(rows)):
                    aside.write_bytes(self._heading(part, count, rows) + b"\n" + rows)
                    os.utime(aside, moment)
                    aside.replace(path)
                    os.utime(self._folder, moment)
            except OSError:  # reading goes on all the same
                self._room = 0
                with suppress(OSError):
                    aside.unlink()

    def count_as_taken_up(self, rows: int) -> None:
        """Count rows that were found and are as they were."""
        with self._turn:
            self.taken_up += rows

    def _take_up(self) -> None:
        self._lock = lock_folder(self._folder)
        if self._lock is not None:
            for path in self._folder.iterdir():
                if not timedelta(0) <= _age(path, self._now) <= _KEPT_FOR:
                    path.unlink()

    def _has_room(self, size: int) -> bool:
        """Tell whether so many bytes more may be kept, and count them if so."""
        if self._lock is None and self._is_open:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = lock_folder(self._folder)
        if self._lock is None:
            return False
        if self._room is None:
            kept = sum(path.stat().st_size for path in self._folder.iterdir())
            self._room = (shutil.disk_usage(self._folder).free + kept) // _SHARE_OF_FREE_ROOM - kept
        if self._room < size:
            return False
        self._room -= size
        return True

    def _file(self, part: EventSlice) -> Path:
        return self._folder / hashlib.sha256(f"{part.start} {part.end} {part.code}".encode()).hexdigest()

    @staticmethod
    def _heading(part: EventSlice, count: int, rows: bytes) -> bytes:
        """Return the first line of a slice's file, without its line break."""
        return orjson.dumps(
            {
                "code": part.code,
                "start": part.start,
                "end": part.end,
                "rows": count,
                "sha256": hashlib.sha256(rows).hexdigest(),
            }
        )


def _age(path: Path, now: datetime) -> timedelta:
    """Return the time since `keep` wrote it, both by the clock of their runs."""
    return timedelta(seconds=now.timestamp() - path.stat().st_mtime)
