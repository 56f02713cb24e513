"""Verifying what was sent: Lago shows it as planned, and counts it."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

from jobs.adapters.lago.events import read_events as list_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.usage import CurrentUsage, read_usage
from jobs.adapters.workspace import Workspace
from jobs.core.lago.billing_rules import adds_up
from jobs.core.lago.buckets import BucketKey
from jobs.core.lago.values import Catalogue
from jobs.core.window import Window
from jobs.steps.backfill_values import Work

_Key = tuple[str, str]
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
NO_PATIENCE = timedelta(0)
"""Look once."""


def verify_seen(work: Work, client: LagoClient, path: Path, computed: Mapping[str, str]) -> tuple[int, int]:
    """List the hours that the plan's events lie in until Lago shows each as planned, or patience ends."""
    deadline, wait = work.hooks.monotonic() + work.settings.verify_within.total_seconds(), _FIRST_WAIT
    settings = work.settings.reconcile
    with (
        tempfile.TemporaryDirectory(prefix="litellm-lago-verify-", dir=settings.scratch) as folder,
        Workspace(Path(folder), memory_limit=settings.memory_limit, threads=settings.threads) as workspace,
    ):
        workspace.run("load_sent_events", path=str(path))
        names = [name for name in workspace.texts("sent_property_names") if name not in computed.values()]
        concerned = list(_stretches(workspace.rows("sent_hours")))
        while True:
            workspace.run("clear_listed_events")
            for code, window in concerned:
                listed = list_events(
                    client, codes=(code,), window=window, property_names=names, progress=work.progress.count
                )
                workspace.load("load_listed_events", listed, properties=len(names))
            workspace.run("verify_sent_events", names=names)
            (counted,) = workspace.rows("count_unseen")
            unseen: int = counted["unseen"]
            if not unseen or work.hooks.monotonic() + wait > deadline or work.hooks.stop.wait(wait):
                break
            wait = min(2 * wait, _LONGEST_WAIT)
        seen = 0

        def results() -> Iterator[tuple[str, bool, str]]:
            nonlocal seen
            for row in workspace.records("verified_events"):
                seen += row["verified"]
                yield row["transaction_id"], row["verified"], row["reason"]

        work.ledger.record_verifications(work.run_id, results(), work.hooks.now())
    return seen, unseen


class Counting:
    """What was sent and should be counted, in all and by what is priced on its own."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.events = Counter[_Key]()
        self.quantity = defaultdict[_Key, Decimal](Decimal)
        self.buckets = defaultdict[_Key, defaultdict[BucketKey, Decimal]](lambda: defaultdict(Decimal))

    def add(self, key: _Key, buckets: Iterable[BucketKey], quantity: Decimal) -> None:
        """Take an event: its subscription and code, where it counts, and what it counts."""
        self.events[key] += 1
        self.quantity[key] += quantity
        for bucket in buckets:
            self.buckets[key][bucket] += quantity


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that what was sent is billed."""

    not_counted: tuple[str, ...]
    """Where current usage did not move by what was sent, a sentence each."""
    counted: int
    """Events that current usage counts, each in its bucket."""
    only_shown: int
    """Events of which Lago tells no current usage, or no sum of what was sent."""


def verify_counted(
    work: Work,
    client: LagoClient,
    pairs: list[tuple[str, str]],
    codes: frozenset[str],
    before: CurrentUsage,
    sent: Counting,
    catalogue: Catalogue,
) -> Proof:
    """Wait until current usage has moved by what was sent, where Lago tells it and the metric adds up.

    It has to move in the very buckets that the events count in, as far as Lago tells those.
    """
    adding = {metric.code for metric in catalogue.metrics if adds_up(metric)}
    asked = {key for key in sent.events if key in before.units and key[1] in adding}
    deadline, wait = work.hooks.monotonic() + work.settings.verify_within.total_seconds(), _FIRST_WAIT
    after, late = before, dict[_Key, list[str]]()
    while asked:
        after = read_usage(client, pairs, codes)
        late = {key: told for key in asked if (told := list(behind(key, before, after, sent)))}
        if not late or work.hooks.monotonic() + wait > deadline or work.hooks.stop.wait(wait):
            break
        wait = min(2 * wait, _LONGEST_WAIT)
    checks = list[tuple[str, bool, str]]()
    for key in sorted(sent.events):
        name, code = key
        moved = after.units.get(key, Decimal(0)) - before.units.get(key, Decimal(0))
        reason = f"moved by {moved} of {sent.quantity[key]}" if key in before.units else "Lago tells no current usage"
        counted = key in before.units and key not in late
        checks.append((f"current usage of {name}, {code}", counted, reason))
    work.ledger.record_run_checks(work.run_id, checks, work.hooks.now())
    return Proof(
        not_counted=tuple(sentence for key in sorted(late) for sentence in late[key]),
        counted=sum(sent.events[key] for key in asked - late.keys()),
        only_shown=sum(count for key, count in sent.events.items() if key not in asked),
    )


def behind(key: _Key, before: CurrentUsage, after: CurrentUsage, sent: Counting) -> Iterator[str]:
    """Yield where usage has not moved by what was sent, a sentence each; the whole says it for its buckets."""
    name, code = key
    due, now = before.units[key] + sent.quantity[key], after.units.get(key, Decimal(0))
    if now < due:
        yield f"current usage of {name!r}, {code}, is {now}, not {due} or more"
        return
    charges = {bucket[1] for bucket in after.buckets if bucket[0] == name}
    for bucket, quantity in sorted(sent.buckets[key].items(), key=str):
        due, now = before.buckets.get(bucket, Decimal(0)) + quantity, after.buckets.get(bucket, Decimal(0))
        # A group that Lago does not show has no usage; a charge of which it shows no bucket is not told apart.
        if bucket[1] in charges and now < due:
            groups = ", ".join(f"{group} {value!r}" for group, value in bucket[3])
            where = "; ".join(part for part in (bucket[2], groups) if part) or "no filter"
            yield f"current usage of {name!r}, {code}, {where}, is {now}, not {due} or more"


def _stretches(hours: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Window]]:
    """Yield the stretches of whole hours of each code, from its hours in their order."""
    for code, rows in groupby(hours, key=lambda row: row["code"]):
        stretch: Window | None = None
        for row in rows:
            hour: datetime = row["hour"].replace(tzinfo=UTC)
            if stretch is not None and stretch.end < hour:
                yield code, stretch
                stretch = None
            stretch = Window(hour if stretch is None else stretch.start, hour + timedelta(hours=1))
        if stretch is not None:
            yield code, stretch
