"""Judges spend logs and events given as plain values, in a workspace of their own: no PostgreSQL, no Lago."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.adapters.workspace import Workspace
from jobs.core.assignment import Tolerance
from jobs.core.kinds import ChargeBy
from jobs.core.lago.values import BillableMetric, Catalogue, Charge, Organization, Plan, Subscription
from jobs.core.laws import check_conservation
from jobs.core.layout import lay_out
from jobs.core.meters import bind, preset
from jobs.core.rules import Rules
from jobs.core.window import Window
from jobs.core.window_facts import WindowFacts
from jobs.steps.judge import judge_left_over
from jobs.steps.match import Sides, match_within, normalise_events
from jobs.steps.references import load_references

_PAIRS = (Path(__file__).parents[1] / "data" / "explained_pairs.sql").read_text(encoding="utf-8")
CODE = "llm_tokens"
DAY = datetime(2026, 11, 10, tzinfo=UTC)
WINDOW = Window(DAY, DAY + timedelta(days=1))
NOW = DAY + timedelta(days=5)
RULES = Rules(
    parts=preset("callback", CODE),
    charge_by=ChargeBy.END_USER_ID,
    charge_by_path=None,
    tolerance=Tolerance(early_us=5_000_000, late_us=60_000_000),
    settlement_lag=timedelta(hours=2),
    longest_call=timedelta(hours=2),
)


@dataclass(frozen=True, slots=True)
class SpendLog:
    """A spend log with what matters to matching; the rest is as an ordinary chat completion has it."""

    request_id: str
    at_ms: int
    """When it ended, in milliseconds after `DAY`."""
    end_user: str | None = "alice"
    model: str = "openai/gpt-4o"
    tokens: tuple[int, int] = (100, 40)
    total: int | None = None
    provider: str | None = "openai"
    call_type: str = "acompletion"
    api_key: str | None = "key-1"
    team_id: str | None = None
    status: str = "success"
    cache_hit: str | None = "None"
    spend: str | None = "0.001"
    extras: tuple[str | None, ...] | None = None
    time_is_ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """An event as Lago lists it."""

    transaction_id: str
    at_ms: int
    """Its timestamp, in milliseconds after `DAY`."""
    subscription: str | None = "alice"
    properties: dict[str, str | None] = field(
        default_factory=lambda: {
            "model": "gpt-4o",
            "prompt_tokens": "100",
            "completion_tokens": "40",
            "total_tokens": "140",
        }
    )
    code: str = CODE
    timestamp: str | None = None
    created_at: str = "2026-11-10T00:00:00Z"
    amount: str = ""


def tokens(model: str, prompt: int, completion: int) -> dict[str, str | None]:
    """Return the properties of the callback's event."""
    return {
        "model": model,
        "prompt_tokens": str(prompt),
        "completion_tokens": str(completion),
        "total_tokens": str(prompt + completion),
    }


def metric(code: str = CODE, field_name: str | None = "total_tokens", kind: str = "sum_agg") -> BillableMetric:
    """Return a billable metric."""
    return BillableMetric(code, kind, field_name, expression=None, filters=())


def subscription(external_id: str, **changes: Any) -> Subscription:
    """Return an active subscription that began long ago, in a period that covers everything."""
    values: dict[str, Any] = {
        "external_id": external_id,
        "lago_id": f"id-{external_id}",
        "external_customer_id": "customer",
        "plan_code": "plan",
        "status": "active",
        "started_at": DAY - timedelta(days=100),
        "terminated_at": None,
        "current_period_started_at": DAY - timedelta(days=50),
    }
    return Subscription(**{**values, **changes})


def charge(code: str = CODE, *, pay_in_advance: bool = False) -> Charge:
    """Return a standard charge."""
    return Charge(code, pay_in_advance=pay_in_advance)


