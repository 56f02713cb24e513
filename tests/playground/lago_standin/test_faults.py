"""What the stand-in can be told to do wrong."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from jobs.playground.lago_standin import FAULT_NAMES, Fault
from tests.playground.lago_standin.helpers import Api, a_event, invalid, load, refused


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
