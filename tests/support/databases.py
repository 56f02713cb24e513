"""Databases for tests: fresh ones, and LiteLLM's schema of every era."""

from __future__ import annotations

import secrets
from pathlib import Path
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


class SharedDatabase:
    """A database with LiteLLM's newest schema, for one test after another: copying one takes ten times as long.

    What a test writes is emptied after it. Where it has changed more than rows, the next test gets a new one.
    """

    def __init__(self, server_url: str, eras: Eras) -> None:
        """Make it when it is first asked for."""
        self._server_url = server_url
        self._eras = eras
        self._url: str | None = None
        self._shape = ""
        self._kept: set[tuple[str, str]] = set()

    def url(self) -> str:
        """Return the URL of the database, which holds no rows."""
        if self._url is None:
            self._url = self._eras.database("1.109")
            with psycopg.connect(self._url, autocommit=True) as connection:
                self._shape = _shape(connection)
                self._kept = _filled(connection)
        return self._url

    def empty(self) -> None:
        """Remove what a test has written, or the database where that is not enough."""
        if self._url is None:
            return
        try:
            with psycopg.connect(self._url, autocommit=True, options="-c lock_timeout=5s") as connection:
                is_usable = _shape(connection) == self._shape
                filled = _filled(connection) - self._kept
                if is_usable and filled:
                    tables = sql.SQL(", ").join(sql.Identifier(*name) for name in sorted(filled))
                    connection.execute(sql.SQL("TRUNCATE {}").format(tables))
        except psycopg.Error:
            is_usable = False
        if not is_usable:
            self.drop()

    def drop(self) -> None:
        """Drop it; the next test gets a new one."""
        if self._url is not None:
            drop_database(self._server_url, self._url)
            self._url = None


def drop_database(server_url: str, database_url: str) -> None:
    """Drop a database, whoever is connected to it."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    on_server(server_url, drop.format(sql.Identifier(name_of(database_url))))


def _shape(connection: psycopg.Connection) -> str:
    (shape,) = connection.execute((_DATA / "shape_of_database.sql").read_bytes()).fetchone() or ("",)
    return str(shape)


def _filled(connection: psycopg.Connection) -> set[tuple[str, str]]:
    """Return schema and name of the tables that have had rows since they were made or emptied."""
    asked = (
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        " AND pg_relation_size(format('%I.%I', schemaname, tablename)) > 0"
    )
    return {(schema, table) for schema, table in connection.execute(asked)}


def _execute(database_url: str, script: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute((_DATA / script).read_bytes())
