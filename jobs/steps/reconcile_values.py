"""What a reconcile run is asked to do, what it reads and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from jobs.adapters.litellm_database import Patience
from jobs.adapters.workspace import Workspace
from jobs.core.caps import Caps, PlanFilter
from jobs.core.certification import Reason
from jobs.core.database.settings import DatabaseSettings
from jobs.core.doubts import SettingDoubt
from jobs.core.kinds import HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.lago.store import PostgresStore, Store
from jobs.core.lago.values import Catalogue, LagoConnection
from jobs.core.layout import Layout
from jobs.core.litellm.spend_logs import SourceClock, SpendLogsBounds, SpendLogsSchema
from jobs.core.meters import BoundPart
from jobs.core.money.statement import Money
from jobs.core.patterns import Explanation
from jobs.core.rules import Rules
from jobs.core.telling.metrics import Measured
from jobs.core.telling.page import ReportPage
from jobs.core.window import Window
from jobs.core.window_facts import WindowFacts
from jobs.steps.plan import PlanSummary


@dataclass(frozen=True, slots=True)
class Sources:
    """How a process reaches what a run reads."""

    database: DatabaseSettings
    """LiteLLM's database."""
    lago: LagoConnection | None
    """Lago's API; None where it is not set, which a process needs not that reads Lago's store."""
    store: Store | None
    """Lago's own store, where recorded events are read from it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return where recorded events are read; of PostgreSQL only that, since its snapshot tells the rest."""
        if isinstance(self.store, PostgresStore):
            return ("postgres",)
        if self.store is not None:
            return ("clickhouse", self.store.address)
        return ("api",) if self.lago is None else ("api", self.lago.api_base)


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The Dask cluster that a run is spread over."""

    address: str
    """Of its scheduler, as Dask writes it: `tcp://HOST:8786`."""
    parts: int | None
    """How many parts of the payers there are; by what is read where None."""
    wait: timedelta
    """How long to do without any worker."""
    sources: Callable[[], Sources]
    """Asked on each worker: its own environment says how it reaches the sources."""


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    """What one run is asked to do."""

    window: Window
    """What is judged."""
    rules: Rules
    """How spend logs become expected events and how these are matched."""
    caps: Caps
    """The most that a plan may hold."""
    memory_limit: str
    """Of the workspace, such as `1GB`."""
    output: Path
    """The folder that the run's folder is put into."""
    database: DatabaseSettings
    """LiteLLM's database."""
    clock: SourceClock
    """How to read its times."""
    statement_timeout: timedelta
    """The longest query there."""
    patience: Patience
    """How long to try to connect."""
    lago: LagoConnection
    """Lago's API."""
    store: Store | None = None
    """Lago's own store, where recorded events are read from it and not through the API."""
    only: PlanFilter = field(default_factory=PlanFilter)
    """Which part of what is missing goes into the plan."""
    sent_before: tuple[tuple[str, int], ...] = ()
    """(id, timestamp in milliseconds) of events that earlier runs sent or may have sent."""
    unsendable: tuple[str, ...] = ()
    """Ids that Lago has refused before because it keeps a deleted event of that id."""
    look_back: timedelta = timedelta(0)
    """How far before the window an end user counts as known to a key or team; zero tells no new ones."""
    threads: int | None = None
    """Of the workspace; all cores where None."""
    cluster: ClusterSettings | None = None
    """What reads and matches in this process' stead."""
    scratch: Path | None = None
    """The folder for working files, where they shall not lie in the output folder."""
    usage_subscriptions: int = 200
    """Subscriptions whose usage Lago is asked for, those with the most at stake first; 0 asks for none."""
    metrics_subscriptions: int = 20
    """Subscriptions that metrics tell one by one, of each code."""


def told_settings(settings: ReconcileSettings) -> dict[str, Any]:
    """Return what a run was asked to do as `run.json` tells it: no secret, and of a file only its number of rows."""
    rules, lago, database = settings.rules, settings.lago, settings.database
    return {
        "fingerprint": rules.fingerprint(),
        "meter": [{"code": part.code, "part": part.part} for part in rules.parts],
        "charge_by": rules.charge_by if rules.charge_by_path is None else f"metadata.{rules.charge_by_path}",
        "early_seconds": rules.tolerance.early_us / 1e6,
        "late_seconds": rules.tolerance.late_us / 1e6,
        "settlement_lag_seconds": rules.settlement_lag.total_seconds(),
        "longest_call_seconds": rules.longest_call.total_seconds(),
        "doubt_within_seconds": rules.doubt_within.total_seconds(),
        "mapping_file_rows": None if rules.mapping is None else len(rules.mapping),
        "allowed_file_rows": None if rules.allowed is None else len(rules.allowed),
        "alias_file_rows": len(rules.aliases),
        "bill_cache_hits": rules.bill_cache_hits,
        "id_template": rules.id_template,
        "top_up": rules.top_up,
        "send_closed_periods": rules.send_closed_periods,
        "allow_pay_in_advance": rules.allow_pay_in_advance,
        "most_events": settings.caps.events,
        "most_quantity": f"{settings.caps.quantity:f}",
        "most_share": f"{settings.caps.share:f}",
        "most_amount": None if settings.caps.amount is None else f"{settings.caps.amount:f}",
        "only": asdict(settings.only),
        "source_time_zone": str(settings.clock.zone),
        "source_utc_since": settings.clock.utc_since,
        "database": {"host": database.host, "port": database.port, "name": database.name, "schema": database.schema},
        "lago": lago.api_base,
        "events_from": "api" if settings.store is None else type(settings.store).__name__,
        "usage_subscriptions": settings.usage_subscriptions,
        "memory_limit": settings.memory_limit,
        "cluster": None if settings.cluster is None else settings.cluster.address,
    }


