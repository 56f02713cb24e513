"""Reading events from Lago's own store: the rows that its API lists, and no others, or a refusal that says why.

That whole runs leave the same folders whichever source they read is shown in `tests/scenarios/test_scenarios.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from jobs.adapters.lago_postgres_store import open_stored_events, read_stored_events
from jobs.core.database.settings import DatabaseSettings, store_settings
from jobs.core.lago.store import PostgresStore, checked_organization_id
from jobs.core.lago.values import Organization as KnownOrganization
from jobs.core.window import Window
from jobs.drivers import copying
from jobs.drivers.postgres import Patience, Snapshot, export_snapshot, join_snapshot
from jobs.drivers.queries import query
from jobs.errors import SettingError, SourceError
from jobs.settings import load_settings, reconcile_settings
from tests.adapters.lago_events import helpers as through_api
from tests.support.passwords import new_password

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

START = through_api.START
WINDOW = through_api.WINDOW
NAMES = ("model", "total_tokens", "odd")
ONE_TRY = Patience(attempts=1)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -7, 1.5e-7, 1e22, "", "0.10", "1e3", "NULL", '"', "a\nb,c", "\\", "\u202e", [1, "x", None]),
    {"b": {"long key": "é\t\u0001"}, "a": [], "c": 0.5},
)


def stored(standin: LagoStandIn, organization: Organization, **changed: Any) -> Iterator[bytes]:
    asked: dict[str, Any] = {
        "organization_id": organization.id,
        "codes": ("tokens",),
        "window": WINDOW,
        "property_names": NAMES,
    }
    database = changed.pop("database", store_settings(standin.database_url))
    with opened(database) as snapshot:
        yield from read_stored_events(snapshot, **asked | changed)


def opened(database: DatabaseSettings) -> AbstractContextManager[Snapshot]:
    return open_stored_events(
        database, complete_until=WINDOW.end, statement_timeout=timedelta(seconds=30), patience=ONE_TRY
    )


def comparable(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the rows without what only ClickHouse needs, in one order, and their times in one spelling."""
    return sorted(
        (
            row["transaction_id"],
            row["external_subscription_id"] or "",
            row["external_subscription_id"] is None,
            row["code"],
            datetime.fromisoformat(row["timestamp"]),
            row["properties"],
        )
        for row in rows
    )


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    return standin.create_organization("store")


@pytest.mark.parametrize("names", [NAMES, (*NAMES, *"abcde"), (*NAMES, *"abcdef")], ids=len)
def test_the_rows_are_those_that_the_api_lists(
    standin: LagoStandIn,
    organization: Organization,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
) -> None:
    monkeypatch.setattr(copying, "CHUNK_BYTES", 1)
    just_before, last = START - timedelta(microseconds=1), WINDOW.end - timedelta(microseconds=1)
    rows = [
        *(through_api.event(n, START, properties={"model": "m", "odd": odd}) for n, odd in enumerate(ODD_VALUES)),
        through_api.event(50, START + timedelta(microseconds=123_999)),
        through_api.event(51, last),
        through_api.event(52, just_before),
        through_api.event(53, WINDOW.end),
        through_api.event(54, START, code="other"),
        through_api.event(55, START, external_subscription_id=None),
        through_api.event(55, START, external_subscription_id=None),
        through_api.event(56, START, external_subscription_id=""),
        through_api.event(57, START, external_subscription_id='=cmd|"\n'),
        through_api.event(58, START, deleted_at=START),
        through_api.event(59, START, properties={}),
        through_api.event(61, START, properties={names[-1]: "last", "z": "not asked for"}),
    ]
    organization.insert_events(rows)
    standin.create_organization("stranger").insert_events([through_api.event(60, START)])
    with psycopg.connect(standin.database_url) as connection:  # Lago's API cannot make these two, old versions could
        connection.execute(
            "INSERT INTO events (organization_id, transaction_id, code, timestamp)"
            " VALUES (%(id)s, 'no time', 'tokens', NULL), (%(id)s, 'far', 'tokens', '54295-09-27 05:30:00')",
            {"id": organization.id},
        )
    with through_api.talking_to(organization) as client:
        listed = through_api.read(client, tmp_path, names=names)
    rows_of_store = stored(standin, organization, property_names=names)
    found = through_api.loaded(rows_of_store, tmp_path, properties=len(names))
    assert comparable(found) == comparable(listed)
    assert len(found) == len(ODD_VALUES) + 8


def test_a_far_future_window_reads_times_in_milliseconds(
    standin: LagoStandIn, organization: Organization, tmp_path: Path
) -> None:
    with psycopg.connect(standin.database_url) as connection:
        connection.execute(
            "INSERT INTO events (organization_id, transaction_id, code, timestamp)"
            " VALUES (%s, 'far', 'tokens', '9998-09-27 05:30:00')",
            [organization.id],
        )
    window = Window(datetime(9998, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
    (row,) = through_api.loaded(stored(standin, organization, window=window), tmp_path)
    assert row["timestamp"] == "9998-09-27 05:30:00Z"


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        ("DROP TABLE events", ["Lago's table events does not exist", "RECONCILE_LAGO_STORE_URL"]),
        ("ALTER TABLE events DROP COLUMN deleted_at", ["lacks the columns deleted_at"]),
        ("REVOKE ALL ON events FROM lago_reader", ['GRANT SELECT ON "public".events TO "lago_reader"']),
    ],
)
def test_what_is_not_lagos_table_is_refused(database: str, prepare: str, words: list[str]) -> None:
    password = new_password()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE events (organization_id uuid, transaction_id varchar, external_subscription_id varchar,"
            " code varchar, properties jsonb, timestamp timestamp, deleted_at timestamp)"
        )
        connection.execute("DROP ROLE IF EXISTS lago_reader")
        connection.execute(f"CREATE ROLE lago_reader LOGIN PASSWORD '{password}' NOSUPERUSER".encode())
        connection.execute("GRANT SELECT ON events TO lago_reader")
        connection.execute(prepare)
    reader = replace(store_settings(database), username="lago_reader", password=password)
    try:
        with pytest.raises(SourceError) as raised, opened(reader):
            pass
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DROP OWNED BY lago_reader")
            connection.execute("DROP ROLE lago_reader")
    assert [word for word in words if word not in str(raised.value)] == []


