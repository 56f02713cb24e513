"""The ledger tells what was recorded."""

from __future__ import annotations

import os
import signal
import sqlite3
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

from jobs.adapters.ledger import Ledger
from jobs.core.ledger_values import (
    AttemptEntry,
    AttemptMade,
    EventRecord,
    IntentEntry,
    OutcomeEntry,
    VerificationEntry,
)
from jobs.core.plan import EventOutcome, Outcome, PlannedLine
from jobs.errors import LedgerError
from tests.adapters.ledger.helpers import HEADER, NOON, WINDOW, begin, execute, opened, planned, started
from tests.support.children import CHILDREN

BIG_TABLES = ("intents", "attempts", "attempt_events", "outcomes", "verifications", "run_checks")


TABLES = ("schema_version", "runs", "run_ends", "plans", "plan_uses", "intent_amounts", *BIG_TABLES)


def test_a_run_is_told_as_it_was_recorded(ledger: Ledger) -> None:
    """Beginning, plan, events, outcomes, verifications, checks and end come back, times in UTC to the microsecond."""
    elsewhere = NOON.astimezone(timezone(timedelta(hours=9)))
    begin(ledger, "r1", planned(1), planned(2), planned(3))
    ledger.record_outcomes(
        "r1",
        [
            EventOutcome(planned(1).line, Outcome.UNKNOWN, "timeout"),
            EventOutcome(planned(2).line, Outcome.REJECTED, "no code"),
        ],
        NOON,
    )
    ledger.record_outcomes("r1", [EventOutcome(planned(1).line, Outcome.SENT, "")], NOON)
    ledger.record_verifications("r1", iter([("llr1-00000001", False, "not there yet")]), NOON)
    ledger.record_verifications("r1", iter([("llr1-00000001", True, ""), ("llr1-00000002", False, "gone")]), NOON)
    ledger.record_run_checks("r1", [("current_usage of sub_1", True, "moved by 45")], NOON)
    ledger.end_run("r1", elsewhere, "applied", {"sent": 1, "rejected": 1})

    detail = ledger.run("r1")
    assert detail is not None
    assert detail.record.started == started("r1")
    assert detail.record.started.started_at.tzinfo is UTC
    assert detail.record.ended is not None
    assert detail.record.ended.ended_at == NOON
    assert detail.record.ended.counts == {"sent": 1, "rejected": 1}
    assert [(plan.plan_hash, plan.header, plan.intents) for plan in detail.plans] == [("plan-1", HEADER, 3)]
    assert detail.plans[0].path == "runs/r1/plan.jsonl"
    assert detail.outcomes == {Outcome.SENT: 1, Outcome.REJECTED: 1}
    assert (detail.verified, detail.not_verified) == (1, 1)
    assert [(check.subject, check.verified) for check in detail.checks] == [("current_usage of sub_1", True)]
    assert list(ledger.run_events("r1")) == [
        EventRecord(planned(1), "plan-1", Outcome.SENT, "", True, ""),
        EventRecord(planned(2), "plan-1", Outcome.REJECTED, "no code", False, "gone"),
        EventRecord(planned(3), "plan-1", None, "", None, ""),
    ]


def test_runs_are_listed_newest_first(ledger: Ledger) -> None:
    """A run that never ended is listed as such; a run without a window too."""
    ledger.begin_run(replace(started("old"), window=None))
    ledger.begin_run(started("new", NOON + timedelta(days=1)))
    ledger.end_run("old", NOON, "agreed", {})
    assert [(run.started.run_id, run.ended is None) for run in ledger.runs(10)] == [("new", True), ("old", False)]
    assert [run.started.window for run in ledger.runs(10)] == [WINDOW, None]
    assert [run.started.run_id for run in ledger.runs(1)] == ["new"]
    assert ledger.run("never") is None
    assert list(ledger.run_events("never")) == []


def test_story_of_a_request(ledger: Ledger) -> None:
    """One request's events, over all runs, in time order: planned, attempted, settled, verified."""
    outputs = planned(1, transaction_id="llr1-out", part="output")
    begin(ledger, "r1", planned(1), outputs, planned(2))
    lost = AttemptMade("r1", 1, ("llr1-00000001", "llr1-00000002"), None, "timeout", NOON + timedelta(seconds=1))
    ledger.record_attempt(lost, [EventOutcome(planned(1).line, Outcome.UNKNOWN, "timeout")])
    ledger.begin_run(started("r2"))
    ledger.record_plan("plan-1", "r2", HEADER, "again")
    ledger.record_attempt(AttemptMade("r2", 1, ("llr1-00000001",), 200, "", NOON + timedelta(seconds=3)))
    ledger.record_outcomes("r2", [EventOutcome(planned(1).line, Outcome.SENT, "")], NOON + timedelta(seconds=3))
    ledger.record_verifications("r2", [("llr1-00000001", True, "")], NOON + timedelta(seconds=4))

    story = ledger.story("chatcmpl-1")
    assert story == (
        IntentEntry(NOON, "r1", "plan-1", planned(1)),
        IntentEntry(NOON, "r1", "plan-1", outputs),
        AttemptEntry(NOON + timedelta(seconds=1), "r1", "llr1-00000001", 1, 2, None, "timeout"),
        OutcomeEntry(NOON + timedelta(seconds=1), "r1", "llr1-00000001", Outcome.UNKNOWN, "timeout"),
        AttemptEntry(NOON + timedelta(seconds=3), "r2", "llr1-00000001", 1, 1, 200, ""),
        OutcomeEntry(NOON + timedelta(seconds=3), "r2", "llr1-00000001", Outcome.SENT, ""),
        VerificationEntry(NOON + timedelta(seconds=4), "r2", "llr1-00000001", True, ""),
    )
    assert ledger.story("never heard of") == ()
    # Each run tells what it did itself.
    assert [record.outcome for record in ledger.run_events("r1")] == [Outcome.UNKNOWN, None, None]
    assert [record.outcome for record in ledger.run_events("r2")] == [Outcome.SENT, None, None]


