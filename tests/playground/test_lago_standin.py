"""The Lago stand-in keeps the contract of Lago's API: bodies to the byte, both event stores, faults, permissions."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from lago_python_client.client import Client
from lago_python_client.events.clients import EventClient
from lago_python_client.exceptions import LagoApiError, LagoRateLimitError
from lago_python_client.mixins import FindAllCommandMixin
from lago_python_client.models.event import BatchEvent, Event, EventResponse

import jobs
from jobs.errors import LagoError
from jobs.playground.lago_standin import FAULT_NAMES, Fault, LagoStandIn, Organization
from jobs.playground.lago_standin.ruby_values import clickhouse_decimal, go_value

START = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AT = 1795000000  # 2026-11-18T11:06:40Z

Json = dict[str, Any]


class Api:
    """An organisation with a client that speaks plain HTTP to it."""

    def __init__(self, organization: Organization) -> None:
        """Authenticate as the organisation."""
        self.organization = organization
        self._opened: list[httpx.Client] = []
        self.http = self.client(organization.api_key)

    def client(self, api_key: str) -> httpx.Client:
        """Return a client with another key."""
        opened = httpx.Client(
            base_url=f"{self.organization.api_base}/api/v1/",
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=20,
        )
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        """Close all clients."""
        for opened in self._opened:
            opened.close()

    def create(self, **event: object) -> httpx.Response:
        """Send one event, complete unless told otherwise."""
        return self.http.post("events", json={"event": a_event(**event)})

    def batch(self, *events: Json) -> httpx.Response:
        """Send a batch."""
        return self.http.post("events/batch", json={"events": list(events)})

    def listed(self, **params: object) -> Json:
        """List events."""
        answer = self.http.get("events", params={name: str(value) for name, value in params.items()})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ids(self, **params: object) -> list[str]:
        """List transaction ids."""
        return [event["transaction_id"] for event in self.listed(**params)["events"]]

    def usage(self, subscription: str = "sub", **params: str) -> Json:
        """Return the only charge's current usage."""
        answer = self.http.get(
            "customers/acme/current_usage", params={"external_subscription_id": subscription, **params}
        )
        assert answer.status_code == 200, answer.text
        (charge,) = answer.json()["customer_usage"]["charges_usage"]
        return dict(charge)


def a_event(**event: object) -> Json:
    """Return an event with every parameter; None leaves one out."""
    complete = {
        "transaction_id": "t1",
        "external_subscription_id": "sub",
        "code": "tokens",
        "timestamp": f"{AT}.123",
        "properties": {"total_tokens": "3"},
    }
    return {name: value for name, value in (complete | event).items() if value is not None}


@pytest.fixture
def make_api(standin: LagoStandIn, request: pytest.FixtureRequest) -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def make(**options: Any) -> Api:
        organization = standin.create_organization(request.node.name, **options)
        organization.configure(now=NOW)
        made.append(Api(organization))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()


@pytest.fixture
def clickhouse(make_api: Callable[..., Api]) -> Api:
    return make_api(event_store="clickhouse")


def subscribe(api: Api, *charges: tuple[str, Json], subscription: str = "sub") -> None:
    """Give the organisation a customer with one subscription since the start of the month."""
    api.organization.add_plan("plan", charges=charges)
    api.organization.add_customer("acme")
    api.organization.add_subscription(subscription, customer="acme", plan="plan", started_at=START)


def refused(answer: httpx.Response, status: int, body: str) -> None:
    """Expect an error to the byte."""
    assert (answer.status_code, answer.text) == (status, body)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def invalid(answer: httpx.Response, details: str) -> None:
    """Expect validation errors to the byte."""
    refused(
        answer,
        422,
        '{"status":422,"error":"Unprocessable Entity","code":"validation_errors","error_details":' + details + "}",
    )


# --- creating -------------------------------------------------------------------------------------------------------


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


# --- batches --------------------------------------------------------------------------------------------------------


def test_a_batch_is_answered_in_the_order_it_was_sent(api: Api) -> None:
    answer = api.batch(*(a_event(transaction_id=f"t{number}") for number in (3, 1, 2)))
    assert list(answer.json()) == ["events"]
    assert [event["transaction_id"] for event in answer.json()["events"]] == ["t3", "t1", "t2"]
    shown = {event["transaction_id"]: event for event in api.listed()["events"]}
    assert [shown[event["transaction_id"]] for event in answer.json()["events"]] == answer.json()["events"]


@pytest.mark.parametrize("body", [{}, {"events": None}, {"events": []}, {"events": "x"}, {"events": ["x", 1]}])
def test_an_empty_batch(api: Api, body: Json) -> None:
    invalid(api.http.post("events/batch", json=body), '{"events":["no_events"]}')


def test_a_hundred_events_are_the_most(api: Api) -> None:
    events = [a_event(transaction_id=f"t{number}") for number in range(101)]
    invalid(api.batch(*events), '{"events":["too_many_events"]}')
    assert api.batch(*events[:100]).status_code == 200


def test_a_batch_keeps_every_text_and_number(api: Api) -> None:
    texts = ["a,b", '"', "\\", '\\"', "{}", "NULL", "null", "'", "\t\n", "\x1e", "é\u2028😀", "%s", " "]
    sent = [
        a_event(
            transaction_id=f"t{text}",
            external_subscription_id=None if text == "null" else text,
            properties={text: text},
        )
        for text in texts
    ]
    sent.append(
        a_event(transaction_id="numbers", properties={"whole": 12345678901234567890123, "half": 0.5, "all": [1]})
    )
    answer = api.batch(*sent)
    assert answer.status_code == 200, answer.text
    kept = {
        event.transaction_id: (event.external_subscription_id, event.properties) for event in api.organization.events()
    }
    assert kept == {one["transaction_id"]: (one.get("external_subscription_id"), one["properties"]) for one in sent}
    assert [one["properties"] for one in answer.json()["events"]] == [one["properties"] for one in sent]


