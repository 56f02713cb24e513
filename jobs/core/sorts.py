"""What is told of each sort of discrepancy, and what a person does about it: the one place of these texts."""

from __future__ import annotations

from typing import NamedTuple

from jobs.core.kinds import Detail, HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled


class Sort(NamedTuple):
    """Which discrepancies a detail makes, and what people are told of them."""

    kind: Kind
    """Their kind."""
    reason: HoldReason | Unbilled | None
    """Why they are held, or why Lago does not bill them; None for every other kind."""
    text: str
    """What is told of them: a part of a sentence."""
    step: str | None = None
    """What a person does about them, one sentence; None where their kind or reason says it."""


_STEPS_BY_KIND = {
    Kind.MISSING: "Apply the plan.",
    Kind.AMBIGUOUS: "Look at both events and settle it by hand: it is never sent automatically.",
    Kind.MISMATCHED: "Do what its next_step says: a top-up (RECONCILE_TOP_UP), a credit in Lago, or a look at both.",
    Kind.MISATTRIBUTED: "Correct the sender, and do what its next_step says: it is never sent automatically.",
    Kind.DUPLICATED: (
        "Find out whether one call was sent twice or two share a request id; credit it in Lago only if it was one call."
    ),
    Kind.ORPHANED: "Find out who sent it and why LiteLLM has no spend log of it; credit it in Lago if it is wrong.",
    Kind.UNATTRIBUTED: "Make callers send user, or charge by key, user or team (LAGO_API_CHARGE_BY).",
    Kind.HELD: "See its reason.",
    Kind.RECORDED_UNBILLED: "See its reason; never send it again under another id.",
}
_STEPS_BY_REASON = {
    HoldReason.NO_SUBSCRIPTION: "Create the subscription in Lago, or map the id (RECONCILE_MAPPING_FILE); run again.",
    HoldReason.SESSION: (
        "These are sessions, not customers: charge by key, team or user, or map patterns (RECONCILE_MAPPING_FILE)."
    ),
    HoldReason.INACTIVE_SUBSCRIPTION: "Check the subscription's dates in Lago; charge the call by hand if it is due.",
    HoldReason.PERIOD_CLOSED: "Charge it by hand; RECONCILE_SEND_CLOSED_PERIODS=true only puts it on record.",
    HoldReason.PAY_IN_ADVANCE: "Set RECONCILE_ALLOW_PAY_IN_ADVANCE=true if it may be billed at once; run again.",
    HoldReason.UNKNOWN_METRIC: "Add the metric, or the plan's charge for it, in Lago; run again.",
    HoldReason.SOFT_DELETED: "Charge it by hand: Lago takes no event of this id again.",
    HoldReason.ZERO_QUANTITY: "Do nothing: there is nothing to bill.",
    HoldReason.SOURCE_INCOMPLETE: "Do what its next_step in discrepancies.csv says; some can only be settled by hand.",
    HoldReason.NOT_ALLOWED: "Find out who used the key; allow it in the file (RECONCILE_ALLOWED_FILE) if it is right.",
    HoldReason.INCOMPLETE_SUBSCRIPTION: "Have its first payment settled in Lago, which starts it; run again.",
    HoldReason.UNPRICEABLE_AGGREGATION: "Settle it by hand: what is sent there is not what is billed, once.",
    HoldReason.AMOUNT_MISSING: (
        "Set RECONCILE_MARKUP, or charge it by hand: without an amount it would bill 0, and its id be used up."
    ),
}
_BY_HAND = "Charge it by hand, never by sending it again: Lago does not bill it any more."
_STEPS_BY_UNBILLED = {
    Unbilled.UNKNOWN_METRIC: "Create the metric and the plan's charge in Lago; charge closed periods by hand.",
    Unbilled.NO_SUBSCRIPTION: (
        "Create the subscription in Lago from before the event's time, or correct the sender and charge it by hand."
    ),
    Unbilled.SUBSCRIPTION_INCOMPLETE: "Have its first payment settled in Lago; see whether the event counts then.",
    Unbilled.SUBSCRIPTION_CANCELED: _BY_HAND,
    Unbilled.SUBSCRIPTION_NOT_STARTED: _BY_HAND,
    Unbilled.SUBSCRIPTION_TERMINATED: (
        "Charge it by hand, if its last invoice does not have it: Lago tells the end to the second only."
    ),
    Unbilled.UNKNOWN_PLAN: "See in the subscription's invoices whether its plan, which is gone, charged it.",
    Unbilled.NO_CHARGE: "Add the charge to the plan, which bills the period that is open; charge others by hand.",
    Unbilled.PROPERTY_MISSING: "Correct the sender: Lago bills plain numbers only; charge it by hand.",
    Unbilled.AMOUNT_MISSING: "Correct the sender (precise_total_amount_cents); charge it by hand.",
    Unbilled.PERIOD_NOT_INVOICED: "Charge it by hand: Lago makes no invoice of this period.",
    Unbilled.PERIOD_INVOICED: "Charge it by hand: it came after its period's invoice, and is in no other.",
}
_INCOMPLETE = (Kind.HELD, HoldReason.SOURCE_INCOMPLETE)
_WHOSE_CALL = (
    "Find out whose call it was and charge it by hand; later, charge by key, user or team (LAGO_API_CHARGE_BY)."
)
DETAILS = {
    Detail.SAME_QUANTITIES: Sort(
        Kind.AMBIGUOUS,
        None,
        "an unexplained event has the same quantities, at another time or under another name or price",
    ),
    Detail.SAME_MOMENT: Sort(Kind.AMBIGUOUS, None, "an unexplained event with other quantities lies at the same time"),
    Detail.TOP_UP_WITHOUT_EVENT: Sort(
        Kind.AMBIGUOUS, None, "a top-up for it is in Lago, but the event it completed is not found"
    ),
    Detail.OTHER_CONTENT: Sort(
        Kind.MISMATCHED,
        None,
        "same transaction id, other content",
        "Compare both: this id was sent with another call or content.",
    ),
    Detail.TOP_UP_WOULD_BILL_IT: Sort(
        Kind.MISMATCHED, None, "a top-up would bill the difference", "Apply the plan with RECONCILE_TOP_UP=true."
    ),
    Detail.BILLS_MORE: Sort(
        Kind.MISMATCHED,
        None,
        "it bills more than was used",
        "Compare both; where they are one call, credit in Lago what it billed too much.",
    ),
    Detail.BILLS_LESS: Sort(
        Kind.MISMATCHED,
        None,
        "it bills less than was used, and no top-up is sure",
        "Compare both; where they are one call, charge by hand what it billed too little.",
    ),
    Detail.EVENT_NAMES_ANOTHER: Sort(
        Kind.MISATTRIBUTED,
        None,
        "its event names another subscription",
        "Correct the sender and settle it by hand: sending it again would bill the call twice.",
    ),
    Detail.EVENT_NAMES_UNKNOWN: Sort(
        Kind.MISATTRIBUTED,
        None,
        "its event names a subscription that Lago does not know",
        "Correct the sender, and charge the call by hand: Lago bills its event to nobody.",
    ),
    Detail.EVENT_NAMES_NOBODY: Sort(
        Kind.MISATTRIBUTED,
        None,
        "its event names no subscription",
        "Correct the sender, and charge the call by hand: Lago bills no event without external_subscription_id.",
    ),
    Detail.BLANKS_KNOWN: Sort(
        Kind.MISATTRIBUTED,
        None,
        "its event names its subscription with blanks around it, which Lago knows as another",
        "Let callers send user without blanks and settle it by hand: sending it again would bill the call twice.",
    ),
    Detail.BLANKS_UNKNOWN: Sort(
        Kind.MISATTRIBUTED,
        None,
        "its event names its subscription with blanks around it, which Lago does not know",
        "Let callers send user without blanks, and charge the call by hand: Lago bills its event to nobody.",
    ),
    Detail.UNREADABLE_TIME: Sort(
        Kind.ORPHANED,
        None,
        "its timestamp cannot be read",
        "Correct the sender's timestamp: Unix seconds, not milliseconds.",
    ),
    Detail.NAMES_NO_SUBSCRIPTION: Sort(
        Kind.ORPHANED,
        None,
        "it names no subscription",
        "Correct the sender: Lago bills no event without external_subscription_id.",
    ),
    Detail.NAMES_BLANKS: Sort(
        Kind.ORPHANED,
        None,
        "it names a subscription with blanks around it",
        "Let callers send user without blanks: LiteLLM strips them for its spend logs, and its callback does not.",
    ),
    Detail.CAME_AFTER_BACKFILL: Sort(
        Kind.DUPLICATED,
        None,
        "it came after its call had been backfilled",
        "Credit it in Lago: the event that was sent bills its call; raise RECONCILE_SETTLEMENT_LAG if that is usual.",
    ),
    Detail.MAY_BE_A_CALLS: Sort(
        Kind.ORPHANED,
        None,
        "it counts what a call counts that is held or ambiguous",
        "Settle it together with the call of the same counts; credit nothing before.",
    ),
    Detail.NAMES_NOBODY: Sort(Kind.UNATTRIBUTED, None, "the spend log names nobody"),
    Detail.NOT_IN_MAPPING_FILE: Sort(
        Kind.UNATTRIBUTED,
        None,
        "the mapping file does not name its source",
        "Add its source to the mapping file (RECONCILE_MAPPING_FILE).",
    ),
    Detail.UNREADABLE_QUANTITY: Sort(
        *_INCOMPLETE,
        "its quantity is negative or cannot be read",
        "Correct the meter's source of the quantity; run again.",
    ),
    Detail.INTERNAL_CALL: Sort(
        *_INCOMPLETE,
        "the gateway made this call for itself",
        "Do nothing: no caller asked for it; Lago has a part of its events.",
    ),
    Detail.COUNTS_ATTEMPTS: Sort(
        *_INCOMPLETE,
        "its spend log counts failed attempts too, its event only the last",
        "Decide whether callers pay for failed attempts; charge what its event lacks by hand if they do.",
    ),
    Detail.READ_BY_ANOTHER: Sort(
        *_INCOMPLETE,
        "it reads a response that somebody else made, and is the only record of its usage",
        "Find out who made the response, and charge them by hand.",
    ),
    Detail.TIME_READS_TWO_WAYS: Sort(
        *_INCOMPLETE,
        "its end time can be read in two ways",
        "Settle it by hand: the clock was set back in this hour.",
    ),
    Detail.WITHIN_SETTLEMENT: Sort(
        *_INCOMPLETE, "it ended within the settlement lag", "Run again later (RECONCILE_SETTLEMENT_LAG)."
    ),
    Detail.EVENT_MAY_COME: Sort(
        *_INCOMPLETE,
        "events come later than this call has had time for",
        "Run again later: its event may still come.",
    ),
    Detail.OPEN_CHAIN: Sort(
        *_INCOMPLETE, "identical requests go on beyond what was read", "Run again over a wider window."
    ),
    Detail.FITS_ELSEWHERE: Sort(
        *_INCOMPLETE,
        "another subscription has an unexplained event that fits this call",
        "Find out whose call it was, and settle it together with that event: charge it only where neither bills it.",
    ),
    Detail.PINNED_KEY: Sort(
        *_INCOMPLETE, "Lago has calls of this API key, logged under this user, under others", _WHOSE_CALL
    ),
    Detail.CHARGED_OTHERWISE: Sort(
        *_INCOMPLETE,
        "Lago has calls of this caller under another value of their spend logs",
        "Find out by which value this caller's sender charges: set LAGO_API_CHARGE_BY, or correct the sender; "
        "then run again.",
    ),
    Detail.UNPROVEN_KEY: Sort(
        *_INCOMPLETE,
        "nothing shows that this API key logs the right user",
        "Find out who used this key; if it is the user logged, set RECONCILE_SEND_UNPROVEN_KEYS=true and run again.",
    ),
    Detail.SENT_WITH_OTHER_TIME: Sort(
        *_INCOMPLETE,
        "it was sent before with another time and may have been billed",
        "Look at the earlier event in Lago, and correct RECONCILE_SOURCE_TIME_ZONE if it holds the true time.",
    ),
    Detail.PERIOD_START_UNKNOWN: Sort(
        *_INCOMPLETE,
        "Lago does not tell when the billing period began",
        "Update Lago, or set RECONCILE_SEND_CLOSED_PERIODS=true once you know that the period is open.",
    ),
    Detail.NOTHING_TO_BILL: Sort(Kind.HELD, HoldReason.ZERO_QUANTITY, "nothing to bill"),
    Detail.SPEND_WITHOUT_TOKENS: Sort(
        Kind.HELD,
        HoldReason.ZERO_QUANTITY,
        "it cost something, and its spend log shows no tokens",
        "Find its usage and charge it by hand.",
    ),
    Detail.PRICED_OTHERWISE: Sort(
        Kind.HELD,
        HoldReason.ZERO_QUANTITY,
        "it cost something that is not priced by tokens",
        "Charge it by what it is priced by: no event of tokens bills it.",
    ),
    Detail.NOT_ALLOWED: Sort(
        Kind.HELD, HoldReason.NOT_ALLOWED, "neither this API key nor its team may name this subscription"
    ),
    Detail.NO_METRIC: Sort(Kind.HELD, HoldReason.UNKNOWN_METRIC, "Lago has no billable metric with this code"),
    Detail.NO_CHARGE: Sort(Kind.HELD, HoldReason.UNKNOWN_METRIC, "the plan has no charge for this metric"),
    Detail.SESSION: Sort(Kind.HELD, HoldReason.SESSION, "its end user is a session of a coding agent"),
    Detail.NO_SUBSCRIPTION: Sort(
        Kind.HELD, HoldReason.NO_SUBSCRIPTION, "Lago has no subscription with this external id"
    ),
    Detail.NOT_STARTED: Sort(Kind.HELD, HoldReason.INACTIVE_SUBSCRIPTION, "the subscription began later"),
    Detail.TERMINATED: Sort(Kind.HELD, HoldReason.INACTIVE_SUBSCRIPTION, "the subscription had ended"),
    Detail.CANCELED: Sort(Kind.HELD, HoldReason.INACTIVE_SUBSCRIPTION, "the subscription was canceled"),
    Detail.WAITS_FOR_PAYMENT: Sort(
        Kind.HELD, HoldReason.INCOMPLETE_SUBSCRIPTION, "the subscription waits for its first payment"
    ),
    Detail.NO_PLAN: Sort(
        Kind.HELD,
        HoldReason.UNKNOWN_METRIC,
        "Lago no longer tells the subscription's plan",
        "See in the subscription's invoices what its plan, which is gone, charged; charge it by hand.",
    ),
    Detail.NOT_ADDED_UP: Sort(
        Kind.HELD,
        HoldReason.UNPRICEABLE_AGGREGATION,
        "the metric does not add quantities up, so what it would bill cannot be told",
    ),
    Detail.BILLED_AGAIN_LATER: Sort(
        Kind.HELD,
        HoldReason.UNPRICEABLE_AGGREGATION,
        "the metric is recurring: Lago would bill it in the next period and in every later one",
    ),
    Detail.NEEDS_AMOUNT: Sort(
        Kind.HELD,
        HoldReason.AMOUNT_MISSING,
        "the charge is dynamic and bills only the amount that an event carries",
    ),
    Detail.COST_UNKNOWN: Sort(
        Kind.HELD,
        HoldReason.AMOUNT_MISSING,
        "the charge is dynamic, and LiteLLM tells no cost of the call to make an amount of",
        "Charge it by hand: sent without an amount it would bill 0, and its id be used up.",
    ),
    Detail.OTHER_CURRENCY: Sort(
        Kind.HELD,
        HoldReason.AMOUNT_MISSING,
        "the charge is dynamic, and the subscription pays in another currency than amounts are made in",
        "Set RECONCILE_AMOUNT_CURRENCY, with the rate in RECONCILE_MARKUP, and run for these; else charge it by hand.",
    ),
    Detail.ON_RECORD_ONLY: Sort(
        Kind.MISSING,
        None,
        "its billing period is over: sending it only puts it on record",
        "Apply the plan to put it on record, and charge it by hand.",
    ),
    Detail.UNBILLED_UNKNOWN_METRIC: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.UNKNOWN_METRIC, "Lago has it, and no billable metric with this code"
    ),
    Detail.UNBILLED_NO_SUBSCRIPTION: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.NO_SUBSCRIPTION, "Lago has it, and no subscription with this external id"
    ),
    Detail.UNBILLED_SUBSCRIPTION_INCOMPLETE: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.SUBSCRIPTION_INCOMPLETE, "its subscription waits for its first payment"
    ),
    Detail.UNBILLED_SUBSCRIPTION_CANCELED: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.SUBSCRIPTION_CANCELED, "its subscription was canceled"
    ),
    Detail.UNBILLED_SUBSCRIPTION_NOT_STARTED: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.SUBSCRIPTION_NOT_STARTED, "its subscription began later"
    ),
    Detail.UNBILLED_SUBSCRIPTION_TERMINATED: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.SUBSCRIPTION_TERMINATED, "its subscription had ended before"
    ),
    Detail.UNBILLED_UNKNOWN_PLAN: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.UNKNOWN_PLAN, "Lago no longer tells its subscription's plan"
    ),
    Detail.UNBILLED_NO_CHARGE: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.NO_CHARGE, "its subscription's plan has no charge for this metric"
    ),
    Detail.UNBILLED_PROPERTY_MISSING: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.PROPERTY_MISSING, "Lago reads no number from the property that it bills"
    ),
    Detail.UNBILLED_AMOUNT_MISSING: Sort(
        Kind.RECORDED_UNBILLED,
        Unbilled.AMOUNT_MISSING,
        "the charge is dynamic, and the event carries no precise_total_amount_cents",
    ),
    Detail.UNBILLED_PERIOD_NOT_INVOICED: Sort(
        Kind.RECORDED_UNBILLED,
        Unbilled.PERIOD_NOT_INVOICED,
        "Lago makes no invoice of its billing period: the subscription was made after it, or ended without an invoice",
    ),
    Detail.UNBILLED_PERIOD_INVOICED: Sort(
        Kind.RECORDED_UNBILLED, Unbilled.PERIOD_INVOICED, "it came after its billing period was invoiced"
    ),
    Detail.DELETED_IN_LAGO: Sort(
        Kind.HELD, HoldReason.SOFT_DELETED, "Lago keeps a deleted event of this id and takes no other"
    ),
    Detail.PERIOD_OVER: Sort(Kind.HELD, HoldReason.PERIOD_CLOSED, "the billing period is over"),
    Detail.BILLED_AT_ONCE: Sort(Kind.HELD, HoldReason.PAY_IN_ADVANCE, "the charge bills each event at once"),
}
"""Each detail's sort. The workspace looks kind, reason and texts up here, so a query writes nothing but the code."""

NEXT_STEPS = (
    *((kind, None, step) for kind, step in _STEPS_BY_KIND.items()),
    *((Kind.HELD, reason, step) for reason, step in _STEPS_BY_REASON.items()),
    *((Kind.RECORDED_UNBILLED, reason, step) for reason, step in _STEPS_BY_UNBILLED.items()),
)
"""What to do about each kind and each reason, where a detail does not say it: the report, the console and the
documentation say this and nothing else."""


def next_step(kind: Kind, reason: HoldReason | Unbilled | None = None, detail: Detail | None = None) -> str:
    """Return what a person does about discrepancies of this kind, reason and detail."""
    own = None if detail is None else DETAILS[detail].step
    if isinstance(reason, Unbilled):
        return own or _STEPS_BY_UNBILLED[reason]
    return own or (_STEPS_BY_KIND[kind] if reason is None else _STEPS_BY_REASON[reason])


def reason_of(kind: Kind, text: str) -> HoldReason | Unbilled | None:
    """Return the reason that a query wrote beside a kind; None for an empty text."""
    if not text:
        return None
    return Unbilled(text) if kind is Kind.RECORDED_UNBILLED else HoldReason(text)
