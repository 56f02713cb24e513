"""The closed sets of words a run may use for what it found."""

from __future__ import annotations

from enum import StrEnum


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
    RECORDED_UNBILLED = "recorded_unbilled"


WITHOUT_EVENT = (Kind.MISSING, Kind.HELD, Kind.AMBIGUOUS)
"""Kinds of expected events that have no recorded one, in the order in which people are shown them."""
PAIRED = (Kind.MISMATCHED, Kind.MISATTRIBUTED)
"""Kinds of pairs: they count on both sides."""
WITHOUT_SPEND_LOG = (Kind.DUPLICATED, Kind.ORPHANED)
"""Kinds of recorded events that have no expected one."""
EVENT_KINDS = (*WITHOUT_EVENT, *PAIRED, *WITHOUT_SPEND_LOG)
"""The kinds that every event is of one of, or it is matched; the others are of spend logs, or of what Lago bills."""
COUNTED = (*EVENT_KINDS, "unbilled")
"""What the summary counts beside what matched; `unbilled` are recorded events, matched too, that Lago does not bill."""


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
    INCOMPLETE_SUBSCRIPTION = "incomplete_subscription"
    UNPRICEABLE_AGGREGATION = "unpriceable_aggregation"
    AMOUNT_MISSING = "amount_missing"


class Detail(StrEnum):
    """What decided that a discrepancy is of its kind, and of its reason where it is held; queries write these codes."""

    SAME_QUANTITIES = "same_quantities"
    SAME_MOMENT = "same_moment"
    TOP_UP_WITHOUT_EVENT = "top_up_without_event"
    OTHER_CONTENT = "other_content"
    TOP_UP_WOULD_BILL_IT = "top_up_would_bill_it"
    BILLS_MORE = "bills_more"
    BILLS_LESS = "bills_less"
    EVENT_NAMES_ANOTHER = "event_names_another"
    EVENT_NAMES_UNKNOWN = "event_names_unknown"
    EVENT_NAMES_NOBODY = "event_names_nobody"
    BLANKS_KNOWN = "blanks_known"
    BLANKS_UNKNOWN = "blanks_unknown"
    UNREADABLE_TIME = "unreadable_time"
    NAMES_NO_SUBSCRIPTION = "names_no_subscription"
    NAMES_BLANKS = "names_blanks"
    CAME_AFTER_BACKFILL = "came_after_backfill"
    MAY_BE_A_CALLS = "may_be_a_calls"
    NAMES_NOBODY = "names_nobody"
    NOT_IN_MAPPING_FILE = "not_in_mapping_file"
    UNREADABLE_QUANTITY = "unreadable_quantity"
    INTERNAL_CALL = "internal_call"
    COUNTS_ATTEMPTS = "counts_attempts"
    READ_BY_ANOTHER = "read_by_another"
    TIME_READS_TWO_WAYS = "time_reads_two_ways"
    WITHIN_SETTLEMENT = "within_settlement"
    EVENT_MAY_COME = "event_may_come"
    OPEN_CHAIN = "open_chain"
    FITS_ELSEWHERE = "fits_elsewhere"
    PINNED_KEY = "pinned_key"
    UNPROVEN_KEY = "unproven_key"
    SENT_WITH_OTHER_TIME = "sent_with_other_time"
    PERIOD_START_UNKNOWN = "period_start_unknown"
    NOTHING_TO_BILL = "nothing_to_bill"
    SPEND_WITHOUT_TOKENS = "spend_without_tokens"
    PRICED_OTHERWISE = "priced_otherwise"
    NOT_ALLOWED = "not_allowed"
    NO_METRIC = "no_metric"
    NO_CHARGE = "no_charge"
    SESSION = "session"
    NO_SUBSCRIPTION = "no_subscription"
    DELETED_IN_LAGO = "deleted_in_lago"
    PERIOD_OVER = "period_over"
    BILLED_AT_ONCE = "billed_at_once"
    NOT_STARTED = "not_started"
    TERMINATED = "terminated"
    CANCELED = "canceled"
    WAITS_FOR_PAYMENT = "waits_for_payment"
    NO_PLAN = "no_plan"
    NOT_ADDED_UP = "not_added_up"
    BILLED_AGAIN_LATER = "billed_again_later"
    NEEDS_AMOUNT = "needs_amount"
    COST_UNKNOWN = "cost_unknown"
    OTHER_CURRENCY = "other_currency"
    ON_RECORD_ONLY = "on_record_only"
    UNBILLED_UNKNOWN_METRIC = "unbilled_unknown_metric"
    UNBILLED_NO_SUBSCRIPTION = "unbilled_no_subscription"
    UNBILLED_SUBSCRIPTION_INCOMPLETE = "unbilled_subscription_incomplete"
    UNBILLED_SUBSCRIPTION_CANCELED = "unbilled_subscription_canceled"
    UNBILLED_SUBSCRIPTION_NOT_STARTED = "unbilled_subscription_not_started"
    UNBILLED_SUBSCRIPTION_TERMINATED = "unbilled_subscription_terminated"
    UNBILLED_UNKNOWN_PLAN = "unbilled_unknown_plan"
    UNBILLED_NO_CHARGE = "unbilled_no_charge"
    UNBILLED_PROPERTY_MISSING = "unbilled_property_missing"
    UNBILLED_AMOUNT_MISSING = "unbilled_amount_missing"
    UNBILLED_PERIOD_NOT_INVOICED = "unbilled_period_not_invoiced"
    UNBILLED_PERIOD_INVOICED = "unbilled_period_invoiced"


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
    NOTHING_IN_COMMON = "nothing_in_common"
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
    BLANKS_AROUND_THE_NAME = "blanks_around_the_name"
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
    NOT_BILLED = "not_billed"
    UNEXPLAINED = "unexplained"
