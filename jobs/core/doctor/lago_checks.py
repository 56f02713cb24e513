"""What the doctor makes of Lago: facts in, verdicts out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.core.doctor.checks import Status, Verdict, failed, passed, some, warned
from jobs.core.lago.values import BillableMetric, Organization, Plan, Subscription
from jobs.core.meters import NUMBER_SOURCES, PRESETS, TEXT_SOURCES, BoundPart, MeterPart, bind, preset
from jobs.errors import SettingError

# Clocks that differ by more than the first are worth a look; by more than the second, calls and events no longer match.
_SKEW_WARNED = timedelta(seconds=5)
_SKEW_FAILED = timedelta(seconds=60)
_AGENT_SDK = preset("agent-sdk", "")
# What events of each stock sender have; those of lago-agent-sdk are known by their codes.
_SHAPES = tuple(
    (name, frozenset(word for part in preset(name, "") for word, _ in (*part.dimensions, *part.quantities)))
    for name in PRESETS
    if name != "agent-sdk"
)
_WITHOUT_TOKENS = frozenset({"model", "response_cost"})


@dataclass(frozen=True, slots=True)
class SampledEvent:
    """One recent event as Lago lists it."""

    code: str
    """The billable metric it names."""
    subscription: str | None
    """The subscription it names, if any."""
    time: datetime | None
    """Its timestamp, UTC; None where it cannot be read."""
    properties: frozenset[str]
    """Names of its properties."""
    numbers: frozenset[str]
    """Those whose value is a plain number."""


def judge_answer(host: str, is_lago: bool, what: str) -> Verdict:
    """Judge whether the first answer has the form of Lago's."""
    if is_lago:
        return passed(f"{host} answers as Lago's API does")
    return failed(
        f"what answers at {host} is not Lago's API ({what})",
        "Set LAGO_API_BASE to the address of Lago's API, not of its web page",
    )


def judge_key(status: int) -> Verdict:
    """Judge whether Lago knows the key, by the status of its first answer."""
    if status == 401:
        return failed("Lago does not know the key (401)", "Set LAGO_API_KEY to a valid key of the organization")
    return passed("Lago knows the key")


def judge_permissions(forbidden: Sequence[str], may_read_usage: bool) -> Verdict:
    """Judge whether the key may read what a run reads. Whether it may write is not asked: that would be writing."""
    if forbidden:
        return failed(
            f"the key may not read {', '.join(forbidden)} (403)",
            "Give the key this permission in Lago (Developers > API keys); to apply it must also write events",
        )
    if not may_read_usage:
        return warned(
            "the key may not read current usage (403), by which an apply sees that Lago counts what was sent",
            "Give the key this permission in Lago (Developers > API keys)",
        )
    return passed("the key may read events, metrics, plans, subscriptions and usage; writing events is not tried")


def judge_server(organization: Organization) -> Verdict:
    """Judge what is known about the server."""
    name = "" if organization.name is None else f" of the organization '{organization.name}'"
    if organization.event_store == "unknown":
        return warned(
            f"Lago does not tell where it keeps the events{name}",
            "Update Lago to 1.47 or later, or let the key read organizations; until then PostgreSQL is assumed",
        )
    meaning = (
        "it refuses a second event of one id"
        if organization.event_store == "postgres"
        else ("it takes a second event of one id and bills both if their times differ")
    )
    return passed(f"events{name} are kept in {organization.event_store}: {meaning}")


def judge_metric(parts: Sequence[MeterPart], metrics: Sequence[BillableMetric]) -> Verdict:
    """Judge whether each metric of the meter exists and bills something that the meter sends."""
    known = {metric.code: metric for metric in metrics}
    try:
        bound = bind(parts, known)
    except SettingError as error:
        return failed(error.what, error.remedy)
    found = "; ".join(dict.fromkeys(_billed(part, known) for part in bound))
    unknown = sorted({part.part.code for part in bound if not part.known})
    if unknown:
        return warned(
            f"{found}; Lago has no metric {some(unknown)}", "Create the metric, or take its part off the meter"
        )
    odd = [part.part.code for part in bound if part.billed is not None and not part.sums]
    if odd:
        return warned(f"{found}: a difference cannot be topped up there", "Leave RECONCILE_TOP_UP off for such metrics")
    return passed(found)


