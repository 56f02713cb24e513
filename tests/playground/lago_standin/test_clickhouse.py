"""The stand-in with the event store of ClickHouse."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest

from jobs.playground.lago_standin.ruby_values import clickhouse_decimal, go_value
from tests.playground.lago_standin.helpers import AT, Api, a_event, invalid, load, subscribe


def test_clickhouse_takes_duplicates_and_knows_no_ids(clickhouse: Api) -> None:
    for _ in range(2):
        event = clickhouse.create().json()["event"]
        assert (event["lago_id"], event["created_at"], event["precise_total_amount_cents"]) == (None, None, "0.0")
        assert clickhouse.batch(a_event(), a_event()).status_code == 200
    assert clickhouse.create(transaction_id=None, code=None).status_code == 200
    invalid(clickhouse.batch(a_event(transaction_id=None)), '{"0":{"transaction_id":["value_is_mandatory"]}}')
    assert clickhouse.listed()["meta"]["total_count"] == 7


def test_clickhouse_lists_raw_strings_with_the_resolved_subscription(clickhouse: Api) -> None:
    clickhouse.organization.add_metric("tokens")
    subscribe(clickhouse, ("tokens", {}))
    clickhouse.create(properties={"total_tokens": 140, "cost": 0.5, "flag": True, "deep": {"a": [1]}})
    event = clickhouse.listed()["events"][0]
    assert event["properties"] == {"total_tokens": "140", "cost": "0.5", "flag": "true", "deep": '{"a":[1]}'}
    assert event["lago_id"].startswith(f"{clickhouse.organization.id}-sub-t1-")
    shown = clickhouse.http.get("subscriptions/sub").json()["subscription"]
    assert (event["lago_subscription_id"], event["lago_customer_id"]) == (shown["lago_id"], shown["lago_customer_id"])
    assert clickhouse.http.get("events/t1").json()["event"] == event


def test_clickhouse_bills_one_event_per_key_and_millisecond(clickhouse: Api) -> None:
    clickhouse.organization.add_metric("tokens")
    subscribe(clickhouse, ("tokens", {}))
    clickhouse.create(properties={"total_tokens": "1"})
    clickhouse.create(properties={"total_tokens": "2"}, timestamp=f"{AT}.1239")
    clickhouse.create(properties={"total_tokens": "10"}, timestamp=f"{AT}.124")
    clickhouse.create(properties={}, transaction_id="without")
    clickhouse.create(code="unknown", transaction_id="dead")
    usage = clickhouse.usage()
    assert (usage["units"], usage["events_count"]) == ("12.0", 3)
    assert clickhouse.listed()["meta"]["total_count"] == 5
    answer = clickhouse.http.get("events_enriched?per_page=2")
    assert answer.headers["X-Lago-Endpoint-Status"] == "beta"
    enriched = answer.json()
    assert enriched["meta"]["total_count"] == 4
    assert list(enriched["events"][0]) == [
        "transaction_id",
        "external_subscription_id",
        "code",
        "timestamp",
        "enriched_at",
        "value",
        "decimal_value",
        "precise_total_amount_cents",
        "properties",
    ]
    assert (enriched["events"][0]["value"], enriched["events"][0]["decimal_value"]) == (
        "<nil>",
        "0.0",
    )
    clickhouse.organization.configure(deduplication=False)
    assert clickhouse.usage()["units"] == "13.0"


def test_clickhouse_shows_events_late(clickhouse: Api) -> None:
    clickhouse.organization.add_metric("tokens")
    subscribe(clickhouse, ("tokens", {}))
    clickhouse.organization.configure(visibility_delay_seconds=0.3)
    clickhouse.create()
    assert (clickhouse.ids(), clickhouse.usage()["units"]) == ([], "0.0")
    assert clickhouse.http.get("events/t1").status_code == 404
    assert len(clickhouse.organization.events()) == 1
    time.sleep(0.35)
    assert (clickhouse.ids(), clickhouse.usage()["units"]) == (["t1"], "3.0")


def test_bulk_rows_are_billed_like_sent_ones_in_clickhouse(clickhouse: Api) -> None:
    clickhouse.organization.add_metric("tokens")
    subscribe(clickhouse, ("tokens", {}))
    load(clickhouse, {"properties": {"total_tokens": 7}}, {"transaction_id": "dead", "code": "unknown"})
    assert (clickhouse.usage()["units"], len(clickhouse.ids())) == ("7.0", 2)


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [
        (140, "140", 140),
        (12345678, "1.2345678e+07", 12345678),
        (100000, "100000", 100000),
        (1000000, "1e+06", 1000000),
        (0.00001, "1e-05", Decimal("0.00001")),
        (0.25, "0.25", Decimal("0.25")),
        (-2.50, "-2.5", Decimal("-2.5")),
        ("1.5", "1.5", Decimal("1.5")),
        ("abc", "abc", 0),
        (True, "true", 0),
        (None, "<nil>", 0),
        (0, "0", 0),
    ],
)
def test_quantities_as_the_events_processor_writes_them(value: object, text: str, number: object) -> None:
    assert go_value(value) == text
    assert clickhouse_decimal(text) == number
