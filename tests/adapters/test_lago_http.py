"""The door to Lago: addresses, keys, the rate, retries, and what a person is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.adapters.lago.exact_json import batch_answer, json_text, parse_json, plain_number, value_text
from jobs.adapters.lago.failures import LagoUnansweredError, surely_not_done
from jobs.adapters.lago.http import LagoClient, RateLimiter, asked_wait, check_access
from jobs.core.lago.values import LagoConnection, normalise_api_base
from jobs.errors import LagoError, SettingError
from jobs.playground.lago_standin import LagoStandIn
from jobs.playground.lago_standin.faults import Fault
from jobs.playground.lago_standin.handle import Organization
from tests.support.scripted_server import Scripted, scripted_server


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    return standin.create_organization("http")


@contextmanager
def talking_to(
    api_base: str, api_key: str, *, sleep: Callable[[float], object] | None = None, **limits: Any
) -> Iterator[LagoClient]:
    settings = {"requests_per_second": 1000.0, "timeout_seconds": 5.0} | limits
    connection = LagoConnection(api_base, api_key, **settings)
    with LagoClient(connection, sleep=sleep, uniform=lambda _low, high: high) as client:
        yield client


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://lago:3000", "http://lago:3000"),
        ("  http://lago:3000/ ", "http://lago:3000"),
        ("https://api.getlago.com/api/v1", "https://api.getlago.com"),
        ("https://api.getlago.com/api/v1///", "https://api.getlago.com"),
        ("https://example.org/billing/lago/", "https://example.org/billing/lago"),
        ("https://example.org/billing/api/v1/", "https://example.org/billing"),
        ("HTTPS://Example.ORG", "https://example.org"),
        ("http://[::1]:3000/api/v1", "http://[::1]:3000"),
    ],
)
def test_an_address_may_be_written_in_several_ways(given: str, expected: str) -> None:
    assert normalise_api_base(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "lago:3000",
        "ftp://lago",
        "postgresql://u:s3cret@host/db",
        "https://user:s3cret@lago",
        "https://s3cret@lago",
        "http://lago/?key=s3cret",
        "http://lago/#s3cret",
        "http://lago?",
        "http://",
        "http://lago:s3cret",
        "http://[s3cret",
        "http://la go/s3cret",
    ],
)
def test_an_address_that_cannot_work_is_refused_without_repeating_it(given: str) -> None:
    with pytest.raises(SettingError, match="LAGO_API_BASE") as caught:
        normalise_api_base(given)
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize("key", ["", "key\n", "a key", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    with pytest.raises(SettingError, match="LAGO_API_KEY"):
        LagoConnection("http://lago", key)


def test_a_connection_never_shows_its_key() -> None:
    assert "s3cret" not in repr(LagoConnection("http://lago", "s3cret"))


def test_access_is_granted(organization: Organization) -> None:
    with talking_to(organization.api_base, organization.api_key) as client:
        check_access(client)
    assert len(organization.requests()) == 1


def test_a_path_prefix_is_kept() -> None:
    paths = []

    def script(path: str, _params: object) -> Scripted:
        paths.append(path)
        return Scripted(b'{"events":[],"meta":{}}')

    with scripted_server(script) as base, talking_to(f"{base}/billing", "k") as client:
        check_access(client)
    assert paths == ["/billing/api/v1/events"]


def test_a_refused_key_is_told_at_once(standin: LagoStandIn) -> None:
    with talking_to(standin.api_base, "wr0ng") as client, pytest.raises(LagoError) as caught:
        check_access(client)
    assert caught.value.what == "Lago refused the API key (401)"
    assert "LAGO_API_KEY" in caught.value.remedy
    assert "wr0ng" not in str(caught.value)


def test_a_missing_permission_is_named(standin: LagoStandIn) -> None:
    organization = standin.create_organization("narrow", api_permissions={"plan": ["read"]})
    with talking_to(organization.api_base, organization.api_key) as client, pytest.raises(LagoError) as caught:
        check_access(client)
    assert "to read the resource 'event' (403)" in caught.value.what


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Scripted(b'{"status":404,"code":"resource_not_found"}', 404), r"/api/v1/events \(404\)"),
        (Scripted(b"<html>no</html>", 404, {"Content-Type": "text/html"}), r"/api/v1/events \(404\)"),
        (Scripted(b"<html>app</html>", 200, {"Content-Type": "text/html"}), "HTTP 200 with an HTML page"),
        (Scripted(b'{"hello":"world"}'), "is not Lago's API"),
        (Scripted(b"[1]"), "not a whole JSON object"),
        (Scripted(b"", 301, {"Location": "https://elsewhere/"}), r"redirect \(301\)"),
    ],
)
def test_a_wrong_address_points_at_the_setting(answer: Scripted, told: str) -> None:
    with (
        scripted_server(lambda _path, _params: answer) as base,
        talking_to(base, "k", attempts=2, sleep=lambda _seconds: None) as client,
        pytest.raises(LagoError, match=told) as caught,
    ):
        check_access(client)
    assert "LAGO_API_BASE" in caught.value.remedy


@pytest.mark.parametrize("host", ["nowhere.invalid", "127.0.0.1"])
def test_an_unreachable_host_is_one_clear_line(host: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://{host}:{closed.getsockname()[1]}"
        with (
            talking_to(base, "s3cret", attempts=3, sleep=lambda _seconds: None) as client,
            pytest.raises(LagoUnansweredError) as caught,
        ):
            check_access(client)
    message = str(caught.value)
    assert host in message
    assert "cannot connect" in message
    assert "last of 3 attempts" in message
    assert "\n" not in message
    assert "s3cret" not in message
    assert not caught.value.may_have_acted


def test_an_unreadable_ca_file_is_a_setting_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(SettingError, match=name):
            LagoClient(LagoConnection("https://lago", "k", ca_file=str(tmp_path / name)))


@pytest.mark.parametrize(
    "fault",
    ["rate_limited", "server_error", "bad_gateway", "cut_before", "cut_after", "cut_during", "truncated"],
)
def test_a_passing_fault_is_survived(organization: Organization, fault: str) -> None:
    organization.set_faults(Fault(name=fault, times=3))
    with talking_to(organization.api_base, organization.api_key, sleep=lambda _seconds: None) as client:
        check_access(client)
    seen = organization.requests()
    assert [request.faults for request in seen] == [(fault,), (fault,), (fault,), ()]


@pytest.mark.parametrize("fault", ["server_error", "bad_gateway", "cut_before", "cut_during", "truncated"])
def test_a_lasting_fault_ends_after_the_attempts(organization: Organization, fault: str) -> None:
    organization.set_faults(Fault(name=fault))
    waits: list[float] = []
    with (
        talking_to(organization.api_base, organization.api_key, attempts=4, sleep=waits.append) as client,
        pytest.raises(LagoUnansweredError, match="last of 4 attempts") as caught,
    ):
        check_access(client)
    assert len(organization.requests()) == 4
    assert caught.value.may_have_acted
    # The limiter waits less than a millisecond here; the rest is the exponential ceiling of the back-off.
    assert [wait for wait in waits if wait > 0.1] == [0.5, 1.0, 2.0]


def test_an_answer_that_does_not_come_is_not_waited_for(organization: Organization) -> None:
    organization.set_faults(Fault(name="slow", delay_seconds=3.0, times=1))
    started = time.monotonic()
    with talking_to(
        organization.api_base, organization.api_key, timeout_seconds=0.3, sleep=lambda _seconds: None
    ) as client:
        check_access(client)
    assert time.monotonic() - started < 2.0


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_429_is_waited_out_as_long_as_lago_says(organization: Organization) -> None:
    organization.set_faults(Fault(name="rate_limited", times=2, reset_seconds=17))
    clock = Clock()
    connection = LagoConnection(organization.api_base, organization.api_key)
    with LagoClient(connection, sleep=clock.sleep, monotonic=clock.monotonic) as client:
        check_access(client)
        check_access(client)
    assert [round(wait, 6) for wait in clock.slept if wait > 0] == [17.0, 17.0, 0.05]


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, {"x-ratelimit-reset": "3"}, 3.0),
        (429, {"retry-after": "4"}, 4.0),
        (429, {"x-ratelimit-reset": "1795438731"}, 60.0),
        (429, {"x-ratelimit-reset": "-1"}, None),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        (429, {"x-ratelimit-reset": "inf"}, None),
        (429, {}, None),
        (503, {"retry-after": "4"}, 4.0),
        (500, {"x-ratelimit-reset": "3"}, None),
    ],
)
def test_the_wait_lago_asks_for(status: int, headers: dict[str, str], expected: float | None) -> None:
    assert asked_wait(status, headers) == expected


_EVENT = b'{"event":{"transaction_id":"t","code":"c","external_subscription_id":"s"}}'


def test_blind_sending_is_repeated_while_lago_surely_did_not_act(organization: Organization) -> None:
    organization.set_faults(Fault(name="rate_limited", times=2))
    with talking_to(organization.api_base, organization.api_key, sleep=lambda _seconds: None) as client:
        reply = client.post_events("events", _EVENT, retry=surely_not_done)
    assert reply.payload["event"]["transaction_id"] == "t"
    assert len(organization.requests()) == 3


@pytest.mark.parametrize("fault", ["server_error", "bad_gateway", "cut_before", "cut_after", "truncated"])
def test_blind_sending_is_not_repeated_where_lago_may_have_acted(organization: Organization, fault: str) -> None:
    organization.set_faults(Fault(name=fault))
    with (
        talking_to(organization.api_base, organization.api_key) as client,
        pytest.raises(LagoUnansweredError) as caught,
    ):
        client.post_events("events", _EVENT, retry=surely_not_done)
    assert caught.value.may_have_acted
    assert len(organization.requests()) == 1


def test_of_an_accepted_batch_only_the_number_of_events_is_read() -> None:
    answer = batch_answer(b'{"events":[{"code":"c","properties":{"n":1e999}},{}],"more":[]}')
    assert answer is not None
    assert list(answer) == ["events"]
    assert len(answer["events"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        b'{"error_details":{"0":{"transaction_id":["value_already_exist"]}}}',
        b'{"events":[null]}',
        b'{"events":"none"}',
        b'{"ok":true}',
    ],
)
def test_any_other_answer_to_a_batch_is_read_whole(body: bytes) -> None:
    assert batch_answer(body) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"<h1>Bad Gateway</h1>", b"[{}]", b'{"events":[{"a":1},{"b"', b'{"events":[{}]}x', b"\xff", b"[" * 9999],
)
def test_a_body_that_is_no_whole_object_answers_no_batch(body: bytes) -> None:
    assert batch_answer(body) is None
    assert batch_answer(b'{"events":[{"a":' + body) is None


def test_a_refusal_the_caller_expects_is_a_reply(organization: Organization) -> None:
    with talking_to(organization.api_base, organization.api_key) as client:
        reply = client.request("GET", "events", params={"timestamp_from": "x"}, accept=frozenset({422}))
        assert (reply.status, reply.payload["error_details"]) == (422, {"timestamp_from": ["invalid_date"]})
        with pytest.raises(LagoError, match="invalid_date"):
            client.get("events", {"timestamp_from": "x"})


def test_the_rate_is_never_exceeded_by_any_number_of_threads(organization: Organization) -> None:
    with (
        talking_to(organization.api_base, organization.api_key, requests_per_second=40.0, concurrency=8) as client,
        ThreadPoolExecutor(8) as executor,
    ):
        list(executor.map(lambda _: check_access(client), range(60)))
    arrivals = sorted(request.at for request in organization.requests())
    assert len(arrivals) == 60
    # No second and no tenth of one holds more than its share. A server that is held up for a moment meets those in
    # flight, eight at most, together; a client without the limit would send all sixty.
    for span in (1.0, 0.1):
        busiest = max(sum(start <= other < start + span for other in arrivals) for start in arrivals)
        assert busiest <= 40 * span + 1 + 8


def test_requests_begin_evenly_spaced_and_a_pause_holds_all_of_them() -> None:
    clock = Clock()
    limiter = RateLimiter(4.0, sleep=clock.sleep, monotonic=clock.monotonic)
    begun = []
    for turn in range(6):
        if turn == 3:
            limiter.pause(10.0)
        limiter.acquire()
        begun.append(clock.now)
    assert begun == [0.0, 0.25, 0.5, 10.5, 10.75, 11.0]


def test_closing_the_client_ends_the_waits_of_other_threads() -> None:
    asked = threading.Event()

    def busy(_path: str, _params: object) -> Scripted:
        asked.set()
        return Scripted(b"{}", 429, {"Retry-After": "50"})

    with scripted_server(busy) as base, ThreadPoolExecutor(1) as executor:
        client = LagoClient(LagoConnection(base, "k"))
        waiting = executor.submit(client.get, "events")
        assert asked.wait(5)
        time.sleep(0.1)  # until the answer is in and the wait for the next attempt has begun
        client.close()
        with pytest.raises(LagoError, match="the run stopped"):
            waiting.result(timeout=5)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("140", "140"),
        ("-0.50", "-0.50"),
        ("1.5e-07", "0.00000015"),
        ("1E+3", "1000"),
        ("17.9999999999999999999e-5", "0.000179999999999999999999"),
        ("1e99", "1e99"),
        ("1e-99999999999999999999", "1e-99999999999999999999"),
        ("1" * 80, "1" * 80),
    ],
)
def test_numbers_lose_nothing_and_explode_nowhere(written: str, plain: str) -> None:
    assert plain_number(written) == plain
    assert value_text(parse_json(written.encode())) == plain


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":NaN}', b'{"a":Infinity}', b"\xff", b"[" * 100_000, b"<html>"])
def test_what_is_not_whole_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_json(body)


def test_containers_become_json_text_with_their_numbers_as_written() -> None:
    text = '{"a":[1.50,1e400,true,null,"\\u00e9 \\" \\ud83d\\ude00"],"b":{}}'
    assert json_text(parse_json(text.encode())) == '{"a": [1.50, 1e400, true, null, "é \\" 😀"], "b": {}}'