def judge_charges(parts: Sequence[MeterPart], plans: Sequence[Plan]) -> Verdict:
    """Judge whether what the events count is charged for, and when."""
    codes = {part.code for part in parts}
    charging = {plan.code: [charge for charge in plan.charges if charge.metric_code in codes] for plan in plans}
    charged = {charge.metric_code for charges in charging.values() for charge in charges}
    if not charged:
        return failed(
            f"no plan charges for {some(sorted(codes))}: events would be stored and never billed",
            "Add a charge for the metric to the plan in Lago",
        )
    at_once = sorted(code for code, charges in charging.items() if any(charge.pay_in_advance for charge in charges))
    if at_once:
        return warned(
            f"the plan {some(at_once)} bills each event at once, so what is missing there is held",
            "Set RECONCILE_ALLOW_PAY_IN_ADVANCE=true if a backfill may bill at once",
        )
    return passed(f"charged for by {some(sorted(code for code, charges in charging.items() if charges))}")


def judge_shape(name: str, parts: Sequence[MeterPart], events: Sequence[SampledEvent]) -> Verdict:
    """Judge whether the configured meter, called `name`, fits what senders send; propose the one that does."""
    codes = {part.code for part in parts}
    own = [event for event in events if event.code in codes]
    if not own:
        foreign = Counter(_shape(event) for event in events)
        proposal = next((shape for shape, _ in foreign.most_common() if shape is not None and shape != name), None)
        if proposal is not None:
            others = sorted({event.code for event in events})
            return failed(
                f"no recent event names {some(sorted(codes))}, but those of {some(others)} look like the meter "
                f"'{proposal}'",
                f"Set RECONCILE_METER={proposal}, and LAGO_API_EVENT_CODE to the code that the events name",
            )
        return warned(
            f"Lago has no recent event of {some(sorted(codes))}",
            'See that LiteLLM has success_callback: ["lago"] and LAGO_API_EVENT_CODE, and that calls name who pays',
        )
    fitting = sum(_fits(event, parts) for event in own)
    tokenless = sum(_is_tokenless(event) for event in own) if name == "callback" else 0
    found = f"{fitting:,} of {len(own):,} recent events have the properties of the meter '{name}'"
    if tokenless:
        found += f", {tokenless:,} are the callback's without tokens, which bill nothing"
    if fitting + tokenless == len(own):
        if tokenless:
            return warned(found, "Bill what they lack with top-ups (RECONCILE_TOP_UP)")
        return passed(found)
    strange = [event for event in own if not _fits(event, parts) and not (tokenless and _is_tokenless(event))]
    shape, rows = Counter((_shape(event), event.properties) for event in strange).most_common(1)[0]
    listed = f"{found}; {rows:,} have {some(sorted(shape[1]), 8) or 'no property'}"
    if shape[0] is not None:
        remedy = f"Set RECONCILE_METER={shape[0]}"
    else:
        example = next(event for event in strange if event.properties == shape[1])
        remedy = f"Describe them in the configuration file: {_described(example)}"
    return failed(listed, remedy) if fitting * 2 < len(own) else warned(listed, f"If they are LiteLLM's: {remedy}")


def judge_codes(events: Sequence[SampledEvent], metrics: Sequence[BillableMetric]) -> Verdict:
    """Judge whether senders name metrics that exist: Lago takes other events and never bills them."""
    if not events:
        return passed("there is no recent event")
    known = {metric.code for metric in metrics}
    unknown = Counter(event.code for event in events if event.code not in known)
    if unknown:
        return warned(
            f"{unknown.total():,} of {len(events):,} recent events name a metric that Lago does not have: "
            f"{some([code for code, _ in unknown.most_common()])}",
            "Correct the code where they are sent, or create the metric: Lago stores such events and never bills them",
        )
    return passed(f"{len(events):,} recent events name {some(sorted({event.code for event in events}))}")


def judge_event_subscriptions(events: Sequence[SampledEvent]) -> Verdict:
    """Judge whether senders say who pays."""
    nobody = sum(not event.subscription for event in events)
    if nobody:
        return warned(
            f"{nobody:,} of {len(events):,} recent events name no subscription, so nobody is billed for them",
            "Correct the sender (external_subscription_id); LiteLLM before 1.44.18 never sent one: upgrade it",
        )
    return passed(f"{len(events):,} recent events name a subscription")


def judge_event_times(events: Sequence[SampledEvent], now: datetime) -> Verdict:
    """Judge whether senders send times that can be right."""
    wrong = sum(event.time is None or event.time > now + timedelta(minutes=5) for event in events)
    if wrong:
        return warned(
            f"{wrong:,} of {len(events):,} recent events have a timestamp in the future or beyond reading",
            "Correct the sender: timestamps are Unix seconds in UTC, not milliseconds and not local time",
        )
    return passed("none lies in the future")


