"""The ledger's tables. They only grow: triggers refuse every change and removal, in SQLite and in PostgreSQL.

A table here never changes once it was released; what is missing comes as a new table or column by a migration.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
)
from sqlalchemy.types import TypeEngine

# PostgreSQL only: a SQLite ledger is a file of its own and needs no schema.
SCHEMA = "litellm_lago_ledger"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    r"""Return the text as both databases can hold it: NUL and lone surrogates as `\u0000` and `\ud800`."""
    if _UNSTORABLE.search(text) is None:
        return text
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class StoredText(TypeDecorator[str]):
    """Any Python text, made storable."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text as both databases can hold it."""
        return None if value is None else storable(value)


class StoredJson(TypeDecorator[Any]):
    """A JSON value as ASCII text, keys in their order; unlike jsonb it holds every Python text without loss."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """Return the value's text."""
        return json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Return the text's value."""
        return None if value is None else json.loads(value)


class StoredItems(StoredJson):
    """A JSON object, read as its keys and values in their order."""

    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Return the object's items."""
        return tuple(super().process_result_value(value, dialect).items())


class Instant(TypeDecorator[datetime]):
    """An aware time, to the microsecond: `timestamptz`, and in SQLite a text that sorts by time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type."""
        return dialect.type_descriptor(DateTime(timezone=True) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return the time in UTC; raise `ValueError` for one without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone")
        utc = value.astimezone(UTC)
        return (
            utc if dialect.name == "postgresql" else f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        )

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the time in UTC."""
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


metadata = MetaData(schema=SCHEMA)


def _sequence() -> Column[int]:
    """Return the key that says in which order rows came."""
    return Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _run() -> Column[str]:
    return Column("run_id", StoredText, ForeignKey(f"{SCHEMA}.runs.run_id"), nullable=False)


def _plan() -> Column[int]:
    return Column("plan", BigInteger, ForeignKey(f"{SCHEMA}.plans.sequence"), nullable=False)


def _intent() -> Column[int]:
    """Return the key of an intent. Keys of one batch lie together, where transaction ids would touch a page each."""
    return Column("intent", BigInteger, ForeignKey(f"{SCHEMA}.intents.sequence"), nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, StoredText, nullable=False)


def _recorded_at() -> Column[datetime]:
    return Column("recorded_at", Instant, nullable=False)


schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", Instant, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", StoredText, primary_key=True),
    _text("command"),
    Column("window_start", Instant),
    Column("window_end", Instant),
    Column("started_at", Instant, nullable=False),
    _text("code_version"),
    _text("configuration_hash"),
)

run_ends = Table(
    "run_ends",
    metadata,
    Column("run_id", StoredText, ForeignKey(f"{SCHEMA}.runs.run_id"), primary_key=True),
    Column("ended_at", Instant, nullable=False),
    _text("outcome"),
    Column("counts", StoredJson, nullable=False),
)

plans = Table(
    "plans",
    metadata,
    _sequence(),
    Column("plan_hash", StoredText, nullable=False, unique=True),
    Column("header", StoredJson, nullable=False),
)

plan_uses = Table(
    "plan_uses",
    metadata,
    _plan(),
    _run(),
    _text("path"),
    _recorded_at(),
    PrimaryKeyConstraint("plan", "run_id"),
    Index("plan_uses_by_run", "run_id"),
)

intents = Table(
    "intents",
    metadata,
    _sequence(),
    _plan(),
    _run(),
    _text("transaction_id"),
    _text("subscription"),
    _text("code"),
    _text("part"),
    _text("request_id"),
    _text("timestamp"),
    Column("properties", StoredJson, nullable=False),
    _text("quantity"),
    _text("model"),
    _text("spend"),
    _recorded_at(),
    UniqueConstraint("transaction_id", "plan"),
    Index("intents_by_plan", "plan", "sequence"),
    # A request id is as long as a stranger makes it, and a PostgreSQL B-tree refuses long keys; a hash does not.
    Index("intents_by_request_id", "request_id", postgresql_using="hash"),
)

attempts = Table(
    "attempts",
    metadata,
    _sequence(),
    _run(),
    Column("batch_number", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    Column("http_status", Integer),
    _text("failure"),
    _recorded_at(),
    Index("attempts_by_run", "run_id", "sequence"),
)

outcomes = Table(
    "outcomes",
    metadata,
    _sequence(),
    _run(),
    _intent(),
    _text("outcome"),
    _text("reason"),
    _recorded_at(),
    Index("outcomes_by_intent", "intent"),
    Index("outcomes_by_run", "run_id", "intent", "sequence"),
)

verifications = Table(
    "verifications",
    metadata,
    _sequence(),
    _run(),
    _intent(),
    Column("verified", Boolean, nullable=False),
    _text("reason"),
    _recorded_at(),
    Index("verifications_by_intent", "intent"),
    Index("verifications_by_run", "run_id", "intent", "sequence"),
)

# Since version 2: without it nobody can say which requests carried an event.
attempt_events = Table(
    "attempt_events",
    metadata,
    _intent(),
    Column("attempt", BigInteger, ForeignKey(f"{SCHEMA}.attempts.sequence"), nullable=False),
    PrimaryKeyConstraint("intent", "attempt"),
    sqlite_with_rowid=False,
)

# Since version 2: what is true of a whole run, such as what `current_usage` moved by, belongs to no single event.
run_checks = Table(
    "run_checks",
    metadata,
    _sequence(),
    _run(),
    _text("subject"),
    Column("verified", Boolean, nullable=False),
    _text("reason"),
    _recorded_at(),
    Index("run_checks_by_run", "run_id", "sequence"),
)

# Since version 3: what an event bills that carries its own amount; most events have none.
intent_amounts = Table(
    "intent_amounts",
    metadata,
    Column("intent", BigInteger, ForeignKey(f"{SCHEMA}.intents.sequence"), primary_key=True, autoincrement=False),
    _text("amount"),
    sqlite_with_rowid=False,
)


def _ddl(statement: str) -> DDL:
    return DDL(statement)  # type: ignore[no-untyped-call] # SQLAlchemy has no annotation here


_REFUSE_CHANGE_FUNCTION = _ddl(
    f"""CREATE FUNCTION {SCHEMA}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING MESSAGE = 'the ledger is append-only: ' || TG_OP || ' on ' || TG_TABLE_NAME || ' is refused';
END $$"""
)
_POSTGRESQL_TRIGGER = _ddl(
    "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %(fullname)s "
    f"FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.refuse_change()"
)
_SQLITE_TRIGGERS = tuple(
    _ddl(
        f"CREATE TRIGGER %(table)s_no_{change} BEFORE {change} ON %(table)s "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    )
    for change in ("UPDATE", "DELETE")
)

event.listen(schema_version, "before_create", _REFUSE_CHANGE_FUNCTION.execute_if(dialect="postgresql"))
for _table in metadata.tables.values():
    event.listen(_table, "after_create", _POSTGRESQL_TRIGGER.execute_if(dialect="postgresql"))
    for _trigger in _SQLITE_TRIGGERS:
        event.listen(_table, "after_create", _trigger.execute_if(dialect="sqlite"))
