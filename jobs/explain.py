"""Use case: one request's whole story, from its spend log to what Lago has of it now."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.read_back import Sighting, look_up
from jobs.adapters.ledger import Ledger
from jobs.adapters.litellm_database import open_spend_logs
from jobs.core.ledger_values import AttemptEntry, IntentEntry, OutcomeEntry, StoryEntry
from jobs.core.window import Window
from jobs.reconcile import judged_workspace
from jobs.steps.reconcile_values import Progress, ReconcileSettings

_STAGES = {
    "id": "its transaction id",
    "topped_up": "what its top-up left over",
    "content": "content and time",
    "elsewhere": "content and time, under another subscription",
    "late": "content, later than the tolerance allows",
    "near": "time, with other quantities",
    "id_differs": "its transaction id, with other content",
}


@dataclass(frozen=True, slots=True)
class Story:
    """What is known about one request, a sentence each, in the order it happened."""

    lines: tuple[str, ...]
    is_known: bool
    """Whether there is a spend log of it, or anything in the ledger."""


def explain(
    settings: ReconcileSettings, ledger: Ledger, progress: Progress, *, request_id: str, now: datetime
) -> Story:
    """Judge the hour in which the request ended and tell what its spend log, Lago and the ledger say."""
    with open_spend_logs(settings.database, statement_timeout=settings.statement_timeout) as spend_logs:
        ended = spend_logs.ended(request_id, settings.clock)
    if ended is None:
        judged: list[dict[str, Any]] = []
    else:
        hour = ended.replace(minute=0, second=0, microsecond=0)
        # An hour is no work for a cluster.
        settings = replace(settings, window=Window(hour, min(hour + timedelta(hours=1), now)), cluster=None)
        with (
            tempfile.TemporaryDirectory(prefix="litellm-lago-explain-", dir=settings.scratch) as folder,
            judged_workspace(settings, Path(folder), progress, now=now) as judged_window,
        ):
            judged = judged_window.workspace.rows("explain_request", request_id=request_id)
    recorded = ledger.story(request_id)
    lines = (*_judged(request_id, judged), *map(_ledger_line, recorded), *_now(settings, recorded))
    return Story(lines, is_known=bool(judged or recorded))


def _judged(request_id: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield f"request {request_id} has no spend log: LiteLLM did not write it, or retention deleted it"
        return
    first = rows[0]
    yield (
        f"request {request_id} ended {first['ended']}: {first['call_type']} of {first['model']}, "
        f"{first['prompt_tokens']} + {first['completion_tokens']} = {first['total_tokens']} tokens, "
        f"{first['spend'] or 'unknown'} USD"
    )
    for row in rows:
        yield _verdict(row)
        if row["next_step"]:
            yield f"what to do: {row['next_step']}"


def _verdict(row: Mapping[str, Any]) -> str:
    if row["exclusion"]:
        return f"excluded from billing: {row['exclusion']}"
    if row["kind"] == "unattributed":
        return f"unattributed: its source value is {row['source'] or 'empty'}"
    event = f"{row['subscription']} should have an event of {row['expected_quantity']} {row['code']} ({row['part']})"
    if row["stage"]:
        return (
            f"{event}: {row['kind']} by {_STAGES[row['stage']]} with {row['transaction_id']} of "
            f"{row['recorded_subscription'] or 'nobody'} at {row['recorded_time']}, {row['recorded_quantity']}"
        )
    why = ": ".join(filter(None, (row["reason"], row["detail"])))
    return f"{event}: {row['kind']}{f' ({why})' if why else ''}; its own id would be {row['own_transaction_id']}"


def _ledger_line(entry: StoryEntry) -> str:
    at = f"{entry.at:%Y-%m-%d %H:%M:%S} run {entry.run_id}"
    if isinstance(entry, IntentEntry):
        return f"{at} planned {entry.event.transaction_id} ({entry.event.quantity}) in plan {entry.plan_hash}"
    if isinstance(entry, AttemptEntry):
        answer = f"answered {entry.http_status}" if entry.http_status else "got no answer"
        return f"{at} sent it in batch {entry.batch_number} of {entry.events}: Lago {answer}. {entry.failure}".rstrip()
    if isinstance(entry, OutcomeEntry):
        return f"{at} outcome {entry.outcome.value}. {entry.reason}".rstrip()
    return f"{at} {'verified in Lago' if entry.verified else f'not verified: {entry.reason}'}"


def _now(settings: ReconcileSettings, recorded: tuple[StoryEntry, ...]) -> Iterator[str]:
    planned = {entry.event.transaction_id: entry.event for entry in recorded if isinstance(entry, IntentEntry)}
    if not planned:
        return
    words = {
        Sighting.SAME: "as planned",
        Sighting.OTHER: "with another content",
        Sighting.ABSENT: "not at all",
        Sighting.UNREAD: "unknown: it gave no usable answer",
    }
    with LagoClient(settings.lago) as client:
        sightings = look_up(client, list(planned.values()), by_id=True, computed={})
    for identity, sighting in zip(planned, sightings, strict=True):
        yield f"Lago has {identity} now: {words[sighting]}"