def test_nothing_is_settled_that_was_not_written_down(ledger: Ledger) -> None:
    """An attempt, outcome or verification of an event that is no intent of the run is refused whole."""
    begin(ledger, "r1", planned(1))
    ledger.begin_run(started("r2"))
    stranger = EventOutcome(planned(2).line, Outcome.SENT, "")
    for run_id in ("r1", "r2"):
        with pytest.raises(LedgerError, match="no intent of the run"):
            ledger.record_attempt(AttemptMade(run_id, 1, ("llr1-00000002",), 200, "", NOON))
        with pytest.raises(LedgerError, match="no intent of the run"):
            ledger.record_outcomes(run_id, [stranger], NOON)
        with pytest.raises(LedgerError, match="no intent of the run"):
            ledger.record_verifications(run_id, [("llr1-00000002", True, "")], NOON)
    with pytest.raises(LedgerError, match="no intent of the run"):
        ledger.record_attempt(AttemptMade("r1", 1, ("llr1-00000001",), 200, "", NOON), [stranger])
    assert len(ledger.story("chatcmpl-1")) == 1


def test_recording_again_changes_nothing(ledger: Ledger) -> None:
    """The same plan may come again, in the same run or in the next; a run's beginning and end may not."""
    begin(ledger, "r1", planned(1))
    ledger.record_plan("plan-1", "r1", HEADER, "elsewhere")
    ledger.begin_run(started("r2"))
    for run_id in ("r1", "r2"):
        ledger.record_plan("plan-1", run_id, HEADER, "elsewhere")
        ledger.record_intents("plan-1", run_id, [planned(1), planned(2)])
    assert [(entry.run_id, type(entry)) for entry in ledger.story("chatcmpl-1")] == [("r1", IntentEntry)]
    assert [record.event for record in ledger.run_events("r1")] == [planned(1), planned(2)]
    detail = ledger.run("r1")
    assert detail is not None
    assert [(plan.path, plan.intents) for plan in detail.plans] == [("runs/r1/plan.jsonl", 2)]
    ledger.end_run("r1", NOON, "applied", {})
    with pytest.raises(LedgerError):
        ledger.end_run("r1", NOON, "failed", {})
    with pytest.raises(LedgerError):
        ledger.begin_run(started("r1"))
    with pytest.raises(LedgerError):
        ledger.end_run("never begun", NOON, "failed", {})
    with pytest.raises(ValueError, match="not recorded"):
        ledger.record_intents("no such plan", "r1", [planned(1)])


def test_events_that_can_never_be_sent(ledger: Ledger) -> None:
    """Only a refusal for a deleted event of the same id is for good, and each id is told once."""
    begin(ledger, "r1", planned(1), planned(2), planned(3))
    reasons = ((planned(1), "soft_deleted: 422"), (planned(2), "no code"), (planned(1), "soft_deleted: again"))
    ledger.record_outcomes("r1", [EventOutcome(one.line, Outcome.REJECTED, reason) for one, reason in reasons], NOON)
    ledger.record_outcomes("r1", [EventOutcome(planned(3).line, Outcome.UNKNOWN, "soft_deleted")], NOON)
    assert list(ledger.refused_for_good()) == ["llr1-00000001"]


def test_an_event_may_stand_in_several_plans(ledger: Ledger) -> None:
    """An event that one run did not get to send is planned again by the next, and the story names both."""
    begin(ledger, "r1", planned(1), planned(2))
    begin(ledger, "r2", planned(2), planned(3), plan_hash="plan-2")
    ledger.record_outcomes("r2", [EventOutcome(planned(2).line, Outcome.SENT, "")], NOON)
    story = ledger.story("chatcmpl-2")
    assert [entry.plan_hash for entry in story if isinstance(entry, IntentEntry)] == ["plan-1", "plan-2"]
    assert [record.outcome for record in ledger.run_events("r1")] == [None, None]
    assert [record.outcome for record in ledger.run_events("r2")] == [Outcome.SENT, None]