def test_a_lone_surrogate_is_no_readable_body(api: Api) -> None:
    body = json.dumps({"events": [a_event(), a_event(transaction_id="t2", properties={"a": "PLACE"})]})
    answer = api.http.post("events/batch", content=body.replace('"PLACE"', r'"\ud800"'))
    assert (answer.status_code, answer.content, api.ids()) == (400, b"", [])


@pytest.mark.parametrize("text", [r'"\u0000"', "1e999"])
def test_values_that_break_lago(api: Api, text: str) -> None:
    body = json.dumps({"events": [a_event(), a_event(transaction_id="t2", properties={"a": "PLACE"})]})
    answer = api.http.post("events/batch", content=body.replace('"PLACE"', text))
    refused(answer, 500, '{"status":500,"error":"Internal Server Error"}')
    assert api.ids() == []


def test_ids_and_times_of_a_batch_are_those_that_are_listed(api: Api) -> None:
    events = api.batch(*(a_event(transaction_id=f"t{number}") for number in range(3))).json()["events"]
    assert api.listed()["events"] == events
    assert len({event["lago_id"] for event in events}) == 3


def test_one_duplicate_refuses_the_whole_batch(api: Api) -> None:
    api.create()
    answer = api.batch(a_event(transaction_id="new"), a_event(), a_event(transaction_id="new"))
    duplicate = '{"transaction_id":["value_already_exist"]}'
    invalid(answer, '{"1":' + duplicate + ',"2":' + duplicate + "}")
    assert [event.transaction_id for event in api.organization.events()] == ["t1"]


def test_formats_are_checked_before_duplicates(api: Api) -> None:
    api.create()
    answer = api.batch(a_event(), a_event(transaction_id="t2", timestamp="x"))
    invalid(answer, '{"1":{"timestamp":["invalid_format"]}}')


def test_elements_that_are_no_objects_shift_the_positions(api: Api) -> None:
    api.create()
    answer = api.http.post("events/batch", json={"events": ["dropped", a_event()]})
    invalid(answer, '{"0":{"transaction_id":["value_already_exist"]}}')


def test_equal_ids_under_two_subscriptions_are_confused(api: Api) -> None:
    api.create(external_subscription_id="A")
    sent = [a_event(external_subscription_id="A"), a_event(external_subscription_id="B")]
    invalid(api.batch(*sent), '{"1":{"transaction_id":["value_already_exist"]}}')
    new = [a_event(transaction_id="n", external_subscription_id=name) for name in "AB"]
    for _ in range(2):
        invalid(api.batch(*new), '{"1":{"transaction_id":["value_already_exist"]}}')
    assert len(api.organization.events()) == 1


def test_below_1_39_a_refused_batch_keeps_its_other_events(make_api: Callable[..., Api]) -> None:
    old = make_api(version="1.38.0")
    old.create()
    answer = old.batch(a_event(transaction_id="t2"), a_event(), a_event(transaction_id="t3"))
    invalid(answer, '{"1":{"transaction_id":["value_already_exist"]}}')
    assert sorted(old.ids()) == ["t1", "t2", "t3"]


def test_of_simultaneous_duplicates_exactly_one_wins(api: Api) -> None:
    batch = [a_event(transaction_id=f"t{number}") for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        singles = list(pool.map(lambda _: api.create(transaction_id="raced").status_code, range(24)))
        batches = list(pool.map(lambda _: api.batch(*batch).status_code, range(8)))
    assert sorted(singles) == [200] + [422] * 23
    assert sorted(batches) == [200] + [422] * 7
    assert len(api.organization.events()) == 51


def test_soft_deleted_events_are_invisible_and_still_block(api: Api) -> None:
    api.organization.add_metric("tokens")
    api.create()
    api.create(transaction_id="t2")
    api.organization.soft_delete_events(["t1"])
    assert api.ids() == ["t2"]
    api.organization.destroy_metric("tokens")
    assert api.listed()["meta"]["total_count"] == 0
    refused(api.http.get("events/t1"), 404, '{"status":404,"error":"Not Found","code":"event_not_found"}')
    invalid(api.create(), '{"transaction_id":["value_already_exist"]}')
    invalid(api.batch(a_event()), '{"0":{"transaction_id":["value_already_exist"]}}')
    assert [event.deleted for event in api.organization.events()] == [True, True]


def test_expressions_fill_the_property_or_refuse_the_event(api: Api) -> None:
    api.organization.add_metric("tokens", field_name="units", expression="event.properties.a + event.properties.b")
    reason = '"expression_evaluation_failed: Variable: b not found"'
    invalid(api.create(properties={"a": 1}), reason)
    invalid(api.batch(a_event(properties={"a": 1})), '{"0":' + reason + "}")
    stored = api.create(properties={"a": 1, "b": "2"}).json()["event"]["properties"]
    assert stored == {"a": 1, "b": "2", "units": "3.0"}


# --- reading --------------------------------------------------------------------------------------------------------


def load(api: Api, *rows: Json) -> None:
    """Store events past the API."""
    api.organization.insert_events({**a_event(timestamp=START), **row} for row in rows)


def test_events_come_newest_first_and_ties_by_transaction_id(api: Api) -> None:
    load(
        api,
        {"transaction_id": "b"},
        {"transaction_id": "a"},
        {"transaction_id": "new", "timestamp": START + timedelta(microseconds=1)},
    )
    assert api.ids() == ["new", "a", "b"]


def test_time_filters_are_inclusive_to_the_microsecond(api: Api) -> None:
    load(api, *({"transaction_id": f"t{n}", "timestamp": START + timedelta(microseconds=n)} for n in range(5)))
    window = {"timestamp_from": "2026-11-01T00:00:00.000001Z", "timestamp_to": "2026-11-01T00:00:00.000003Z"}
    assert api.ids(**window) == ["t3", "t2", "t1"]
    assert api.listed(**window)["meta"]["total_count"] == 3


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-01",
        "2026-11-01T00:00:00",
        "20261101T000000Z",
        "2026-11",
        "2026-305",
        "2026-W44-7",
        "2026-11-01T02:00:00+02:00",
        "2026-10-31T22:00:00.000000-02:00",
        "2026-10-31T24:00",
    ],
)
def test_dates_that_lago_takes(api: Api, text: str) -> None:
    load(api, {"transaction_id": "at"}, {"transaction_id": "before", "timestamp": START - timedelta(microseconds=1)})
    assert api.ids(timestamp_from=text) == ["at"]


