"""What the reader of LiteLLM's database is told, and what it tells: its clock, facts about its schema and its rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from jobs.errors import SettingError

# The columns of a spend log as they leave PostgreSQL, in the order of the CSV.
SPEND_LOG_COLUMNS = (
    "request_id",
    "start_time",
    "end_time",
    "time_is_ambiguous",
    "call_type",
    "api_key",
    "user_id",
    "team_id",
    "organization_id",
    "end_user",
    "model",
    "model_group",
    "custom_llm_provider",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "spend",
    "cache_hit",
    "status",
    "extras",
)

# The columns of a daily total as they leave PostgreSQL, in the order of the CSV.
DAILY_COLUMNS = (
    "day",
    "entity",
    "api_key",
    "model",
    "custom_llm_provider",
    "prompt_tokens",
    "completion_tokens",
    "api_requests",
    "successful_requests",
    "failed_requests",
)

# Every LiteLLM from 1.44 to 1.109 has these columns in "LiteLLM_SpendLogs"; all others come and go.
PORTABLE_COLUMNS = (
    "request_id",
    "call_type",
    "api_key",
    "spend",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "startTime",
    "endTime",
    "completionStartTime",
    "model",
    "model_id",
    "model_group",
    "api_base",
    "user",
    "metadata",
    "cache_hit",
    "cache_key",
    "request_tags",
    "team_id",
    "end_user",
    "requester_ip_address",
)


class DailyTable(Enum):
    """One of LiteLLM's daily totals: a second, independent count of what the spend logs hold, per payer.

    There is no member for tags: those totals hold a request once per tag, so their sum means nothing.
    """

    USER = "LiteLLM_DailyUserSpend"
    TEAM = "LiteLLM_DailyTeamSpend"
    END_USER = "LiteLLM_DailyEndUserSpend"


@dataclass(frozen=True, slots=True)
class SourceClock:
    """How to read LiteLLM's times, which carry no zone: until 1.60 they are local time, since 1.61 UTC."""

    zone: str = "UTC"
    """The IANA name of the zone that LiteLLM's containers ran in while they stored local time."""
    utc_since: datetime | None = None
    """The instant from which rows hold UTC; None says that all are in `zone`."""

    def __post_init__(self) -> None:
        """Refuse a cut-over without a time zone with `SettingError`."""
        if self.utc_since is None:
            return
        if self.utc_since.tzinfo is None:
            raise SettingError(
                f"the source's cut-over to UTC, {self.utc_since.isoformat()}, has no time zone",
                "Write it with one: 2025-02-10T09:30:00+09:00",
            )
        object.__setattr__(self, "utc_since", self.utc_since.astimezone(UTC))


@dataclass(frozen=True, slots=True)
class SpendLogsSchema:
    """What the one probe of LiteLLM's database found."""

    columns: frozenset[str]
    """The columns of "LiteLLM_SpendLogs"."""
    primary_key: tuple[str, ...]
    """Its key columns in order; with partitions, request_id alone is not unique."""
    partitioned: bool
    """Whether the table is partitioned by "startTime"."""
    has_start_time_index: bool
    """Whether a valid index begins with "startTime"; without one, a read scans the table."""
    legacy_table_exists: bool
    """Whether "LiteLLM_SpendLogs_legacy" is there, which partitioning leaves behind."""
    legacy_table_readable: bool
    """Whether that table exists and this role may read it."""
    daily_tables: frozenset[DailyTable]
    """The daily totals that exist and that this role may read."""
    unreadable_daily_tables: frozenset[DailyTable]
    """The daily totals that exist and that it may not read."""
    estimated_rows: int | None
    """PostgreSQL's own estimate of the rows; None before the first ANALYZE."""
    server_version: str
    """PostgreSQL's version, as the server writes it."""
    on_standby: bool
    """Whether the server is a hot standby, whose newest rows may lag."""

    @property
    def request_ids_are_unique(self) -> bool:
        """Whether PostgreSQL holds request_id unique, which it cannot across partitions."""
        return self.primary_key == ("request_id",)

    @property
    def may_pin_end_users(self) -> bool:
        """Tell whether this LiteLLM may log a wrong end user for a key that several users share.

        1.60 to 1.90 do; they have the provider's column and not yet that of the call id.
        """
        return self.logs_users_of_headers and "litellm_call_id" not in self.columns

    @property
    def logs_users_of_headers(self) -> bool:
        """Tell whether this LiteLLM logs end users that a request names elsewhere than in its body: since 1.60."""
        return "custom_llm_provider" in self.columns


@dataclass(frozen=True, slots=True)
class SpendLogsBounds:
    """The first and last times in the spend logs, UTC; all None in an empty table.

    The ends are those of the 1,000 rows that started first and last: "endTime" has no index to ask for more.
    """

    oldest_start: datetime | None
    """When the first call that is still stored started."""
    oldest_end: datetime | None
    """When the first of the oldest calls ended."""
    newest_start: datetime | None
    """When the last stored call started."""
    newest_end: datetime | None
    """When the last of the newest calls ended."""
