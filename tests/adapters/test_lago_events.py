"""Reading events: no row lost or doubled at any border, under any fault, from either event store."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import duckdb
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.adapters.lago import events as reader
from jobs.adapters.lago.event_pages import EVENT_COLUMNS, PageReader, Slice
from jobs.adapters.lago.events import cut, read_events
from jobs.adapters.lago.exact_json import json_object, text_array, value_text
from jobs.adapters.lago.http import LagoClient, Reply
from jobs.core.lago.values import LagoConnection
from jobs.core.window import Window
from jobs.drivers.queries import query
from jobs.errors import LagoError
from jobs.playground.lago_standin import LagoStandIn
from jobs.playground.lago_standin.faults import Fault
from jobs.playground.lago_standin.handle import Organization
from tests.support.fuzzing import fuzzed, values
from tests.support.scripted_server import Scripted, scripted_server

START = datetime(2026, 11, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(days=3))
MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)
Rows = list[dict[str, Any]]


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    return standin.create_organization("events")


@pytest.fixture
def clickhouse(standin: LagoStandIn) -> Organization:
    return standin.create_organization("events", event_store="clickhouse")


@contextmanager
def talking_to(organization: Organization, **limits: Any) -> Iterator[LagoClient]:
    given = {"requests_per_second": 10_000.0, "timeout_seconds": 10.0} | limits
    with LagoClient(
        LagoConnection(organization.api_base, organization.api_key, **given), sleep=lambda _seconds: None
    ) as client:
        yield client


def loaded(chunks: Iterable[bytes], folder: Path) -> Rows:
    """Load the chunks with the query that the workspace uses, and return the rows."""
    spool = folder / "events.csv"
    with duckdb.connect() as connection:
        connection.execute(query("workspace", "workspace_schema"))
        for chunk in chunks:
            spool.write_bytes(chunk)
            connection.execute(query("workspace", "load_listed_events"), {"path": str(spool), "shard": 0, "shards": 1})
        rows = connection.execute("FROM scratch.listed_event").fetchall()
    return [dict(zip(EVENT_COLUMNS, row, strict=True)) for row in rows]


def read(
    client: LagoClient,
    folder: Path,
    *,
    codes: Sequence[str] = ("tokens",),
    window: Window = WINDOW,
    names: Sequence[str] = ("model", "total_tokens"),
) -> Rows:
    chunks = read_events(client, codes=codes, window=window, property_names=names, progress=lambda _read, _all: None)
    return loaded(chunks, folder)


def event(number: int, timestamp: datetime, **changes: Any) -> dict[str, Any]:
    return {
        "transaction_id": f"t{number}",
        "external_subscription_id": "s",
        "code": "tokens",
        "timestamp": timestamp,
        "properties": {"model": "gpt-4o", "total_tokens": number},
    } | changes


def spread(count: int, window: Window = WINDOW) -> Rows:
    step = (window.end - window.start) / max(count, 1)
    return [event(number, window.start + number * step) for number in range(count)]


def ids(rows: Rows) -> list[str]:
    return sorted(row["transaction_id"] for row in rows)


# Borders


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 1000, 1001, 2500])
@pytest.mark.parametrize("page_size", [100, 1000])
def test_every_row_is_read_once(organization: Organization, tmp_path: Path, count: int, page_size: int) -> None:
    organization.insert_events(spread(count))
    with talking_to(organization, page_size=page_size) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(count))
    assert len(organization.requests()) == max(1, -(-count // page_size))


def test_the_window_is_half_open_to_the_microsecond(organization: Organization, tmp_path: Path) -> None:
    at = {
        "before": WINDOW.start - MICROSECOND,
        "start": WINDOW.start,
        "after start": WINDOW.start + MICROSECOND,
        "last": WINDOW.end - MICROSECOND,
        "end": WINDOW.end,
        "after": WINDOW.end + MICROSECOND,
    }
    organization.insert_events(event(0, moment, transaction_id=name) for name, moment in at.items())
    with talking_to(organization) as client:
        assert ids(read(client, tmp_path)) == ["after start", "last", "start"]


def test_windows_that_adjoin_share_no_row_and_miss_none(organization: Organization, tmp_path: Path) -> None:
    middle = START + timedelta(hours=1, microseconds=1234)  # not on a millisecond
    moments = [middle + offset * MICROSECOND for offset in range(-2, 3)]
    organization.insert_events(event(number, moment) for number, moment in enumerate(moments))
    with talking_to(organization) as client:
        first = read(client, tmp_path, window=Window(START, middle))
        second = read(client, tmp_path, window=Window(middle, WINDOW.end))
    assert (ids(first), ids(second)) == (["t0", "t1"], ["t2", "t3", "t4"])


def test_rows_at_the_borders_of_slices_are_read_once(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 100)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 80)
    moments = [moment + offset * MICROSECOND for moment in _every(timedelta(hours=1)) for offset in range(-2, 3)]
    inside = [moment for moment in moments if WINDOW.start <= moment < WINDOW.end]
    organization.insert_events(event(number, moment) for number, moment in enumerate(inside))
    with talking_to(organization, page_size=50) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(len(inside)))


def _every(step: timedelta) -> list[datetime]:
    return [WINDOW.start + number * step for number in range((WINDOW.end - WINDOW.start) // step + 1)]


def test_slices_tile_what_is_asked_for(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 300)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 200)
    organization.insert_events(spread(1000))
    with talking_to(organization, page_size=100) as client:
        read(client, tmp_path)
    asked = {
        (found[1], found[2])
        for request in organization.requests()
        if (found := re.search(r"timestamp_from=([^&]+)&timestamp_to=([^&]+)", request.query))
    }
    whole = min(asked, key=lambda bounds: (bounds[0], -_microseconds(bounds[1])))
    edges = sorted(asked - {whole})
    assert len(edges) == 5
    assert (edges[0][0], edges[-1][1]) == whole
    for (_, end), (start, _) in pairwise(edges):
        assert _microseconds(start) - _microseconds(end) == 1


def _microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - START) // MICROSECOND


# How much is asked


def test_few_requests_read_many_rows(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(25_000))
    seen: list[tuple[int, int | None]] = []
    with talking_to(organization) as client:
        chunks = list(
            read_events(
                client,
                codes=["tokens"],
                window=WINDOW,
                property_names=["model"],
                progress=lambda read, to_read: seen.append((read, to_read)),
            )
        )
    assert len(loaded(chunks, tmp_path)) == 25_000
    assert len(organization.requests()) <= 25 + 1 + 4  # the pages, the first look, a last page not full per slice
    assert seen[-1] == (25_000, 25_000)
    assert sorted(seen) == seen


def test_pages_read_at_one_time_begin_no_faster_than_the_rate(organization: Organization) -> None:
    organization.insert_events(spread(1500))
    began: list[float] = []

    class Watched(LagoClient):
        def _answer(self, request: httpx.Request) -> httpx.Response:
            began.append(time.monotonic())
            return super()._answer(request)

    connection = LagoConnection(
        organization.api_base, organization.api_key, requests_per_second=50.0, page_size=100, concurrency=8
    )
    with Watched(connection) as client:
        list(read_events(client, codes=["tokens"], window=WINDOW, property_names=[], progress=lambda _read, _all: None))
    assert len(began) == 15
    assert began[-1] - began[0] >= 14 / 50


def test_chunks_are_cut_at_row_borders(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_CHUNK_BYTES", 20_000)
    organization.insert_events(spread(1000))
    with talking_to(organization, page_size=100) as client:
        chunks = list(
            read_events(client, codes=["tokens"], window=WINDOW, property_names=[], progress=lambda _read, _all: None)
        )
    assert len(chunks) > 3
    assert all(chunk.endswith(b'"[]"\n') for chunk in chunks)
    assert max(map(len, chunks)) < 2 * 20_000


def test_each_code_is_listed_and_others_are_not(organization: Organization, tmp_path: Path) -> None:
    codes = ["a", "b c&d=e", "ünï", "a"]
    organization.insert_events(event(number, START, code=code) for number, code in enumerate([*codes[:3], "other"]))
    with talking_to(organization) as client:
        rows = read(client, tmp_path, codes=codes)
        assert read(client, tmp_path, codes=[]) == []
    assert sorted((row["transaction_id"], row["code"]) for row in rows) == [
        ("t0", "a"),
        ("t1", "b c&d=e"),
        ("t2", "ünï"),
    ]


# Crowds


@pytest.mark.parametrize("version", ["1.51.0", "1.47.0"])
def test_thousands_at_one_instant(standin: LagoStandIn, tmp_path: Path, version: str) -> None:
    organization = standin.create_organization("crowd", version=version)
    organization.insert_events(event(number, START + timedelta(hours=5)) for number in range(3000))
    with talking_to(organization) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(3000))
    assert len(organization.requests()) <= 5


@pytest.mark.parametrize("version", ["1.51.0", "1.47.0"])
def test_a_crowd_that_no_cut_can_part_is_found_and_paged(
    standin: LagoStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 400)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 300)
    organization = standin.create_organization("crowd", version=version)
    crowd = [event(number, START + timedelta(hours=5)) for number in range(900)]
    organization.insert_events([*crowd, *(event(1000 + number, START + number * MILLISECOND) for number in range(50))])
    with talking_to(organization, page_size=100) as client:
        rows = read(client, tmp_path)
    assert len(ids(rows)) == 950
    assert len(set(ids(rows))) == 950
    assert len(organization.requests()) < 40


def test_unstable_pages_are_noticed_by_their_ids(standin: LagoStandIn, tmp_path: Path) -> None:
    organization = standin.create_organization("unstable", version="1.47.0")
    organization.insert_events(event(number, START) for number in range(350))
    with talking_to(organization, page_size=100) as client:
        rows = read(client, tmp_path)
        pages = [client.get("events", {"page": page, "per_page": 100})["events"] for page in (1, 2, 3, 4)]
    assert len(set(ids(rows))) == 350
    # The stand-in does what Lago did: read naively, pages repeat some rows and skip others.
    assert len({listed["lago_id"] for page in pages for listed in page}) < 350


def test_unstable_pages_that_no_single_page_can_replace_are_refused(standin: LagoStandIn, tmp_path: Path) -> None:
    organization = standin.create_organization("unstable", version="1.47.0")
    organization.insert_events(event(number, START) for number in range(350))
    organization.set_faults(Fault(name="per_page_refused", endpoint="list", cap=100))
    # Every reading repeats the same rows and skips the same others, with the right count: only ids tell.
    with talking_to(organization) as client, pytest.raises(LagoError, match="still changing"):
        read(client, tmp_path)


# Caps on the page size


@pytest.mark.parametrize("fault", ["per_page_refused", "per_page_capped"])
@pytest.mark.parametrize("count", [0, 100, 101, 750])
def test_a_cap_on_the_page_size_loses_nothing(
    organization: Organization, tmp_path: Path, fault: str, count: int
) -> None:
    organization.insert_events(spread(count))
    organization.set_faults(Fault(name=fault, endpoint="list", cap=100))
    with talking_to(organization) as client:
        rows = read(client, tmp_path, codes=["tokens", "other"])
    assert ids(rows) == sorted(f"t{number}" for number in range(count))
    assert len(organization.requests()) <= 2 + 2 + count // 100 + 1


# Faults


@pytest.mark.parametrize(
    "fault", ["rate_limited", "server_error", "bad_gateway", "cut_before", "cut_after", "cut_during", "truncated"]
)
def test_faults_on_the_way_lose_and_double_nothing(organization: Organization, tmp_path: Path, fault: str) -> None:
    organization.insert_events(spread(1500))
    organization.set_faults(Fault(name=fault, endpoint="list", probability=0.3, seed=7))
    with talking_to(organization, page_size=100, attempts=20) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(1500))
    assert any(request.faults for request in organization.requests())


def test_an_error_in_one_slice_ends_the_reading(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(500))
    organization.set_faults(Fault(schedule=("none", "none", "server_error", "server_error", "server_error")))
    limits = {"page_size": 100, "attempts": 3, "concurrency": 1}
    with talking_to(organization, **limits) as client, pytest.raises(LagoError, match="HTTP 500"):
        read(client, tmp_path)


def test_a_reading_given_up_half_way_leaves_nothing_running(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_CHUNK_BYTES", 1)
    organization.insert_events(spread(500))
    with talking_to(organization, page_size=100) as client:
        chunks = cast(
            "Any",
            read_events(client, codes=["tokens"], window=WINDOW, property_names=[], progress=lambda _read, _all: None),
        )
        assert next(chunks)
        chunks.close()


# Windows that move


class BusyLago(LagoClient):
    """A client of the real stand-in, during whose requests something happens there."""

    def __init__(self, organization: Organization, happening: Callable[[int], None], **limits: Any) -> None:
        given = {"requests_per_second": 10_000.0, "page_size": 100, "concurrency": 1} | limits
        super().__init__(
            LagoConnection(organization.api_base, organization.api_key, **given), sleep=lambda _seconds: None
        )
        self.asked = 0
        self._happening = happening

    def request(self, method: str, path: str, **options: Any) -> Reply:
        reply = super().request(method, path, **options)
        self.asked += 1
        self._happening(self.asked)
        return reply


def test_a_row_that_arrives_in_mid_reading_is_read(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(450))

    def arrive(asked: int) -> None:
        if asked == 2:
            organization.insert_events([event(9999, WINDOW.end - timedelta(minutes=1))])

    with BusyLago(organization, arrive) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted([*(f"t{number}" for number in range(450)), "t9999"])


def test_a_row_that_vanishes_in_mid_reading_takes_no_other_with_it(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(450))

    def vanish(asked: int) -> None:
        if asked == 1:
            organization.soft_delete_events(["t449"])

    with BusyLago(organization, vanish) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(449))


def test_one_row_for_another_keeps_the_count_and_is_noticed(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(450))

    def swap(asked: int) -> None:
        if asked == 2:  # an old row goes, a new one comes: the count stays, the pages shift by one
            organization.soft_delete_events(["t0"])
            organization.insert_events([event(9999, WINDOW.end - timedelta(minutes=1))])

    with BusyLago(organization, swap) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted([*(f"t{number}" for number in range(1, 450)), "t9999"])


def test_a_window_that_never_rests_is_refused(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(101))
    # Without single large pages there is no reading that a new row cannot fall into.
    organization.set_faults(Fault(name="per_page_refused", endpoint="list", cap=100))

    def arrive(asked: int) -> None:
        organization.insert_events([event(10_000 + asked, WINDOW.end - timedelta(minutes=1))])

    with BusyLago(organization, arrive) as client, pytest.raises(LagoError, match="still changing") as caught:
        read(client, tmp_path)
    assert "settlement lag" in caught.value.remedy


def test_slices_that_do_not_add_up_to_the_window_are_noticed(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 100)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 80)
    organization.insert_events(spread(150))

    def change(asked: int) -> None:
        if asked == 2:  # after the whole and the earlier half: a new row there will not be seen
            organization.insert_events([event(9999, WINDOW.start + timedelta(minutes=1))])
            organization.soft_delete_events(["t149", "t148"])

    with (
        BusyLago(organization, change) as client,
        pytest.raises(LagoError, match=r"counts 149 events .* held 148 when they were read"),
    ):
        read(client, tmp_path)


def test_a_row_that_arrives_in_a_slice_not_yet_read_is_read(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 100)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 80)
    organization.insert_events(spread(150))

    def arrive(asked: int) -> None:
        if asked == 2:
            organization.insert_events([event(9999, WINDOW.end - timedelta(minutes=1))])

    with BusyLago(organization, arrive) as client:
        assert len(ids(read(client, tmp_path))) == 151


# ClickHouse organizations


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


# Hostile content

_HOSTILE = [
    "",
    '"',
    '""',
    "'",
    ",",
    "\n",
    "\r\n",
    "\r",
    "\\",
    '\\"',
    "\\N",
    "NULL",
    "\ufeff",
    "=1+1",
    "\t x \x0b",
    "\x7f\x01\x1b[31m",
    "é😀\u2028\u202e",
    "a" * 5000,
    "[null]",
    "\\u0041",
]


def test_hostile_texts_arrive_as_they_are(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(
        event(
            number,
            START + number * MILLISECOND,
            transaction_id=f"{number} {text}",
            external_subscription_id=text,
            properties={"model": text, text: text},
        )
        for number, text in enumerate(_HOSTILE)
    )
    with talking_to(organization) as client:
        rows = read(client, tmp_path, names=["model", *_HOSTILE])
    found = {row["transaction_id"]: row for row in rows}
    for number, text in enumerate(_HOSTILE):
        row = found[f"{number} {text}"]
        assert (row["external_subscription_id"] or "") == text  # the loader is free to take the empty text for NULL
        assert row["properties"][0] == text
        assert row["properties"][1 + number] == text


def test_null_is_not_the_empty_text(organization: Organization) -> None:
    organization.insert_events([event(1, START, external_subscription_id=None, properties={"model": None, "kind": ""})])
    organization.insert_events([event(2, START, external_subscription_id="", properties={})])
    with talking_to(organization) as client:
        names = ["model", "kind"]
        chunks = read_events(
            client, codes=["tokens"], window=WINDOW, property_names=names, progress=lambda _read, _all: None
        )
        lines = b"".join(chunks).decode().splitlines()
    assert [line.partition(',"t')[2][1:].split(",")[1] for line in lines] == ["", '""']
    assert [line[line.index('"[') :] for line in lines] == ['"[null,""""]"', '"[null,null]"']


