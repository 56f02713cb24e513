"""Databases for tests: fresh ones, and LiteLLM's schema of every era."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from jobs.playground.litellm_schema import apply_migrations

_DATA = Path(__file__).parents[1] / "data"

# The last migration in the litellm-proxy-extras of that time; the newest era has all.
_LAST_MIGRATION: dict[str, str | None] = {
    "1.60": "20250329084805_new_cron_job_table",
    "1.65": "20250331215456_track_success_and_failed_requests_daily_agg_table",
    "1.70": "20250514142245_add_guardrails_table",
    "1.79": "20251031181430_add_cache_config_table",
    "1.80": "20251101131415_add_managed_vector_store_index_table",
    "1.90": "20260721000000_add_sso_identity_assertion",
    "1.109": None,
}


def on_server(server_url: str, statement: sql.Composed) -> None:
    """Run a statement on the server, outside any transaction."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)


def name_of(database_url: str) -> str:
    """Return the name of the database that a URL leads to."""
    return urlsplit(database_url).path.removeprefix("/")


def create_database(server_url: str, template: str = "template0") -> str:
    """Create a database and return its URL."""
    name = f"test_{secrets.token_hex(6)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    on_server(server_url, create.format(sql.Identifier(name), sql.Identifier(template)))
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


class Eras:
    """Databases with LiteLLM's schema of each era, to be copied; each begins as a copy of the one before it.

    Built when first asked for: the migrations take seconds, and most of them are of all eras.
    """

    def __init__(self, server_url: str) -> None:
        """Build on this server; the caller drops what stands in `urls`."""
        self.urls: dict[str, str] = {}
        self._server_url = server_url

    def database(self, era: str) -> str:
        """Return the URL of a fresh database with the schema that LiteLLM had in `era`."""
        return create_database(self._server_url, self.template(era))

    def template(self, era: str) -> str:
        """Return the name of the database to copy."""
        if era not in self.urls:
            self.urls[era] = self._built(era)
        return name_of(self.urls[era])

    def _built(self, era: str) -> str:
        version, _, partitioned = era.partition("-")
        if partitioned:
            url = self.database(version)
            _execute(url, "partition_spend_logs.sql")
        elif era == "1.53":
            url = create_database(self._server_url)
            _execute(url, "spend_logs_1_53.sql")
        else:
            eras = list(_LAST_MIGRATION)
            before = eras[eras.index(era) - 1] if era != eras[0] else None
            url = self.database(before) if before else create_database(self._server_url)
            with psycopg.connect(url, autocommit=True) as connection:
                apply_migrations(
                    connection, until=_LAST_MIGRATION[era], after=_LAST_MIGRATION[before] if before else None
                )
        return url


class DatabasePool:
    """Databases with LiteLLM's schema, for one test after another: copying one costs ten times what emptying does."""

    def __init__(self, server_url: str, eras: Eras) -> None:
        """Make databases on this server when they are first asked for; they end with it, or with `drop_all`."""
        self._server_url = server_url
        self._eras = eras
        self._free: defaultdict[str, list[_Pooled]] = defaultdict(list)

    @contextmanager
    def taking(self) -> Iterator[Callable[[str], str]]:
        """Give URLs of databases without rows by the era of their schema, which are the caller's own until the end.

        Rows written to them are removed then, and a database of which more than rows was changed is.
        """
        taken: list[tuple[str, _Pooled]] = []

        def take(era: str) -> str:
            free = self._free[era]
            taken.append((era, free.pop() if free else _Pooled.fresh(self._eras.database(era))))
            return taken[-1][1].url

        yield take
        for era, pooled in taken:
            if pooled.is_emptied():
                self._free[era].append(pooled)
            else:
                drop_database(self._server_url, pooled.url)

    def drop_all(self) -> None:
        """Drop what nobody has taken."""
        for pooled in chain.from_iterable(self._free.values()):
            drop_database(self._server_url, pooled.url)
        self._free.clear()


@dataclass(frozen=True, slots=True)
class _Pooled:
    url: str
    shape: str
    """Everything about it but rows."""
    kept: frozenset[tuple[str, str]]
    """Tables that are filled by LiteLLM's migrations."""

    @classmethod
    def fresh(cls, url: str) -> Self:
        with psycopg.connect(url, autocommit=True) as connection:
            return cls(url, _shape(connection), _filled(connection))

    def is_emptied(self) -> bool:
        """Remove all rows, and tell whether it is again as it was."""
        try:
            with psycopg.connect(self.url, autocommit=True, options="-c lock_timeout=5s") as connection:
                if _shape(connection) != self.shape:
                    return False
                if filled := _filled(connection) - self.kept:
                    tables = sql.SQL(", ").join(sql.Identifier(*name) for name in sorted(filled))
                    connection.execute(sql.SQL("TRUNCATE {}").format(tables))
        except psycopg.Error:
            return False
        return True


def drop_database(server_url: str, database_url: str) -> None:
    """Drop a database, whoever is connected to it."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    on_server(server_url, drop.format(sql.Identifier(name_of(database_url))))


def _shape(connection: psycopg.Connection) -> str:
    (shape,) = connection.execute((_DATA / "shape_of_database.sql").read_bytes()).fetchone() or ("",)
    return str(shape)


def _filled(connection: psycopg.Connection) -> frozenset[tuple[str, str]]:
    """Return schema and name of the tables that have had rows since they were made or emptied."""
    asked = (
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        " AND pg_relation_size(format('%I.%I', schemaname, tablename)) > 0"
    )
    return frozenset((schema, table) for schema, table in connection.execute(asked))


def _execute(database_url: str, script: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute((_DATA / script).read_bytes())
