"""A real PostgreSQL with TLS, and what can be wrong between it and the job: told at once, with what to change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from jobs.adapters.ledger import Ledger
from jobs.adapters.litellm_database import Patience, connect
from jobs.core.litellm.variables import chosen_database, database_settings
from jobs.errors import LedgerError, SourceError
from tests.adapters.test_lock import NOON
from tests.support.servers import free_port, tls_postgres

HBA = """
local postgres reader scram-sha-256
hostssl postgres reader 127.0.0.1/32 scram-sha-256
hostssl template1 reader 127.0.0.1/32 scram-sha-256 clientcert=verify-full
"""
OF_THE_PARTS = "DATABASE_SSLMODE and DATABASE_SSLROOTCERT"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority of the server's certificate and of the client's."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a server at 127.0.0.1 whose certificate is for localhost alone."""
    with tls_postgres(tmp_path_factory.mktemp("tls"), authority, name="localhost", hba=HBA) as port:
        yield port


@pytest.fixture
def certificates(authority: trustme.CA, tmp_path: Path) -> Path:
    """Folder with `ca.pem`, another one's `other.pem`, and `me.pem` with `me.key`."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    me = authority.issue_cert("reader", common_name="reader")
    me.cert_chain_pems[0].write_to_path(tmp_path / "me.pem")
    me.private_key_pem.write_to_path(tmp_path / "me.key")
    (tmp_path / "me.key").chmod(0o600)
    return tmp_path


def url(port: int, parameters: str, *, host: str = "localhost", database: str = "postgres") -> str:
    """Return the server's address with these parameters."""
    return f"postgresql://reader:hush@{host}:{port}/{database}?{parameters}"


def refused(address: str) -> str:
    """Connect, see that it is tried once, and return what is said on one line."""
    waits: list[float] = []
    with pytest.raises(SourceError) as raised:
        connect(database_settings(url=address), patience=Patience(attempts=12), sleep=waits.append)
    assert not waits
    assert "\n" not in str(raised.value)
    assert "hush" not in str(raised.value)
    assert str(raised.value).startswith("PostgreSQL at ")
    return str(raised.value)


def test_the_variables_of_litellm_reach_it(server: int, certificates: Path) -> None:
    """In parts, verified; as a URL that libpq understands; and as one that Prisma does."""
    parts = {"host": "localhost", "port": str(server), "user": "reader", "password": "hush", "name": "postgres"}
    ca = f"{certificates}/ca.pem"
    for given in (
        {**parts, "sslrootcert": ca},
        {**parts, "sslmode": "require"},
        {"url": url(server, f"sslmode=verify-full&sslrootcert={ca}")},
        {"url": url(server, f"sslmode=require&sslcert={ca}&sslaccept=strict&connection_limit=5")},
        {"url": url(server, "sslmode=require&made_up=1")},
        {"url": f"postgresql://reader:hush@localhost:1,localhost:{server}/postgres?target_session_attrs=any"},
        {"url": f"postgresql://reader:hush@/postgres?host=localhost,127.0.0.1&port=1,{server}&sslmode=require"},
    ):
        with connect(chosen_database(given)[0], patience=Patience(attempts=1)) as connection:
            assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)


def test_a_socket(server: int) -> None:
    """In a URL's parameter or host, or as DATABASE_HOST."""
    with connect(database_settings(url=url(server, "sslmode=require")), patience=Patience(attempts=1)) as connection:
        row = connection.execute("SHOW unix_socket_directories").fetchone()
    assert row is not None
    folder: str = row[0]
    parts = {"host": folder, "port": str(server), "user": "reader", "password": "hush", "name": "postgres"}
    for given in (
        parts,
        {**parts, "host": f"{folder}:{server}", "port": ""},
        {"url": f"postgresql://reader:hush@/postgres?host={folder}&port={server}"},
        {"url": f"postgresql://reader:hush@{quote(folder, safe='')}:{server}/postgres"},
        {"url": f"postgresql://reader:hush@/postgres?host=/nowhere,{folder}&port={server}"},
    ):
        connect(chosen_database(given)[0], patience=Patience(attempts=1)).close()


def test_a_certificate_for_another_host(server: int, certificates: Path) -> None:
    """The setting that names the host is named, and the mode that takes any name."""
    said = refused(url(server, f"sslmode=verify-full&sslrootcert={certificates}/ca.pem", host="127.0.0.1"))
    assert 'server certificate for "localhost"' in said
    assert "Name the server in DATABASE_URL as its certificate does, or set sslmode=verify-ca in DATABASE_URL" in said


