"""What the ledger answers: statements on one connection, and their rows as values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, select, type_coerce

from jobs.adapters.ledger.tables import (
    StoredItems,
    attempt_events,
    attempts,
    intent_amounts,
    intents,
    outcomes,
    plan_uses,
    plans,
    run_checks,
    run_ends,
    runs,
    verifications,
)
from jobs.core.ledger_values import (
    AttemptEntry,
    EventRecord,
    IntentEntry,
    OutcomeEntry,
    PlanRecord,
    RunCheck,
    RunDetail,
    RunEnded,
    RunRecord,
    RunStarted,
    StoryEntry,
    VerificationEntry,
)
from jobs.core.plan import Outcome, PlannedEvent
from jobs.core.window import Window

_AMOUNT = select(intent_amounts.c.amount).where(intent_amounts.c.intent == intents.c.sequence).scalar_subquery()
_COLUMNS: Mapping[str, ColumnElement[Any]] = {
    **dict(intents.c.items()),
    "properties": type_coerce(intents.c.properties, StoredItems).label("properties"),
    "amount": func.coalesce(_AMOUNT, "").label("amount"),
}
_EVENT_COLUMNS = [_COLUMNS[field] for field in PlannedEvent.__struct_fields__]
# Of entries recorded at one instant, the one that can only come first stands first.
_ORDER: tuple[type[StoryEntry], ...] = (IntentEntry, AttemptEntry, OutcomeEntry, VerificationEntry)


def newest_runs(connection: Connection, limit: int) -> tuple[RunRecord, ...]:
    """Return the newest runs, newest first."""
    newest = _runs().order_by(runs.c.started_at.desc(), runs.c.run_id.desc()).limit(limit)
    return tuple(_run_record(row) for row in connection.execute(newest))


def run_detail(connection: Connection, run_id: str) -> RunDetail | None:
    """Return one run with its plans and counts, or None."""
    found = connection.execute(_runs().where(runs.c.run_id == run_id)).first()
    if found is None:
        return None
    last_outcomes = _last_counts(connection, outcomes, outcomes.c.outcome, run_id)
    verified = _last_counts(connection, verifications, verifications.c.verified, run_id)
    checks = select(run_checks).where(run_checks.c.run_id == run_id).order_by(run_checks.c.sequence)
    return RunDetail(
        record=_run_record(found),
        plans=_plan_records(connection, run_id),
        outcomes={Outcome(text): count for text, count in last_outcomes.items()},
        verified=verified.get(True, 0),
        not_verified=verified.get(False, 0),
        checks=tuple(
            RunCheck(row.recorded_at, row.subject, row.verified, row.reason) for row in connection.execute(checks)
        ),
    )


def event_page(connection: Connection, run_id: str, after: int, limit: int) -> list[tuple[int, EventRecord]]:
    """Return the next events of a run's plans after a key, each with its own key, in the order written down."""
    used = select(plans.c.sequence, plans.c.plan_hash).join(plan_uses).where(plan_uses.c.run_id == run_id)
    plan_hashes = {row.sequence: row.plan_hash for row in connection.execute(used)}
    page = (
        select(intents.c.sequence, intents.c.plan, *_EVENT_COLUMNS)
        # The plans by value: with a join here, planners sort all intents anew for each page.
        .where(intents.c.plan.in_(plan_hashes), intents.c.sequence > after)
        .order_by(intents.c.sequence)
        .limit(limit)
    )
    rows = connection.execute(page).all()
    if not rows:
        return []
    first, last = rows[0].sequence, rows[-1].sequence
    ended = _last_said(connection, outcomes, outcomes.c.outcome, run_id, first, last)
    seen = _last_said(connection, verifications, verifications.c.verified, run_id, first, last)
    records: list[tuple[int, EventRecord]] = []
    for sequence, plan, *event in rows:
        outcome, outcome_reason = ended.get(sequence, (None, ""))
        verified, verification_reason = seen.get(sequence, (None, ""))
        record = EventRecord(
            PlannedEvent(*event),
            plan_hashes[plan],
            None if outcome is None else Outcome(outcome),
            outcome_reason,
            verified,
            verification_reason,
        )
        records.append((sequence, record))
    return records


def story(connection: Connection, which: ColumnElement[bool]) -> tuple[StoryEntry, ...]:
    """Return everything recorded about the intents of which a condition is true, in time order."""
    found = (
        select(intents.c.sequence, intents.c.recorded_at, intents.c.run_id, plans.c.plan_hash, *_EVENT_COLUMNS)
        .join(plans, plans.c.sequence == intents.c.plan)
        .where(which)
        .order_by(intents.c.sequence)
    )
    rows = connection.execute(found).all()
    transaction_ids = {row.sequence: row.transaction_id for row in rows}
    entries: tuple[StoryEntry, ...] = (
        *(IntentEntry(at, run_id, plan_hash, PlannedEvent(*event)) for _, at, run_id, plan_hash, *event in rows),
        *_attempt_entries(connection, transaction_ids),
        *_outcome_entries(connection, transaction_ids),
        *_verification_entries(connection, transaction_ids),
    )
    return tuple(sorted(entries, key=lambda entry: (entry.at, _ORDER.index(type(entry)))))


