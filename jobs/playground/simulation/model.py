"""The values a simulated month is described by and answers with."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from jobs.errors import SettingError


class LossClass(StrEnum):
    """What happened to one simulated request, and therefore to its spend log and its event."""

    NONE = "none"
    CACHE_HIT = "cache_hit"
    USER_IN_HEADER = "user_in_header"
    USER_IN_METADATA = "user_in_metadata"
    EVENT_WITHOUT_TOKENS = "event_without_tokens"
    SPEECH = "speech"
    LAGO_OUTAGE = "lago_outage"
    CALLBACK_TIMEOUT = "callback_timeout"
    POD_RESTART = "pod_restart"
    FAILURE = "failure"
    UNKNOWN_MODEL = "unknown_model"
    HEALTH_CHECK = "health_check"
    INTERNAL_JOB = "internal_job"
    NOT_INFERENCE = "not_inference"
    PASS_THROUGH = "pass_through"  # noqa: S105 - LiteLLM's word for a forwarded request, no secret
    SENT_TWICE = "sent_twice"
    REPEATED_ID = "repeated_id"
    REPEATED_ID_OTHER_CONTENT = "repeated_id_other_content"
    LATE_EVENT = "late_event"
    OTHER_SUBSCRIPTION = "other_subscription"
    NULL_SUBSCRIPTION = "null_subscription"
    NO_USER = "no_user"
    LATE_BESIDE_LOST = "late_beside_lost"
    INTERNAL_CALL = "internal_call"
    LEAKED = "leaked"
    LEAKED_LOST = "leaked_lost"
    UNPROVEN_KEY = "unproven_key"


class Side(StrEnum):
    """Which of the two sources a truth row speaks about."""

    SPEND_LOG = "spend_log"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """Everything a simulated month depends on: equal settings give equal bytes."""

    month_start: datetime
    """First instant of the month, aware; the month ends one calendar month later."""
    seed: int = 1
    """Seed of every random draw."""
    requests: int = 250_000
    """Calls made to the gateway; lost spend logs make the table a little shorter."""
    code: str = "llm_tokens"
    """Code of the billable metric that the callback names in every event."""
    tolerance: timedelta = timedelta(minutes=15)
    """The truth holds for every matching tolerance up to this one: later events come later than this."""
    hides_losses: bool = False
    """Whether late events land beside calls that lost theirs, and the gateway also makes calls for itself."""
    pins_keys: bool = False
    """Whether LiteLLM logs calls of a key under its first end user, as 1.60 to 1.90 do; then some keys are shared."""

    def __post_init__(self) -> None:
        """Refuse a month without a time zone or one too small to hold every class."""
        if self.month_start.tzinfo is None or self.month_start.day != 1:
            raise SettingError(
                "The simulated month does not start on the first day of a month with a time zone",
                "Give month_start as an aware datetime such as 2026-10-01T00:00:00+00:00",
            )
        if self.requests < 5_000:
            raise SettingError(
                f"A simulated month of {self.requests} requests is too small to hold every class of loss",
                "Ask for 5000 requests or more",
            )

    @property
    def month_end(self) -> datetime:
        """First instant after the month."""
        year, month = divmod(self.month_start.year * 12 + self.month_start.month, 12)
        return self.month_start.replace(year=year, month=month + 1)


class StoredEvent(NamedTuple):
    """One usage event as Lago stores it."""

    transaction_id: str
    """Random-looking UUID, as the callback sends it."""
    external_subscription_id: str | None
    """The subscription the event was recorded under; null for a few."""
    code: str
    """Code of the billable metric."""
    timestamp: datetime
    """When Lago received it, aware UTC, to the microsecond."""
    properties: dict[str, Any]
    """What the callback sends: model, response_cost and, for some call types only, three token counts."""
    created_at: datetime
    """When Lago wrote the row, aware UTC."""


class TruthRow(NamedTuple):
    """What a perfect reconciliation says about one spend log or one event."""

    side: Side
    """Spend log or event."""
    kind: str
    """`matched`, `excluded`, or the kind of discrepancy that docs/matching.md assigns."""
    reason: str
    """Why it is held or excluded, or empty."""
    loss_class: LossClass
    """What the simulation did to it."""
    identifier: str
    """The spend log's request id or the event's transaction id."""
    subscription: str
    """The subscription; empty where there is none."""
    model: str
    """The model as the callback names it, without the provider prefix."""
    total_tokens: int
    """Tokens of the spend log, or those the event bills."""
    at: datetime
    """End time of the spend log or timestamp of the event, aware UTC."""


class TruthTotal(NamedTuple):
    """Truth rows counted: identical requests are told apart by nobody, so counts are what can be compared."""

    side: Side
    """Spend log or event."""
    kind: str
    """As in `TruthRow`."""
    reason: str
    """As in `TruthRow`."""
    loss_class: LossClass
    """As in `TruthRow`."""
    subscription: str
    """As in `TruthRow`."""
    model: str
    """As in `TruthRow`."""
    rows: int
    """Number of spend logs or events."""
    total_tokens: int
    """Sum of their tokens."""