class Progress(Protocol):
    """Where a run says what it is doing."""

    def step(self, name: str) -> None:
        """Begin the step of this name."""

    def note(self, text: str) -> None:
        """Say something about the step."""

    def count(self, done: int, total: int | None) -> None:
        """Say how far the step is; `total` is None while it is not known."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A setting that the run's own findings speak against."""

    setting: SettingDoubt
    """Which setting, and why."""
    touched: int
    """Planned events that it could touch."""

    @property
    def refuses(self) -> bool:
        """Tell whether a plan must not be sent: it could be touched, or nothing that was judged can be trusted."""
        return bool(self.touched) or self.setting.touches_all


@dataclass(frozen=True, slots=True)
class Run:
    """What a run found, for the caller to show; the folder holds everything."""

    run_id: str
    window: Window
    folder: Path
    kinds: Mapping[Kind, int]
    """Discrepancies by kind: events, or spend logs for `unattributed`."""
    held: Mapping[HoldReason, int]
    """Held events by reason."""
    unbilled: Mapping[Unbilled, int]
    """Events that are as they should be and that Lago does not bill, by reason."""
    reasons: tuple[Reason, ...]
    """Why the window is not certified; empty if it is."""
    warnings: tuple[str, ...]
    """What a person should know besides."""
    summary: tuple[Mapping[str, Any], ...]
    """The rows of `summary.csv` with the most discrepancies, at most 15."""
    totals: tuple[Mapping[str, Any], ...]
    """Its TOTAL rows, one per code."""
    spend_logs: tuple[Mapping[str, Any], ...]
    """Spend logs and tokens by disposition and reason."""
    causes: tuple[Explanation, ...]
    """Why the discrepancies came about, the most frequent cause first; each discrepancy counts under one."""
    first_seen: tuple[Mapping[str, Any], ...]
    """End users that a key or team names for the first time, the suspicious ones first, at most 100."""
    plan: PlanSummary
    """What could be sent."""
    window_facts: WindowFacts
    """What holds for the window as a whole."""
    doubts: tuple[Doubt, ...]
    """Settings that are probably wrong."""
    money: Money
    """What the discrepancies are worth."""
    counts: Mapping[str, Any]
    """What Lago says it has counted beside what is recorded, as `run.json` tells it."""
    page: ReportPage
    """What `report.html` says."""
    measured: Measured
    """What `metrics.txt` says."""
    ends_in_the_future: bool
    """The source's clock or time zone cannot be right, so nothing may be sent."""
    catalogue: Catalogue
    """What Lago knows, as the run read it."""

    @property
    def certified(self) -> bool:
        """Tell whether the window is certified."""
        return not self.reasons

    @property
    def exit_code(self) -> int:
        """Return what a command that only reads ends with."""
        return 3 if self.billing_discrepancies else 0

    @property
    def billing_discrepancies(self) -> int:
        """Count the discrepancies but for held events of no quantity, which bill nothing."""
        return sum(self.kinds.values()) - self.held.get(HoldReason.ZERO_QUANTITY, 0)


@dataclass(frozen=True, slots=True)
class Judged:
    """A judged window, as a report is made of it."""

    workspace: Workspace
    """Where both sides met."""
    settings: ReconcileSettings
    """What was asked."""
    reading: Reading
    """What was read, besides the rows."""
    window_facts: WindowFacts
    """What holds for the window as a whole."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a run has read, besides the rows in its workspace."""

    catalogue: Catalogue
    """What Lago knows."""
    bound: tuple[BoundPart, ...]
    """The meter, bound to Lago's metrics."""
    layout: Layout
    """Where its values stand in the workspace."""
    schema: SpendLogsSchema
    """The spend-log table that was found."""
    bounds: SpendLogsBounds
    """Its first and last times."""
    legacy_rows: int | None
    """The window's rows in the table that partitioning has put aside; None where it may not be read."""
    dead_letters: int = 0
    """Events of what was read that Lago accepted and will never bill, where the source tells."""
