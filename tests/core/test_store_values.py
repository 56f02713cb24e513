"""Lago's own store: whose events are read from it, and when it is not believed."""

from __future__ import annotations

import pytest

from jobs.core.database.settings import store_settings
from jobs.core.lago.store import (
    ClickHouseStore,
    PostgresStore,
    checked_organization_id,
    clickhouse_store,
    parse_organization_id,
)
from jobs.core.lago.values import EventStore, Organization
from jobs.errors import SettingError

ONE, OTHER = "0b3c1d5e-7f70-4b6a-9a5f-4d1f2f6a9c11", "1b3c1d5e-7f70-4b6a-9a5f-4d1f2f6a9c11"
DATABASE = store_settings("postgresql://reader@lago-db/lago")


def test_an_id_is_written_as_lago_writes_it() -> None:
    assert parse_organization_id(f" {ONE.upper()}\n") == ONE
    with pytest.raises(ValueError, match=r"^write the organization's id in Lago, a UUID$"):
        parse_organization_id("acme")


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouses", "http", "https", "chdb"])
def test_a_clickhouse_is_shown_without_its_password(scheme: str) -> None:
    store = clickhouse_store(f" {scheme}://reader:hu@sh@lago-ch:8123/lago\n", ONE)
    assert store == ClickHouseStore(f"{scheme}://reader:hu@sh@lago-ch:8123/lago", ONE)
    assert store.address == "lago-ch:8123/lago"
    assert "hu" not in repr(store)
    proxied = f"{scheme}://lago-ch/lago?http_proxy=socks://proxy"
    assert clickhouse_store(proxied, ONE) == ClickHouseStore(proxied, ONE)
    assert PostgresStore(DATABASE).address == "lago-db:5432/lago"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://r:hush@db/d", "does not begin with clickhouse:// or https://"),
        ("hush", "does not begin with clickhouse:// or https://"),
        ("clickhouse://r:hush@[db/d", "cannot be taken apart"),
        ("clickhouse://r:p@db:hush/d", "cannot be taken apart"),
    ],
)
def test_what_is_no_clickhouse_is_refused_and_not_repeated(url: str, what: str) -> None:
    with pytest.raises(SettingError) as raised:
        clickhouse_store(url, None)
    assert str(raised.value) == (
        f"RECONCILE_LAGO_STORE_URL {what}. Write it as clickhouse://USERNAME:PASSWORD@HOST:8123/NAME"
    )
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_each_store_is_known_by_its_own_name() -> None:
    clickhouse = clickhouse_store("clickhouse://reader@lago-ch/lago", ONE)
    assert checked_organization_id(clickhouse, Organization(None, None, "clickhouse")) == ONE
    with pytest.raises(SettingError, match=r"FROM is clickhouse, .* in postgres\. Set .* to postgres, or"):
        checked_organization_id(clickhouse, Organization(None, None, "postgres"))


@pytest.mark.parametrize(("given", "told"), [(ONE, None), (None, ONE), (ONE, ONE)])
@pytest.mark.parametrize("store", ["postgres", "unknown"])
def test_the_organization_is_the_one_that_is_known(given: str | None, told: str | None, store: EventStore) -> None:
    assert checked_organization_id(PostgresStore(DATABASE, given), Organization(told, None, store)) == ONE


@pytest.mark.parametrize(
    ("given", "told", "store", "message"),
    [
        (
            ONE,
            ONE,
            "clickhouse",
            "RECONCILE_EVENTS_FROM is postgres, but Lago keeps these events in clickhouse. "
            "Set RECONCILE_EVENTS_FROM to clickhouse, or to api",
        ),
        (
            None,
            None,
            "postgres",
            "RECONCILE_LAGO_ORGANIZATION_ID is not set, and Lago does not tell this API key its organization. "
            "Set it to the organization's id in Lago",
        ),
        (
            ONE,
            OTHER,
            "postgres",
            f"RECONCILE_LAGO_ORGANIZATION_ID is {ONE}, but the API key belongs to organization {OTHER}. "
            "Correct the one or the other",
        ),
    ],
)
def test_another_store_or_organization_is_refused(
    given: str | None, told: str | None, store: EventStore, message: str
) -> None:
    with pytest.raises(SettingError) as raised:
        checked_organization_id(PostgresStore(DATABASE, given), Organization(told, None, store))
    assert str(raised.value) == message
