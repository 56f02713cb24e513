"""Use case: the real job on an embedded PostgreSQL with LiteLLM's real schema and a stand-in for Lago.

Two inputs: one recorded hour of a real LiteLLM proxy, and a simulated month whose losses are known. What the job finds
in the month is compared with what the simulation really lost.
"""

from __future__ import annotations

import csv
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg

from jobs.adapters.litellm_database import Patience
from jobs.backfill import backfill
from jobs.core.assignment import Tolerance
from jobs.core.caps import Caps
from jobs.core.database.settings import DatabaseSettings
from jobs.core.kinds import ChargeBy, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.lago.values import LagoConnection
from jobs.core.litellm.spend_logs import SourceClock
from jobs.core.litellm.variables import database_settings
from jobs.core.meters import preset
from jobs.core.model_names import ModelNames
from jobs.core.rules import Rules
from jobs.core.text import spreadsheet_safe
from jobs.core.window import Window
from jobs.playground.embedded_postgres import EmbeddedPostgres
from jobs.playground.lago_standin import LagoStandIn, Organization
from jobs.playground.litellm_schema import apply_migrations
from jobs.playground.recording import load_recording
from jobs.playground.simulated_gateway import load_daily_end_user_spend, load_spend_logs
from jobs.playground.simulation import Simulation, SimulationSettings, simulate
from jobs.reconcile import reconcile
from jobs.steps.backfill_values import Backfill, BackfillSettings, Hooks
from jobs.steps.reconcile_values import Progress, ReconcileSettings, Run