@pytest.mark.parametrize(
    "text",
    ["1651240791", "2022-08-08 00:00:00", "2022-08-08T00:00:00 02:00", "yesterday", "2026-02-30", "2026-11-01T25"],
)
def test_dates_outside_the_grammar(api: Api, text: str) -> None:
    invalid(api.http.get("events", params={"timestamp_from": text}), '{"timestamp_from":["invalid_date"]}')
    both = api.http.get("events", params={"timestamp_from": text, "timestamp_to": text})
    invalid(both, '{"timestamp_from":["invalid_date"]}')


def test_a_plus_that_was_not_encoded_is_a_blank(api: Api) -> None:
    answer = api.http.get("events?timestamp_from=2026-11-01T00:00:00+00:00")
    invalid(answer, '{"timestamp_from":["invalid_date"]}')


def test_filters_by_code_and_subscription_and_nothing_else(api: Api) -> None:
    load(api, {}, {"transaction_id": "t2", "code": "x"}, {"transaction_id": "t3", "external_subscription_id": "y"})
    assert api.ids(code="x") == ["t2"]
    assert api.ids(external_subscription_id="y") == ["t3"]
    assert len(api.ids(transaction_id="t2")) == 3
    assert len(api.http.get("events?code[]=x").json()["events"]) == 3


def test_filtering_from_the_start_of_the_newest_subscription(api: Api) -> None:
    api.organization.add_plan("plan")
    api.organization.add_customer("acme")
    middle = START + timedelta(days=5)
    for started_at, terminated_at, status in ((START, middle, "terminated"), (middle, None, "active")):
        api.organization.add_subscription(
            "sub",
            customer="acme",
            plan="plan",
            started_at=started_at,
            terminated_at=terminated_at,
            status=status,
        )
    load(api, {"transaction_id": "old"}, {"transaction_id": "new", "timestamp": middle})
    assert api.ids(timestamp_from_started_at="true", external_subscription_id="sub") == ["new"]
    assert len(api.ids(timestamp_from_started_at="false")) == 2

    def asked(**params: str) -> httpx.Response:
        return api.http.get("events", params={"timestamp_from_started_at": "true", **params})

    invalid(asked(), '{"external_subscription_id":["required with timestamp_from_started_at"]}')
    invalid(
        asked(external_subscription_id="sub", timestamp_from="2026-11-01"),
        '{"timestamp_from":["cannot be used with timestamp_from_started_at"]}',
    )
    invalid(
        asked(timestamp_from_started_at="yes"),
        '{"timestamp_from_started_at":["must be one of: true, false"]}',
    )


def test_pages_and_their_meta(api: Api) -> None:
    load(api, *({"transaction_id": f"t{number:03d}"} for number in range(130)))
    first = api.listed()
    assert len(first["events"]) == 100
    assert json.dumps(first["meta"]) == (
        '{"current_page": 1, "next_page": 2, "prev_page": null, "total_pages": 2, "total_count": 130}'
    )
    assert len(api.ids(per_page=5000)) == 130
    assert api.ids(page=2) == [f"t{number:03d}" for number in range(100, 130)]
    past = api.listed(page=9)
    assert (past["events"], past["meta"]) == (
        [],
        {"current_page": 9, "next_page": None, "prev_page": 8, "total_pages": 2, "total_count": 130},
    )
    assert api.ids(page=-3, per_page=1) == api.ids(page="x", per_page=1) == ["t000"]
    assert len(api.ids(per_page=-1)) == len(api.ids(per_page="x")) == 25
    refused(api.http.get("events?per_page=0"), 500, '{"status":500,"error":"Internal Server Error"}')


def test_the_meta_of_an_empty_list(api: Api) -> None:
    nothing = {"current_page": 0, "next_page": None, "prev_page": None, "total_pages": 0, "total_count": 0}
    assert api.listed(page=4, per_page=0) == {"events": [], "meta": nothing}


def test_below_1_48_pages_disagree_about_equal_timestamps(make_api: Callable[..., Api]) -> None:
    old, new = make_api(version="1.47.0"), make_api()
    for one in (old, new):
        load(one, *({"transaction_id": f"t{number:03d}"} for number in range(60)))
    pages = range(1, 7)
    assert len({tid for page in pages for tid in new.ids(page=page, per_page=10)}) == 60
    assert len({tid for page in pages for tid in old.ids(page=page, per_page=10)}) < 60


def test_awkward_ids_are_found_when_encoded(api: Api) -> None:
    awkward = "1Az()[]?#._/|-/../ü %41"
    api.create(transaction_id=awkward)
    event = api.http.get(f"events/{quote(awkward, safe='')}").json()["event"]
    assert event["transaction_id"] == awkward
    refused(api.http.get("events/none"), 404, '{"status":404,"error":"Not Found","code":"event_not_found"}')


