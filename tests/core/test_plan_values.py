"""A plan as a value: what is written is read back to the byte, and anything else is refused in one sentence."""

from __future__ import annotations

import gc
import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from jobs.core.plan import (
    FORMAT,
    EventOutcome,
    Outcome,
    checked_header,
    content_hash,
    event_line,
    plan_window,
    planned_line,
    read_event,
)
from jobs.core.window import Window
from jobs.errors import RefusedError
from tests.support.planned import EVENT as PLANNED
from tests.support.planned import HEADER

EDITED = "Make a new plan; a plan is never edited"
EVENT = replace(
    PLANNED,
    transaction_id="litellm-lago:1:0",
    subscription='a"b\\',
    request_id="chatcmpl-\u202e1",
    properties=(("model", "gpt-4o"), ("payload", ',"payload":{'), ("total_tokens", "140")),
    spend="",
)


@pytest.mark.parametrize("identity", ["litellm-lago:1:0", "é", 'a"b', "a\\b"])
def test_a_line_is_taken_apart_without_reading_it(identity: str) -> None:
    line = event_line(replace(EVENT, transaction_id=identity))
    taken = planned_line(line)
    assert (taken.line, taken.transaction_id) == (line, identity)
    assert orjson.loads(taken.payload) == replace(EVENT, transaction_id=identity).payload


def test_a_line_without_escapes_is_taken_apart_too() -> None:
    plain = replace(EVENT, subscription="alice", request_id="1", properties=(("model", "gpt-4o"),))
    taken = planned_line(event_line(plain))
    assert (taken.transaction_id, orjson.loads(taken.payload)) == (plain.transaction_id, plain.payload)


def test_the_garbage_collector_does_not_walk_what_is_sent() -> None:
    outcome = EventOutcome(planned_line(event_line(EVENT)), Outcome.SENT, "")
    assert not gc.is_tracked(outcome)
    assert not gc.is_tracked(outcome.planned)


def test_the_hash_is_that_of_the_header_without_it_and_of_each_line() -> None:
    expected = hashlib.sha256(b'{"format":"x","sha256":""}\nfirst\nsecond').hexdigest()
    assert content_hash({"sha256": "other", "format": "x"}, [b"first", b"second"]) == expected


def test_a_line_that_is_written_otherwise_is_refused_and_told_why() -> None:
    with pytest.raises(RefusedError, match="no event: it is written otherwise than plans are"):
        read_event(event_line(EVENT).replace(b',"payload"', b', "payload"'))


def test_a_line_that_holds_no_payload_is_refused() -> None:
    with pytest.raises(RefusedError):
        planned_line(b'"payload":{"transaction_id":"x"}')


def test_an_event_is_read_back_as_it_was_written() -> None:
    assert read_event(event_line(EVENT)) == EVENT
    assert event_line(read_event(event_line(EVENT))) == event_line(EVENT)
    assert EVENT.payload == {
        "transaction_id": "litellm-lago:1:0",
        "external_subscription_id": 'a"b\\',
        "code": "llm_tokens",
        "timestamp": "1762776000.250",
        "properties": {"model": "gpt-4o", "payload": ',"payload":{', "total_tokens": "140"},
    }
    assert list(EVENT.payload["properties"]) == ["model", "payload", "total_tokens"]


@pytest.mark.parametrize(
    ("timestamp", "time"),
    [
        ("1762776000.250", datetime(2025, 11, 10, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("0.001", datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)),
        ("-0.001", datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_exact_to_the_millisecond(timestamp: str, time: datetime) -> None:
    assert replace(EVENT, timestamp=timestamp).time == time


@pytest.mark.parametrize(
    "changed",
    [
        {"quantity": "-1.5"},
        {"quantity": "9" * 38 + "." + "9" * 38},
        {"spend": "0.000001"},
        {"timestamp": "-99999.999"},
        {"properties": ()},
        {"amount": "5.472"},
    ],
)
def test_what_a_plan_may_hold_is_read(changed: dict[str, Any]) -> None:
    event = replace(EVENT, **changed)
    assert read_event(event_line(event)) == event


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        *(
            ({name: 5}, f"Expected `str`, got `int` - at `$.{name}`")
            for name in ("part", "request_id", "quantity", "model", "spend")
        ),
        *(
            ({name: 5}, f"Expected `str`, got `int` - at `$.payload.{name}`")
            for name in ("transaction_id", "code", "timestamp")
        ),
        ({"subscription": 5}, "Expected `str`, got `int` - at `$.payload.external_subscription_id`"),
        ({"properties": (("model", "gpt-4o"), ("n", 1))}, "Expected `str`, got `int` - at `$.payload.properties[...]`"),
        *(
            ({"timestamp": text}, "its timestamp is no number of seconds with three decimals")
            for text in ("1762776000", "1762776000.25", "1762776000.2500", "1e9", " 1762776000.250", "999999999999.000")
        ),
        *(
            ({field: text}, "its quantity or spend is no plain decimal")
            for field in ("quantity", "spend")
            for text in ("1e5", "NaN", "1.", ".5", "+1", "9" * 39)
        ),
        ({"quantity": ""}, "its quantity or spend is no plain decimal"),
        *(({"amount": text}, "its amount is no plain decimal above zero") for text in ("1e5", "0", "0.0", "-1", "NaN")),
    ],
)
def test_a_line_of_wrong_values_is_refused_with_the_reason(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError) as raised:
        read_event(event_line(replace(EVENT, **changed)))
    assert str(raised.value) == f"the plan holds a line that is no event: {why}. {EDITED}"


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"5", b"null", b'{"properties":[]}', b'{"payload":5}', b"\xff"])
def test_a_line_of_another_shape_is_refused(line: bytes) -> None:
    with pytest.raises(RefusedError) as raised:
        read_event(line)
    assert raised.value.what.startswith("the plan holds a line that is no event")
    assert raised.value.remedy == EDITED


