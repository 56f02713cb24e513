"""The stand-in takes batches as Lago does."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.playground.lago_standin.helpers import Api, Json, a_event, invalid, refused


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
