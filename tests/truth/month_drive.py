"""Lets the real job loose on a simulated world: as a CronJob would, with crashes, failures and manual runs between."""

from __future__ import annotations

import csv
import os
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from jobs.adapters.lago import sending
from jobs.backfill import backfill
from jobs.core.window import Window
from jobs.errors import LagoError, RefusedError
from jobs.playground.lago_standin import Fault
from jobs.settings import backfill_settings, load_settings, reconcile_settings
from jobs.steps.backfill_values import Hooks
from tests.support.scenario import SilentProgress
from tests.truth.month_bills import Bill, Term
from tests.truth.month_world import CODE, DYNAMIC, FLAT, HOUR, MINUTE, World, spend_log, usage_event

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

_FAULTS = (
    "server_error",
    "server_error_after",
    "bad_gateway_after",
    "cut_before",
    "cut_after",
    "cut_during",
    "truncated",
)
LAG = 2 * HOUR
_OURS = "litellm-lago:"


class KilledError(BaseException):
    """The process is gone; nothing that handles errors may handle this."""


_STAMP = (
    ("events", "created_at"),
    ("events_raw", "ingested_at"),
    ("events_enriched", "enriched_at"),
)


@dataclass(frozen=True, slots=True)
class Fired:
    """One run: when, over what, and whether it came to its end."""

    now: datetime
    window: Window
    ended: bool
    everything: bool
    """Whether it would send all that is missing in its window."""


