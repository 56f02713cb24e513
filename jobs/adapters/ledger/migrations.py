"""The ledger's schema, version by version: forward only, all in one transaction, under a lock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, Engine, Table, func, insert, inspect, select
from sqlalchemy.schema import CreateSchema

from jobs.adapters.ledger import tables
from jobs.adapters.ledger.connection import SETTING, LedgerAddress, explained, writing
from jobs.errors import LedgerError, RefusedError

# Any number will do, as long as every version of this product takes the same one.
_MIGRATION_LOCK = 0x4C41474F_4D494752


def _version_1(connection: Connection) -> None:
    # Creating a schema needs a right on the whole database even where the schema exists, so look first.
    if connection.dialect.name == "postgresql" and not inspect(connection).has_schema(tables.SCHEMA):
        connection.execute(CreateSchema(tables.SCHEMA))
    _create(
        connection,
        tables.schema_version,
        tables.runs,
        tables.run_ends,
        tables.plans,
        tables.plan_uses,
        tables.intents,
        tables.attempts,
        tables.outcomes,
        tables.verifications,
    )


def _version_2(connection: Connection) -> None:
    _create(connection, tables.attempt_events, tables.run_checks)


def _version_3(connection: Connection) -> None:
    _create(connection, tables.intent_amounts)


_MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_version_1, _version_2, _version_3)
LATEST = len(_MIGRATIONS)


def bring_up_to_date(engine: Engine, address: LedgerAddress, at: datetime) -> None:
    """Bring the ledger to the latest schema version.

    Raise `RefusedError` for a ledger that is newer than this code, `LedgerError` for a database of something else.
    """
    with explained(address):
        with engine.connect() as connection:
            version = schema_version(connection, address)
        if version < LATEST:
            with writing(engine).begin() as connection:
                _lock(connection)
                # Another process may have migrated while this one waited for the lock.
                version = schema_version(connection, address)
                for number in range(version + 1, LATEST + 1):
                    _MIGRATIONS[number - 1](connection)
                    connection.execute(insert(tables.schema_version).values(version=number, applied_at=at))
    if version > LATEST:
        raise RefusedError(
            f"the ledger ({address.shown}) has schema version {version}; this version knows {LATEST}",
            f"Upgrade litellm-lago, or set {SETTING} to another ledger",
        )


def schema_version(connection: Connection, address: LedgerAddress) -> int:
    """Return the schema's version, 0 for an empty database; raise `LedgerError` for a database of something else."""
    schema = tables.SCHEMA if connection.dialect.name == "postgresql" else None
    found = inspect(connection).get_table_names(schema=schema)
    if not found:
        return 0
    if tables.schema_version.name not in found:
        raise LedgerError(
            f"{address.shown} holds tables of something else and no ledger", f"Set {SETTING} to a database of its own"
        )
    return connection.execute(select(func.max(tables.schema_version.c.version))).scalar() or 0


def _lock(connection: Connection) -> None:
    # SQLite's transaction holds the whole file's write lock already.
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))


def _create(connection: Connection, *created: Table) -> None:
    tables.metadata.create_all(connection, tables=created, checkfirst=False)
