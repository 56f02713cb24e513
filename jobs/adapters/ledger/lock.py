"""One run at a time: a lock that the kernel or PostgreSQL takes back by itself when its holder dies.

`all` excludes every other run. A shard's lock excludes `all` and another run of the same shard, so a shard holds the
lock `all` in shared mode besides its own.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.adapters.ledger.connection import SETTING, LedgerAddress, connect_alone, explained
from jobs.drivers.queries import query
from jobs.errors import LedgerError, RefusedError, SettingError

ALL = "all"
"""The name of the lock of a run that is no shard's."""

_ALIVE_SECONDS = 20.0
_WAIT = "Wait until it has ended, or end it; the lock is free when its process is gone"


class RunLock(Protocol):
    """A lock that is held."""

    def still_held(self) -> None:
        """Raise `RefusedError` if the lock was lost and another run may have begun; cheap enough for every batch."""


@contextmanager
def hold_file_lock(ledger: Path, run_id: str, name: str, since: datetime) -> Iterator[RunLock]:
    """Hold a lock on files beside a SQLite ledger, or raise `RefusedError` saying who holds it.

    Each file stays when its lock is given back: removing it would let two runs lock two files of one name.
    """
    _check_name(name)
    with ExitStack() as held:
        files = []
        for lock_name in dict.fromkeys((ALL, name)):
            exclusive = lock_name == name
            file = held.enter_context(_locked_file(_lock_path(ledger, lock_name), exclusive))
            if file is None:
                raise _refused("; ".join(file_holders(ledger)) or "its lock file names nobody")
            files.append(file)
        own = files[-1]
        own.write_holder(
            f"run {_one_line(run_id)}, process {os.getpid()} on {socket.gethostname()}, "
            f"since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        )
        held.callback(own.write_holder, "")
        yield _FileLock(tuple(files))


@contextmanager
def hold_postgresql_lock(address: LedgerAddress, run_id: str, name: str) -> Iterator[RunLock]:
    """Hold an advisory lock on a PostgreSQL connection of its own, or raise `RefusedError` saying who holds it.

    It is the lock of a transaction that stays open: a pooler leaves such a session to its client alone, and ends it
    when the client is gone. A session's own lock would stay with the pooler.
    """
    _check_name(name)
    # PostgreSQL keeps 63 bytes of it.
    holder = f"run {_one_line(run_id)}, process {os.getpid()} on {socket.gethostname()}"[:63]
    with connect_alone(address, holder) as connection:
        with explained(address):
            connection.exec_driver_sql(query("ledger", "ledger_lock_stays"))
            for lock_name in dict.fromkeys((ALL, name)):
                key = _key(lock_name)
                exclusive = lock_name == name
                try_lock = func.pg_try_advisory_xact_lock if exclusive else func.pg_try_advisory_xact_lock_shared
                if not connection.execute(select(try_lock(key))).scalar_one():
                    raise _refused("; ".join(_holders(connection, key)) or "which has just ended")
        lock = _PostgresqlLock(connection, _key(name))
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


class _LockFile:
    """An open lock file whose lock this process holds."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def write_holder(self, holder: str) -> None:
        """Write down who holds the lock, for whoever is refused; a full disk does not matter here."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, holder.encode("utf-8", "backslashreplace"), 0)

    def is_in_place(self) -> bool:
        """Return whether the path still leads to the file that is locked."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False


class _FileLock:
    """The lock of a SQLite ledger."""

    def __init__(self, files: tuple[_LockFile, ...]) -> None:
        self._files = files

    def still_held(self) -> None:
        """Raise `RefusedError` if a lock file was removed or replaced: another run could lock the new one."""
        if not all(file.is_in_place() for file in self._files):
            raise _lost("its lock file was removed or replaced")


class _PostgresqlLock:
    """The lock of a PostgreSQL ledger."""

    def __init__(self, connection: Connection, key: int) -> None:
        self._connection = connection
        self._key = key
        self._turn = threading.Lock()

    def still_held(self) -> None:
        """Raise `RefusedError` if the lock's connection died, or its transaction ended."""
        with self._turn:
            try:
                held = self._connection.exec_driver_sql(
                    query("ledger", "ledger_lock_is_held"), {"key": self._key}
                ).scalar_one()
            except SQLAlchemyError as error:
                raise _lost("the connection that held it broke") from error
        if not held:
            raise _lost("its transaction ended")


@contextmanager
def _locked_file(path: Path, exclusive: bool) -> Iterator[_LockFile | None]:
    """Hold a file's lock and yield the file, or yield None if another process holds it."""
    descriptor = _open(path)
    try:
        yield _LockFile(path, descriptor) if _try_lock(path, descriptor, exclusive) else None
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


def _try_lock(path: Path, descriptor: int, exclusive: bool) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise LedgerError(
            f"the file system of {path} has no locks: {error.strerror}",
            f"Set {SETTING} to a file on a local disk, or to PostgreSQL",
        ) from error
    return True


def postgresql_holders(connection: Connection) -> tuple[str, ...]:
    """Return who holds the ledger's locks; every run and every shard holds `all`, a shard in shared mode."""
    return _holders(connection, _key(ALL))


def _holders(connection: Connection, key: int) -> tuple[str, ...]:
    return tuple(connection.exec_driver_sql(query("ledger", "ledger_lock_holders"), {"key": key}).scalars())


def file_holders(ledger: Path) -> Iterator[str]:
    """Yield who holds the ledger's locks. What a killed run left in a file that nobody holds is not told."""
    for path in sorted(ledger.parent.glob(f"{_glob_escaped(ledger.name)}.*.lock")):
        try:
            holder = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise _unopened(path, error) from error
        # A file that names nobody is not tried: that could refuse a run which begins at this moment.
        if holder:
            with _locked_file(path, exclusive=False) as file:
                if file is None:
                    yield holder


def _glob_escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _lock_path(ledger: Path, name: str) -> Path:
    return ledger.with_name(f"{ledger.name}.{name}.lock")


def _key(name: str) -> int:
    """Return the lock's number in PostgreSQL, where all locks of a database share one set of numbers."""
    digest = hashlib.sha256(f"litellm-lago run lock {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise SettingError(f"{name!r} cannot name a lock", "Use letters, digits, `.`, `_` and `-`, at most 100")


def _one_line(run_id: str) -> str:
    return "".join(character if character.isascii() and character.isprintable() else "?" for character in run_id)


def _refused(holder: str) -> RefusedError:
    return RefusedError(f"another run ({holder}) holds the lock", _WAIT)


def _lost(why: str) -> RefusedError:
    return RefusedError(
        f"this run lost its lock: {why}", "Another run may have begun; see that it has ended, then run again"
    )
