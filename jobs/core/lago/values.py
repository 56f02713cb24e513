"""What Lago tells us, as frozen values; and how its address is written.

Nothing here knows HTTP or lago-python-client: the adapter in `jobs/adapters/lago` fills these values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from jobs.errors import SettingError

EventStore = Literal["postgres", "clickhouse", "unknown"]

_API_PATH = "/api/v1"
_WRITE_IT_LIKE = "Write LAGO_API_BASE like https://api.getlago.com or http://lago-api.lago:3000"


def normalise_api_base(text: str) -> str:
    """Return Lago's base URL without trailing slash and without `/api/v1`; a path prefix before that is kept.

    Raise `SettingError` for anything that is not a plain http or https URL. The message never repeats the
    text, which may hold a password.
    """
    stripped = text.strip()
    try:
        parts = urlsplit(stripped)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Without the cause: what urllib says of a bad address repeats it, and it may hold a password.
        raise SettingError("LAGO_API_BASE is not a valid URL", _WRITE_IT_LIKE) from None
    if parts.username is not None or parts.password is not None:
        raise SettingError(
            "LAGO_API_BASE holds a user name or password", "Leave it out: Lago's key belongs in LAGO_API_KEY"
        )
    if parts.scheme not in ("http", "https"):
        raise SettingError("LAGO_API_BASE does not start with http:// or https://", _WRITE_IT_LIKE)
    if "?" in stripped or "#" in stripped:
        raise SettingError("LAGO_API_BASE holds a query or a fragment (? or #)", _WRITE_IT_LIKE)
    if not host or any(character.isspace() or not character.isprintable() for character in stripped):
        raise SettingError("LAGO_API_BASE is not a valid URL", _WRITE_IT_LIKE)
    path = parts.path.rstrip("/")
    if path.lower().endswith(_API_PATH):
        path = path[: -len(_API_PATH)].rstrip("/")
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}{'' if port is None else f':{port}'}{path}"


@dataclass(frozen=True, slots=True)
class LagoConnection:
    """How Lago is reached. `SettingError` for a key or a limit that cannot work."""

    api_base: str
    """Base URL as `normalise_api_base` returns it: no trailing slash, no `/api/v1`."""
    api_key: str = field(repr=False)
    """Lago API key; never shown."""
    requests_per_second: float = 20.0
    """Requests begun per second, never more; over all threads."""
    concurrency: int = 4
    """Requests under way at once."""
    page_size: int = 5000
    """Rows asked for per list page at most."""
    timeout_seconds: float = 30.0
    """Seconds to wait for an answer, or for the next part of one."""
    attempts: int = 8
    """Times one request is tried before its last failure is reported."""
    ca_file: str | None = None
    """PEM file of certificate authorities to trust beside the public ones, or None."""

    def __post_init__(self) -> None:
        """Refuse what httpx would only refuse later, and less clearly."""
        if not self.api_key:
            raise SettingError("LAGO_API_KEY is empty", "Set it to a key from Lago (Developers > API keys)")
        if any(not "!" <= character <= "~" for character in self.api_key):
            raise SettingError(
                "LAGO_API_KEY holds a blank, a line break or a character outside ASCII",
                "Copy the key again, without quotes and without the line break at its end",
            )
        counts = (self.concurrency, self.page_size, self.attempts)
        if min(counts) < 1 or self.requests_per_second <= 0 or self.timeout_seconds <= 0:
            raise SettingError("a limit of the Lago connection is zero or negative", "Give a positive number")


@dataclass(frozen=True, slots=True)
class BillableMetric:
    """One billable metric: which events count, and which of their properties Lago adds up."""

    code: str
    """The metric's code; events name it."""
    aggregation_type: str
    """How events add up: `count_agg`, `sum_agg`, `max_agg`, `unique_count_agg`, `latest_agg` …"""
    field_name: str | None
    """The property that holds the quantity; None for a count."""
    expression: str | None
    """The formula from which Lago computes `field_name` itself, or None."""
    filters: tuple[tuple[str, tuple[str, ...]], ...]
    """(property, its declared values) pairs that can choose a price, in Lago's order."""
    recurring: bool = False
    """Every period bills all events since the beginning, so that none comes too late."""
    rounds: bool = False
    """Its sum is rounded before it is priced."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One row of a subscription; an upgrade or a renewal leaves several rows with one `external_id`."""

    external_id: str
    """What events name in `external_subscription_id`."""
    lago_id: str
    """Lago's own id of this row."""
    external_customer_id: str | None
    """The customer who pays, by the user's own id."""
    plan_code: str | None
    """Code of the plan this row is on."""
    status: str
    """`active`, `pending`, `terminated`, `canceled` or `incomplete` (it waits for its first payment)."""
    started_at: datetime | None
    """First instant whose events are billed, UTC; None while pending."""
    terminated_at: datetime | None
    """Last instant whose events are billed, UTC, to the second; None while it runs."""
    current_period_started_at: datetime | None
    """Start of the billing period now open, or of the last one of an ended row, UTC; None where Lago gives none."""
    billing_time: str = "calendar"
    """`calendar`, or `anniversary` of `subscription_at`."""
    subscription_at: datetime | None = None
    """The day that anniversaries are counted from, UTC."""
    time_zone: str = "UTC"
    """The customer's time zone, an IANA name: a billing period begins at midnight there."""
    grace_days: int = 0
    """Days that the customer's invoices stay drafts, which are made anew before they are final."""
    created_at: datetime | None = None
    """When Lago made the row, UTC, which may be long after it began; None where Lago does not tell."""
    payer_is_told: bool = True
    """Whether the key may read the customer: otherwise UTC and no grace period are taken for its own."""
    ends_with_invoice: bool = True
    """Whether Lago bills what is left when the row is ended."""