def judge_subscriptions(
    sources: Sequence[tuple[str, int]], mapping: tuple[tuple[str, str], ...] | None, rows: Sequence[Subscription]
) -> Verdict:
    """Judge whether Lago has who should pay; `sources` are values of recent spend logs with their rows."""
    payer = dict(mapping or ())
    wanted: Counter[str] = Counter()
    for source, count in sources:
        if mapping is None or source in payer:
            wanted[payer.get(source, source)] += count
    if not wanted:
        return warned("recent spend logs name nobody to look for", "See the check attribution")
    known = {row.external_id for row in rows}
    active = {row.external_id for row in rows if row.status == "active"}
    unknown = [name for name, _ in wanted.most_common() if name not in known]
    inactive = [name for name, _ in wanted.most_common() if name in known - active]
    billed = sum(count for name, count in wanted.items() if name in active)
    found = (
        f"Lago has {len(wanted) - len(unknown):,} of {len(wanted):,} subscriptions of recent spend logs, "
        f"{len(wanted) - len(unknown) - len(inactive):,} active, with {100 * billed / wanted.total():.0f}% of the rows"
    )
    if not unknown and not inactive:
        return passed(found)
    named = [f"{word}: {some(names)}" for word, names in (("unknown", unknown), ("not active", inactive)) if names]
    judge = failed if len(unknown) == len(wanted) else warned
    return judge(
        f"{found}; {'; '.join(named)}",
        "Create these subscriptions in Lago, map the values (RECONCILE_MAPPING_FILE), or charge by another value",
    )


def judge_rate(limit: float | None, configured: float) -> Verdict:
    """Judge the configured rate against the limit that Lago tells, in requests per second."""
    if limit is None:
        return passed(f"Lago tells no limit; {configured:g} requests a second are configured")
    if configured > limit:
        return warned(
            f"Lago allows {limit:g} requests a second, {configured:g} are configured: many would be repeated",
            f"Set RECONCILE_LAGO_RATE={max(1, int(limit * 0.8))}, to leave room for other senders",
        )
    return passed(f"Lago allows {limit:g} requests a second, {configured:g} are configured")


def judge_clocks(skews: Mapping[str, timedelta | None]) -> Verdict:
    """Judge how far the clocks of others are ahead of this machine's; None where one could not be asked."""
    asked = {name: skew for name, skew in skews.items() if skew is not None}
    if not asked:
        return Verdict(Status.SKIPPED, f"because neither {' nor '.join(skews)} could be asked")
    unasked = [name for name, skew in skews.items() if skew is None]
    told = ", ".join(f"{name} is {skew.total_seconds():+.1f} s off" for name, skew in asked.items())
    rest = f"; {' and '.join(unasked)} could not be asked" if unasked else ""
    worst = max(abs(skew) for skew in asked.values())
    if worst > _SKEW_FAILED:
        judge = failed
    elif worst > _SKEW_WARNED:
        judge = warned
    else:
        return passed(told + rest)
    return judge(
        told + rest, "Correct the clock (NTP) of the machine that is off: events are matched to calls by their times"
    )


def _billed(part: BoundPart, known: Mapping[str, BillableMetric]) -> str:
    metric = known.get(part.part.code)
    if metric is None:
        return f"{part.part.code} is unknown"
    return f"{metric.code} is {metric.aggregation_type}" + (f" of {part.billed}" if part.billed else "")


def _fits(event: SampledEvent, parts: Sequence[MeterPart]) -> bool:
    return any(
        part.code == event.code and {name for name, _ in (*part.dimensions, *part.quantities)} <= event.properties
        for part in parts
    )


def _is_tokenless(event: SampledEvent) -> bool:
    return event.properties == _WITHOUT_TOKENS


def _shape(event: SampledEvent) -> str | None:
    """Return the preset that this event is of, or None."""
    if _fits(event, _AGENT_SDK):
        return "agent-sdk"
    return next((name for name, properties in _SHAPES if properties <= event.properties), None)


def _described(event: SampledEvent) -> str:
    """Return the meter part that would fit an event, for a person to correct."""
    quantities = {name: _guess(name, NUMBER_SOURCES, "total_tokens") for name in sorted(event.numbers)}
    texts = sorted(event.properties - event.numbers)
    dimensions = {name: _guess(name, TEXT_SOURCES, f"metadata.{name}") for name in texts}
    return (
        f'meter = "custom" with [[meter_parts]] code = {json.dumps(event.code)}, part = "total", '
        f"dimensions = {_toml(dimensions)}, quantities = {_toml(quantities)}"
    )


def _guess(name: str, sources: Iterable[str], otherwise: str) -> str:
    words = {"input": "prompt_tokens", "prompt": "prompt_tokens", "output": "completion_tokens", "cost": "spend"}
    if name in sources:
        return name
    return next((source for word, source in words.items() if word in name and source in sources), otherwise)


def _toml(table: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{json.dumps(name)} = {json.dumps(source)}" for name, source in table.items()) + " }"
