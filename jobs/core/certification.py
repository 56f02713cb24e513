"""Whether a window is certified: every spend log accounted for, every event agreed on, the sources complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.core.durations import in_words
from jobs.core.kinds import HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled, adds_up
from jobs.core.lago.values import BillableMetric
from jobs.core.sorts import next_step
from jobs.core.window import Window
from jobs.core.window_facts import WindowFacts

# A gateway may be quiet this long at a window's start; more looks like rows that are gone.
_QUIET = timedelta(hours=1)
# Clocks of two machines may differ this much.
_CLOCK_SKEW = timedelta(minutes=5)
_NAMES = {Kind.RECORDED_UNBILLED: "recorded but not billed"}


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a run learnt about the completeness of its two sources."""

    settled_until: datetime
    """Spend logs that ended from here on may still be written or their events may still be on the way."""
    oldest_spend_log: datetime | None
    """The earliest start of any spend log in the table; None if there is none."""
    spend_logs_read: int
    """Spend logs of the window."""
    recorded_events: int
    """Events Lago has in the window, of the meter's codes."""
    ambiguous_times: int
    """Spend logs whose end time can be read in two ways."""
    newest_spend_log: datetime | None
    """The latest end of any spend log in the table; None if there is none."""
    now: datetime
    """When the run began."""
    repeated_ids: int
    """Spend logs of the window that repeat the request id of another one of the same payer."""
    legacy_rows: int | None
    """Spend logs of the window in the table that partitioning has put aside; None where it may not be read."""
    unreadable_events: int
    """Recorded events whose timestamp, quantity or properties cannot be read."""
    invalid_spend_logs: int
    """Spend logs with a negative count, or with an unusable cost where costs are billed."""
    daily_requests: int | None
    """Requests by LiteLLM's daily tables on the window's whole days; None where there are none to compare."""
    daily_differences: int
    """Rows of `daily.csv` where the daily table counts more than the spend logs hold."""

    @property
    def ends_in_the_future(self) -> bool:
        """Tell whether the source's clock or time zone cannot be right."""
        return self.newest_spend_log is not None and self.newest_spend_log > self.now + _CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a window is not certified."""

    code: str
    """A stable word for machines."""
    text: str
    """One sentence for a person."""
    next_step: str
    """What that person does about it."""


def reasons_against(
    window: Window,
    facts: SourceFacts,
    kinds: Mapping[Kind, int],
    held: Mapping[HoldReason, int],
    unbilled: Mapping[Unbilled, int],
) -> tuple[Reason, ...]:
    """Return every reason why the window is not certified; none means that it is.

    `kinds` counts discrepancies by kind; `held` counts the held ones by reason, `unbilled` the recorded ones that
    Lago does not bill. An event of no quantity bills nothing, so one that is held for that is no reason.
    """
    return (*source_reasons(window, facts), *kind_reasons(kinds, held, unbilled))


def kind_reasons(
    kinds: Mapping[Kind, int], held: Mapping[HoldReason, int], unbilled: Mapping[Unbilled, int]
) -> tuple[Reason, ...]:
    """Return the reasons that are discrepancies, one per kind."""
    found = []
    for kind, count in kinds.items():
        billing = count - held.get(HoldReason.ZERO_QUANTITY, 0) if kind is Kind.HELD else count
        if billing:
            noun = "spend log" if kind is Kind.UNATTRIBUTED else "event"
            text = f"{billing:,} {_NAMES.get(kind, kind.value)} {noun}{'' if billing == 1 else 's'}"
            found.append(Reason(kind.value, text, _step(kind, held, unbilled)))
    return tuple(found)


def window_reasons(facts: WindowFacts, settlement_lag: timedelta) -> tuple[Reason, ...]:
    """Return what the facts of the window as a whole has against its certificate, besides its discrepancies."""
    found = []
    if facts.longest_delay > settlement_lag:
        text = (
            f"events arrive up to {in_words(facts.longest_delay)} late, after the settlement lag: of a call that a "
            "run has sent, the event may still come"
        )
        step = "Raise RECONCILE_LATE and RECONCILE_SETTLEMENT_LAG, or find what delays events."
        found.append(Reason("late_events", text, step))
    if facts.unproven_calls:
        text = (
            f"{facts.unproven_calls:,} calls ({facts.unproven_tokens:,} tokens) of "
            f"{facts.unproven_keys:,} API keys are held: this LiteLLM may log a wrong user, and nothing speaks for "
            "these keys"
        )
        step = "Find out who used these keys; RECONCILE_SEND_UNPROVEN_KEYS=true sends such calls."
        found.append(Reason("unproven_keys", text, step))
    return tuple(found)


def metric_reasons(metrics: Iterable[BillableMetric]) -> tuple[Reason, ...]:
    """Return why no count of events proves what these metrics bill: those that do not add quantities up."""
    return tuple(
        Reason(
            "unpriceable_aggregation",
            f"{metric.code} is a {metric.aggregation_type}: what is sent is not what is billed, so that agreement on "
            "events proves no invoice; what is missing there is held",
            "Compare its invoices by hand, or bill usage by a metric that sums or counts.",
        )
        for metric in metrics
        if not adds_up(metric)
    )


def metric_warnings(metrics: Iterable[BillableMetric]) -> tuple[str, ...]:
    """Return what a person should know of metrics that add up and bill the same event more than once."""
    return tuple(
        f"{metric.code} is recurring: Lago bills all its events again in every period, also those that came late, so "
        "that quantities of events are not what one invoice bills; what is missing there is held"
        for metric in metrics
        if adds_up(metric) and metric.recurring
    )


def source_reasons(window: Window, facts: SourceFacts) -> tuple[Reason, ...]:
    """Return every reason why the sources do not tell everything about the window."""
    checks = [
        (
            window.end > facts.settled_until,
            "not_settled",
            f"the window is final only up to {facts.settled_until.isoformat()}; later rows and events may still come",
            "Run again when it is settled, or end the window earlier.",
        ),
        (
            facts.spend_logs_read == 0 and bool(facts.recorded_events or facts.daily_requests),
            "no_spend_logs",
            "there are no spend logs although there was usage: disable_spend_logs is set, or retention deleted them",
            "Unset disable_spend_logs in LiteLLM; what is gone cannot be reconciled.",
        ),
        (
            facts.oldest_spend_log is not None and facts.oldest_spend_log > window.start + _QUIET,
            "retention",
            f"the oldest spend log starts {_at(facts.oldest_spend_log)}, after the window does: "
            "retention may have deleted some",
            "Lengthen LiteLLM's maximum_spend_logs_retention_period, or run sooner; ignore it for a new gateway.",
        ),
        (
            facts.legacy_rows != 0,
            "legacy_table",
            f"{'unknown' if facts.legacy_rows is None else facts.legacy_rows} spend logs of the window lie in "
            "LiteLLM_SpendLogs_legacy, which is not read",
            "Copy them into the partitioned table, as LiteLLM's runbook says.",
        ),
        (
            facts.ambiguous_times > 0,
            "ambiguous_times",
            f"{facts.ambiguous_times} spend logs have an end time that can be read in two ways",
            "Settle this hour by hand, or set RECONCILE_SOURCE_UTC_SINCE to when LiteLLM began to write UTC.",
        ),
        (
            facts.ends_in_the_future,
            "future_times",
            f"a spend log ends {_at(facts.newest_spend_log)}, in the future",
            "Set RECONCILE_SOURCE_TIME_ZONE to the zone that LiteLLM's containers ran in, or correct their clock.",
        ),
        (
            facts.repeated_ids > 0,
            "repeated_ids",
            f"{facts.repeated_ids} spend logs repeat a request id of the same payer; only the first of each is billed",
            "Find the provider that repeats ids; the others are settled by hand.",
        ),
        (
            facts.unreadable_events > 0,
            "unreadable_events",
            f"{facts.unreadable_events} events in Lago have a timestamp or quantity that cannot be read",
            "Correct the sender: Lago does not bill a quantity that is no plain number.",
        ),
        (
            facts.invalid_spend_logs > 0,
            "invalid_spend_logs",
            f"{facts.invalid_spend_logs} spend logs hold a count or cost that cannot be used",
            "Look at them in LiteLLM's database; they are not billed.",
        ),
        (
            facts.daily_differences > 0,
            "daily_tables",
            f"LiteLLM's daily tables count more than the spend logs hold in {facts.daily_differences} places "
            "(daily.csv): spend logs were lost",
            "Look at daily.csv for what to charge by hand; the usual cause is a provider that repeats ids.",
        ),
    ]
    return tuple(Reason(code, text, step) for applies, code, text, step in checks if applies)


def _step(kind: Kind, held: Mapping[HoldReason, int], unbilled: Mapping[Unbilled, int]) -> str:
    if kind is Kind.RECORDED_UNBILLED:
        return " ".join(
            f"{count} {reason.value}: {next_step(kind, reason)}" for reason, count in unbilled.items() if count
        )
    if kind is not Kind.HELD:
        return next_step(kind)
    reasons = [reason for reason in HoldReason if held.get(reason) and reason is not HoldReason.ZERO_QUANTITY]
    return " ".join(f"{held[reason]} {reason.value}: {next_step(Kind.HELD, reason)}" for reason in reasons)


def _at(instant: datetime | None) -> str:
    return "" if instant is None else instant.isoformat()
