"""The closed sets of words a run may use for what it found."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a discrepancy is; each one is of exactly one kind."""

    MISSING = "missing"
    AMBIGUOUS = "ambiguous"
    MISMATCHED = "mismatched"
    MISATTRIBUTED = "misattributed"
    DUPLICATED = "duplicated"
    ORPHANED = "orphaned"
    UNATTRIBUTED = "unattributed"
    HELD = "held"


class HoldReason(StrEnum):
    """Why a missing event may not be sent."""

    NO_SUBSCRIPTION = "no_subscription"
    INACTIVE_SUBSCRIPTION = "inactive_subscription"
    PERIOD_CLOSED = "period_closed"
    PAY_IN_ADVANCE = "pay_in_advance"
    UNKNOWN_METRIC = "unknown_metric"
    SOFT_DELETED = "soft_deleted"
    ZERO_QUANTITY = "zero_quantity"
    SOURCE_INCOMPLETE = "source_incomplete"
    NOT_ALLOWED = "not_allowed"
    SESSION = "session"


class Step(NamedTuple):
    """What a person does about the discrepancies of one sort."""

    kind: Kind
    """Their kind."""
    reason: HoldReason | None
    """Why they are held; None for every other kind."""
    detail: str | None
    """The detail that this step is for, word for word; None for every other detail."""
    text: str
    """One sentence."""


UNPROVEN_KEY = "nothing shows that this API key logs the right user"
"""The detail of calls that are held: LiteLLM 1.60 to 1.90 may log a wrong user, and nothing speaks for their key."""

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
}
_STEPS_BY_DETAIL = {
    (Kind.UNATTRIBUTED, None): {
        "the mapping file does not name its source": "Add its source to the mapping file (RECONCILE_MAPPING_FILE).",
    },
    (Kind.MISMATCHED, None): {
        "same transaction id, other content": "Compare both: this id was sent with another call or content.",
        "a top-up would bill the difference": "Apply the plan with RECONCILE_TOP_UP=true.",
        "it bills more than was used": "Credit in Lago what it billed too much.",
        "it bills less than was used, and no top-up is sure": (
            "Compare both; where they are one call, charge by hand what it billed too little."
        ),
    },
    (Kind.MISATTRIBUTED, None): {
        "its event names another subscription": (
            "Correct the sender and settle it by hand: sending it again would bill the call twice."
        ),
        "its event names a subscription that Lago does not know": (
            "Correct the sender, and charge the call by hand: Lago bills its event to nobody."
        ),
        "its event names no subscription": (
            "Correct the sender, and charge the call by hand: Lago bills no event without external_subscription_id."
        ),
        "its event names its subscription with blanks around it, which Lago does not know": (
            "Let callers send user without blanks, which LiteLLM strips and its callback does not; charge the call by hand."
        ),
        "its event names its subscription with blanks around it, which Lago knows as another": (
            "Let callers send user without blanks, which LiteLLM strips and its callback does not; sending it again would "
            "bill the call twice."
        ),
    },
    (Kind.ORPHANED, None): {
        "its timestamp cannot be read": "Correct the sender's timestamp: Unix seconds, not milliseconds.",
        "it names no subscription": "Correct the sender: Lago bills no event without external_subscription_id.",
        "it names a subscription with blanks around it": (
            "Let callers send user without blanks, which LiteLLM strips and its callback does not; find out whose call it was."
        ),
    },
    (Kind.HELD, HoldReason.ZERO_QUANTITY): {
        "it cost something that is not priced by tokens": "Charge it by what it is priced by: no event of tokens bills it.",
        "it cost something, and its spend log shows no tokens": "Find its usage and charge it by hand.",
    },
    (Kind.HELD, HoldReason.SOURCE_INCOMPLETE): {
        "its quantity is negative or cannot be read": "Correct the meter's source of the quantity; run again.",
        "the gateway made this call for itself": "Do nothing: no caller asked for it; Lago has a part of its events.",
        "its spend log counts failed attempts too, its event only the last": (
            "Decide whether callers pay for failed attempts; charge what its event lacks by hand if they do."
        ),
        "its end time can be read in two ways": "Settle it by hand: the clock was set back in this hour.",
        "it ended within the settlement lag": "Run again later (RECONCILE_SETTLEMENT_LAG).",
        "identical requests go on beyond what was read": "Run again over a wider window.",
        "events come later than this call has had time for": "Run again later: its event may still come.",
        "another subscription has an unexplained event that fits this call": (
            "Find out whose call it was and charge it by hand; later, charge by key, user or team (LAGO_API_CHARGE_BY)."
        ),
        "Lago has calls of this API key, logged under this user, under others": (
            "Find out whose call it was and charge it by hand; later, charge by key, user or team (LAGO_API_CHARGE_BY)."
        ),
        UNPROVEN_KEY: (
            "Find out who used this key; if it is the user logged, set RECONCILE_SEND_UNPROVEN_KEYS=true and run again."
        ),
        "Lago does not tell when the billing period began": (
            "Update Lago, or set RECONCILE_SEND_CLOSED_PERIODS=true once you know that the period is open."
        ),
        "it was sent before with another time and may have been billed": (
            "Look at the earlier event in Lago, and correct RECONCILE_SOURCE_TIME_ZONE if it holds the true time."
        ),
    },
}

