"""Applying a plan: refuse it or send it, and write down what became of each event."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import chain, compress, islice
from pathlib import Path

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.read_back import Sighting, look_up
from jobs.adapters.lago.sending import SentBatch, send_events
from jobs.adapters.lago.usage import read_usage
from jobs.adapters.run_folder import replace_file
from jobs.core.caps import amount_exceeded, caps_exceeded
from jobs.core.lago.billing_rules import BillingRules, Usage
from jobs.core.lago.values import Catalogue
from jobs.core.ledger_values import AttemptMade
from jobs.core.plan import Outcome, PlannedEvent, event_line
from jobs.errors import ReconcileError, RefusedError
from jobs.steps import unfinished
from jobs.steps.backfill_values import Applied, Work
from jobs.steps.outcomes import write_outcomes
from jobs.steps.plan_files import (
    PLAN_FILE,
    line_fingerprint,
    read_event_lines,
    read_events,
    read_header,
    read_lines,
    read_planned_lines,
)
from jobs.steps.reconcile_values import Run
from jobs.steps.verify import Counting, verify_counted, verify_seen

_LOOKED_UP_AT_ONCE = 500


def apply_plan(work: Work, run: Run, plan: Path | None) -> Applied:
    """Send what the plan holds that is still missing, and verify it; with a plan file, only its events."""
    with LagoClient(work.settings.reconcile.lago, sleep=work.hooks.stop.wait) as client:
        metrics = run.catalogue.metrics
        computed = {metric.code: metric.field_name for metric in metrics if metric.expression and metric.field_name}
        path = run.folder / PLAN_FILE if plan is None else _still_missing(work, client, plan, run, computed)
        _refuse_over_caps(work, run, path, plan)
        header = read_header(plan or path)
        work.ledger.record_plan(header["sha256"], work.run_id, header, str(plan or path))
        try:
            applied = _send_in_slices(work, client, run, path, header["sha256"], computed)
        except ReconcileError:
            # Whoever reads what went wrong looks there for what had become of each event until then.
            with suppress(ReconcileError, OSError):
                write_outcomes(work.ledger, work.run_id, run.folder)
            raise
        write_outcomes(work.ledger, work.run_id, run.folder)
        return applied


def _still_missing(work: Work, client: LagoClient, plan: Path, run: Run, computed: Mapping[str, str]) -> Path:
    """Return a file with the plan's events that are still missing; those already in Lago as planned are done."""
    missing = {line_fingerprint(line) for line in read_event_lines(run.folder / PLAN_FILE)}
    target = run.folder / "events-to-send.jsonl"

    def lines() -> Iterator[bytes]:
        yield next(read_lines(plan))
        for events in _in_lists(read_events(plan)):
            here = [line_fingerprint(event_line(event)) in missing for event in events]
            others = [event for event, is_missing in zip(events, here, strict=True) if not is_missing]
            _refuse_stale(client, others, computed)
            yield from (event_line(event) for event, is_missing in zip(events, here, strict=True) if is_missing)

    replace_file(target, (line + b"\n" for line in lines()))
    return target


def _refuse_stale(client: LagoClient, events: list[PlannedEvent], computed: Mapping[str, str]) -> None:
    sightings = look_up(client, events, by_id=False, computed=computed) if events else []
    for event, sighting in zip(events, sightings, strict=True):
        if sighting is not Sighting.SAME:
            raise RefusedError(
                f"the plan is stale: the event of request {event.request_id!r} is no longer missing, "
                "or would now be another one",
                "Make a new plan",
            )


def _in_lists(events: Iterator[PlannedEvent]) -> Iterator[list[PlannedEvent]]:
    while some := list(islice(events, _LOOKED_UP_AT_ONCE)):
        yield some


def _refuse_over_caps(work: Work, run: Run, path: Path, plan: Path | None) -> None:
    """Refuse what is about to be sent, whoever planned it, where it is over a cap.

    What a plan file would bill was found when it was made, and stands in its header.
    """
    events, quantity = Counter[tuple[str, str]](), dict[tuple[str, str], Decimal]()
    for event in read_events(path):
        key = (event.subscription, event.code)
        events[key] += 1
        quantity[key] = quantity.get(key, Decimal(0)) + Decimal(event.quantity)
    expected = {(total.subscription, total.code): total for total in run.plan.totals}
    totals = [
        replace(expected[key], events=count, quantity=quantity[key]) for key, count in events.items() if key in expected
    ]
    caps = work.settings.reconcile.caps
    exceeded = (*caps_exceeded(totals, caps), *amount_exceeded(read_header(plan or path).get("worth"), caps))
    if exceeded:
        raise RefusedError(
            f"the plan is over a cap: {'; '.join(exceeded)}",
            f"Look at {path}; then raise the cap, or send part of it with --subscription, --model or --code",
        )


