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


class Exclusion(StrEnum):
    """Why a spend log takes no part in matching."""

    FAILED = "failed"
    HEALTH_CHECK = "health_check"
    INTERNAL_JOB = "internal_job"
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