def listing(*rows: str) -> Callable[[str, Mapping[str, str]], Scripted]:
    """Script a Lago that lists these JSON texts."""
    meta = f'{{"current_page":1,"next_page":null,"prev_page":null,"total_pages":1,"total_count":{len(rows)}}}'
    body = f'{{"events":[{",".join(rows)}],"meta":{meta}}}'.encode("utf-8", "surrogatepass")
    return lambda _path, _params: Scripted(body)


def read_script(script: Callable[[str, Mapping[str, str]], Scripted], folder: Path, *names: str) -> Rows:
    with (
        scripted_server(script) as base,
        LagoClient(LagoConnection(base, "k", attempts=2), sleep=lambda _seconds: None) as client,
    ):
        return read(client, folder, names=names)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("140", "140"),
        ("1.5e-07", "0.00000015"),
        ('"1.5e-07"', "1.5e-07"),
        ("0.00017999999999999998", "0.00017999999999999998"),
        ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
        ("1e400", "1e400"),
        ("-0", "0"),
        ("true", "true"),
        ("false", "false"),
        ("null", None),
        ('{"a": [1.50, "x", null]}', '{"a": [1.50, "x", null]}'),
        ("[]", "[]"),
        (r'"\ud800x"', r"\ud800x"),
        (r'"a\u0000b"', r"a\u0000b"),
        (r'{"\ud800": "\u0000"}', r'{"\\ud800": "\\u0000"}'),
    ],
)
def test_property_values_as_text(tmp_path: Path, value: str, text: str | None) -> None:
    row = f'{{"code":"tokens","timestamp":"2026-11-01T00:00:00.123Z","properties":{{"p":{value}}}}}'
    (found,) = read_script(listing(row), tmp_path, "p", "absent")
    assert found["properties"] == [text, None]
    assert found["timestamp"] == "2026-11-01T00:00:00.123Z"
    assert found["external_subscription_id"] is None


