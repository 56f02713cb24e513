"""Verifying what was sent: Lago shows it as planned, and counts it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from jobs.adapters.lago.events import read_events as list_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.usage import read_current_usage
from jobs.adapters.workspace import Workspace
from jobs.core.lago.values import Catalogue
from jobs.core.plan import PlannedEvent
from jobs.core.window import Window
from jobs.steps.backfill_values import Work
from jobs.steps.plan_files import read_events

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_EARLY = timedelta(milliseconds=1)
NO_PATIENCE = timedelta(0)
"""Look once."""


def verify_seen(work: Work, client: LagoClient, path: Path, computed: Mapping[str, str]) -> tuple[int, int]:
    """List the hours that the plan's events lie in until Lago shows each as planned, or patience ends."""
    hours, codes, names = _hours_codes_and_names(path)
    names = tuple(name for name in names if name not in computed.values())
    deadline, wait = work.hooks.monotonic() + work.settings.verify_within.total_seconds(), _FIRST_WAIT
    settings = work.settings.reconcile
    with (
        tempfile.TemporaryDirectory(prefix="litellm-lago-verify-", dir=settings.scratch) as folder,
        Workspace(Path(folder), memory_limit=settings.memory_limit, threads=settings.threads) as workspace,
    ):
        workspace.insert("sent_event", (_sent_row(event, names) for event in read_events(path)))
        while True:
            workspace.run("clear_listed_events")
            for window in hours:
                listed = list_events(
                    client, codes=codes, window=window, property_names=names, progress=work.progress.count
                )
                workspace.load("load_listed_events", listed, shard=0, shards=1)
            unseen = sum(not row["verified"] for row in workspace.records("verify_sent_events"))
            if not unseen or work.hooks.monotonic() + wait > deadline or work.hooks.stop.wait(wait):
                break
            wait = min(2 * wait, _LONGEST_WAIT)
        seen = 0

        def results() -> Iterator[tuple[str, bool, str]]:
            nonlocal seen
            for row in workspace.records("verify_sent_events"):
                seen += row["verified"]
                yield row["transaction_id"], row["verified"], row["reason"]

        work.ledger.record_verifications(work.run_id, results(), work.hooks.now())
    return seen, unseen


def verify_counted(
    work: Work,
    client: LagoClient,
    pairs: list[tuple[str, str]],
    codes: frozenset[str],
    before: Mapping[tuple[str, str], Decimal],
    quantity: Mapping[tuple[str, str], Decimal],
    catalogue: Catalogue,
) -> tuple[str, ...]:
    """Wait until current usage has moved by what was sent, where Lago tells it and the metric adds up."""
    adds_up = {metric.code for metric in catalogue.metrics if metric.aggregation_type in {"sum_agg", "count_agg"}}
    due = {key: before[key] + amount for key, amount in quantity.items() if key in before and key[1] in adds_up}
    deadline, wait = work.hooks.monotonic() + work.settings.verify_within.total_seconds(), _FIRST_WAIT
    after = before
    while due:
        after = read_current_usage(client, pairs, codes)
        late = {key: amount for key, amount in due.items() if after.get(key, Decimal(0)) < amount}
        if not late or work.hooks.monotonic() + wait > deadline or work.hooks.stop.wait(wait):
            due = late
            break
        wait = min(2 * wait, _LONGEST_WAIT)
    for (name, code), amount in sorted(quantity.items()):
        moved = after.get((name, code), Decimal(0)) - before.get((name, code), Decimal(0))
        known, counted = (name, code) in before, (name, code) not in due
        reason = f"moved by {moved} of {amount}" if known else "Lago tells no current usage"
        work.ledger.record_run_check(
            work.run_id, f"current usage of {name}, {code}", known and counted, reason, work.hooks.now()
        )
    return tuple(
        f"current usage of {name!r}, {code}, is {after.get((name, code), Decimal(0))}, not {amount} or more"
        for (name, code), amount in sorted(due.items())
    )


def _hours_codes_and_names(path: Path) -> tuple[list[Window], tuple[str, ...], tuple[str, ...]]:
    """Return the stretches of whole hours that a plan's events lie in, their codes, and their properties' names."""
    hours: set[datetime] = set()
    codes: set[str] = set()
    names: dict[str, None] = {}
    for event in read_events(path):
        # Lago before 1.48 may show a time one millisecond early.
        hours |= {at.replace(minute=0, second=0, microsecond=0) for at in (event.time, event.time - _EARLY)}
        codes.add(event.code)
        names |= dict.fromkeys(name for name, _ in event.properties)
    stretches: list[Window] = []
    for hour in sorted(hours):
        end = hour + timedelta(hours=1)
        if stretches and stretches[-1].end == hour:
            stretches[-1] = Window(stretches[-1].start, end)
        else:
            stretches.append(Window(hour, end))
    return stretches, tuple(sorted(codes)), tuple(names)


def _sent_row(event: PlannedEvent, names: tuple[str, ...]) -> tuple[object, ...]:
    properties = dict(event.properties)
    values = [properties.get(name) for name in names]
    return event.transaction_id, event.subscription, event.code, event.milliseconds, values