def test_events_cannot_be_changed_or_deleted(api: Api) -> None:
    api.create()
    for method in ("DELETE", "PUT", "PATCH"):
        answer = api.http.request(method, "events/t1")
        refused(answer, 404, '{"status":404,"error":"Not Found","code":"resource_not_found"}')
    refused(api.http.get("nowhere"), 404, '{"status":404,"error":"Not Found","code":"resource_not_found"}')


# --- keys and permissions -------------------------------------------------------------------------------------------


def test_keys(api: Api) -> None:
    expired = api.organization.add_key(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {expired}"}, {"Authorization": "a b"}):
        answer = httpx.get(f"{api.organization.api_base}/api/v1/events", headers=headers)
        refused(answer, 401, '{"status":401,"error":"Unauthorized"}')
    other_scheme = {"Authorization": f"Token {api.organization.api_key} ignored"}
    assert httpx.get(f"{api.organization.api_base}/api/v1/events", headers=other_scheme).status_code == 200


def test_what_changes_is_seen_at_once(api: Api) -> None:
    expiring = api.client(api.organization.add_key(expires_at=datetime.now(UTC) + timedelta(seconds=0.4)))
    assert expiring.get("events").status_code == 200
    assert api.batch(a_event()).json()["events"][0]["properties"] == {"total_tokens": "3"}
    api.organization.add_metric("tokens", field_name="total_tokens", expression="event.properties.total_tokens * 2")
    assert api.batch(a_event(transaction_id="t2")).json()["events"][0]["properties"] == {"total_tokens": "6.0"}
    api.organization.destroy_metric("tokens")
    assert api.batch(a_event(transaction_id="t3")).json()["events"][0]["properties"] == {"total_tokens": "3"}
    api.organization.configure(events_batch_max_length=1)
    invalid(api.batch(a_event(), a_event()), '{"events":["too_many_events"]}')
    time.sleep(0.4)
    assert expiring.get("events").status_code == 401


def test_organisations_see_only_their_own(make_api: Callable[..., Api]) -> None:
    one, other = make_api(), make_api()
    one.create()
    assert other.ids() == []
    assert other.create().status_code == 200


def test_permissions(make_api: Callable[..., Api]) -> None:
    api = make_api(api_permissions={"event": ["read"]})
    body = '{"status":403,"error":"Forbidden","code":"%s"}'
    refused(api.create(), 403, body % "write_action_not_allowed_for_event")
    refused(api.batch(a_event()), 403, body % "write_action_not_allowed_for_event")
    assert api.http.get("events").status_code == 200
    for path, resource in (
        ("subscriptions", "subscription"),
        ("billable_metrics", "billable_metric"),
        ("plans", "plan"),
        ("organizations", "organization"),
        ("customers/acme/current_usage", "customer_usage"),
    ):
        refused(api.http.get(path), 403, body % f"read_action_not_allowed_for_{resource}")
    writer = api.client(api.organization.add_key(api_permissions={"event": ["write"]}))
    refused(writer.get("events"), 403, body % "read_action_not_allowed_for_event")


# --- catalogue ------------------------------------------------------------------------------------------------------


def test_the_event_store_is_told_since_1_47(make_api: Callable[..., Api]) -> None:
    assert make_api().http.get("organizations").json()["organization"]["events_store"] == "postgres"
    assert make_api(event_store="clickhouse").http.get("organizations").json()["organization"]["events_store"] == (
        "clickhouse"
    )
    assert "events_store" not in make_api(version="1.46.9").http.get("organizations").json()["organization"]


def test_enriched_events_belong_to_clickhouse(make_api: Callable[..., Api]) -> None:
    refused(
        make_api().http.get("events_enriched"),
        403,
        '{"status":403,"error":"Forbidden","code":"endpoint_not_available"}',
    )
    answer = make_api(version="1.35.0").http.get("events_enriched")
    refused(answer, 404, '{"status":404,"error":"Not Found","code":"resource_not_found"}')


def test_subscriptions_are_active_ones_unless_told_otherwise(api: Api) -> None:
    api.organization.add_plan("plan")
    api.organization.add_customer("acme")
    for status in ("terminated", "terminated", "canceled", "pending", "active"):
        api.organization.add_subscription("s", customer="acme", plan="plan", started_at=START, status=status)

    def statuses(query: str) -> list[str]:
        return sorted(row["status"] for row in api.http.get(f"subscriptions{query}").json()["subscriptions"])

    assert statuses("") == statuses("?status=terminated") == ["active"]
    assert statuses("?status[]=terminated&status[]=pending") == ["pending", "terminated", "terminated"]
    assert statuses("?external_id=nobody") == []
    shown = api.http.get("subscriptions/s").json()["subscription"]
    assert (shown["status"], shown["started_at"], shown["plan"]["code"]) == (
        "active",
        "2026-11-01T00:00:00.000Z",
        "plan",
    )
    assert shown["current_billing_period_ending_at"] == "2026-11-30T23:59:59Z"
    assert api.http.get("subscriptions/s?status=canceled").json()["subscription"]["status"] == "canceled"
    refused(
        api.http.get("subscriptions/none"), 404, '{"status":404,"error":"Not Found","code":"subscription_not_found"}'
    )


def test_metrics_and_plans(api: Api) -> None:
    api.organization.add_metric("tokens", filters=[{"key": "model", "values": ["a"]}], rounding=("ceil", 2))
    api.organization.add_metric("calls", aggregation_type="count_agg")
    api.organization.add_plan("plan", charges=[("calls", {"pay_in_advance": True}), ("tokens", {})])
    metrics = api.http.get("billable_metrics").json()["billable_metrics"]
    assert [(one["code"], one["aggregation_type"], one["field_name"]) for one in metrics] == [
        ("calls", "count_agg", None),
        ("tokens", "sum_agg", "total_tokens"),
    ]
    counters = {"active_subscriptions_count": 0, "draft_invoices_count": 0, "plans_count": 0}
    assert api.http.get("billable_metrics/tokens").json()["billable_metric"] | counters == metrics[1]
    plan = api.http.get("plans/plan").json()["plan"]
    assert [(one["billable_metric_code"], one["pay_in_advance"]) for one in plan["charges"]] == [
        ("calls", True),
        ("tokens", False),
    ]
    assert api.http.get("plans").json()["plans"] == [plan]
    for path, code in (("billable_metrics/none", "billable_metric_not_found"), ("plans/none", "plan_not_found")):
        refused(api.http.get(path), 404, f'{{"status":404,"error":"Not Found","code":"{code}"}}')


# --- usage ----------------------------------------------------------------------------------------------------------


def test_only_plain_numbers_are_billed(api: Api) -> None:
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {}))
    values = ["10", 2.5, "-1", 1.5e-7, "1e-05", "+5", ".5", "5.", " 5", "", "NaN", None, True]
    load(api, *({"transaction_id": f"t{n}", "properties": {"total_tokens": value}} for n, value in enumerate(values)))
    load(api, {"transaction_id": "without", "properties": {}})
    usage = api.usage()
    assert (usage["units"], usage["events_count"]) == ("11.50000015", 4)
    assert len(api.ids()) == 14
    billed = api.organization.billed("sub", "tokens", START, NOW)
    assert (billed.units, billed.events_count) == (Decimal("11.50000015"), 4)


