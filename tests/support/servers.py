"""PgBouncer, and a PostgreSQL with TLS, where this machine has them; a test that needs one is skipped elsewhere."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

# Neither program runs as root.
_OTHER = "nobody" if os.geteuid() == 0 else None


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def pgbouncer(folder: Path, database_url: str, mode: str, **settings: object) -> Iterator[str]:
    """Run a PgBouncer before a database, and give the database's URL through it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("there is no PgBouncer on this machine")
    place, port = urlsplit(database_url), free_port()
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users.txt",
        "pool_mode": mode,
        **settings,
    }
    (folder / "users.txt").write_text(f'"{place.username}" "{place.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={place.hostname} port={place.port} password={place.password}\n[pgbouncer]\n"
        + "".join(f"{name} = {text}\n" for name, text in lines.items())
    )
    _hand_over(folder)
    with _running([program, str(folder / "pgbouncer.ini")], port):
        yield place._replace(netloc=f"{place.username}:{place.password}@127.0.0.1:{port}").geturl()


@contextmanager
def tls_postgres(folder: Path, authority: trustme.CA, *, name: str, hba: str) -> Iterator[int]:
    """Run a PostgreSQL whose certificate is for this name, and give its port; `hba` is its pg_hba.conf."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("there is no PostgreSQL with TLS on this machine")
    programs, data, port = found[-1].parent, folder / "data", free_port()
    certificate = authority.issue_cert(name)
    certificate.private_key_pem.write_to_path(folder / "server.key")
    certificate.cert_chain_pems[0].write_to_path(folder / "server.crt")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    (folder / "server.key").chmod(0o600)
    (folder / "password").write_text("hush")
    _hand_over(folder)
    command = [str(programs / "initdb"), "-D", str(data), "-U", "reader", "--pwfile", str(folder / "password")]
    subprocess.run(
        [*command, "--no-sync", "-A", "scram-sha-256"], check=True, capture_output=True, user=_OTHER, cwd=folder
    )
    (data / "pg_hba.conf").write_text(hba)
    options = {
        "ssl": "on",
        "ssl_cert_file": folder / "server.crt",
        "ssl_key_file": folder / "server.key",
        "ssl_ca_file": folder / "ca.crt",
        "listen_addresses": "127.0.0.1",
        "port": port,
        "fsync": "off",
        "unix_socket_directories": folder,
    }
    with _running(
        [str(programs / "postgres"), "-D", str(data), *(f"--{name}={text}" for name, text in options.items())], port
    ):
        ready = [str(programs / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}"]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.05)
        yield port


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=_OTHER, cwd="/"
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                assert process.poll() is None, f"{command[0]} ended"
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, f"{command[0]} does not listen"
                    time.sleep(0.05)
            yield
        finally:
            process.terminate()


def _hand_over(folder: Path) -> None:
    """Let the program's user own the folder and reach it; pytest's own folders are its user's alone."""
    if _OTHER is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, _OTHER)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent.name.startswith(("pytest-", "popen-")):
                parent.chmod(0o755)
