"""The tests' own login and image: they are green on any server, and take nothing of anybody's with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from jobs.playground.embedded_postgres import EmbeddedPostgres
from tests.support.images import built_image
from tests.support.passwords import own_role

_CHECKOUT = Path(__file__).parents[2]
_SEEKS_PASSWORDS = (
    "tests/adapters/ledger/test_opening.py::test_postgresql_that_cannot_be_used",
    "tests/fuzz/test_security.py::test_no_secret_is_in_what_a_run_leaves[None]",
)


def _with_password(server: EmbeddedPostgres, password: str) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE postgres PASSWORD '{password}'".encode())
    place = urlsplit(server.url)
    return place._replace(netloc=f"postgres:{password}@{place.hostname}:{place.port}").geturl()


@pytest.mark.deep
def test_a_server_whose_password_is_a_common_word_makes_no_test_red(tmp_path: Path) -> None:
    """The tests that look for passwords in what a run says, against a server with the password `test`."""
    with EmbeddedPostgres.start(tmp_path) as server:
        url = _with_password(server, "test")
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *_SEEKS_PASSWORDS],
            cwd=_CHECKOUT,
            env={**os.environ, "TEST_POSTGRES": url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-2000:]
        assert f"{len(_SEEKS_PASSWORDS)} passed" in ended.stdout
        with psycopg.connect(url) as connection:
            left = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'tests\\_%'").fetchall()
            databases = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%'").fetchall()
        assert (left, databases) == ([], [])


@pytest.mark.parametrize("rights", ["SUPERUSER", "NOSUPERUSER"])
def test_the_own_role_may_what_the_servers_may(postgres_url: str, rights: str) -> None:
    with own_role(postgres_url) as first:
        name = urlsplit(first).username
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"ALTER ROLE {name} {rights} CREATEDB CREATEROLE".encode())
        with own_role(first) as second, psycopg.connect(second) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
        assert row == (rights == "SUPERUSER", True, True)
        first_password, second_password = urlsplit(first).password, urlsplit(second).password
    assert first_password != second_password
    assert len(second_password or "") >= 32


class _Engine:
    """What Docker does with tags: an image lives while it has one, and removing by id or by force takes them all."""

    def __init__(self) -> None:
        self.images = self
        self.tags = {"litellm-lago-reconcile:0.1.0": "sha256:1"}

    def build(self, *, path: str, rm: bool, tag: str | None = None) -> tuple[str, object]:
        assert Path(path, "Dockerfile").exists()
        assert rm
        if tag:
            self.tags[tag] = "sha256:1"
        return "sha256:1", None

    def remove(self, name: str, force: bool = False) -> None:
        if name in self.tags and not force:
            del self.tags[name]
        else:
            self.tags = {tag: image for tag, image in self.tags.items() if image != self.tags.get(name, name)}


def test_the_operators_tag_of_the_same_image_stays() -> None:
    engine: Any = _Engine()
    with built_image(engine, _CHECKOUT) as image:
        assert image == "sha256:1"
        assert len(engine.tags) == 2
    assert engine.tags == {"litellm-lago-reconcile:0.1.0": "sha256:1"}