def test_filters_take_the_most_specific_and_the_rest_falls_into_the_default_bucket(api: Api) -> None:
    api.organization.add_metric(
        "tokens", filters=[{"key": "model", "values": ["a", "b"]}, {"key": "type", "values": ["in"]}]
    )
    filters = [
        {"values": {"model": ["a", "b"]}, "properties": {"amount": "2"}, "invoice_display_name": "AB"},
        {"values": {"model": ["a"], "type": ["in"]}, "properties": {"amount": "3"}},
    ]
    subscribe(api, ("tokens", {"filters": filters, "properties": {"amount": "1", "pricing_group_keys": ["region"]}}))
    load(
        api,
        *(
            {"transaction_id": f"t{n}", "properties": {"total_tokens": str(10**n), **properties}}
            for n, properties in enumerate(
                [{"model": "a", "region": "eu"}, {"model": "a", "type": "in"}, {"model": "c"}, {"region": "eu"}]
            )
        ),
    )
    usage = api.usage()
    assert (usage["units"], usage["events_count"], usage["amount_cents"]) == ("1111.0", 4, 100 * (2 + 30 + 100 + 1000))
    assert [(one["values"], one["units"], one["invoice_display_name"]) for one in usage["filters"]] == [
        ({"model": ["a", "b"]}, "1.0", "AB"),
        ({"model": ["a"], "type": ["in"]}, "10.0", None),
        (None, "1100.0", None),
    ]
    assert {one["grouped_by"]["region"]: one["units"] for one in usage["grouped_usage"]} == {
        "eu": "1001.0",
        None: "110.0",
    }


@pytest.mark.parametrize(
    ("aggregation", "units", "count"),
    [
        ("count_agg", "4.0", 4),
        ("sum_agg", "12.0", 4),
        ("max_agg", "5.0", 4),
        ("latest_agg", "2.0", 4),
        ("unique_count_agg", "3.0", 3),
    ],
)
def test_aggregations(api: Api, aggregation: str, units: str, count: int) -> None:
    api.organization.add_metric("tokens", aggregation_type=aggregation)
    subscribe(api, ("tokens", {}))
    load(
        api,
        *(
            {
                "transaction_id": f"t{n}",
                "timestamp": START + timedelta(hours=n),
                "properties": {"total_tokens": value},
            }
            for n, value in enumerate(["0", "5", "5", "2"])
        ),
    )
    usage = api.usage()
    assert (usage["units"], usage["events_count"]) == (units, count)


def test_a_weighted_sum_counts_what_is_left_of_the_period(api: Api) -> None:
    api.organization.add_metric("tokens", aggregation_type="weighted_sum_agg")
    subscribe(api, ("tokens", {}))
    load(api, {"timestamp": START + timedelta(days=15), "properties": {"total_tokens": "10"}})
    assert Decimal(api.usage()["units"]) == 5


def test_rounding_applies_to_the_total(api: Api) -> None:
    api.organization.add_metric("tokens", rounding=("ceil", 1))
    subscribe(api, ("tokens", {}))
    load(api, *({"transaction_id": f"t{n}", "properties": {"total_tokens": "0.11"}} for n in range(3)))
    usage = api.usage()
    assert (usage["units"], usage["total_aggregated_units"]) == ("0.4", "0.4")


def test_usage_keeps_to_the_period_and_the_subscription(api: Api) -> None:
    api.organization.add_metric("tokens")
    api.organization.add_plan("plan", charges=[("tokens", {})])
    api.organization.add_customer("acme", timezone="Europe/Berlin")
    started_at = START + timedelta(days=2, microseconds=1500)
    api.organization.add_subscription("sub", customer="acme", plan="plan", started_at=started_at)
    end = datetime(2026, 11, 30, 23, tzinfo=UTC)
    moments = {
        "before": started_at.replace(microsecond=999),
        "first": started_at.replace(microsecond=1000),
        "last": end - timedelta(microseconds=1),
        "after": end,
    }
    load(api, *({"transaction_id": name, "timestamp": moment} for name, moment in moments.items()))
    answer = api.http.get("customers/acme/current_usage?external_subscription_id=sub").json()["customer_usage"]
    assert (answer["from_datetime"], answer["to_datetime"]) == ("2026-11-03T00:00:00Z", "2026-11-30T22:59:59Z")
    assert api.usage()["units"] == "6.0"
    api.organization.configure(now=end)
    assert api.usage()["units"] == "3.0"