def test_an_authority_that_is_not_trusted(server: int, certificates: Path) -> None:
    """The file to give is named."""
    said = refused(url(server, f"sslmode=verify-full&sslrootcert={certificates}/other.pem"))
    assert "certificate verify failed" in said
    assert "Let sslrootcert in DATABASE_URL name a file with the certificate of the server's authority" in said


def test_a_root_certificate_that_does_not_exist(server: int) -> None:
    """The file is named, and the setting."""
    said = refused(url(server, "sslmode=verify-full&sslrootcert=/nowhere.pem"))
    assert '"/nowhere.pem" does not exist' in said
    assert "Let sslrootcert in DATABASE_URL name a file" in said
    parts = {"host": "localhost", "port": str(server), "user": "reader", "password": "hush", "name": "postgres"}
    with pytest.raises(SourceError, match=f"Let sslrootcert in {OF_THE_PARTS} name a file"):
        connect(chosen_database({**parts, "sslrootcert": "/nowhere.pem"})[0], patience=Patience(attempts=12))


def test_a_client_certificate_is_wanted(server: int, certificates: Path) -> None:
    """With one it works."""
    said = refused(url(server, "sslmode=require", database="template1"))
    assert "requires a valid client certificate" in said
    assert "name it and its key as sslcert and sslkey in DATABASE_URL" in said
    own = f"sslmode=require&sslcert={certificates}/me.pem&sslkey={certificates}/me.key"
    connect(database_settings(url=url(server, own, database="template1")), patience=Patience(attempts=1)).close()


def test_a_key_that_others_can_read(server: int, certificates: Path) -> None:
    """As a mounted Secret is by default."""
    if os.geteuid() == 0:
        shutil.chown(certificates / "me.key", "nobody")
    (certificates / "me.key").chmod(0o644)
    own = f"sslmode=require&sslcert={certificates}/me.pem&sslkey={certificates}/me.key"
    said = refused(url(server, own, database="template1"))
    assert "private key file" in said
    assert "Let only its owner read the key" in said


def test_tls_is_wanted(server: int) -> None:
    """A server that admits no plain connection."""
    said = refused(url(server, "sslmode=disable"))
    assert "no encryption" in said
    assert "set sslmode=require in DATABASE_URL" in said


def test_tls_is_not_offered(database: str) -> None:
    """By the embedded server."""
    said = refused(f"{database}?sslmode=require")
    assert "does not support SSL" in said
    assert "Set sslmode=prefer in DATABASE_URL" in said


@pytest.mark.parametrize(
    ("parameters", "remedy"),
    [
        ("target_session_attrs=hush-hush", "Correct that parameter in DATABASE_URL"),
        ("sslmode=sometimes", "Check the ssl parameters of DATABASE_URL"),
        ("connect_timeout=soon", "Correct that parameter in DATABASE_URL"),
        ("options=-c%20no_such_setting%3D1", "Correct that parameter in DATABASE_URL"),
    ],
)
def test_parameters_that_cannot_be_used(server: int, parameters: str, remedy: str) -> None:
    """Known to libpq, and wrong."""
    waits: list[float] = []
    with pytest.raises(SourceError) as raised:
        connect(database_settings(url=url(server, parameters)), patience=Patience(attempts=12), sleep=waits.append)
    assert not waits
    assert remedy in str(raised.value)


def test_two_hosts_of_which_one_refuses_for_good(server: int, certificates: Path) -> None:
    """It is that one that is told, and nothing is tried again."""
    address = f"postgresql://reader:wrong@127.0.0.1:{free_port()},localhost:{server}/postgres?sslmode=require"
    said = refused(address)
    assert "password authentication failed" in said


def test_the_ledger_is_told_the_same(server: int, certificates: Path) -> None:
    """With its own setting, and with several hosts."""
    wrong = url(server, f"sslmode=verify-full&sslrootcert={certificates}/ca.pem", host="127.0.0.1")
    with pytest.raises(LedgerError, match=r"Name the server in RECONCILE_LEDGER_URL as its certificate does"):
        Ledger.open(wrong, now=lambda: NOON)
    several = f"postgresql://reader:hush@localhost:{free_port()},localhost:{server}/postgres?sslmode=require&made_up=1"
    with Ledger.open(several, now=lambda: NOON) as ledger, ledger.run_lock("r") as lock:
        lock.still_held()