def catalogue(
    *,
    metrics: Sequence[BillableMetric] = (metric(),),
    subscriptions: Sequence[Subscription] = (subscription("alice"), subscription("bob"), subscription("carol")),
    charges: Sequence[Charge] | None = None,
    event_store: Any = "postgres",
) -> Catalogue:
    """Return what Lago knows."""
    plan = Plan("plan", tuple(charge(item.code) for item in metrics) if charges is None else tuple(charges))
    return Catalogue(Organization("org", "org", event_store), tuple(metrics), (plan,), tuple(subscriptions))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything a judged window says."""

    discrepancies: list[dict[str, Any]]
    summary: list[dict[str, Any]]
    usage: list[dict[str, Any]]
    kinds: dict[str, int]
    """Kind, with a held event's reason behind a colon, to count."""
    pairs: set[tuple[str, str, str]]
    """(request id, transaction id, stage)."""

    def found(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return these columns of the discrepancies."""
        return [tuple(row[column] for column in columns) for row in self.discrepancies]


def judged(
    spend_logs: Iterable[SpendLog],
    events: Iterable[Event],
    *,
    rules: Rules = RULES,
    knows: Catalogue | None = None,
    window: Window = WINDOW,
    now: datetime = NOW,
    marks: Iterable[tuple[str, str | None, bool]] = (),
) -> Judgement:
    """Judge the window; conservation is checked as every run checks it."""
    asked: dict[str, Any] = {"rules": rules, "knows": knows, "window": window, "now": now, "marks": marks}
    with judged_workspace(spend_logs, events, **asked) as workspace:
        summary = workspace.rows("summary_rows")
        check_conservation(summary)
        counts = workspace.rows("kind_counts")
        return Judgement(
            discrepancies=workspace.rows("discrepancies"),
            summary=summary,
            usage=workspace.rows("usage_by_day"),
            kinds={f"{row['kind']}: {row['reason']}".removesuffix(": "): row["count"] for row in counts},
            pairs=set(workspace._database.execute(_PAIRS).fetchall()),
        )


@contextmanager
def judged_window(
    spend_logs: Iterable[SpendLog],
    events: Iterable[Event],
    *,
    rules: Rules = RULES,
    knows: Catalogue | None = None,
    window: Window = WINDOW,
    now: datetime = NOW,
    may_pin_end_users: bool = False,
    marks: Iterable[tuple[str, str | None, bool]] = (),
) -> Iterator[tuple[Workspace, WindowFacts]]:
    """Judge the window, and yield the workspace and what holds for the window as a whole.

    `marks` are what the metadata tells: request id, who inside LiteLLM made the call, whether failed attempts count.
    """
    knows = knows or catalogue()
    bound = bind(rules.parts, {item.code: item for item in knows.metrics})
    layout = lay_out(bound, rules.charge_by_path, rules.id_template)
    read = rules.read_window(window)
    with TemporaryDirectory() as folder, Workspace(Path(folder), memory_limit="500MB", threads=1) as workspace:
        rows = [_spend_log_row(log) for log in spend_logs if read.start <= _at(log.at_ms) < read.end]
        workspace.load("load_spend_logs", [_csv(rows)])
        listed = [
            _event_row(event, layout.property_names) for event in events if read.start <= _at(event.at_ms) < read.end
        ]
        workspace.load("load_listed_events", [_csv(listed)], properties=len(layout.property_names))
        normalise_events(workspace, rules, layout, knows, window)
        load_references(workspace, rules, layout, knows)
        workspace.insert("spend_log_mark", marks)
        sides = Sides(may_pin_end_users=may_pin_end_users)
        match_within(workspace, rules, layout, knows, window, sides)
        yield workspace, judge_left_over(workspace, rules, knows, window, now, may_pin_end_users=may_pin_end_users)


@contextmanager
def judged_workspace(spend_logs: Iterable[SpendLog], events: Iterable[Event], **changes: Any) -> Iterator[Workspace]:
    """Judge the window and yield the workspace."""
    with judged_window(spend_logs, events, **changes) as (workspace, _):
        yield workspace


def _at(milliseconds: int) -> datetime:
    return DAY + timedelta(milliseconds=milliseconds)


def _spend_log_row(log: SpendLog) -> list[object]:
    end = _at(log.at_ms).replace(tzinfo=None)
    prompt, completion = log.tokens
    total = prompt + completion if log.total is None else log.total
    extras = None if log.extras is None else json.dumps(log.extras)
    times = [end - timedelta(seconds=1), end, str(log.time_is_ambiguous).lower()]
    who = [log.api_key, None, log.team_id, None, log.end_user]
    what = [log.model, None, log.provider, prompt, completion, total, log.spend, log.cache_hit, log.status, extras]
    return [log.request_id, *times, log.call_type, *who, *what]


def _event_row(event: Event, names: Sequence[str]) -> list[object]:
    at = _at(event.at_ms)
    timestamp = event.timestamp or f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
    properties = json.dumps([event.properties.get(name) for name in names])
    return [
        None,
        event.transaction_id,
        event.subscription,
        event.code,
        timestamp,
        event.created_at,
        event.amount,
        properties,
    ]


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    def cell(value: object) -> str:
        return "" if value is None else '"' + str(value).replace('"', '""') + '"'

    return "".join(",".join(map(cell, row)) + "\n" for row in rows).encode()