@pytest.mark.parametrize("properties", ["null", '"text"', "[1]", "7"])
def test_properties_that_are_no_object_hold_nothing(tmp_path: Path, properties: str) -> None:
    row = f'{{"code":"tokens","timestamp":null,"created_at":null,"properties":{properties}}}'
    (found,) = read_script(listing(row), tmp_path, "p")
    assert found["properties"] == [None]
    assert found["created_at"] is None


@pytest.mark.parametrize(
    "timestamp",
    [
        '"54295-09-27T05:30:00.000Z"',
        '"not a time"',
        '" "',
        "17",
        '"2026-11-01T09:00:00+09:00"',
        '"2026-11-01T00:00:00"',
    ],
)
def test_odd_timestamps_are_passed_on(tmp_path: Path, timestamp: str) -> None:
    (found,) = read_script(listing(f'{{"code":"tokens","timestamp":{timestamp}}}'), tmp_path)
    assert found["timestamp"] == str(json.loads(timestamp))


@pytest.mark.parametrize(
    "row",
    [
        '{"code":"tokens","timestamp":"2026-10-31T23:59:59.999Z"}',
        '{"code":"tokens","timestamp":"2026-11-04T00:00:00.000Z"}',
        '{"code":"other","timestamp":"2026-11-01T00:00:00.000Z"}',
        '{"timestamp":"2026-11-01T00:00:00.000Z"}',
        '"no event"',
    ],
)
def test_rows_that_were_not_asked_for_are_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(LagoError, match=r"ignores the filters|not an event"):
        read_script(listing(row), tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"events":[],"meta":null}',
        b'{"events":[],"meta":{}}',
        b'{"events":[],"meta":{"total_count":"many"}}',
        b'{"events":[],"meta":{"total_count":1,"next_page":1}}',
    ],
)
def test_what_is_no_list_of_lago_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(LagoError, match="list of events"):
        read_script(lambda _path, _params: Scripted(body), tmp_path)