def test_usage_that_cannot_be_asked_for(api: Api) -> None:
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {"code": "charge"}))
    path = "customers/acme/current_usage?external_subscription_id="
    inactive = '{"status":405,"error":"Method Not Allowed","code":"no_active_subscription"}'
    refused(api.http.get(path + "none"), 405, inactive)
    api.organization.terminate_subscription("sub", NOW)
    refused(api.http.get(path + "sub"), 405, inactive)
    api.organization.add_subscription("sub", customer="acme", plan="plan", started_at=NOW)
    not_found = '{"status":404,"error":"Not Found","code":"%s"}'
    refused(api.http.get(path + "sub&billable_metric_code=none"), 404, not_found % "charge_not_found")
    refused(
        api.http.get("customers/none/current_usage?external_subscription_id=sub"), 404, not_found % "resource_not_found"
    )
    assert api.usage(charge_code="charge")["units"] == "0.0"
    past = "customers/acme/past_usage"
    invalid(api.http.get(past), '{"external_subscription_id":["value_is_mandatory"]}')
    refused(
        api.http.get(past + "?external_subscription_id=sub&billable_metric_code=none"),
        404,
        not_found % "billable_metric_not_found",
    )


@pytest.mark.parametrize("event_store", ["postgres", "clickhouse"])
def test_late_events_of_a_finalized_period_are_stored_listed_and_never_billed(
    make_api: Callable[..., Api], event_store: str
) -> None:
    api = make_api(event_store=event_store)
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {}))
    half = START + timedelta(days=10)
    api.create(timestamp=str(START.timestamp()))
    frozen = api.organization.finalize_period("sub", START, half)
    assert frozen["charges_usage"][0]["units"] == "3.0"
    time.sleep(0.002)  # ClickHouse keeps the arrival to the millisecond only
    api.create(transaction_id="late", timestamp=str(START.timestamp()))
    api.create(transaction_id="in time", timestamp=str(half.timestamp()))
    assert len(api.ids()) == 3
    assert api.organization.billed("sub", "tokens", START, NOW).units == 6
    assert api.organization.billed("sub", "tokens", START, half).units == 3
    past = api.http.get("customers/acme/past_usage?external_subscription_id=sub").json()
    assert [period["charges_usage"][0]["units"] for period in past["usage_periods"]] == ["3.0"]
    assert past["meta"]["total_count"] == 1


def test_nothing_is_billed_without_a_charge(api: Api) -> None:
    api.organization.add_metric("tokens")
    api.organization.add_metric("free")
    subscribe(api, ("tokens", {}))
    load(api, {"code": "free"}, {"transaction_id": "t2", "code": "unknown"})
    assert api.organization.billed("sub", "free", START, NOW).events_count == 0
    assert api.organization.billed("sub", "unknown", START, NOW).events_count == 0


def test_nothing_is_billed_outside_a_subscriptions_life(api: Api) -> None:
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {}))
    end = START + timedelta(days=3)
    api.organization.terminate_subscription("sub", end)
    moments = (START - timedelta(seconds=1), START, end, end + timedelta(seconds=1))
    load(api, *({"transaction_id": f"t{n}", "timestamp": moment} for n, moment in enumerate(moments)))
    assert api.organization.billed("sub", "tokens", START - timedelta(days=9), NOW).events_count == 2
    assert api.organization.billed("sub", "tokens", START, end).events_count == 1
    assert api.organization.billed("nobody", "tokens", START, NOW).events_count == 0


@pytest.mark.parametrize(
    ("interval", "first", "last"),
    [
        ("weekly", "2026-11-15T23:00:00Z", "2026-11-22T22:59:59Z"),
        ("monthly", "2026-10-31T23:00:00Z", "2026-11-30T22:59:59Z"),
        ("quarterly", "2026-09-30T22:00:00Z", "2026-12-31T22:59:59Z"),
        ("yearly", "2025-12-31T23:00:00Z", "2026-12-31T22:59:59Z"),
    ],
)
def test_billing_periods_follow_the_calendar_of_the_customer(api: Api, interval: str, first: str, last: str) -> None:
    api.organization.configure(now=datetime(2026, 11, 22, 12, tzinfo=UTC))
    api.organization.add_plan("plan", interval=interval)
    api.organization.add_customer("acme", timezone="Europe/Berlin")
    began = datetime(2025, 3, 3, tzinfo=UTC)
    api.organization.add_subscription("sub", customer="acme", plan="plan", started_at=began)
    shown = api.http.get("subscriptions/sub").json()["subscription"]
    assert (shown["current_billing_period_started_at"], shown["current_billing_period_ending_at"]) == (first, last)


def test_a_given_period_takes_the_place_of_the_calendars(api: Api) -> None:
    api.organization.add_metric("tokens")
    api.organization.add_plan("plan", charges=[("tokens", {})])
    api.organization.add_customer("acme")
    given = START + timedelta(days=4)
    api.organization.add_subscription(
        "sub", customer="acme", plan="plan", started_at=START, current_period_started_at=given
    )
    load(api, {"timestamp": given - timedelta(seconds=1)}, {"transaction_id": "t2", "timestamp": given})
    assert api.usage()["events_count"] == 1


def test_cached_usage_goes_stale_until_an_event_was_processed(api: Api) -> None:
    api.organization.configure(usage_cache_lag_seconds=0.2)
    api.organization.add_metric("tokens")
    subscribe(api, ("tokens", {}))
    assert api.usage()["units"] == "0.0"
    load(api, {"transaction_id": "behind the back"})
    assert api.usage()["units"] == "0.0"
    api.create()
    assert api.usage()["units"] == "0.0"
    time.sleep(0.25)
    assert api.usage()["units"] == "6.0"


