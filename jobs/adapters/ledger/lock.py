"""One run at a time: a lock that the kernel or PostgreSQL takes back by itself when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.adapters.ledger.connection import SETTING, LedgerAddress, connect_alone, explained
from jobs.drivers.queries import query
from jobs.errors import LedgerError, RefusedError

# All locks of a PostgreSQL database share one set of numbers.
_KEY = int.from_bytes(hashlib.sha256(b"litellm-lago run lock").digest()[:8], "big", signed=True)
_ALIVE_SECONDS = 20.0
_WAIT = "Wait until it has ended, or end it; the lock is free when its process is gone"


class RunLock(Protocol):
    """A lock that is held."""

    def still_held(self) -> None:
        """Raise `RefusedError` if the lock was lost and another run may have begun; cheap enough for every batch."""


@contextmanager
def hold_file_lock(ledger: Path, run_id: str, since: datetime) -> Iterator[RunLock]:
    """Hold a lock on a file beside a SQLite ledger, or raise `RefusedError` saying who holds it.

    The file stays when its lock is given back: removing it would let two runs lock two files of one name.
    """
    with _locked_file(_lock_path(ledger)) as file:
        if file is None:
            raise _refused("; ".join(file_holders(ledger)) or "its lock file names nobody")
        file.write_holder(
            f"run {_one_line(run_id)}, process {os.getpid()} on {socket.gethostname()}, "
            f"since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        )
        try:
            yield file
        finally:
            file.write_holder("")


@contextmanager
def hold_postgresql_lock(address: LedgerAddress, run_id: str) -> Iterator[RunLock]:
    """Hold an advisory lock on a PostgreSQL connection of its own, or raise `RefusedError` saying who holds it.

    It is the lock of a transaction that stays open: a pooler leaves such a session to its client alone, and ends it
    when the client is gone. A session's own lock would stay with the pooler.
    """
    # PostgreSQL keeps 63 bytes of it.
    holder = f"run {_one_line(run_id)}, process {os.getpid()} on {socket.gethostname()}"[:63]
    with connect_alone(address, holder) as connection:
        with explained(address):
            connection.exec_driver_sql(query("ledger", "ledger_lock_stays"))
            if not connection.execute(select(func.pg_try_advisory_xact_lock(_KEY))).scalar_one():
                raise _refused("; ".join(postgresql_holders(connection)) or "which has just ended")
        lock = _PostgresqlLock(connection)
        with _kept_alive(lock):
            yield lock


@contextmanager
def _kept_alive(lock: _PostgresqlLock) -> Iterator[None]:
    """Ask for the lock again and again: a pooler or a firewall may end a connection on which nothing happens."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(_ALIVE_SECONDS):
            with suppress(RefusedError):  # The run itself asks before each batch, and is refused then.
                lock.still_held()

    asking = threading.Thread(target=ask, name="lock", daemon=True)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


class _FileLock:
    """The lock of a SQLite ledger: an open file that this process has locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def write_holder(self, holder: str) -> None:
        """Write down who holds the lock, for whoever is refused; a full disk does not matter here."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, holder.encode("utf-8", "backslashreplace"), 0)

    def still_held(self) -> None:
        """Raise `RefusedError` if the lock file was removed or replaced: another run could lock the new one."""
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                return
        raise _lost("its lock file was removed or replaced")


class _PostgresqlLock:
    """The lock of a PostgreSQL ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    def still_held(self) -> None:
        """Raise `RefusedError` if the lock's connection died, or its transaction ended."""
        with self._turn:
            try:
                held = self._connection.exec_driver_sql(
                    query("ledger", "ledger_lock_is_held"), {"key": _KEY}
                ).scalar_one()
            except SQLAlchemyError as error:
                raise _lost("the connection that held it broke") from error
        if not held:
            raise _lost("its transaction ended")


@contextmanager
def _locked_file(path: Path) -> Iterator[_FileLock | None]:
    """Hold a file's lock and yield the file, or yield None if another process holds it."""
    descriptor = _open(path)
    try:
        yield _FileLock(path, descriptor) if _try_lock(path, descriptor) else None
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unopened(path, error) from error


def _unopened(path: Path, error: OSError) -> LedgerError:
    return LedgerError(f"cannot open the lock file {path}: {error.strerror}", f"Make it writable, or check {SETTING}")


def _try_lock(path: Path, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise LedgerError(
            f"the file system of {path} has no locks: {error.strerror}",
            f"Set {SETTING} to a file on a local disk, or to PostgreSQL",
        ) from error
    return True


def postgresql_holders(connection: Connection) -> tuple[str, ...]:
    """Return who holds the ledger's lock."""
    return tuple(connection.exec_driver_sql(query("ledger", "ledger_lock_holders"), {"key": _KEY}).scalars())


def file_holders(ledger: Path) -> Iterator[str]:
    """Yield who holds the ledger's lock. What a killed run left in a file that nobody holds is not told."""
    path = _lock_path(ledger)
    try:
        holder = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unopened(path, error) from error
    # A file that names nobody is not tried: that could refuse a run which begins at this moment.
    if holder:
        with _locked_file(path) as file:
            if file is None:
                yield holder


def _lock_path(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.lock")


def _one_line(run_id: str) -> str:
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in run_id)


def _refused(holder: str) -> RefusedError:
    return RefusedError(f"another run ({holder}) holds the lock", _WAIT)


def _lost(why: str) -> RefusedError:
    return RefusedError(
        f"this run lost its lock: {why}", "Another run may have begun; see that it has ended, then run again"
    )
