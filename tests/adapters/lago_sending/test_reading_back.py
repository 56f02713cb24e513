"""What was sent is read back, and what answers mean."""

from __future__ import annotations

import threading
from collections import Counter
from decimal import Decimal

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.read_back import Sighting, look_up
from jobs.adapters.lago.sending import SentBatch, send_events
from jobs.core.lago.answers import as_text, holds, read_batch_refusal, read_single_refusal
from jobs.core.plan import Outcome
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization
from tests.adapters.lago_sending.helpers import (
    CODE,
    FIRST_SECOND,
    as_row,
    connection,
    impatient,
    lines,
    new_organization,
    planned,
)

EXISTS = {"transaction_id": ["value_already_exist"]}


def test_a_busy_subscription_is_looked_up_by_id(organization: Organization) -> None:
    events = planned(3, subscription="acme")
    crowd = [
        as_row(events[2], transaction_id=f"crowd-{number}", timestamp=FIRST_SECOND + 2 + Decimal(number) / 1000)
        for number in range(800)
    ]
    organization.insert_events([*crowd, *(as_row(event) for event in events[:2])])
    with LagoClient(connection(organization)) as client:
        seen = look_up(client, events, by_id=False, computed={})
    assert seen == [Sighting.SAME, Sighting.SAME, Sighting.ABSENT]
    assert Counter(request.endpoint for request in organization.requests()) == {"list": 1, "show": 3}


def test_what_cannot_be_read_is_not_called_absent(organization: Organization) -> None:
    events = planned(4)
    organization.insert_events([as_row(event) for event in events])
    organization.set_faults(Fault(endpoint="list", schedule=("none", *["server_error"] * 4)))
    with LagoClient(connection(organization), sleep=impatient) as client:
        seen = look_up(client, events, by_id=True, computed={})
    assert seen == [Sighting.SAME, Sighting.UNREAD, Sighting.SAME, Sighting.UNREAD]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


_answers = st.fixed_dictionaries


_verdicts = st.dictionaries(st.integers(-2, 120).map(str) | st.text(max_size=3), st.just(EXISTS) | _json, max_size=6)


@given(
    _json | st.fixed_dictionaries({"code": st.just("validation_errors") | _json, "error_details": _verdicts | _json})
)
@example("")
@example({"error_details": ""})
def test_any_json_is_read_without_raising(payload: object) -> None:
    batch = read_batch_refusal(payload, 100)
    assert not batch.claimed & (batch.rejected or {}).keys()
    assert all(0 <= place < 100 for place in (*batch.claimed, *(batch.rejected or {})))
    assert batch.too_many or batch.unread or batch.claimed or batch.rejected
    single = read_single_refusal(payload)
    assert bool(single.claimed) != bool(single.rejected)


@given(_json | _answers({"timestamp": st.text() | _json, "properties": _json}))
def test_comparing_with_any_json_never_raises(stored: object) -> None:
    event = planned(1)[0]
    mapping = stored if isinstance(stored, dict) else {}
    identity = {"transaction_id": event.transaction_id, "external_subscription_id": "acme", "code": CODE}
    assert not holds({**mapping, **identity}, event)


def test_only_the_exact_claim_is_taken_for_a_duplicate() -> None:
    def answer(**details: object) -> dict[str, object]:
        return {"status": 422, "code": "validation_errors", "error_details": details}

    refusal = read_batch_refusal(answer(**{"0": EXISTS, "7": {**EXISTS, "timestamp": ["invalid_format"]}}), 8)
    assert refusal.claimed == {0}
    assert set(refusal.rejected or {}) == {7}
    assert read_batch_refusal(answer(**{"0": {"transaction_id": ["value_is_mandatory"]}}), 8).claimed == set()
    assert read_batch_refusal({**answer(**{"0": EXISTS}), "code": "other"}, 8).claimed == set()
    for index in ("8", "-1", "01", "+1", "a", "٣", ""):
        assert read_batch_refusal(answer(**{"0": EXISTS, index: EXISTS}), 8).unread
    assert read_batch_refusal(answer(events=["too_many_events"]), 8).too_many
    assert read_batch_refusal(answer(events=["no_events"]), 8).unread
    assert read_single_refusal(answer(**EXISTS)).claimed == {0}
    assert read_single_refusal({"error_details": "nonsense"}).rejected == {0: "nonsense"}


def test_a_reason_is_one_short_visible_line() -> None:
    reason = as_text({"timestamp": ["\x1b[2J\n" * 200]})
    assert len(reason) <= 300
    assert reason.isprintable()


FOREIGN = [
    httpx.Response(200, json={"ok": True}),
    httpx.Response(200, json={"events": []}),
    httpx.Response(422, html="<h1>Unprocessable</h1>"),
    httpx.Response(422, content=b'{"status":422,"error":"Unproc'),
]


@pytest.mark.parametrize("answer", FOREIGN)
def test_an_answer_that_is_not_lagos_proves_nothing(standin: LagoStandIn, answer: httpx.Response) -> None:
    organization = new_organization(standin)
    batches: list[SentBatch] = []
    with LagoClient(connection(organization, attempts=2), sleep=impatient) as client:
        client._http._transport = _Proxy(client._http._transport, "POST", answer)
        send_events(client, lines(3), on_batch=batches.append, stop=threading.Event())
    assert {outcome.outcome for batch in batches for outcome in batch.outcomes} == {Outcome.UNKNOWN}


def test_a_404_that_is_not_lagos_is_no_absence(standin: LagoStandIn) -> None:
    organization = new_organization(standin)
    with LagoClient(connection(organization, attempts=2), sleep=impatient) as client:
        client._http._transport = _Proxy(client._http._transport, "/events/", httpx.Response(404, html="<h1>?</h1>"))
        seen = look_up(client, planned(1), by_id=True, computed={})
    assert seen == [Sighting.UNREAD]


class _Proxy(httpx.BaseTransport):
    """A network that answers some requests with a page of its own."""

    def __init__(self, real: httpx.BaseTransport, part: str, answer: httpx.Response) -> None:
        self._real = real
        self._part = part
        self._answer = answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._part in f"{request.method} {request.url.path}":
            return httpx.Response(self._answer.status_code, content=self._answer.content)
        return self._real.handle_request(request)

    def close(self) -> None:
        self._real.close()