# --- ClickHouse -----------------------------------------------------------------------------------------------------


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


# --- faults ---------------------------------------------------------------------------------------------------------


def test_answers_that_are_errors(api: Api) -> None:
    api.organization.set_faults(Fault(schedule=("rate_limited", "server_error", "bad_gateway", "none")))
    limited, failed, gateway, fine = (api.http.get("events") for _ in range(4))
    assert limited.status_code == 429
    assert {name: limited.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")} == {
        "Limit": "50",
        "Remaining": "0",
        "Reset": "1",
    }
    refused(failed, 500, '{"status":500,"error":"Internal Server Error"}')
    assert (gateway.status_code, gateway.headers["Content-Type"]) == (502, "text/html")
    assert gateway.text.startswith("<html>")
    assert fine.status_code == 200
    assert api.http.get("events").status_code == 200, "a schedule ends"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("cut_before", 0),
        ("cut_after", 1),
        ("cut_during", 1),
        ("server_error", 0),
        ("server_error_after", 1),
        ("bad_gateway", 0),
        ("bad_gateway_after", 1),
        ("truncated", 1),
        ("rate_limited", 0),
    ],
)
@pytest.mark.parametrize("endpoint", ["create", "batch"])
def test_what_a_fault_leaves_behind(api: Api, name: str, stored: int, endpoint: str) -> None:
    api.organization.set_faults(Fault(name, endpoint=endpoint, times=1))

    def send() -> httpx.Response:
        return api.create() if endpoint == "create" else api.batch(a_event())

    if name.startswith("cut"):
        with pytest.raises(httpx.TransportError):
            send()
    elif name == "truncated":
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            send().json()
    else:
        assert send().status_code >= 429
    assert len(api.organization.events()) == stored
    assert send().status_code == (422 if stored else 200), "it strikes once"