@pytest.mark.parametrize(
    "hostile",
    [
        "nul\0byte",
        "lone \ud800 surrogate \udfff",
        "resp_" + "x" * 395,
        "é 語 😀 \u202e \x1b[31m",
        "'; DROP TABLE runs; --",
        "%(name)s %s :name {0} \\",
        "",
    ],
)
def test_hostile_text_is_kept(ledger: Ledger, hostile: str) -> None:
    """Whatever a stranger sends is written, is found again by the same text, and costs no other row."""
    odd = planned(
        1,
        transaction_id=f"t{hostile}",
        request_id=hostile,
        subscription=hostile,
        properties=((hostile, hostile), ("b", "1"), ("a", "2")),
        model=hostile,
    )
    unsent = PlannedLine(b"", b"", odd.transaction_id)
    begin(ledger, f"r{hostile}", odd, planned(2), plan_hash=f"p{hostile}")
    ledger.record_attempt(AttemptMade(f"r{hostile}", 1, (f"t{hostile}",), 500, hostile, NOON))
    ledger.record_outcomes(f"r{hostile}", [EventOutcome(unsent, Outcome.REJECTED, hostile)], NOON)
    ledger.record_verifications(f"r{hostile}", [(f"t{hostile}", False, hostile)], NOON)
    ledger.end_run(f"r{hostile}", NOON, hostile, {hostile: 1})
    story = ledger.story(hostile)
    assert [type(entry) for entry in story] == [IntentEntry, AttemptEntry, OutcomeEntry, VerificationEntry]
    intent = story[0]
    assert isinstance(intent, IntentEntry)
    visible = hostile.replace("\0", "\\u0000").replace("\ud800", "\\ud800").replace("\udfff", "\\udfff")
    assert (intent.event.request_id, intent.event.model) == (visible, visible)
    # Properties are JSON, which holds even these.
    assert intent.event.properties == odd.properties
    assert ledger.run(f"r{hostile}") is not None


def test_request_id_of_any_length(ledger: Ledger) -> None:
    """PostgreSQL's B-tree takes keys of 2.7 kB at most; text that does not compress shows it."""
    endless = "".join(f"{number * number:x}" for number in range(9000))
    begin(ledger, "r1", planned(1, request_id=endless))
    assert len(ledger.story(endless)) == 1


def test_rows_can_only_be_added(ledger: Ledger, url: str) -> None:
    """Triggers refuse every change and removal, whoever asks for it."""
    begin(ledger, "r1", planned(1, amount="1.5"))
    ledger.record_attempt(AttemptMade("r1", 1, ("llr1-00000001",), 200, "", NOON))
    ledger.record_outcomes("r1", [EventOutcome(planned(1).line, Outcome.SENT, "")], NOON)
    ledger.record_verifications("r1", [("llr1-00000001", True, "")], NOON)
    ledger.record_run_checks("r1", [("current_usage", True, "")], NOON)
    ledger.end_run("r1", NOON, "applied", {})
    column = {
        "schema_version": "version",
        "plans": "header",
        "plan_uses": "path",
        "intents": "quantity",
        "intent_amounts": "amount",
        "attempts": "failure",
        "attempt_events": "intent",
        "run_checks": "subject",
        "verifications": "reason",
    }
    for table in TABLES:
        name = column.get(table, "outcome" if table in {"run_ends", "outcomes"} else "run_id")
        for statement in (f"UPDATE {table} SET {name} = {name}", f"DELETE FROM {table}"):  # noqa: S608 - ours
            with pytest.raises((sqlite3.DatabaseError, psycopg.Error), match="append-only"):
                execute(url, statement)
    if not url.startswith("sqlite"):
        with pytest.raises(psycopg.Error, match="append-only"):
            execute(url, f"TRUNCATE {', '.join(TABLES)}")
    assert all(execute(url, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES)  # noqa: S608 - ours


def _record_and_die(url: str) -> None:
    """Be killed inside the third transaction of record_intents: rows inserted, not committed."""
    seen = 0

    def kill(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal seen
        seen += statement.startswith("INSERT INTO") and "intents" in statement.partition("(")[0]
        if seen == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", kill)
    with opened(url) as ledger:
        begin(ledger, "killed", *(planned(number) for number in range(11_000)))


def test_killed_while_recording_intents(url: str) -> None:
    """What was committed stays, what was not is gone, and the next run records the rest of the same plan once."""
    child = CHILDREN.Process(target=_record_and_die, args=(url,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with opened(url) as ledger:
        killed = ledger.run("killed")
        assert killed is not None
        assert killed.record.ended is None
        assert [plan.intents for plan in killed.plans] == [10_000]
        begin(ledger, "next", *(planned(number) for number in range(11_000)))
        events = [record.event for record in ledger.run_events("next")]
        assert events == [planned(number) for number in range(11_000)]
        assert [entry.run_id for entry in ledger.story("chatcmpl-9999")] == ["killed"]
        assert [entry.run_id for entry in ledger.story("chatcmpl-10000")] == ["next"]