def test_the_query_reads_by_the_index_on_organization_and_time(
    standin: LagoStandIn, organization: Organization
) -> None:
    organization.insert_events(through_api.spread(3000))
    with psycopg.connect(standin.database_url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("ANALYZE events")
        connection.execute("SET enable_seqscan = off")
        connection.execute("DROP INDEX idx_events_billing_lookup")  # as good for so few rows; rolled back below
        asked = {
            "organization_id": organization.id,
            "codes": ["tokens"],
            "property_names": ["model"],
            "window_start": datetime(2026, 11, 1),  # noqa: DTZ001 - as the column has it
            "window_end": datetime(2026, 11, 1, 1),  # noqa: DTZ001
        }
        text = query("lago_store", "read_lago_events")
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {text}".encode(), asked))
        connection.rollback()
    assert "index_events_on_organization_id_and_timestamp" in plan


def test_who_joins_a_snapshot_sees_its_events_and_no_newer_ones(
    standin: LagoStandIn, organization: Organization, tmp_path: Path, database: str
) -> None:
    asked: dict[str, Any] = {
        "organization_id": organization.id,
        "codes": ("tokens",),
        "window": WINDOW,
        "property_names": NAMES,
    }
    organization.insert_events([through_api.event(1, START)])
    settings, limit = store_settings(standin.database_url), timedelta(seconds=30)
    with opened(settings) as snapshot:
        exported = export_snapshot(snapshot)
        organization.insert_events([through_api.event(2, START)])
        with join_snapshot(settings, exported, statement_timeout=limit) as joined:
            found = through_api.loaded(read_stored_events(joined, **asked), tmp_path)
        assert [row["transaction_id"] for row in found] == ["t1"]
        elsewhere = join_snapshot(store_settings(database), exported, statement_timeout=limit)
        with pytest.raises(SourceError, match="does not know the snapshot that the run reads by"), elsewhere:
            pass
        other = replace(exported, sees="1:1:")
        with (
            pytest.raises(SourceError, match="sees other rows than the run does"),
            join_snapshot(settings, other, statement_timeout=limit),
        ):
            pass
    with (
        pytest.raises(SourceError, match="does not know the snapshot that the run reads by") as raised,
        join_snapshot(settings, exported, statement_timeout=limit),
    ):
        pass
    assert "a pooler in transaction or session mode that does not spread sessions over servers" in str(raised.value)


@pytest.mark.parametrize(
    ("told", "given", "words"),
    [
        ({"event_store": "clickhouse", "lago_id": "a"}, None, "RECONCILE_EVENTS_FROM is postgres"),
        ({"event_store": "postgres", "lago_id": "a"}, "b", "belongs to organization a"),
        ({"event_store": "postgres", "lago_id": None}, None, "RECONCILE_LAGO_ORGANIZATION_ID is not set"),
    ],
)
def test_events_of_another_store_or_organization_are_refused(
    told: Mapping[str, Any], given: str | None, words: str
) -> None:
    organization = KnownOrganization(name=None, **told)
    with pytest.raises(SettingError, match=words):
        checked_organization_id(_store(given), organization)


@pytest.mark.parametrize(("told", "given"), [("a", None), (None, "a"), ("a", "a")])
def test_the_organization_is_the_one_that_is_given_or_told(told: str | None, given: str | None) -> None:
    assert checked_organization_id(_store(given), KnownOrganization(told, None, "unknown")) == "a"


def _store(organization_id: str | None) -> PostgresStore:
    return PostgresStore(store_settings("postgresql://u:p@h/d"), organization_id)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"RECONCILE_EVENTS_FROM": "redis"}, "Write api"),
        ({"RECONCILE_EVENTS_FROM": "postgres"}, "RECONCILE_LAGO_STORE_URL is not set"),
        (
            {"RECONCILE_EVENTS_FROM": "postgres", "RECONCILE_LAGO_STORE_URL": "mysql://u:secret@h/d"},
            "RECONCILE_LAGO_STORE_URL does not begin with postgresql://",
        ),
        ({"RECONCILE_LAGO_ORGANIZATION_ID": "acme"}, "a UUID"),
    ],
)
def test_wrong_settings_are_named(changed: dict[str, str], words: str) -> None:
    environment = {
        "DATABASE_URL": "postgresql://u:p@h/d",
        "LAGO_API_BASE": "http://lago",
        "LAGO_API_KEY": "key",
        "LAGO_API_EVENT_CODE": "tokens",
        **changed,
    }
    with pytest.raises(SettingError) as raised:
        reconcile_settings(load_settings(environment), None, None, datetime(2026, 11, 25, tzinfo=UTC))
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)