def test_slow_answers_work_before_or_after_the_wait(api: Api) -> None:
    api.organization.set_faults(Fault("slow_after", endpoint="create", times=1, delay_seconds=0.6))
    with pytest.raises(httpx.ReadTimeout):
        api.http.post("events", json={"event": a_event()}, timeout=0.2)
    assert len(api.organization.events()) == 1
    api.organization.set_faults(Fault("slow", endpoint="create", times=1, delay_seconds=0.6))
    with pytest.raises(httpx.ReadTimeout):
        api.http.post("events", json={"event": a_event(transaction_id="t2")}, timeout=0.2)
    assert len(api.organization.events()) == 1
    deadline = time.monotonic() + 5
    while len(api.organization.events()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(api.organization.events()) == 2, "Lago goes on after the client has gone"


def test_caps_on_per_page(api: Api) -> None:
    load(api, *({"transaction_id": f"t{number}"} for number in range(130)))
    api.organization.set_faults(Fault("per_page_refused", endpoint="list"))
    invalid(api.http.get("events?per_page=101"), '{"per_page":["must_be_less_than_or_equal_to_100"]}')
    assert api.http.get("events?per_page=100").status_code == 200
    api.organization.set_faults(Fault("per_page_capped", cap=50))
    capped = api.listed(per_page=1000)
    assert (len(capped["events"]), capped["meta"]["total_pages"]) == (50, 3)


def test_a_real_rate_limit(api: Api) -> None:
    api.organization.set_faults(Fault("rate_limit", requests_per_second=5))
    answers = [api.http.get("events?per_page=1") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["4", "3", "2", "1", "0", "0", "0"]
    time.sleep(1.05)
    assert api.http.get("events?per_page=1").status_code == 200


def test_faults_by_chance_repeat_with_their_seed(api: Api) -> None:
    def run(seed: int) -> list[int]:
        api.organization.set_faults(Fault("server_error", endpoint="list", probability=0.5, seed=seed))
        return [api.http.get("events?per_page=1").status_code for _ in range(20)]

    first = run(1)
    assert set(first) == {200, 500}
    assert run(1) == first
    assert run(2) != first
    assert api.http.get("plans").status_code == 200, "another endpoint"
    api.organization.clear_faults()
    assert {api.http.get("events").status_code for _ in range(10)} == {200}


def test_faults_belong_to_one_organisation(make_api: Callable[..., Api]) -> None:
    one, other = make_api(), make_api()
    one.organization.set_faults(Fault("server_error"))
    assert (one.http.get("events").status_code, other.http.get("events").status_code) == (500, 200)


def test_unknown_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="'sabotage' is no fault; there are none, rate_limited"):
        Fault("sabotage")
    assert len(set(FAULT_NAMES)) == len(FAULT_NAMES)


def test_requests_are_logged(api: Api) -> None:
    api.organization.set_faults(Fault("cut_after", endpoint="batch"))
    api.http.get("events?code=x")
    with pytest.raises(httpx.TransportError):
        api.batch(a_event(), a_event(transaction_id="t2"))
    first, second = api.organization.requests()
    assert (first.method, first.path, first.query, first.endpoint, first.status, first.faults) == (
        "GET",
        "/api/v1/events",
        "code=x",
        "list",
        200,
        (),
    )
    assert (second.endpoint, second.events, second.status, second.faults) == ("batch", 2, None, ("cut_after",))
    assert abs(second.at - time.time()) < 20
    api.organization.clear_requests()
    assert api.organization.requests() == []


# --- control and life -----------------------------------------------------------------------------------------------


def test_the_control_interface_wants_its_token(standin: LagoStandIn) -> None:
    for token in ("", "wrong"):
        answer = httpx.post(f"{standin.api_base}/standin/organizations", json={}, headers={"X-Standin-Token": token})
        assert answer.status_code == 401


def test_refusals_of_the_control_interface_are_errors(api: Api) -> None:
    with pytest.raises(LagoError, match="no metric 'none' to charge for"):
        api.organization.add_plan("plan", charges=[("none", {})])
    with pytest.raises(LagoError, match="custom_agg"):
        api.organization.add_metric("x", aggregation_type="custom_agg")
    with pytest.raises(LagoError, match="cannot be loaded"):
        load(api, {}, {})


def test_bulk_rows_keep_what_they_are_given(api: Api) -> None:
    load(
        api,
        {
            "timestamp": Decimal("1795000000.123456"),
            "created_at": START,
            "precise_total_amount_cents": Decimal("1.5"),
            "external_subscription_id": None,
        },
    )
    (event,) = api.organization.events()
    assert (event.timestamp, event.created_at, event.external_subscription_id, event.precise_total_amount_cents) == (
        "2026-11-18T11:06:40.123456Z",
        "2026-11-01T00:00:00.000000Z",
        None,
        Decimal("1.5"),
    )


def test_a_database_that_is_not_there_is_one_line() -> None:
    with pytest.raises(LagoError, match="did not start") as refusal:
        LagoStandIn.start("postgresql://nobody:secret@127.0.0.1:1/none?connect_timeout=1")
    assert "secret" not in str(refusal.value)


def test_it_ends_with_its_parent(database: str, tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from jobs.playground.lago_standin import LagoStandIn\n"
        "running = LagoStandIn.start(sys.argv[1])\n"
        "print(running.api_base, flush=True)\n"
        "os._exit(1)\n"
    )
    checkout = Path(jobs.__file__).parent.parent
    parent = subprocess.run(
        [sys.executable, "-c", script, database], cwd=checkout, capture_output=True, text=True, check=False, timeout=60
    )
    api_base = parent.stdout.strip()
    assert api_base, parent.stderr
    deadline = time.monotonic() + 10
    with pytest.raises(httpx.TransportError):  # noqa: PT012 - it may take a moment
        while time.monotonic() < deadline:
            httpx.get(f"{api_base}/api/v1/events", timeout=1)
            time.sleep(0.05)


# --- lago-python-client, unchanged ----------------------------------------------------------------------------------


class ListingEventClient(FindAllCommandMixin[EventResponse], EventClient):  # type: ignore[misc]
    """The client's own pieces put together: it has no listing of events."""


def lago(api: Api) -> Client:
    """Return Lago's client for Python."""
    return Client(api_key=api.organization.api_key, api_url=api.organization.api_base)


@pytest.mark.parametrize("event_store", ["postgres", "clickhouse"])
def test_lago_python_client_sends_and_reads_events(make_api: Callable[..., Api], event_store: str) -> None:
    api = make_api(event_store=event_store)
    client = lago(api)
    sent = Event(**a_event(precise_total_amount_cents="1.5"))
    assert client.events.create(sent).transaction_id == "t1"
    client.events.batch_create(BatchEvent(events=[Event(**a_event(transaction_id="t2"))]))
    assert client.events.find("t2").timestamp == "2026-11-18T11:06:40.123Z"
    lister = ListingEventClient(client.base_api_url, api.organization.api_key, client.base_ingest_api_url, None)
    listed = lister.find_all({"per_page": 1})
    assert (listed["events"][0].code, listed["meta"]["total_count"]) == ("tokens", 2)


def test_lago_python_client_reads_the_catalogue_and_usage(api: Api) -> None:
    api.organization.add_metric("tokens", filters=[{"key": "model", "values": ["a"]}])
    charge = {
        "filters": [{"values": {"model": ["a"]}}],
        "properties": {"amount": "1", "pricing_group_keys": ["region"]},
    }
    subscribe(api, ("tokens", charge))
    load(api, {})
    client = lago(api)
    (metric,) = client.billable_metrics.find_all()["billable_metrics"]
    assert (metric.code, metric.field_name, metric.filters.__root__[0].key) == ("tokens", "total_tokens", "model")
    assert client.billable_metrics.find("tokens") == metric
    (plan,) = client.plans.find_all()["plans"]
    assert plan.charges.__root__[0].billable_metric_code == "tokens"
    assert client.plans.find("plan") == plan
    found = client.subscriptions.find_all({"status[]": ["active", "terminated"]})["subscriptions"]
    assert [one.external_id for one in found] == ["sub"]
    assert client.subscriptions.find("sub").plan_code == "plan"
    usage = client.customers.current_usage("acme", "sub", apply_taxes="false", billable_metric_code="tokens")
    assert (usage.charges_usage[0].units, usage.charges_usage[0].filters[1].values) == ("3.0", None)
    api.organization.finalize_period("sub", START, NOW)
    past = client.customers.past_usage("acme", "sub")
    assert past["usage_periods"][0].charges_usage[0].units == "3.0"


def test_lago_python_client_understands_errors_and_faults(api: Api) -> None:
    client = lago(api)
    api.create()
    with pytest.raises(LagoApiError) as duplicate:
        client.events.create(Event(**a_event()))
    assert duplicate.value.status_code == 422
    assert duplicate.value.response["error_details"] == {"transaction_id": ["value_already_exist"]}
    api.organization.set_faults(Fault("bad_gateway", times=1))
    with pytest.raises(LagoApiError):
        client.events.find("t1")
    api.organization.set_faults(Fault("rate_limited", reset_seconds=0, times=1))
    assert client.events.find("t1").transaction_id == "t1", "the client waits and asks again"
    api.organization.set_faults(Fault("rate_limited", reset_seconds=0))
    with pytest.raises(LagoRateLimitError) as limited:
        client.events.find("t1")
    assert limited.value.limit == 50
