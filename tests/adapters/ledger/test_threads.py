"""Many who use one ledger at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.adapters.ledger import Ledger
from jobs.core.ledger_values import (
    AttemptMade,
)
from jobs.core.plan import EventOutcome, Outcome, PlannedEvent
from jobs.errors import ReconcileError
from tests.adapters.ledger.helpers import HEADER, NOON, begin, execute, opened, planned, started
from tests.support.children import CHILDREN


def test_events_are_read_once_and_never_far_ahead(ledger: Ledger) -> None:
    """A source that fails midway leaves what came before it, and no transaction open."""

    def failing() -> Iterator[PlannedEvent]:
        yield from (planned(number) for number in range(5_001))
        raise OSError("the plan's disk is gone")

    ledger.begin_run(started("r1"))
    ledger.record_plan("plan-1", "r1", HEADER, "p")
    with pytest.raises(OSError, match="disk is gone"):
        ledger.record_intents("plan-1", "r1", failing())
    ledger.end_run("r1", NOON, "failed", {})
    assert len(list(ledger.run_events("r1"))) == 5_000


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    """Batches that end at one time in several threads are all recorded."""
    events = [planned(number) for number in range(400)]
    begin(ledger, "r1", *events)

    def send(first: int) -> None:
        for batch in range(first, 40, 8):
            some = events[batch * 10 : batch * 10 + 10]
            ids = tuple(sent.transaction_id for sent in some)
            settled = [EventOutcome(sent.line, Outcome.SENT, "") for sent in some]
            ledger.record_attempt(AttemptMade("r1", batch, ids, 200, "", NOON), settled)

    threads = [threading.Thread(target=send, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    detail = ledger.run("r1")
    assert detail is not None
    assert detail.outcomes == {Outcome.SENT: 400}


def _open_at_once(url: str, gate: Any, results: Any) -> None:
    gate.wait(60)
    try:
        opened(url).close()
    except ReconcileError as error:
        results.put(str(error))
    else:
        results.put("")


def test_processes_that_open_a_new_ledger_at_once(url: str) -> None:
    """One makes the tables, the others wait for it."""
    gate, results = CHILDREN.Barrier(4), CHILDREN.Queue()
    children = [CHILDREN.Process(target=_open_at_once, args=(url, gate, results)) for _ in range(4)]
    for child in children:
        child.start()
    assert [results.get(timeout=60) for _ in children] == [""] * 4
    for child in children:
        child.join()
    assert execute(url, "SELECT version FROM schema_version ORDER BY version") == [(1,), (2,), (3,)]
