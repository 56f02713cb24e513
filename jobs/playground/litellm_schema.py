"""LiteLLM's own database schema, from the migrations in the PyPI package `litellm-proxy-extras`."""

import importlib.util
from pathlib import Path

import psycopg

from jobs.errors import SettingError, SourceError


def apply_migrations(connection: psycopg.Connection, until: str | None = None, *, after: str | None = None) -> int:
    """Apply the migrations in the order of their names, as LiteLLM does, and return how many were applied.

    `connection` leads to an empty database and must be in autocommit mode, because some migrations build
    indexes concurrently. `until` names the last migration to apply; without it all are applied. `after` names
    the last one that was applied to a database that is not empty.

    Raises `SettingError` if the package is not installed or has no migration of that name, `SourceError` if
    PostgreSQL refuses a migration.
    """
    if not connection.autocommit:
        raise ValueError("apply_migrations needs a connection in autocommit mode")
    migrations = _migrations(until)[len(_migrations(after)) if after else 0 :]
    for migration in migrations:
        try:
            # Without parameters a text of several statements is one round trip and one transaction.
            connection.execute(migration.read_bytes())
        except psycopg.Error as error:
            raise SourceError(
                f"PostgreSQL refused LiteLLM's migration {migration.parent.name}: {error}",
                "The migrations need an empty database and a role that may create tables in it",
            ) from error
    return len(migrations)


def _migrations(until: str | None) -> list[Path]:
    # Looked up, not imported: importing the package pulls in the rest of its migration machinery.
    found = importlib.util.find_spec("litellm_proxy_extras")
    if found is None or found.origin is None:
        raise SettingError(
            "The PyPI package litellm-proxy-extras is not installed, and LiteLLM's schema comes from it",
            "Install it (extra `demo`)",
        )
    folder = Path(found.origin).parent / "migrations"
    migrations = sorted(folder.glob("*/migration.sql"), key=lambda migration: migration.parent.name)
    if until is None:
        return migrations
    names = [migration.parent.name for migration in migrations]
    if until not in names:
        raise SettingError(f"litellm-proxy-extras has no migration named {until!r}", "Install another version")
    return migrations[: names.index(until) + 1]
