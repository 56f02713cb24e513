"""Passwords of the tests' own roles and servers: random, so that none is a part of what a run says anyway."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import sql


def new_password() -> str:
    """Return a password that stands in no text by chance."""
    return secrets.token_hex(16)


@contextmanager
def own_role(server_url: str) -> Iterator[str]:
    """Give the URL of the same server with a role as mighty as this one and a password of the session's own.

    A server that runs already may have any password, `test` or `postgres` among them, which a search for
    passwords in what a run says would find everywhere.
    """
    name, password = f"tests_{secrets.token_hex(6)}", new_password()
    with psycopg.connect(server_url, autocommit=True) as connection:
        rights = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert rights is not None
        words = [word for word, has in zip(("SUPERUSER", "CREATEDB", "CREATEROLE"), rights, strict=True) if has]
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                sql.Identifier(name), sql.SQL(" ").join(map(sql.SQL, words)), sql.Literal(password)
            )
        )
    place = urlsplit(server_url)
    try:
        yield place._replace(netloc=f"{name}:{password}@{place.netloc.rpartition('@')[2]}").geturl()
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
