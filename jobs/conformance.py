"""Plays the recorded requests on a running Lago and reports which answers differ from the recorded ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.adapters.lago_conformance import RecordedRequests
from jobs.adapters.lago_recording import LagoRecording, lago_recording
from jobs.core.lago.conformance import Clocks, depends_on_the_month, differences
from jobs.core.lago.values import LagoConnection, normalise_api_base
from jobs.core.text import visible
from jobs.errors import LagoError, RefusedError

SETTLE_SECONDS = 3.0
"""How long after the last event current usage is asked for, as in the recording: Lago counts in the background."""
_AN_ORGANISATION_OF_ITS_OWN = "Make an organization for this alone, and use its key"


@dataclass(frozen=True, slots=True)
class Difference:
    """One recorded request whose answer differs."""

    position: int
    """Which step of the recording, from 0."""
    name: str
    """The step's name."""
    request: str
    """Method and path."""
    lines: tuple[str, ...]
    """What differs, a line each."""


@dataclass(frozen=True, slots=True)
class Conformance:
    """What playing the recording showed."""

    recorded: str
    """Which Lago was recorded, and when."""
    compared: int
    """Steps whose answers were compared."""
    not_compared: int
    """Steps about the current month, which is not the recording's."""
    differences: tuple[Difference, ...]
    """Steps whose answers differ."""


def conformance(
    api_base: str,
    api_key: str,
    tell: Callable[[str], None],
    *,
    now: Callable[[], datetime],
    wait: Callable[[float], None],
) -> Conformance:
    """Play all recorded steps in order; `RefusedError` where the organization holds anything already.

    It makes metrics, a plan, customers, subscriptions and hundreds of events there, and leaves them.
    """
    recording = lago_recording(LagoRecording.ANSWERS)
    recorded_at = datetime.fromisoformat(recording["recorded_at"])
    found: list[Difference] = []
    not_compared, unsettled = 0, False
    connection = LagoConnection(normalise_api_base(api_base), api_key)
    with RecordedRequests(connection.api_base, connection.api_key) as requests:
        _require_empty(requests)
        tell(f"Seeding {len(recording['seed'])} metrics, plans, customers and subscriptions")
        _seed(requests, recording["seed"])
        tell(f"Playing {len(recording['steps'])} requests")
        for position, step in enumerate(recording["steps"]):
            request = step["request"]
            if unsettled and "current_usage" in request["path"]:
                wait(SETTLE_SECONDS)
                unsettled = False
            unsettled = unsettled or (request["method"] == "POST" and request["path"].startswith("events"))
            answer = requests.send(request)
            clocks = Clocks(recorded_at, now())
            if depends_on_the_month(step) and not clocks.same_month:
                not_compared += 1
            elif lines := differences(step, answer, clocks):
                place = f"{request['method']} {request['path'][:60]}"
                found.append(Difference(position, step["name"], place, tuple(map(visible, lines))))
    lago = recording["lago"]
    return Conformance(
        f"{lago['version']} ({lago['event_store']} store), {lago['recorded_on']}",
        len(recording["steps"]) - not_compared,
        not_compared,
        tuple(found),
    )


def _require_empty(requests: RecordedRequests) -> None:
    for resource in ("billable_metrics", "plans", "subscriptions", "events"):
        answer = requests.send({"method": "GET", "path": resource, "params": {"per_page": 1}})
        if answer.status != 200:
            raise LagoError(
                f"Lago answered {answer.status} to a list of {resource}",
                "Check address and key; the key has to permit all",
            )
        try:
            held = json.loads(answer.text)["meta"]["total_count"]
        except (ValueError, KeyError, TypeError) as error:
            raise LagoError(f"what answers is not Lago's list of {resource}", "Check the address") from error
        if held:
            raise RefusedError(f"this organization holds {held} {resource} already", _AN_ORGANISATION_OF_ITS_OWN)


def _seed(requests: RecordedRequests, seed: list[dict[str, Any]]) -> None:
    """Make what the steps need; a charge names its metric by the id that this server gave it."""
    metric_ids: dict[str, str] = {}
    for one in seed:
        document = one["json"]
        if one["path"] == "plans":
            plan = document["plan"]
            charges = [_by_id(charge, metric_ids) for charge in plan["charges"]]
            document = {"plan": plan | {"charges": charges}}
        answer = requests.send({"method": "POST", "path": one["path"], "json": document})
        if answer.status != 200:
            raise LagoError(
                f"Lago answered {answer.status} to POST {one['path']}: {visible(answer.text[:200])}", "See its log"
            )
        if one["path"] == "billable_metrics":
            metric = json.loads(answer.text)["billable_metric"]
            metric_ids[metric["code"]] = metric["lago_id"]


def _by_id(charge: Mapping[str, Any], metric_ids: Mapping[str, str]) -> dict[str, Any]:
    named = dict(charge)
    return named | {"billable_metric_id": metric_ids[named.pop("billable_metric_code")]}