CODE = "llm_tokens"
MONTH_START = datetime(2026, 10, 1, tzinfo=UTC)
_PRICE = "0.00002"  # of a token, in the customer's currency
RECORDED_HOUR = Window(datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 23, 13, tzinfo=UTC))
# The demo's clock: after everything it judges has settled, whatever the machine's own clock says.
DEMO_NOW = datetime(2026, 11, 25, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the simulation lost and what the job found, for one kind and reason."""

    kind: str
    """Kind, with the reason of a held event behind a colon."""
    classes: tuple[str, ...]
    """The classes of loss that the simulation counts under it."""
    lost_rows: int
    """Spend logs or events by the simulation's own truth."""
    found_rows: int
    """Rows of `discrepancies.csv`."""
    lost_tokens: int
    """Their tokens by the truth."""
    found_tokens: int
    """Their tokens by the report."""
    wrong_places: int
    """Pairs of subscription and model in which the two counts differ."""


@dataclass(frozen=True, slots=True)
class Demo:
    """Every run of the demo, and the month's findings against the truth."""

    recorded: Run
    """The recorded hour."""
    month: Run
    """The simulated month, as it was found."""
    comparisons: tuple[Comparison, ...]
    """What the simulation lost against what was found."""
    applied: Backfill
    """The same month applied, with top-ups."""
    again: Backfill
    """The same once more."""
    due: Decimal
    """Tokens of the month's spend logs that the plan could settle, counted from the spend logs."""
    billed: Decimal
    """How many more tokens Lago bills after the backfill than before."""

    @property
    def finds_the_truth(self) -> bool:
        """Tell whether the job found exactly what the simulation lost, in every subscription and model."""
        return all(
            item.wrong_places == 0 and item.lost_rows == item.found_rows and item.lost_tokens == item.found_tokens
            for item in self.comparisons
        )

    @property
    def bills_each_once(self) -> bool:
        """Tell whether the backfill was complete, moved Lago's bill by what was missing, and left nothing to send."""
        complete = self.applied.applied is not None and self.applied.applied.complete
        return complete and self.billed == self.due and not self.again.run.plan.events


def demo(output: Path, progress: Progress, *, run_id: str, requests: int = 60_000) -> Demo:
    """Run everything from nothing; leave only the runs' folders and the ledger."""
    with _services(progress) as (server_url, standin):
        database = database_settings(url=_url(server_url, "litellm"))
        recording, month = load_recording(), simulate(SimulationSettings(MONTH_START, requests=requests, code=CODE))
        progress.step("filling LiteLLM's tables")
        with psycopg.connect(_url(server_url, "litellm"), autocommit=True) as connection:
            apply_migrations(connection)
            load_spend_logs(connection, recording.spend_log_rows())
            load_spend_logs(connection, month.spend_logs())
            load_daily_end_user_spend(connection, month.daily_end_user_spend())
        progress.step("filling Lago's tables")
        lago = _organization(standin, "demo", month)
        lago.insert_events(event._asdict() for event in recording.events)
        lago.insert_events(event._asdict() for event in month.events())

        hour = _settings(RECORDED_HOUR, output, database, standin, lago)
        whole = replace(hour, window=Window(MONTH_START, month.settings.month_end))
        recorded = reconcile(hour, progress, now=DEMO_NOW, run_id=f"{run_id}-recorded")
        found = reconcile(whole, progress, now=DEMO_NOW, run_id=f"{run_id}-month")
        progress.step("comparing with the truth")
        comparisons = tuple(_compare(month, found))

        applying = replace(whole, rules=replace(whole.rules, top_up=True))
        before = _billed(lago, month)
        applied = _backfill(applying, progress, f"{run_id}-apply")
        after = _billed(lago, month)
        again = _backfill(applying, progress, f"{run_id}-again")
        return Demo(recorded, found, comparisons, applied, again, _due(comparisons), after - before)


def _backfill(settings: ReconcileSettings, progress: Progress, run_id: str) -> Backfill:
    request = BackfillSettings(
        reconcile=settings,
        ledger_url=f"sqlite:///{settings.output / 'ledger.sqlite'}",
        verify_within=timedelta(seconds=60),
        slice_length=timedelta(days=14),
        apply=True,
    )
    hooks = Hooks(now=lambda: DEMO_NOW, stop=threading.Event())
    return backfill(request, progress, hooks, run_id=run_id, command="demo")


def _billed(lago: Organization, month: Simulation) -> Decimal:
    """Return what Lago bills for the month over all subscriptions, by the stand-in's own billing query."""
    known = [row.external_id for row in month.subscriptions if row.known_to_lago]
    end = month.settings.month_end
    return sum((lago.billed(name, CODE, MONTH_START, end).units for name in known), Decimal(0))


def _due(comparisons: tuple[Comparison, ...]) -> Decimal:
    """Return the tokens that the simulation lost and that may be sent: missing, and events without their tokens."""
    return Decimal(sum(item.lost_tokens for item in comparisons if item.kind in {"missing", "mismatched"}))


@contextmanager
def _services(progress: Progress) -> Iterator[tuple[str, LagoStandIn]]:
    progress.step("starting an embedded PostgreSQL and the Lago stand-in")
    with (
        tempfile.TemporaryDirectory(prefix="litellm-lago-demo-") as folder,
        EmbeddedPostgres.start(Path(folder)) as server,
    ):
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE litellm")
            connection.execute("CREATE DATABASE lago")
        with LagoStandIn.start(_url(server.url, "lago")) as standin:
            yield server.url, standin


def _url(server_url: str, name: str) -> str:
    return f"{server_url.rpartition('/')[0]}/{name}"


def _organization(standin: LagoStandIn, name: str, month: Simulation) -> Organization:
    organization = standin.create_organization(name)
    organization.add_metric(CODE, field_name="total_tokens")
    organization.add_plan("tokens", charges=[(CODE, {"pay_in_advance": False, "properties": {"amount": _PRICE}})])
    organization.add_customer("customer")
    known = [row.external_id for row in month.subscriptions if row.known_to_lago]
    recorded = ("sub_ext_1", "sub_hdr")
    for external_id in dict.fromkeys([*recorded, *known]):
        organization.add_subscription(
            external_id,
            customer="customer",
            plan="tokens",
            started_at=MONTH_START - timedelta(days=90),
            # Both windows lie in a period that is open still.
            current_period_started_at=RECORDED_HOUR.start.replace(day=1, hour=0)
            if external_id in recorded
            else MONTH_START,
        )
    return organization


def _settings(
    window: Window, output: Path, database: DatabaseSettings, standin: LagoStandIn, lago: Organization
) -> ReconcileSettings:
    return ReconcileSettings(
        window=window,
        rules=Rules(
            parts=preset("callback", CODE),
            charge_by=ChargeBy.END_USER_ID,
            charge_by_path=None,
            tolerance=Tolerance(early_us=5_000_000, late_us=60_000_000),
            settlement_lag=timedelta(hours=2),
            longest_call=timedelta(hours=2),
        ),
        caps=Caps(events=100_000, quantity=Decimal(10**9), share=Decimal("0.5"), share_from_events=1000),
        memory_limit="1GB",
        output=output,
        database=database,
        clock=SourceClock(),
        statement_timeout=timedelta(minutes=5),
        patience=Patience(),
        lago=LagoConnection(standin.api_base, lago.api_key, requests_per_second=500),
    )


def _compare(month: Simulation, run: Run) -> Iterator[Comparison]:
    truth = _truth(month)
    found = _found(run.folder / "discrepancies.csv")
    for kind in sorted(truth.keys() | found.keys()):
        lost, seen = truth.get(kind, _Tally()), found.get(kind, _Tally())
        places = lost.rows.keys() | seen.rows.keys()
        yield Comparison(
            kind=kind,
            classes=tuple(sorted(lost.classes)),
            lost_rows=sum(lost.rows.values()),
            found_rows=sum(seen.rows.values()),
            lost_tokens=sum(lost.tokens.values()),
            found_tokens=sum(seen.tokens.values()),
            wrong_places=sum(
                (lost.rows[place], lost.tokens[place]) != (seen.rows[place], seen.tokens[place]) for place in places
            ),
        )


class _Tally:
    """Rows and tokens by (subscription, model)."""

    def __init__(self) -> None:
        self.rows: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.tokens: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.classes: set[str] = set()

    def add(self, place: tuple[str, str], rows: int, tokens: int) -> None:
        self.rows[place] += rows
        self.tokens[place] += tokens


def _truth(month: Simulation) -> Mapping[str, _Tally]:
    """Count the truth by kind as the report writes it: a pair that does not agree is one row, the spend log's."""
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    names = ModelNames()
    one_sided = {"duplicated", "orphaned"}
    unknown = {row.external_id for row in month.subscriptions if not row.known_to_lago}
    for total in month.totals():
        kind, reason = total.kind, total.reason
        if kind == "matched" and total.subscription in unknown:
            kind, reason = Kind.RECORDED_UNBILLED, Unbilled.NO_SUBSCRIPTION
        if kind in {"matched", "excluded"} or (total.side == "event") != (kind in one_sided):
            continue
        tally = tallies[f"{kind}: {reason}" if reason else kind]
        place = (spreadsheet_safe(total.subscription), spreadsheet_safe(names.key(total.model)))
        tally.add(place, total.rows, total.total_tokens)
        tally.classes.add(total.loss_class.value)
    return tallies


def _found(path: Path) -> Mapping[str, _Tally]:
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            kind = f"{row['kind']}: {row['reason']}" if row["reason"] else row["kind"]
            tallies[kind].add(
                (row["subscription"], row["model"]), 1, int(row["total_tokens"] or row["recorded_quantity"])
            )
    return tallies