class Drive:
    """One world on its way through time."""

    def __init__(self, world: World, database_url: str, connection: psycopg.Connection, standin: LagoStandIn) -> None:
        """Make the organization, and empty the spend-log table."""
        self.world = world
        self.rng = random.Random(f"drive {world.seed}")
        self.fired: list[Fired] = []
        self._database_url = database_url
        self._connection = connection
        rows = [(call.row_at, call) for call in world.calls if call.row_at is not None]
        self._rows = sorted(rows, key=lambda item: item[0])
        events = [(arrival.received_at, call, arrival) for call in world.calls for arrival in call.arrivals]
        self._events = sorted(events, key=lambda item: item[0])
        self._bills = list(world.bills)
        self._unmade = sorted((term.made_at, term) for term in world.terms if term.made_at is not None)
        self.invoiced: list[tuple[Bill, int]] = []
        """Invoices that became final, with the tokens that they bill."""
        self.came_at: dict[str, datetime] = {}
        """When Lago took what the job sent, by transaction id."""
        self._runs = 0
        self._standin = standin
        connection.execute('TRUNCATE "LiteLLM_SpendLogs"')
        names = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = '\"LiteLLM_SpendLogs\"'::regclass"
        )
        self._columns = {name for (name,) in names}
        self.organization = self._make(standin)

    def _make(self, standin: LagoStandIn) -> Organization:
        made = standin.create_organization(f"truth {self.world.seed}", event_store=self.world.store)
        made.configure(now=self.world.start)
        made.add_metric(CODE)
        for plan in dict.fromkeys(term.plan for term in self.world.terms):
            model = "dynamic" if plan == DYNAMIC else "standard"
            made.add_plan(plan, charges=[] if plan == FLAT else [(CODE, {"charge_model": model})])
        for payer in dict.fromkeys(term.customer for term in self.world.terms):
            made.add_customer(payer.name, timezone=payer.zone, grace_days=payer.grace_days)
        for term in self.world.terms:
            # A row that begins later is there from the beginning: the job looks at its dates, not at when it came.
            if term.made_at is None:
                _subscribe(made, term)
        return made

    def through(self, folder: Path) -> None:
        """Let time pass until everything that could be sent was, and see that nothing more is."""
        now = self.world.start + 20 * HOUR + self.rng.randrange(60) * MINUTE
        last = self.world.ends + 6 * HOUR
        while now < last:
            self._scheduled(now, folder)
            if self.rng.random() < 0.25:
                self._manual(now + self.rng.uniform(0.2, 0.9) * 12 * HOUR, folder)
            now += self.rng.choice((20, 24, 28)) * HOUR + self.rng.randrange(-30, 30) * MINUTE
        for _ in range(2):
            now += 3 * HOUR
            self._fire(now, None, folder, may_fail=False)

    def _scheduled(self, now: datetime, folder: Path) -> None:
        if not self._fire(now, None, folder, may_fail=True) and self.rng.random() < 0.5:
            self._fire(now + 5 * MINUTE, None, folder, may_fail=True)

    def _manual(self, now: datetime, folder: Path) -> None:
        first = self.world.start + self.rng.random() * (now - self.world.start) * 0.7
        end = first + self.rng.uniform(0.1, 1) * (now - first)
        window = first.replace(microsecond=0).isoformat(), end.replace(microsecond=0).isoformat()
        if self.rng.random() < 0.5:
            self._fire(now, window, folder, may_fail=True)
            return
        before = set(folder.glob("*/plan.jsonl"))
        if self._fire(now, window, folder, may_fail=False, apply=False):
            (plan,) = set(folder.glob("*/plan.jsonl")) - before
            self._fire(now + self.rng.uniform(0, 3) * HOUR, window, folder, may_fail=True, plan=plan)

    def _let_happen(self, now: datetime) -> None:
        """Bring in what was written and what arrived up to now."""
        rows = []
        while self._rows and self._rows[0][0] <= now:
            rows.append(spend_log(self.world, self._rows.pop(0)[1]))
        if rows:
            names = [name for name in rows[0] if name in self._columns]
            insert = sql.SQL('INSERT INTO "LiteLLM_SpendLogs" ({}) VALUES ({})').format(
                sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join(sql.Placeholder() * len(names))
            )
            with self._connection.cursor() as cursor:
                cursor.executemany(insert, [[row[name] for name in names] for row in rows])
        while self._unmade and self._unmade[0][0] <= now:
            _subscribe(self.organization, self._unmade.pop(0)[1])
        while self._bills and self._bills[0].final_at <= now:
            bill = self._bills.pop(0)
            self._arrive(bill.final_at)
            if bill.term.plan not in (FLAT, DYNAMIC):
                self.invoiced.append((bill, self._finalize(bill)))
        self._arrive(now)
        self.organization.configure(now=now)

    def _arrive(self, now: datetime) -> None:
        arrived = []
        while self._events and self._events[0][0] <= now:
            _, call, arrival = self._events.pop(0)
            arrived.append(usage_event(call, arrival))
        if arrived:
            self.organization.insert_events(arrived)

    def _finalize(self, bill: Bill) -> int:
        """Let Lago make an invoice final, and return the tokens that it bills."""
        usage = self.organization.finalize_period(bill.term.external_id, bill.start, bill.end, at=bill.final_at)
        return sum(int(float(one["units"])) for one in usage["charges_usage"])

    def _stamp(self, now: datetime) -> None:
        """Let what the job has just sent have come in the simulation's time: the stand-in stamps the real one."""
        sent = {one.transaction_id for one in self.organization.events() if one.transaction_id.startswith(_OURS)}
        new = sorted(sent - self.came_at.keys())
        self.came_at |= dict.fromkeys(new, now)
        with psycopg.connect(self._standin.database_url, autocommit=True) as connection:
            for table, column in _STAMP if new else ():
                stamp = sql.SQL("UPDATE {} SET {} = %s WHERE organization_id = %s AND transaction_id = ANY(%s)")
                connection.execute(
                    stamp.format(sql.Identifier(table), sql.Identifier(column)),
                    [now.replace(tzinfo=None), self.organization.id, new],
                )

    def _environment(self, folder: Path) -> Mapping[str, str]:
        return {
            "DATABASE_URL": self._database_url,
            "LAGO_API_BASE": self.organization.api_base,
            "LAGO_API_KEY": self.organization.api_key,
            "LAGO_API_EVENT_CODE": CODE,
            "RECONCILE_LAGO_RATE": "10000",
            "RECONCILE_THREADS": "1",
            "RECONCILE_OUTPUT": str(folder),
            "RECONCILE_VERIFY_WITHIN": "0s",
            "RECONCILE_MOST_SHARE": "1",
            "RECONCILE_TOP_UP": str(self.world.top_up).lower(),
            "RECONCILE_SOURCE_TIME_ZONE": self.world.zone,
            **(
                {} if self.world.utc_since is None else {"RECONCILE_SOURCE_UTC_SINCE": self.world.utc_since.isoformat()}
            ),
        }

    def _fire(
        self,
        now: datetime,
        window: tuple[str, str] | None,
        folder: Path,
        *,
        may_fail: bool,
        apply: bool = True,
        plan: Path | None = None,
    ) -> bool:
        """Run the job as the command line does; return whether it came to its end."""
        self._let_happen(now)
        settings = load_settings(self._environment(folder))
        start, end = window or (None, None)
        request = reconcile_settings(settings, start, end, now)
        kill_at = self.rng.randrange(1, 14) if may_fail and self.rng.random() < 0.3 else None
        if may_fail and self.rng.random() < 0.3:
            schedule = tuple(self.rng.choices(_FAULTS, k=self.rng.randint(1, 2)))
            self.organization.set_faults(
                Fault(endpoint="batch", schedule=schedule), Fault(endpoint="create", schedule=schedule)
            )
        steps, turn = [0], threading.Lock()

        def step(name: str) -> None:
            with turn:
                steps[0] += 1
                if kill_at is not None and steps[0] >= kill_at:
                    raise KilledError

        self._runs += 1
        try:
            result = backfill(
                backfill_settings(settings, request, apply=apply),
                SilentProgress(),
                Hooks(now=lambda: now, stop=threading.Event(), step=step),
                run_id=f"run{self._runs:03d}",
                command="truth",
                plan=plan,
            )
            ended = apply and (result.applied is None or result.applied.complete)
            done = True
        except (KilledError, LagoError, RefusedError):
            if not may_fail:
                raise
            ended = done = False
        self.organization.clear_faults()
        self._stamp(now)
        self.fired.append(Fired(now, request.window, ended, plan is None))
        return done


def _subscribe(organization: Organization, term: Term) -> None:
    organization.add_subscription(
        term.external_id,
        customer=term.customer.name,
        plan=term.plan,
        started_at=term.started_at,
        terminated_at=term.terminated_at,
        status=term.status,
        created_at=term.made_at,
        on_termination_invoice="generate" if term.ends_with_invoice else "skip",
    )


def reported(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of every discrepancy report that the runs left, those of killed runs too, each with its `run`."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*/discrepancies.csv")):
        run = int(path.parent.name.rpartition("run")[2])
        with path.open(encoding="utf-8", newline="") as file:
            rows += [row | {"run": run} for row in csv.DictReader(file)]
    return rows


def impatient(folder: Path | str) -> None:
    """Wait briefly after a failed request, and read no public certificates for a server on this machine."""
    sending._FIRST_BACK_OFF_SECONDS = 0.005
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = str(folder)
