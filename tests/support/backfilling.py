"""A small world to backfill: calls in a real LiteLLM schema, an organization in the Lago stand-in, and the truth."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from jobs.adapters.litellm_database import Patience
from jobs.backfill import backfill
from jobs.core.assignment import Tolerance
from jobs.core.caps import Caps
from jobs.core.kinds import ChargeBy
from jobs.core.lago.values import LagoConnection
from jobs.core.litellm.spend_logs import SourceClock
from jobs.core.litellm.variables import database_settings
from jobs.core.meters import preset
from jobs.core.rules import Rules
from jobs.core.transaction_ids import transaction_id
from jobs.core.window import Window
from jobs.playground.simulated_gateway import load_spend_logs
from jobs.playground.simulation import SPEND_LOG_COLUMNS
from jobs.steps.backfill_values import Backfill, BackfillSettings, Hooks
from jobs.steps.reconcile_values import ReconcileSettings

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

CODE = "llm_tokens"
START = datetime(2025, 11, 10, 12, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=2))
NOW = START + timedelta(days=2)
SUBSCRIPTIONS = ("alice", "bob")
PERIOD_START = START - timedelta(days=9)
RULES = Rules(
    parts=preset("callback", CODE),
    charge_by=ChargeBy.END_USER_ID,
    charge_by_path=None,
    tolerance=Tolerance(early_us=5_000_000, late_us=60_000_000),
    settlement_lag=timedelta(hours=2),
    longest_call=timedelta(hours=2),
)
CAPS = Caps(events=1000, quantity=Decimal(10**9), share=Decimal(1), share_from_events=1000)

Store = Literal["postgres", "clickhouse"]

_names = count()


@dataclass(frozen=True, slots=True)
class Call:
    """One call that LiteLLM logged, and whether its event reached Lago when it was made."""

    request_id: str
    subscription: str
    at: datetime
    tokens: tuple[int, int]
    lost: bool
    model: str = "gpt-4o"

    @property
    def total(self) -> int:
        """Return the tokens that Lago should bill."""
        return sum(self.tokens)

    @property
    def transaction_id(self) -> str:
        """Return the id that a backfilled event of this call has."""
        return transaction_id(self.subscription, CODE, RULES.parts[0].part, self.request_id)

    @property
    def properties(self) -> dict[str, Any]:
        """Return what LiteLLM's callback sends; numbers as it sends them."""
        prompt, completion = self.tokens
        return {
            "model": self.model,
            "response_cost": 0.001,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": self.total,
        }

    def original(self) -> dict[str, Any]:
        """Return the callback's own event: a random id, received a little after the call's end."""
        return {
            "transaction_id": f"uuid-of-{self.request_id}",
            "external_subscription_id": self.subscription,
            "code": CODE,
            "timestamp": self.at + timedelta(milliseconds=420),
            "properties": self.properties,
        }

    def row(self) -> tuple[Any, ...]:
        """Return the spend log in the order of LiteLLM's columns."""
        values = {
            "request_id": self.request_id,
            "call_type": "acompletion",
            "api_key": f"key-of-{self.subscription}",
            "spend": 0.001,
            "total_tokens": self.total,
            "prompt_tokens": self.tokens[0],
            "completion_tokens": self.tokens[1],
            "startTime": f"{self.at - timedelta(seconds=1):%Y-%m-%d %H:%M:%S.%f}",
            "endTime": f"{self.at:%Y-%m-%d %H:%M:%S.%f}",
            "model": f"openai/{self.model}",
            "model_group": self.model,
            "custom_llm_provider": "openai",
            "user": "user-1",
            "metadata": "{}",
            "cache_hit": "None",
            "end_user": self.subscription,
            "status": "success",
            "created_at": f"{self.at:%Y-%m-%d %H:%M:%S}",
            "updated_at": f"{self.at:%Y-%m-%d %H:%M:%S}",
        }
        return tuple(values.get(column) for column in SPEND_LOG_COLUMNS)


