"""Hostile contents of events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.lago.event_pages import EVENT_COLUMNS, EventSlice, PageReader
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.exact_json import json_object, text_array, value_text
from jobs.adapters.lago.http import LagoClient
from jobs.core.lago.values import LagoConnection
from jobs.errors import LagoError
from jobs.playground.lago_standin.handle import Organization
from tests.adapters.lago_events.helpers import MILLISECOND, START, WINDOW, Rows, event, read, talking_to
from tests.support.fuzzing import fuzzed, values
from tests.support.scripted_server import Scripted, scripted_server

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
    page = pages.page(found, EventSlice("tokens", WINDOW.start, WINDOW.end), 1, 10, "lago")
    assert sorted(page.rows) == sorted(_row(listed, "p", "q", "r") for listed in expected["events"])


def test_usual_events_are_read_as_records() -> None:
    listed = [{"code": "tokens", "timestamp": "2026-11-01T00:00:00.000Z", "properties": {"model": None, "cost": 4e-05}}]
    payload = PageReader(("model", "cost")).parse(json.dumps({"events": listed, "meta": {}}).encode())
    assert payload is not None
    assert not isinstance(payload["events"][0], dict)