def ids_refused_for_good(connection: Connection) -> list[str]:
    """Return the transaction ids of events that can never be sent, in order."""
    found = (
        select(intents.c.transaction_id)
        .join(outcomes, outcomes.c.intent == intents.c.sequence)
        .where(outcomes.c.outcome == Outcome.REJECTED.value, outcomes.c.reason.startswith("soft_deleted"))
        .distinct()
        .order_by(intents.c.transaction_id)
    )
    return list(connection.execute(found).scalars())


def times_of_sent_ids(connection: Connection) -> Iterator[tuple[str, int]]:
    """Yield the ids and times of events that were sent, were there already, or whose outcome is not known."""
    maybe_there = [Outcome.SENT.value, Outcome.ALREADY_PRESENT.value, Outcome.UNKNOWN.value]
    found = (
        select(intents.c.transaction_id, intents.c.timestamp)
        .join(outcomes, outcomes.c.intent == intents.c.sequence)
        .where(outcomes.c.outcome.in_(maybe_there))
        .distinct()
        .order_by(intents.c.transaction_id)
    )
    for transaction_id, timestamp in connection.execute(found):
        yield transaction_id, int(Decimal(timestamp) * 1000)


def _runs() -> Select[Any]:
    return select(runs, run_ends.c.ended_at, run_ends.c.outcome, run_ends.c.counts).outerjoin(
        run_ends, run_ends.c.run_id == runs.c.run_id
    )


def _run_record(row: Row[Any]) -> RunRecord:
    window = Window(row.window_start, row.window_end) if row.window_start else None
    started = RunStarted(row.run_id, row.command, window, row.started_at, row.code_version, row.configuration_hash)
    ended = RunEnded(row.run_id, row.ended_at, row.outcome, row.counts) if row.ended_at else None
    return RunRecord(started, ended)


def _plan_records(connection: Connection, run_id: str) -> tuple[PlanRecord, ...]:
    written = select(func.count()).where(intents.c.plan == plans.c.sequence).scalar_subquery()
    uses = (
        select(plans.c.plan_hash, plans.c.header, plan_uses, written.label("intents"))
        .join(plans, plans.c.sequence == plan_uses.c.plan)
        .where(plan_uses.c.run_id == run_id)
        .order_by(plan_uses.c.recorded_at, plans.c.sequence)
    )
    return tuple(
        PlanRecord(row.plan_hash, row.run_id, row.path, row.header, row.recorded_at, row.intents)
        for row in connection.execute(uses)
    )


def _last_counts(connection: Connection, table: Table, counted: ColumnElement[Any], run_id: str) -> dict[Any, int]:
    """Return how many events have each value in the last of their rows that a run recorded."""
    last = select(func.max(table.c.sequence)).where(table.c.run_id == run_id).group_by(table.c.intent)
    counts = select(counted, func.count()).where(table.c.sequence.in_(last)).group_by(counted).order_by(counted)
    return {row[0]: row[1] for row in connection.execute(counts)}


def _last_said(
    connection: Connection, table: Table, value: ColumnElement[Any], run_id: str, first: int, last: int
) -> dict[int, tuple[Any, str]]:
    """Return the value and reason that a run recorded last about each intent of a stretch of keys, by the key."""
    found = (
        select(table.c.intent, value, table.c.reason)
        .where(table.c.run_id == run_id, table.c.intent.between(first, last))
        .order_by(table.c.sequence)
    )
    return {intent: (said, reason) for intent, said, reason in connection.execute(found).all()}


def _attempt_entries(connection: Connection, transaction_ids: Mapping[int, str]) -> Iterator[AttemptEntry]:
    rows = (
        select(attempts, attempt_events.c.intent)
        .join(attempt_events, attempt_events.c.attempt == attempts.c.sequence)
        .where(attempt_events.c.intent.in_(transaction_ids))
        .order_by(attempts.c.sequence, attempt_events.c.intent)
    )
    for row in connection.execute(rows):
        yield AttemptEntry(
            at=row.recorded_at,
            run_id=row.run_id,
            transaction_id=transaction_ids[row.intent],
            batch_number=row.batch_number,
            events=row.events,
            http_status=row.http_status,
            failure=row.failure,
        )


def _outcome_entries(connection: Connection, transaction_ids: Mapping[int, str]) -> Iterator[OutcomeEntry]:
    for row in connection.execute(_of_intents(outcomes, transaction_ids)):
        yield OutcomeEntry(row.recorded_at, row.run_id, transaction_ids[row.intent], Outcome(row.outcome), row.reason)


def _verification_entries(connection: Connection, transaction_ids: Mapping[int, str]) -> Iterator[VerificationEntry]:
    for row in connection.execute(_of_intents(verifications, transaction_ids)):
        yield VerificationEntry(row.recorded_at, row.run_id, transaction_ids[row.intent], row.verified, row.reason)


def _of_intents(table: Table, keys: Iterable[int]) -> Select[Any]:
    return select(table).where(table.c.intent.in_(list(keys))).order_by(table.c.sequence)