def some_calls(number: int, *, lost: Iterable[int], seed: int = 0) -> tuple[Call, ...]:
    """Return so many calls spread over the window, of both subscriptions, with awkward milliseconds.

    Three in a row are identical but for their request id and time, so that counting matters, not only matching.
    """
    rng = random.Random(seed)
    gone = frozenset(lost)
    spacing = (WINDOW.end - WINDOW.start) // timedelta(seconds=number)
    return tuple(
        Call(
            request_id=f"chatcmpl-{seed}-{position}",
            subscription=SUBSCRIPTIONS[position // 3 % 2],
            at=WINDOW.start + timedelta(seconds=position * spacing, milliseconds=rng.randrange(1000)),
            tokens=(100 + position // 3, 40),
            lost=position in gone,
        )
        for position in range(number)
    )


def fill_litellm(database_url: str, calls: Iterable[Call]) -> None:
    """Write the calls' spend logs."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        load_spend_logs(connection, (call.row() for call in calls))


def new_organization(
    standin: LagoStandIn, calls: Sequence[Call], store: Store = "postgres", *, now: datetime | None = NOW
) -> Organization:
    """Make an organization that has the events of the calls that were not lost; its clock stands at `now`."""
    organization = standin.create_organization(f"backfilling {next(_names)}", event_store=store)
    organization.configure(now=now)
    organization.add_metric(CODE)
    organization.add_plan("tokens", charges=[(CODE, {"pay_in_advance": False})])
    organization.add_customer("customer")
    for name in dict.fromkeys((*SUBSCRIPTIONS, *(call.subscription for call in calls))):
        organization.add_subscription(
            name,
            customer="customer",
            plan="tokens",
            started_at=PERIOD_START - timedelta(days=60),
            current_period_started_at=PERIOD_START,
            current_period_ending_at=PERIOD_START + timedelta(days=30),
        )
    organization.insert_events(call.original() for call in calls if not call.lost)
    return organization


def settings_for(
    database_url: str,
    organization: Organization,
    folder: Path,
    *,
    rules: Rules = RULES,
    timeout_seconds: float = 5.0,
    **reconcile_changes: Any,
) -> BackfillSettings:
    """Return settings that apply, wait briefly, and keep output and ledger in this folder."""
    reconcile = ReconcileSettings(
        window=WINDOW,
        rules=rules,
        caps=CAPS,
        memory_limit="500MB",
        output=folder,
        database=database_settings(url=database_url),
        clock=SourceClock(),
        statement_timeout=timedelta(seconds=30),
        patience=Patience(attempts=2),
        lago=LagoConnection(
            organization.api_base,
            organization.api_key,
            requests_per_second=5000,
            timeout_seconds=timeout_seconds,
            attempts=6,
        ),
        threads=1,
    )
    return BackfillSettings(
        reconcile=replace(reconcile, **reconcile_changes),
        ledger_url=f"sqlite:///{folder / 'ledger.sqlite'}",
        verify_within=timedelta(seconds=3),
        slice_length=timedelta(days=7),
        apply=True,
    )


@dataclass
class Notes:
    """A run's progress, kept."""

    said: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        """Keep the step's name."""
        self.said.append(name)

    def note(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)

    def count(self, done: int, total: int | None) -> None:
        """Ignore it."""


def hooks(*, step: Callable[[str], None] | None = None, stop: threading.Event | None = None) -> Hooks:
    """Return a standing clock, a stop that nobody sets unless given, and where to call at each step."""
    return Hooks(lambda: NOW, stop or threading.Event(), step or (lambda name: None))


def run_one(settings: BackfillSettings, run_id: str = "", *, plan: Path | None = None, **around: Any) -> Backfill:
    """Work the window, or the plan."""
    name = run_id or f"run-{next(_names)}"
    return backfill(settings, Notes(), hooks(**around), run_id=name, command="test", plan=plan)


def due(calls: Iterable[Call]) -> Mapping[str, tuple[int, int]]:
    """Return the truth per subscription: how many events Lago should count, and how many tokens bill."""
    events, tokens = Counter[str](), Counter[str]()
    for call in calls:
        events[call.subscription] += 1
        tokens[call.subscription] += call.total
    return {name: (events[name], tokens[name]) for name in events}


def billed(organization: Organization, names: Iterable[str]) -> Mapping[str, tuple[int, int]]:
    """Return what Lago counts and bills per subscription, by the query behind its current usage."""
    end = PERIOD_START + timedelta(days=30)
    found = {name: organization.billed(name, CODE, PERIOD_START, end) for name in names}
    return {name: (item.events_count, int(item.units)) for name, item in found.items()}


def assert_billed_once(organization: Organization, calls: Sequence[Call], *, late: Sequence[Call] = ()) -> None:
    """Assert for every spend log that Lago bills it: nothing lost, nothing twice, nothing invented.

    `late` are calls whose own event arrived after ours: the design can only bill and report these twice.
    """
    stored = Counter(_identity(event) for event in organization.events())
    ours = {(call.subscription, call.transaction_id): call for call in calls}
    originals = {(call.subscription, f"uuid-of-{call.request_id}"): call for call in calls}
    for (subscription, identity, timestamp, tokens), times in stored.items():
        key = (subscription or "", identity)
        source = ours.get(key) or originals.get(key)
        assert source is not None, f"{identity} comes from no spend log"
        assert tokens == str(source.total), f"{identity} has {tokens} tokens, its spend log {source.total}"
        assert times == 1 or organization.event_store == "clickhouse", f"{identity} is stored {times} times"
        if key in ours:
            assert datetime.fromisoformat(str(timestamp)) == source.at, f"{identity} is not at its call's end"
    keys = Counter((subscription, identity) for subscription, identity, _, _ in stored)
    twice = [call.request_id for call in late]
    for call in calls:
        forms = keys[call.subscription, call.transaction_id] + keys[call.subscription, f"uuid-of-{call.request_id}"]
        assert forms == 1 + twice.count(call.request_id), f"{call.request_id} has {forms} events in Lago"
    assert billed(organization, due(calls)) == due([*calls, *late])


def _identity(event: Any) -> tuple[str | None, str, str | None, str]:
    tokens = str(event.properties.get("total_tokens"))
    return event.external_subscription_id, event.transaction_id, event.timestamp, tokens


def planned_ids(result: Backfill) -> Iterator[str]:
    """Yield the transaction ids of a run's plan."""
    import orjson  # noqa: PLC0415

    for line in (result.run.folder / "plan.jsonl").read_bytes().splitlines()[1:]:
        yield orjson.loads(line)["payload"]["transaction_id"]