NEXT_STEPS = (
    *(Step(kind, None, None, text) for kind, text in _STEPS_BY_KIND.items()),
    *(Step(Kind.HELD, reason, None, text) for reason, text in _STEPS_BY_REASON.items()),
    *(Step(*sort, detail, text) for sort, steps in _STEPS_BY_DETAIL.items() for detail, text in steps.items()),
)
"""What to do about every sort of discrepancy: the report, the console and README say this and nothing else."""


def next_step(kind: Kind, reason: HoldReason | None = None) -> str:
    """Return what a person does about discrepancies of this kind and reason, whatever their detail."""
    return _STEPS_BY_KIND[kind] if reason is None else _STEPS_BY_REASON[reason]


class Exclusion(StrEnum):
    """Why a spend log takes no part in matching."""

    FAILED = "failed"
    HEALTH_CHECK = "health_check"
    INTERNAL_JOB = "internal_job"
    INTERNAL_CALL = "internal_call"
    NOT_INFERENCE = "not_inference"
    CACHE_HIT = "cache_hit"
    DUPLICATE_REQUEST_ID = "duplicate_request_id"
    INVALID_QUANTITY = "invalid_quantity"


class ChargeBy(StrEnum):
    """Which column of a spend log names the subscription that pays; the first three are LiteLLM's own values."""

    END_USER_ID = "end_user_id"
    USER_ID = "user_id"
    TEAM_ID = "team_id"
    ORGANIZATION_ID = "organization_id"
    API_KEY = "api_key"
    METADATA = "metadata"


class Cause(StrEnum):
    """Why discrepancies came about; each one has exactly one cause."""

    NOTHING_ARRIVED = "nothing_arrived"
    SILENCE = "silence"
    RUSH = "rush"
    USER_OUTSIDE_THE_BODY = "user_outside_the_body"
    CALL_TYPE_NOT_SENT = "call_type_not_sent"
    CACHE_HITS_NOT_SENT = "cache_hits_not_sent"
    EVENT_WITHOUT_TOKENS = "event_without_tokens"
    PROPERTY_NEVER_SENT = "property_never_sent"
    PART_OF_THE_TOKENS = "part_of_the_tokens"
    REPEATED_TRANSACTION_ID = "repeated_transaction_id"
    WRONG_CHARGE_BY = "wrong_charge_by"
    SHARED_KEY = "shared_key"
    NO_SUBSCRIPTION_IN_EVENT = "no_subscription_in_event"
    NO_USER = "no_user"
    NOT_IN_MAPPING_FILE = "not_in_mapping_file"
    TIME_ZONE = "time_zone"
    LATE_EVENT = "late_event"
    OTHER_MODEL_NAME = "other_model_name"
    RESTART = "restart"
    REPEATED_REQUEST_ID = "repeated_request_id"
    SPEND_LOGS_GONE = "spend_logs_gone"
    SENT_TWICE = "sent_twice"
    EXCLUDED_SPEND_LOG = "excluded_spend_log"
    UNATTRIBUTED_SPEND_LOG = "unattributed_spend_log"
    UNREADABLE_TIME = "unreadable_time"
    UNEXPLAINED = "unexplained"