def test_rows_that_lago_counts_but_does_not_send_are_missed(tmp_path: Path) -> None:
    body = b'{"events":[],"meta":{"total_count":1,"next_page":null}}'
    with pytest.raises(LagoError, match="still changing"):
        read_script(lambda _path, _params: Scripted(body), tmp_path)


_USUAL: dict[str, Any] = {
    "lago_id": "3dd91fc1-8867-44f2-aebb-460ef3d74586",
    "transaction_id": "t",
    "external_subscription_id": "s",
    "code": "tokens",
    "timestamp": "2026-11-01T00:00:00.000Z",
    "created_at": "2026-11-01T00:00:00Z",
    "properties": {"p": "gpt-4o", "q": 7, "r": 4e-05},
}
_places = st.sampled_from([*EVENT_COLUMNS[:3], *EVENT_COLUMNS[4:], "p", "p", "q"])
_odd = st.sampled_from(["\\", '"', "\n", "é", "\0", "\x7f", 0.5, 4e-05, True]) | values


def _changed(changes: list[tuple[str, Any]]) -> dict[str, Any]:
    of_event = dict(change for change in changes if change[0] in _USUAL)
    properties = {**_USUAL["properties"], **dict(change for change in changes if change[0] not in _USUAL)}
    return {**_USUAL, "properties": properties, **of_event}