@dataclass(frozen=True, slots=True)
class ChargeFilter:
    """The price of those of a charge's events whose properties have certain values."""

    values: Mapping[str, tuple[str, ...]]
    """The values that each property may have."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Its prices and `pricing_group_keys`, by Lago's own names."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One price of a plan for one billable metric."""

    metric_code: str
    """Code of the billable metric it prices."""
    pay_in_advance: bool
    """Whether each event is billed at once: a backfilled event would make a fee by itself."""
    lago_id: str = field(default="", compare=False)
    """Lago's own id."""
    charge_model: str = "standard"
    """How its quantity becomes money: `standard`, `graduated`, `dynamic` …"""
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Its prices and `pricing_group_keys`, by Lago's own names."""
    filters: tuple[ChargeFilter, ...] = field(default=(), hash=False)
    """Prices of its own for events with certain properties, in Lago's order."""
    prorated: bool = False
    """Whether a part of a period pays a part."""
    min_amount: int = 0
    """The least that a period bills for it, in the currency's smallest unit."""
    has_pricing_unit: bool = False
    """Whether it bills in a unit of its own, which a rate makes money of."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan and its charges, in Lago's order."""

    code: str
    """The plan's code."""
    charges: tuple[Charge, ...]
    """What it charges for; empty for a flat plan."""
    interval: str = "monthly"
    """How long a billing period is: `weekly`, `monthly`, `quarterly`, `semiannual` or `yearly`."""
    bill_charges_monthly: bool = False
    """Whether usage is billed every month, however long the interval is."""
    currency: str = ""
    """ISO 4217; empty where Lago gives none."""
    yearly_amount: int = 0
    """What it costs a year besides usage, in the smallest unit: a change to a cheaper plan is a downgrade."""


@dataclass(frozen=True, slots=True)
class Organization:
    """The organization that the API key belongs to."""

    lago_id: str | None
    """Lago's own id; None where the key may not read it or the server does not tell."""
    name: str | None
    """Its name; None where the key may not read it."""
    event_store: EventStore
    """Where its events live, which decides what a duplicate is; `unknown` where Lago gives no sign."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything Lago knows that is not an event, as read once at the start of a run."""

    organization: Organization
    """Whose catalogue this is."""
    metrics: tuple[BillableMetric, ...]
    """All billable metrics, in order of `code`."""
    plans: tuple[Plan, ...]
    """All plans, in order of `code`."""
    subscriptions: tuple[Subscription, ...]
    """All rows of all subscriptions in every status, in order of (external id, Lago id)."""
