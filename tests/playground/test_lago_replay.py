"""The stand-in answers as a real Lago did: all recorded requests in order, and every difference explained."""

from __future__ import annotations

from datetime import datetime, timedelta

from jobs.adapters.lago_conformance import RecordedRequests
from jobs.adapters.lago_recording import LagoRecording, lago_recording
from jobs.core.lago.conformance import Clocks, Response, differences
from jobs.playground.lago_standin import LagoStandIn

RECORDED = lago_recording(LagoRecording.ANSWERS)
RECORDED_AT = datetime.fromisoformat(RECORDED["recorded_at"])
CLOCKS = Clocks(RECORDED_AT, RECORDED_AT)
RELEASE = "1.51.129"

EXCUSED = {
    "organizations": {
        "organization.document_number_prefix",  # made of the organisation's own id
        "organization.email",  # who signed up
    },
}
"""Fields that cannot be the same, by the step's name."""


def test_all_recorded_requests_are_answered_as_lago_answered_them(standin: LagoStandIn) -> None:
    organization = standin.create_organization("conformance", currency="USD", version=RELEASE)
    organization.configure(now=RECORDED_AT)
    found: dict[str, list[str]] = {}
    with RecordedRequests(organization.api_base, organization.api_key) as requests:
        for seed in RECORDED["seed"]:
            answer = requests.send({"method": "POST", **seed})
            assert answer.status == 200, (seed, answer)
        for position, step in enumerate(RECORDED["steps"]):
            # Events without a timestamp follow one another, as they did.
            organization.configure(now=RECORDED_AT + timedelta(milliseconds=position))
            if lines := differences(step, requests.send(step["request"]), CLOCKS):
                found[step["name"]] = lines
    excused = {name: {line.split(":")[0] for line in lines} for name, lines in found.items()}
    assert excused == EXCUSED, found
    assert len(RECORDED["steps"]) == 494


def test_a_difference_is_told_by_its_place() -> None:
    recorded = {"status": 200, "json": {"a": [{"b": 1, "id": "<uuid>", "at": "<now>", "then": "2026-11-28T06:33:32Z"}]}}
    step = {"request": {"method": "GET", "path": "a"}, "response": recorded}
    same = '{"a":[{"b":1,"id":"00000000-0000-0000-0000-000000000000","at":"2020-01-01T00:00:00Z","then":"THEN"}]}'

    def found(text: str, status: int = 200) -> list[str]:
        return differences(step, Response(status, "application/json", text), CLOCKS)

    assert found(same.replace("THEN", "2026-11-28T06:30:00Z")) == []
    assert found(same.replace("THEN", "2026-11-28T07:30:00Z")) == [
        'a[0].then: "2026-11-28T06:33:32Z" recorded, "2026-11-28T07:30:00Z" answered'
    ]
    assert found('{"a":[{"b":true,"id":"x","new":1}]}') == [
        'a[0].at: "<now>" recorded, absent in the answer',
        "a[0].b: 1 recorded, true answered",
        'a[0].id: "<uuid>" recorded, "x" answered',
        "a[0].new: absent in the recording, 1 answered",
        'a[0].then: "2026-11-28T06:33:32Z" recorded, absent in the answer',
    ]
    assert found("", 500) == ["status: 200 recorded, 500 answered"]
    assert found("<html>") == ["body: JSON recorded, something else answered"]
    assert differences(step | {"ignore": ["a"]}, Response(200, "", '{"a":1}'), CLOCKS) == []


def test_an_empty_body_and_its_type_are_compared_too() -> None:
    recorded = {"status": 400, "text": "", "content_type": "text/html; charset=UTF-8"}
    step = {"request": {"method": "POST", "path": "events"}, "response": recorded}
    assert differences(step, Response(400, "text/html; charset=utf-8", ""), CLOCKS) == []
    assert differences(step, Response(400, "text/plain", "no"), CLOCKS) == [
        "body: '' recorded, 'no' answered",
        "content type: text/html; charset=UTF-8 recorded, text/plain answered",
    ]
