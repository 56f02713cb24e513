"""Events of organizations with ClickHouse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.adapters.lago.http import LagoClient
from jobs.core.lago.values import LagoConnection
from jobs.playground.lago_standin import LagoStandIn
from jobs.playground.lago_standin.faults import Fault
from jobs.playground.lago_standin.handle import Organization
from tests.adapters.lago_events.helpers import MICROSECOND, MILLISECOND, START, event, ids, read, talking_to
from tests.support.scripted_server import Scripted, scripted_server


@pytest.fixture
def clickhouse(standin: LagoStandIn) -> Organization:
    return standin.create_organization("events", event_store="clickhouse")


def test_clickhouse_copies_are_all_read(clickhouse: Organization, tmp_path: Path) -> None:
    clickhouse.add_metric("tokens")
    ingested = START + timedelta(days=4)
    copies = [event(number, START + number * MILLISECOND, created_at=ingested) for number in range(120)]
    clickhouse.insert_events([*copies, *copies, *copies[:30]])
    with talking_to(clickhouse, page_size=100) as client:
        rows = read(client, tmp_path)
    expected = Counter({f"t{number}": 3 if number < 30 else 2 for number in range(120)})
    assert Counter(row["transaction_id"] for row in rows) == expected
    assert rows[0]["properties"][0] == "gpt-4o"


def test_clickhouse_copies_over_capped_pages_are_believed_when_two_readings_agree(
    clickhouse: Organization, tmp_path: Path
) -> None:
    clickhouse.add_metric("tokens")
    ingested = START + timedelta(days=4)
    copies = [event(number, START + number * MILLISECOND, created_at=ingested) for number in range(75)]
    clickhouse.insert_events([*copies, *copies, *copies])
    clickhouse.set_faults(Fault(name="per_page_refused", endpoint="list", cap=100))
    with talking_to(clickhouse) as client:
        rows = read(client, tmp_path)
    assert Counter(row["transaction_id"] for row in rows) == Counter({f"t{number}": 3 for number in range(75)})


def test_clickhouse_ties_that_repeat_one_row_and_skip_another_are_noticed(tmp_path: Path) -> None:
    rows = [
        {
            "lago_id": f"org-{name}-t-1",
            "transaction_id": name,
            "code": "tokens",
            "timestamp": "2026-11-01T00:00:00.000Z",
        }
        for name in ("a", "b")
    ]

    def unstable(_path: str, params: Mapping[str, str]) -> Scripted:
        page, per_page = int(params["page"]), int(params["per_page"])
        listed = rows if per_page > 1 else rows[:1]  # each page of one row begins with the same row
        meta = {"total_count": 2, "next_page": 2 if per_page == page == 1 else None}
        return Scripted(json.dumps({"events": listed, "meta": meta}).encode())

    with (
        scripted_server(unstable) as base,
        LagoClient(LagoConnection(base, "k", page_size=1), sleep=lambda _seconds: None) as client,
    ):
        assert ids(read(client, tmp_path)) == ["a", "b"]


def test_clickhouse_null_subscriptions_and_times(clickhouse: Organization, tmp_path: Path) -> None:
    clickhouse.add_metric("tokens")
    clickhouse.insert_events([event(1, START + 1234 * MICROSECOND, external_subscription_id=None)])
    with talking_to(clickhouse) as client:
        (row,) = read(client, tmp_path)
    assert not row["external_subscription_id"]
    assert row["timestamp"] == "2026-11-01T00:00:00.001Z"
    assert row["properties"] == ["gpt-4o", "1"]
