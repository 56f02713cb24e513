"""Applies that were killed: their page says so, and the next run that applies completes what became of their events.

Between the first event that may be sent and the last word on all of them, the run's folder holds a hidden file. A run
that finds it, and the lock that says that no other one applies, knows that its writer has gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from jobs.adapters.lago.http import LagoClient
from jobs.adapters.page import render
from jobs.adapters.run_folder import replace_file
from jobs.core.plan import EventOutcome, Outcome, event_line, planned_line
from jobs.core.telling.page import ReportPage
from jobs.steps.backfill_values import Work
from jobs.steps.outcomes import write_outcomes
from jobs.steps.page import PAGE_FILE, completed_backfill, unfinished_backfill
from jobs.steps.verify import NO_PATIENCE, verify_seen

MARKER = ".applying.json"
_AT_ONCE = 500


class _Begun(msgspec.Struct, frozen=True):
    """What a run that sends leaves for the next one, in case that it is killed."""

    run_id: str
    computed: dict[str, str]
    """By code the property that Lago computes itself."""
    page: ReportPage


def begin(folder: Path, run_id: str, computed: Mapping[str, str], page: ReportPage) -> None:
    """Say in the run's folder that its events are being sent; called before the first one is."""
    begun = _Begun(run_id, dict(computed), page)
    replace_file(folder / MARKER, [msgspec.json.encode(begun)])
    replace_file(folder / PAGE_FILE, render(replace(page, backfill=unfinished_backfill(page.backfill))))


def ended(folder: Path) -> None:
    """Say that there is nothing left to complete."""
    (folder / MARKER).unlink(missing_ok=True)


def complete_unfinished(work: Work) -> None:
    """Complete every killed apply in the output folder that this ledger knows, from the ledger and Lago."""
    for marker in sorted(work.settings.reconcile.output.glob(f"*/{MARKER}")):
        try:
            begun = msgspec.json.decode(marker.read_bytes(), type=_Begun)
            if work.ledger.run(begun.run_id) is not None:
                _complete(work, marker.parent, begun)
        except (msgspec.DecodeError, OSError) as error:
            work.progress.note(f"cannot complete {marker.parent}, whose run was killed while it sent: {error}")


def _complete(work: Work, folder: Path, begun: _Begun) -> None:
    work.progress.note(f"completing what became of the events of run {begun.run_id}, which did not end")
    old = replace(work, run_id=begun.run_id, settings=replace(work.settings, verify_within=NO_PATIENCE))
    intended = folder / ".intended.jsonl"
    replace_file(intended, _plan_lines(work, begun.run_id))
    with LagoClient(work.settings.reconcile.lago, sleep=work.hooks.stop.wait) as client:
        verify_seen(old, client, intended, begun.computed)
    intended.unlink()
    known: list[EventOutcome] = []
    why = "its own run was killed before it could say so"
    for record in work.ledger.run_events(begun.run_id):
        if record.outcome is None and record.verified:
            known.append(EventOutcome(planned_line(event_line(record.event)), Outcome.ALREADY_PRESENT, why))
    for start in range(0, len(known), _AT_ONCE):
        work.ledger.record_outcomes(begun.run_id, known[start : start + _AT_ONCE], work.hooks.now())
    write_outcomes(work.ledger, begun.run_id, folder)
    outcomes, verified = Counter[str](), 0
    for record in work.ledger.run_events(begun.run_id):
        outcomes[record.outcome.value if record.outcome else "not sent"] += 1
        verified += record.verified is True
    told = completed_backfill(begun.page.backfill, outcomes, verified, work.run_id)
    replace_file(folder / PAGE_FILE, render(replace(begun.page, backfill=told)))
    ended(folder)


def _plan_lines(work: Work, run_id: str) -> Iterator[bytes]:
    """Yield what the run meant to send as a plan's lines; the ledger has it, whatever became of the plan's file."""
    yield b"{}\n"
    for record in work.ledger.run_events(run_id):
        yield event_line(record.event) + b"\n"
