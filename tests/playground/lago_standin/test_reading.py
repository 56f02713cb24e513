"""The stand-in lists events as Lago does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest

from tests.playground.lago_standin.helpers import START, Api, invalid, load, refused


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
