"""Lets the real job work on a dense world: reconcile, backfill whole or in slices, or cut at every point."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from jobs.backfill import backfill
from jobs.errors import ReconcileError, RefusedError
from jobs.playground.lago_standin import LagoStandIn
from jobs.reconcile import judged_workspace
from jobs.settings import backfill_settings, load_settings, reconcile_settings
from jobs.steps.backfill_values import Hooks
from jobs.steps.plan import PlanRequest, choose_events
from tests.support.databases import Eras, create_database
from tests.support.scenario import SilentProgress
from tests.truth.dense_world import CODE, END_USERS, NOW, START, TEAMS, Kind, World

if TYPE_CHECKING:
    from jobs.playground.lago_standin import Organization

OURS = "litellm-lago:"
# Each cut is two runs.
MOST_CUTS = 5


@dataclass(frozen=True, slots=True)
class Sent:
    """One event that the job sent."""

    identity: str
    subscription: str | None
    timestamp: str | None
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a world."""

    world: World
    sent: tuple[Sent, ...]
    rows: tuple[dict[str, str], ...]
    """The discrepancies that the first run over the world told."""
    refused: str | None
    """Why the job refused to send, if it did."""
    failed: str | None
    """What the job ended with besides, if it failed."""
    sent_again: int = 0
    """Events that a second run sent."""
    cuts: tuple[Cut, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """What is planned over a window whole, and what in pieces."""

    how: str
    """Which pieces, in a few words."""
    too_many: tuple[str, ...]
    """Ids that only the pieces send."""
    too_few: tuple[str, ...] = ()
    """Ids that only the whole sends, where the pieces are slices of one command."""


@dataclass
class Scene:
    """Where worlds are played: a LiteLLM database per era, and one stand-in for Lago."""

    databases: dict[str, str]
    standin: LagoStandIn
    _connections: dict[str, psycopg.Connection] = field(default_factory=dict)

    def play(self, world: World, folder: Path, most_cuts: int = MOST_CUTS) -> Played:
        """Fill both sides with the world and run the job over it; cut a world of cuts at so many points."""
        self._fill_litellm(world)
        return _Run(world, self.databases[world.combination.era], self.standin, folder).played(most_cuts)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()

    def _fill_litellm(self, world: World) -> None:
        era = world.combination.era
        if era not in self._connections:
            self._connections[era] = psycopg.connect(self.databases[era], autocommit=True)
        connection = self._connections[era]
        connection.execute('TRUNCATE "LiteLLM_SpendLogs"')
        of_table = "SELECT attname FROM pg_attribute WHERE attrelid = '\"LiteLLM_SpendLogs\"'::regclass"
        columns = {name for (name,) in connection.execute(of_table)}
        rows = [world.spend_log(call) for call in world.calls if call.has_row]
        names = [name for name in rows[0] if name in columns]
        into = sql.SQL('COPY "LiteLLM_SpendLogs" ({}) FROM STDIN').format(
            sql.SQL(", ").join(map(sql.Identifier, names))
        )
        with connection.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row([row[name] for name in names])


@contextmanager
def scene(server_url: str, eras: Sequence[str]) -> Iterator[Scene]:
    """Make the databases on this server and run the stand-in."""
    with ExitStack() as stack:
        built = Eras(server_url)
        databases = {era: built.database(era) for era in eras}
        made = Scene(databases, stack.enter_context(LagoStandIn.start(create_database(server_url))))
        stack.callback(made.close)
        yield made


class _Run:
    def __init__(self, world: World, database_url: str, standin: LagoStandIn, folder: Path) -> None:
        self.world = world
        self.standin = standin
        self.folder = folder
        self.database_url = database_url
        self.organization = self._organization()
        self.runs = 0

    def played(self, most_cuts: int) -> Played:
        refused, failed, again = None, None, 0
        whole: set[str] = set()
        cuts: list[Cut] = []
        sent: tuple[Sent, ...] = ()
        is_cut = self.world.kind is Kind.CUTS
        try:
            if is_cut:
                whole = self._planned(self.world.window, "whole")
                cuts += self._cuts(most_cuts, whole)
            self._backfill(self.world.window, "first")
            sent = self._sent()
            if self.world.seed % 4 == 0:
                self._backfill(self.world.window, "second")
                again = len(self._sent()) - len(sent)
        except RefusedError as error:
            refused = str(error)
        except ReconcileError as error:
            failed = f"{type(error).__name__}: {error}"
        sent = sent or self._sent()
        if is_cut and refused is None and failed is None:
            ids = {event.identity for event in sent}
            how = f"in slices of {self.world.slice_hours} hours"
            cuts.append(Cut(how, tuple(sorted(ids - whole)), tuple(sorted(whole - ids))))
        return Played(self.world, sent, tuple(self._rows()), refused, failed, again, tuple(cuts))

    def _organization(self) -> Organization:
        world = self.world
        made = self.standin.create_organization(f"dense {world.seed}", event_store=world.combination.store)  # type: ignore[arg-type]
        made.configure(now=NOW)
        made.add_metric(CODE, field_name="total_tokens" if world.combination.meter == "callback" else "tokens")
        made.add_plan("standard", charges=[(CODE, {"pay_in_advance": False})])
        made.add_customer("customer")
        for name in (*END_USERS, *TEAMS):
            made.add_subscription(name, customer="customer", plan="standard", started_at=START - timedelta(days=90))
        made.insert_events(world.event(call, arrival) for call in world.calls for arrival in call.arrivals)
        return made

    def _settings(self, window: tuple[datetime, datetime], name: str) -> Any:
        environment = {
            "DATABASE_URL": self.database_url,
            "LAGO_API_BASE": self.organization.api_base,
            "LAGO_API_KEY": self.organization.api_key,
            "LAGO_API_EVENT_CODE": CODE,
            "LAGO_API_CHARGE_BY": self.world.combination.charge_by,
            "RECONCILE_METER": self.world.combination.meter,
            "RECONCILE_LAGO_RATE": "10000",
            "RECONCILE_THREADS": "1",
            "RECONCILE_OUTPUT": str(self.folder / name),
            "RECONCILE_LEDGER_URL": f"sqlite:///{self.folder}/{self.organization.id}.sqlite",
            "RECONCILE_VERIFY_WITHIN": "0s",
            "RECONCILE_MOST_SHARE": "1",
            "RECONCILE_TOP_UP": str(self.world.top_up).lower(),
            "RECONCILE_SLICE_LENGTH": f"{self.world.slice_hours}h",
            "RECONCILE_SOURCE_TIME_ZONE": self.world.told_zone,
        }
        settings = load_settings(environment)
        return settings, reconcile_settings(settings, window[0].isoformat(), window[1].isoformat(), NOW)

    def _backfill(self, window: tuple[datetime, datetime], name: str) -> None:
        settings, request = self._settings(window, name)
        self.runs += 1
        hooks = Hooks(now=lambda: NOW, stop=threading.Event())
        backfill(
            backfill_settings(settings, request, apply=True),
            SilentProgress(),
            hooks,
            run_id=f"run{self.runs:03d}",
            command="truth",
        )

    def _planned(self, window: tuple[datetime, datetime], name: str) -> set[str]:
        self.runs += 1
        _, request = self._settings(window, name)
        folder = self.folder / f"{name}-{self.runs:03d}"
        folder.mkdir(parents=True)
        # Half of a run's time is its report, and these are many.
        with judged_workspace(request, folder, SilentProgress(), now=NOW) as judged:
            choose_events(judged.workspace, PlanRequest(request.window, request.rules, request.caps, request.only))
            return {row["transaction_id"] for row in judged.workspace.rows("planned_events")}

    def _cuts(self, most: int, whole: set[str]) -> Iterator[Cut]:
        """Yield what two windows in place of one would send besides, for cuts between any two calls."""
        start, end = self.world.window
        times = sorted({start, *(call.end for call in self.world.calls), end})
        points = [(first + (second - first) / 2).replace(microsecond=0) for first, second in pairwise(times)]
        points = [point for point in dict.fromkeys(points) if start < point < end]
        step = max(1, -(-len(points) // most))
        for point in points[self.world.seed // 10 % step :: step]:
            pieces = self._planned((start, point), "piece") | self._planned((point, end), "piece")
            yield Cut(f"planned before and after {point:%d %H:%M:%S}", tuple(sorted(pieces - whole)))
        # Once for real, on an organization of its own.
        point = points[self.world.seed * 7 % len(points)]
        apart = _Run(replace(self.world, slice_hours=24 * 7), self.database_url, self.standin, self.folder / "apart")
        try:
            apart._backfill((start, point), "first")
            apart._backfill((point, end), "second")
        except RefusedError:
            return
        pieces = {event.identity for event in apart._sent()}
        yield Cut(f"applied before and after {point:%d %H:%M:%S}", tuple(sorted(pieces - whole)))

    def _sent(self) -> tuple[Sent, ...]:
        found = {
            event.transaction_id: Sent(
                event.transaction_id, event.external_subscription_id, event.timestamp, event.properties
            )
            for event in self.organization.events()
            if event.transaction_id.startswith(OURS)
        }
        return tuple(found.values())

    def _rows(self) -> Iterator[dict[str, str]]:
        for path in sorted((self.folder / "first").glob("*/discrepancies.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                yield from csv.DictReader(file)