def _send_in_slices(
    work: Work, client: LagoClient, run: Run, path: Path, plan_hash: str, computed: Mapping[str, str]
) -> Applied:
    """Send a long window's events slice by slice, the oldest first, and none after a slice that did not end well."""
    window, length = run.window, work.settings.slice_length
    if window.end - window.start <= length:
        return _send(work, client, run, path, plan_hash, computed)
    applied = Applied(Counter(), 0, 0, 0, ())
    # A time is sent in milliseconds, so that of a window that begins within one an event may lie before it.
    slices = array("q", (max(0, (event.time - window.start) // length) for event in read_events(path)))
    unsent = Counter(slices)
    slice_path = run.folder / "slice-to-send.jsonl"
    for number in sorted(unsent):
        start = window.start + number * length
        lines = compress(read_event_lines(path), (other == number for other in slices))
        replace_file(slice_path, (line + b"\n" for line in chain([next(read_lines(path))], lines)))
        work.progress.note(
            f"sending what is missing from {start:%Y-%m-%d %H:%M} to {min(start + length, window.end):%Y-%m-%d %H:%M}"
        )
        applied = applied.then(_send(work, client, run, slice_path, plan_hash, computed))
        del unsent[number]
        if not applied.complete:
            break
    slice_path.unlink(missing_ok=True)
    return replace(applied, unsent=applied.unsent + unsent.total())


def _send(
    work: Work,
    client: LagoClient,
    run: Run,
    path: Path,
    plan_hash: str,
    computed: Mapping[str, str],
) -> Applied:
    customers = _customers(run.catalogue)
    wanted = Counter[tuple[str, str]]()

    def intended() -> Iterator[PlannedEvent]:
        for event in read_events(path):
            wanted[event.subscription, event.code] += 1
            yield event

    work.progress.step("writing down what will be sent")
    work.hooks.step("intents: before")
    work.ledger.record_intents(plan_hash, work.run_id, intended())
    unfinished.begin(run.folder, work.run_id, computed, run.page)
    work.hooks.step("intents: written")
    total = wanted.total()
    pairs = [(customers[name], name) for name in dict.fromkeys(name for name, _ in wanted) if name in customers]
    codes = frozenset(code for _, code in wanted)
    work.progress.step("reading Lago's current usage")
    before = read_usage(client, pairs, codes)
    work.progress.step("sending")
    sent = _Sent(work, run.catalogue, total)
    send_events(
        client,
        read_planned_lines(path),
        on_batch=sent.take,
        stop=work.hooks.stop,
        step=work.hooks.step,
        computed=computed,
    )
    work.progress.step("verifying")
    work.hooks.step("verify: begin")
    verified, not_verified = verify_seen(work, client, path, computed)
    proof = verify_counted(work, client, pairs, codes, before, sent.counting, run.catalogue)
    work.hooks.step("verify: done")
    unsent = total - sum(sent.outcomes.values())
    return Applied(
        sent.outcomes,
        unsent,
        verified,
        not_verified,
        proof.not_counted,
        sent.on_record_only,
        proof.counted,
        # What a draft is made of is told when it is final, and no current usage moves for it.
        proof.only_shown + sent.in_drafts,
    )


class _Sent:
    """Takes the outcomes of batches as they come: counts them and writes them into the ledger."""

    def __init__(self, owner: Work, catalogue: Catalogue, total: int) -> None:
        self.total = total
        self.outcomes = Counter[Outcome]()
        self.counting = Counting()
        self.on_record_only = 0
        self.in_drafts = 0
        self._rules = BillingRules(catalogue)
        self._owner = owner

    def take(self, batch: SentBatch) -> None:
        owner = self._owner
        if owner.lock is not None:
            owner.lock.still_held()
        at = owner.hooks.now()
        last = len(batch.attempts) - 1
        for number, attempt in enumerate(batch.attempts):
            made = AttemptMade(
                owner.run_id, batch.number, attempt.transaction_ids, attempt.http_status, attempt.failure, at
            )
            owner.ledger.record_attempt(made, batch.outcomes if number == last else ())
        for outcome in batch.outcomes:
            self.outcomes[outcome.outcome] += 1
            if outcome.outcome is Outcome.SENT:
                event = outcome.event
                amount = Decimal(event.amount) if event.amount else None
                usage = Usage(event.subscription, event.code, event.time, at, dict(event.properties), amount)
                billing = self._rules.judge(usage)
                if billing.unbilled:
                    self.on_record_only += 1
                    continue
                if billing.row is not None and _is_before(event.time, billing.row.current_period_started_at):
                    self.in_drafts += 1
                    continue
                buckets = [bucket.key(event.subscription) for bucket in billing.buckets]
                self.counting.add((event.subscription, event.code), buckets, Decimal(event.quantity))
        owner.progress.count(sum(self.outcomes.values()), self.total)


def _is_before(time: datetime, open_since: datetime | None) -> bool:
    return open_since is not None and time < open_since


def _customers(catalogue: Catalogue) -> dict[str, str]:
    """Return the customer of every active subscription; only these have a current usage."""
    return {
        row.external_id: row.external_customer_id
        for row in catalogue.subscriptions
        if row.status == "active" and row.external_customer_id is not None
    }