def _row(listed: dict[str, Any], *names: str) -> str:
    """Return an event's line of CSV as it should be, each value escaped whether it needs it or not."""
    properties = listed["properties"] if isinstance(listed["properties"], dict) else {}
    held = [value_text(properties.get(name)) for name in names]
    texts = {column: value_text(listed.get(column)) for column in EVENT_COLUMNS[:-1]}
    if texts["precise_total_amount_cents"] is None:
        texts["precise_total_amount_cents"] = ""  # nearly every event's, and no reason for the long way
    cells = [*texts.values(), text_array(held)]
    return ",".join("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


@fuzzed(100)
@given(
    changes=st.lists(st.lists(st.tuples(_places, _odd), max_size=2), max_size=2),
    written=st.booleans(),
    beside=st.sampled_from([{}, {"unread": "\ud800"}]),
)
def test_rows_of_records_are_those_of_escaping_each_value(
    changes: list[Any], written: bool, beside: dict[str, str]
) -> None:
    events = [_changed(each) | beside for each in changes]
    text = json.dumps({"events": events, "meta": {"total_count": len(events)}}, ensure_ascii=written)
    body = text.encode("utf-8", "surrogatepass")
    pages, expected = PageReader(("p", "q", "r")), json_object(body)
    found = pages.parse(body)
    if expected is None or found is None:  # a lone surrogate that is not written as an escape is no JSON
        assert found is expected
        return
    page = pages.page(found, Slice("tokens", WINDOW.start, WINDOW.end), 1, 10, "lago")
    assert sorted(page.rows) == sorted(_row(listed, "p", "q", "r") for listed in expected["events"])


def test_usual_events_are_read_as_records() -> None:
    listed = [{"code": "tokens", "timestamp": "2026-11-01T00:00:00.000Z", "properties": {"model": None, "cost": 4e-05}}]
    payload = PageReader(("model", "cost")).parse(json.dumps({"events": listed, "meta": {}}).encode())
    assert payload is not None
    assert not isinstance(payload["events"][0], dict)


# Slices, exhaustively


class ListInMemory:
    """Lago's list of events in memory: its filter, order, pages and counts, and nothing else of it."""

    def __init__(self, moments: Sequence[datetime], page_size: int) -> None:
        self.connection = LagoConnection("http://memory", "k", page_size=page_size)
        self.page_size = page_size
        self.host = "memory"
        self._moments = sorted(moments, reverse=True)

    def wait(self, _seconds: float) -> None:
        raise AssertionError("nothing changes here, so nothing needs another reading")

    def request(self, _method: str, _path: str, *, params: dict[str, Any], accept: frozenset[int], read: Any) -> Reply:
        assert accept == {422}
        first, last = (datetime.fromisoformat(params[name]) for name in ("timestamp_from", "timestamp_to"))
        numbers = [number for number, moment in enumerate(self._moments) if first <= moment <= last]
        size, page = params["per_page"], params["page"]
        rows = [
            {
                "lago_id": str(UUID(int=number)),
                "transaction_id": str(number),
                "code": params["code"],
                "timestamp": self._moments[number].isoformat(timespec="milliseconds"),
            }
            for number in numbers[(page - 1) * size : page * size]
        ]
        meta = {"total_count": len(numbers), "next_page": page + 1 if page * size < len(numbers) else None}
        return Reply(200, read(json.dumps({"events": rows, "meta": meta}).encode()))


_OFFSETS = st.one_of(
    st.integers(0, 20_000), st.integers(0, 5).map(lambda number: number * 1000), st.sampled_from([777, 778])
)


@settings(deadline=None, max_examples=150)
@given(
    offsets=st.lists(_OFFSETS, max_size=120),
    start=st.integers(0, 3000),
    length=st.integers(1, 20_000),
    page_size=st.integers(1, 7),
)
def test_any_spread_is_read_exactly_once(offsets: list[int], start: int, length: int, page_size: int) -> None:
    moments = [START + offset * MICROSECOND for offset in offsets]
    window = Window(START + start * MICROSECOND, START + (start + length) * MICROSECOND)
    lago = ListInMemory(moments, page_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ROWS_PER_SLICE", 10)
        patch.setattr(reader, "_ROWS_AIMED_AT", 8)
        chunks = read_events(
            cast("LagoClient", lago),
            codes=["tokens"],
            window=window,
            property_names=[],
            progress=lambda _read, _all: None,
        )
        lines = b"".join(chunks).splitlines()
    assert len(lines) == len(set(lines)) == sum(window.start <= moment < window.end for moment in moments)


@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - the zone is set below
    length=st.integers(1, 10**11),
    rows=st.integers(10_001, 10**7),
    crowded=st.none() | st.integers(-(10**6), 10**6),
)
def test_pieces_adjoin_and_fill_the_whole(start: datetime, length: int, rows: int, crowded: int | None) -> None:
    begin = start.replace(tzinfo=UTC)
    part = Slice("tokens", begin, begin + length * MICROSECOND)
    pieces = cut(part, rows, None if crowded is None else begin + crowded * MICROSECOND)
    assert (pieces[0].start, pieces[-1].end) == (part.start, part.end)
    assert all(piece.start < piece.end for piece in pieces)
    assert all(one.end == other.start for one, other in pairwise(pieces))
    assert all(piece.start.microsecond % 1000 == 0 for piece in pieces[1:])
    assert len(pieces) > 1 or (part.end - part.start) <= 2 * MILLISECOND