def test_a_time_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(RefusedError, match="is no event: date value out of range"):
        read_event(event_line(replace(EVENT, timestamp="-99999999999.000")))


def sealed(lines: list[bytes], **changes: Any) -> bytes:
    """Return a header whose hash fits what it says and these lines."""
    header = {key: value for key, value in (HEADER | changes).items() if value is not None}
    return orjson.dumps({**header, "sha256": content_hash(header, lines)})


def test_a_hash_covers_the_header_and_every_line_in_order() -> None:
    lines = [b"one", b"two"]
    first = content_hash(HEADER, lines)
    assert first == content_hash(dict(reversed(HEADER.items())) | {"sha256": "another"}, iter(lines))
    others = [
        content_hash(HEADER, [b"two", b"one"]),
        content_hash(HEADER, [b"one"]),
        content_hash(HEADER, [b"onetwo"]),
        content_hash(HEADER | {"events": 2}, lines),
    ]
    assert len({first, *others}) == 5
    spelled = b'{"format":"x","sha256":""}\none'
    assert content_hash({"sha256": "y", "format": "x"}, [b"one"]) == hashlib.sha256(spelled).hexdigest()


def test_a_header_that_fits_is_read_with_its_window() -> None:
    lines = [event_line(EVENT)]
    header = checked_header(sealed(lines), iter(lines))
    assert {**header, "sha256": ""} == HEADER
    start = datetime(2025, 11, 10, 12, tzinfo=UTC)
    assert plan_window(header) == Window(start, start + timedelta(hours=2))
    seoul = {"start": "2025-11-10T21:00:00+09:00", "end": "2025-11-10T14:00:00+00:00"}
    assert plan_window(HEADER | {"window": seoul}).start == start.astimezone(timezone(timedelta(hours=9)))


@pytest.mark.parametrize(
    ("first_line", "message"),
    [
        (b"", f"the plan's first line is no header. {EDITED}"),
        (b"{", f"the plan's first line is no header. {EDITED}"),
        *(
            (line, f"this is no plan of the format {FORMAT}. Make a new plan with this version")
            for line in (b"[]", b"{}", b'{"format":"litellm-lago-plan/0"}')
        ),
        (
            orjson.dumps(HEADER),
            f"the plan was edited or cut short: its hash does not fit its content. {EDITED}",
        ),
        *(
            (sealed([], **{name: value}), f"the plan's header lacks what every plan has: {why}. {EDITED}")
            for name, value, why in (
                ("window", None, "KeyError('window')"),
                ("window", {"start": "2025-11-10T12:00:00+00:00"}, "KeyError('end')"),
                ("window", {"start": 5, "end": 6}, "TypeError('fromisoformat: argument must be str')"),
                (
                    "window",
                    {"start": "2025-11-10T12:00:00", "end": "2025-11-10T14:00:00+00:00"},
                    "ValueError('window edge 2025-11-10T12:00:00 has no time zone')",
                ),
                ("code_version", None, "KeyError('code_version')"),
                ("code_version", 1, "TypeError('code_version is of another type')"),
                ("rules", None, "KeyError('rules')"),
                ("rules", 1, "TypeError('rules is of another type')"),
                ("caps", None, "KeyError('caps')"),
                ("caps", [], "TypeError('caps is of another type')"),
                ("only", None, "KeyError('only')"),
                ("only", [], "TypeError('only is of another type')"),
                ("events", None, "KeyError('events')"),
                ("events", "1", "TypeError('events is of another type')"),
            )
        ),
    ],
)
def test_a_header_that_is_none_is_refused(first_line: bytes, message: str) -> None:
    with pytest.raises(RefusedError) as raised:
        checked_header(first_line, iter([]))
    assert str(raised.value) == message
