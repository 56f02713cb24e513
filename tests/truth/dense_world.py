"""Dense traffic over some hours with everything that goes wrong, and what is true of each call.

A world is drawn from a combination (LiteLLM's era, event store, meter, whose id is the subscription) and a seed. What
happens to a call is its `Fate`; who really owes it is its `owner`, whatever its spend log says. The other files named
`dense_` draw the calls, let the real job work on them, and compare what it did with what is true.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from jobs.core.transaction_ids import transaction_id

CODE = "llm_tokens"
HOUR, MINUTE, SECOND, MS = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1), timedelta(milliseconds=1)
START = datetime(2026, 11, 10, 6, tzinfo=UTC)
NOW = START + timedelta(days=6)
# As far as a call's own event may lie from its end.
EARLY, LATE = 5 * SECOND, 60 * SECOND

ERAS = ("1.53", "1.65", "1.79", "1.109")
STORES = ("postgres", "clickhouse")
METERS = ("callback", "input-output")
CHARGES = ("end_user_id", "team_id")
PARTS = {"callback": ("total",), "input-output": ("input", "output")}
END_USERS = ("alice", "bob", "carol", "dave", "erin", "frank")
TEAMS = ("team-red", "team-blue", "team-green")


class Fate(StrEnum):
    """What happened to a call; facts about LiteLLM name the classes."""

    DELIVERED = "delivered"
    OUTAGE = "lost: Lago was down"
    TIMEOUT = "lost: callback timed out"
    HEADER = "user in a header"
    NO_USER = "no user"
    LATE = "event late"
    LATE_BESIDE = "event late, beside a lost one's call"
    ELSEWHERE = "event under another subscription"
    NULL = "event under no subscription"
    BARE = "event without tokens"
    DIFFERS = "event of the last attempt only"
    TWICE = "event sent twice"
    RESTART = "spend log lost in a restart"
    FIRST_OF_ID = "the first call of a request id"
    SECOND_OF_ID = "the second call of a request id"
    INTERNAL = "the gateway's own call"
    FAILED = "failed call"


class Kind(StrEnum):
    """What a world is about."""

    PLAIN = "plain"
    WRONG_ZONE = "wrong time zone"
    WRONG_CHARGE_BY = "wrong charge-by"
    CUTS = "cuts"


@dataclass(frozen=True, slots=True, order=True)
class Combination:
    """One of the products that are judged."""

    era: str
    store: str
    meter: str
    charge_by: str
    """As the job is told."""

    def __str__(self) -> str:
        """Return its name, as `--only` takes it."""
        return f"{self.era}/{self.store}/{self.meter}/{self.charge_by}"

    @property
    def may_pin(self) -> bool:
        """Tell whether spend logs may name the first end user of a key in place of the caller."""
        return self.era in {"1.65", "1.79"} and self.charge_by == "end_user_id"


COMBINATIONS = tuple(Combination(*each) for each in product(ERAS, STORES, METERS, CHARGES))


def quantities(tokens: tuple[int, int], part: str) -> tuple[int, ...]:
    """Return what an event of this part of a meter counts for these tokens; the last one is billed."""
    prompt, completion = tokens
    return {"total": (prompt, completion, prompt + completion), "input": (prompt,), "output": (completion,)}[part]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event as it reached Lago."""

    identity: str
    at: datetime
    subscription: str | None
    part: str
    tokens: tuple[int, int] | None
    """Prompt and completion tokens as it tells them; None where it lacks them."""

    @property
    def quantities(self) -> tuple[int, ...]:
        """Return what it counts; nothing where it lacks its tokens."""
        return () if self.tokens is None else quantities(self.tokens, self.part)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, its spend log if there is one, and its events."""

    request_id: str
    owner: str | None
    """The subscription that really owes it; None where nobody can."""
    row_end_user: str
    """What its spend log says."""
    team: str
    api_key: str
    model: str
    call_type: str
    tokens: tuple[int, int]
    end: datetime
    lasted: timedelta
    fate: Fate
    lost_parts: tuple[str, ...]
    """The parts of the meter whose event should have come and did not."""
    arrivals: tuple[Arrival, ...] = ()

    @property
    def has_row(self) -> bool:
        """Tell whether its spend log was written."""
        return self.fate not in {Fate.RESTART, Fate.SECOND_OF_ID}

    def quantities(self, part: str) -> tuple[int, ...]:
        """Return what an event of this part should count."""
        return quantities(self.tokens, part)

    def quantity(self, part: str) -> int:
        """Return what an event of this part should bill."""
        return self.quantities(part)[-1]


@dataclass(frozen=True, slots=True)
class World:
    """Everything a combination and a seed decide."""

    combination: Combination
    seed: int
    kind: Kind
    zone: str
    """Where LiteLLM's containers stand."""
    told_zone: str
    """What the job is told of it."""
    gateway_charge_by: str
    """What the gateway charges by; the job is told what the combination says."""
    pins_every_call: bool
    """Whether this LiteLLM logs every call of a key under its first user, and not only calls that name nobody."""
    pins: dict[str, str]
    """The first end user of each key."""
    top_up: bool
    slice_hours: int
    """The length of a slice of the backfill."""
    window: tuple[datetime, datetime]
    calls: tuple[Call, ...]

    @property
    def name(self) -> str:
        """Return what plays it again."""
        return f"--only {self.combination} --first {self.seed} 1"

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts of its meter."""
        return PARTS[self.combination.meter]

    def logged(self, call: Call) -> str:
        """Return the subscription that the job reads from the spend log, '' for none."""
        return call.row_end_user if self.combination.charge_by == "end_user_id" else call.team

    def identity(self, call: Call, part: str, suffix: str = "") -> str:
        """Return the transaction id that the job would give this event."""
        return transaction_id(self.logged(call), CODE, part + suffix, call.request_id)

    def spend_log(self, call: Call) -> dict[str, Any]:
        """Return the call's row, with the columns of every era; the caller leaves out those that the table lacks."""
        era = self.combination.era
        prompt, completion = call.tokens
        failed = call.fate is Fate.FAILED
        metadata = '{"status": "failure"}' if failed else "{}"
        if call.fate is Fate.INTERNAL:
            metadata = '{"internal_call_origin": "auto_router_classifier"}'
        return {
            "request_id": call.request_id,
            "call_type": call.call_type,
            "api_key": call.api_key,
            "spend": 0.0 if failed else 0.001,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "startTime": self._stored(call.end - call.lasted),
            "endTime": self._stored(call.end),
            "model": f"openai/{call.model}" if era == "1.109" else call.model,
            "model_group": call.model,
            "custom_llm_provider": "openai",
            "user": "user-1",
            "team_id": call.team,
            "end_user": call.row_end_user,
            "cache_hit": "None",
            "metadata": metadata,
            "status": "failure" if failed else "success",
        }

    def event(self, call: Call, arrival: Arrival) -> dict[str, Any]:
        """Return the event as it was sent and as Lago stamped it."""
        properties: dict[str, Any] = {"model": call.model}
        counted: tuple[str, ...] = ("tokens",)
        if arrival.part == "total":
            counted = ("prompt_tokens", "completion_tokens", "total_tokens")
            properties["response_cost"] = 0.001
        else:
            properties["type"] = arrival.part
        if arrival.tokens is not None:
            properties |= zip(counted, arrival.quantities, strict=True)
        return {
            "transaction_id": arrival.identity,
            "external_subscription_id": arrival.subscription,
            "code": CODE,
            "timestamp": arrival.at,
            "properties": properties,
            "created_at": arrival.at,
        }

    def _stored(self, instant: datetime) -> datetime:
        return instant.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)


def kind_of(combination: Combination, seed: int) -> Kind:
    """Return what the world of this seed is about."""
    turn = seed % 10
    if turn == 3:
        return Kind.WRONG_CHARGE_BY
    if turn in {5, 8} and combination.era == "1.53":
        return Kind.WRONG_ZONE
    return Kind.CUTS if turn == 7 else Kind.PLAIN


def generator(combination: Combination, seed: int) -> random.Random:
    """Return the source of everything that is drawn."""
    return random.Random(f"dense {combination} {seed}")
