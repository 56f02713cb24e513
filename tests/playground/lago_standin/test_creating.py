"""The stand-in takes single events as Lago does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.playground.lago_standin.helpers import AT, Api, a_event, invalid, refused


def test_a_created_event_is_answered_as_lago_serializes_it(api: Api) -> None:
    answer = api.create(precise_total_amount_cents="123.450", properties={"foo": "bar", "a": 1.5})
    event = answer.json()["event"]
    assert answer.status_code == 200
    assert answer.text == (
        f'{{"event":{{"lago_id":"{event["lago_id"]}","transaction_id":"t1","lago_customer_id":null,"code":"tokens",'
        '"timestamp":"2026-11-18T11:06:40.123Z","precise_total_amount_cents":"123.45",'
        '"properties":{"foo":"bar","a":1.5},"lago_subscription_id":null,"external_subscription_id":"sub",'
        f'"created_at":"{event["created_at"]}"}}}}'
    )
    assert len(event["lago_id"]) == 36
    datetime.strptime(event["created_at"], "%Y-%m-%dT%H:%M:%S%z")
    assert api.http.get("events/t1").json()["event"] == event


def test_a_duplicate_is_refused_by_subscription_and_transaction_id_alone(api: Api) -> None:
    duplicate = '{"transaction_id":["value_already_exist"]}'
    assert api.create().status_code == 200
    invalid(api.create(), duplicate)
    invalid(api.create(code="other", timestamp=AT + 5), duplicate)
    assert api.create(external_subscription_id="sub2").status_code == 200
    assert len(api.organization.events()) == 2


def test_events_without_a_subscription_are_taken_and_never_conflict(api: Api) -> None:
    assert api.create(external_subscription_id=None).status_code == 200
    assert api.create(external_subscription_id=None).status_code == 200
    assert [event.external_subscription_id for event in api.organization.events()] == [None, None]


def test_unknown_codes_and_missing_properties_are_taken(api: Api) -> None:
    assert api.create(code="nobody-knows", properties=None).json()["event"]["properties"] == {}
    assert api.create(transaction_id="t2", properties=["no", "object"]).json()["event"]["properties"] == {}


@pytest.mark.parametrize(
    ("missing", "details"),
    [
        (["transaction_id"], '{"transaction_id":["value_is_mandatory"]}'),
        (["code"], '{"code":["value_is_mandatory"]}'),
        (["transaction_id", "code"], '{"transaction_id":["value_is_mandatory"],"code":["value_is_mandatory"]}'),
    ],
)
def test_missing_mandatory_values(api: Api, missing: list[str], details: str) -> None:
    invalid(api.create(**dict.fromkeys(missing)), details)
    invalid(api.batch(a_event(**dict.fromkeys(missing))), '{"0":' + details + "}")
    assert api.organization.events() == []


@pytest.mark.parametrize("body", ["{}", '{"event":null}', '{"event":{}}', "[]", ""])
def test_a_single_event_must_be_there(api: Api, body: str) -> None:
    refused(
        api.http.post("events", content=body),
        400,
        '{"status":400,"error":"BadRequest: param is missing or the value is empty or invalid: event"}',
    )


def test_malformed_json_is_refused_before_the_key_is_looked_at(api: Api) -> None:
    answer = api.client("wrong").post("events", content='{"event":')
    assert (answer.status_code, answer.content) == (400, b"")
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (1651240791, "2022-04-29T13:59:51.000Z"),
        ("1651240791", "2022-04-29T13:59:51.000Z"),
        ("1651240791.123", "2022-04-29T13:59:51.123Z"),
        ("1651240791.1239", "2022-04-29T13:59:51.123Z"),
        (" 1651240791 ", "2022-04-29T13:59:51.000Z"),
        ("1_651_240_791", "2022-04-29T13:59:51.000Z"),
        ("1e9", "2001-09-09T01:46:40.000Z"),
        ("-5", "1969-12-31T23:59:55.000Z"),
        ("0", "1970-01-01T00:00:00.000Z"),
        (1651240791.1, "2022-04-29T13:59:51.100Z"),
        (1651240791000, "54295-09-27T05:30:00.000Z"),
        (False, "2026-11-23T12:00:00.000Z"),
        ([1], "2026-11-23T12:00:00.000Z"),
    ],
)
def test_timestamps_that_lago_takes(api: Api, sent: object, shown: str) -> None:
    assert api.create(timestamp=sent).json()["event"]["timestamp"] == shown
    assert api.listed()["events"][0]["timestamp"] == shown
    assert api.batch(a_event(transaction_id="t2", timestamp=sent)).json()["events"][0]["timestamp"] == shown


def test_an_absent_timestamp_is_the_servers_time(api: Api) -> None:
    answer = api.http.post("events", json={"event": {"transaction_id": "t", "code": "c", "timestamp": None}})
    assert answer.json()["event"]["timestamp"] == "2026-11-23T12:00:00.000Z"
    api.organization.configure(now=None)
    shown = api.create(timestamp=None).json()["event"]["timestamp"]
    assert abs(datetime.fromisoformat(shown) - datetime.now(UTC)) < timedelta(seconds=20)


@pytest.mark.parametrize(
    "sent", ["", "abc", "2022-04-29", "2022-04-29T00:00:00Z", "0x10", "1,5", "12abc", True, "1__0"]
)
def test_timestamps_outside_the_grammar(api: Api, sent: object) -> None:
    invalid(api.create(timestamp=sent, transaction_id=None), '{"timestamp":["invalid_format"]}')
    answer = api.batch(a_event(), a_event(transaction_id="t2", timestamp=sent))
    invalid(answer, '{"1":{"timestamp":["invalid_format"]}}')
    assert api.organization.events() == []


@pytest.mark.parametrize("sent", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_timestamps_that_break_lago(api: Api, sent: str) -> None:
    refused(api.create(timestamp=sent), 500, '{"status":500,"error":"Internal Server Error"}')


def test_a_nul_character_is_reported_as_a_bad_timestamp(api: Api) -> None:
    invalid(api.create(transaction_id="a\0b"), '{"timestamp":["invalid_format"]}')


def test_float_timestamps_lose_a_millisecond_below_1_48(make_api: Callable[..., Api]) -> None:
    old = make_api(version="1.47.3")
    assert old.create(timestamp="1651240791.1").json()["event"]["timestamp"] == "2022-04-29T13:59:51.099Z"


def test_microseconds_are_stored_and_milliseconds_shown(api: Api) -> None:
    api.create(timestamp=f"{AT}.1239")
    assert api.organization.events()[0].timestamp == "2026-11-18T11:06:40.123900Z"


def test_parameters_are_cast_as_rails_casts_them(api: Api) -> None:
    event = api.create(transaction_id=17, precise_total_amount_cents="garbage").json()["event"]
    assert (event["transaction_id"], event["precise_total_amount_cents"]) == ("17", "0.0")
    assert api.create(transaction_id={"no": "scalar"}).status_code == 422


def test_stored_numbers_are_jsonb_numbers(api: Api) -> None:
    api.http.post("events", content=json.dumps({"event": a_event(properties={"zz": 1.5e-7, "a": 2})}))
    assert list(api.listed()["events"][0]["properties"].items()) == [("a", 2), ("zz", 1.5e-7)]
