"""What the doctor makes of LiteLLM's database: facts in, verdicts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from jobs.core.database.settings import DatabaseSettings
from jobs.core.doctor.checks import Verdict, failed, passed, some, warned
from jobs.core.kinds import ChargeBy
from jobs.core.litellm.spend_logs import SourceClock, SpendLogsSchema
from jobs.core.rules import Rules
from jobs.core.window import Window

# A table with fewer rows than this is scanned in a moment.
SMALL_TABLE_ROWS = 500_000
# Clocks of two machines may differ this much.
_CLOCK_SKEW = timedelta(minutes=5)
# A gateway that is used has ended a call within this time, flushing included.
_FRESH = timedelta(minutes=20)
# Zones to propose, the more likely first where two have the same offset.
_ZONES = """
    Asia/Seoul Asia/Tokyo Asia/Shanghai Asia/Singapore Asia/Kolkata Asia/Dubai Asia/Bangkok Europe/Berlin Europe/London
    Europe/Helsinki Europe/Istanbul America/New_York America/Chicago America/Denver America/Los_Angeles
    America/Sao_Paulo Australia/Sydney Australia/Brisbane Pacific/Auckland
""".split()
# Columns that came to "LiteLLM_SpendLogs" one after another, and the versions that lacked them.
_ERAS = (
    ("custom_llm_provider", "1.44 to 1.53"),
    ("session_id", "1.60 to 1.65"),
    ("mcp_namespaced_tool_name", "1.70"),
    ("request_duration_ms", "1.75 to 1.80"),
    ("litellm_call_id", "1.82 to 1.90"),
)


@dataclass(frozen=True, slots=True)
class SpendLogSample:
    """What the newest spend logs say, counted by the database; all counts are of rows of the sample."""

    rows: int
    """Rows looked at."""
    billable: int
    """Those that would be billed: not failed, no health check, no internal job."""
    repeated_ids: int
    """Rows whose request id another one has too."""
    keys_of_several_users: int
    """API keys, not rows, that serve more than one end user."""
    newest_end: datetime | None
    """The latest end as the configured zone reads it, UTC."""
    newest_end_naive: datetime | None
    """The same as it is stored, without a zone."""
    with_source: int
    """Billable rows with a value where the configured attribution looks."""
    with_end_user: int
    """Billable rows with an end user."""
    with_user: int
    """Billable rows with an internal user that is not the master key's."""
    with_team: int
    """Billable rows with a team."""
    with_organization: int
    """Billable rows with an organization."""
    with_key: int
    """Billable rows with a virtual key."""
    with_key_alias: int
    """Billable rows with a key alias in their metadata."""
    sources: tuple[tuple[str, int], ...]
    """The most frequent values where the configured attribution looks, with their rows."""


@dataclass(frozen=True, slots=True)
class RequestIds:
    """What is known about lost spend logs."""

    empty: bool
    """A spend log has an empty request id."""
    none: bool
    """A spend log has the request id "None"."""
    day: str
    """The UTC day that was counted on both sides."""
    logged: int | None
    """Spend logs of calls that started on that day; None where they are too many to count in a moment."""
    daily: int | None
    """Requests that LiteLLM's daily table counts for that day; None where it has none or no such count."""


def judge_resolution(settings: DatabaseSettings, given: str | None, addresses: tuple[str, ...], error: str) -> Verdict:
    """Judge whether the host's name is known; `given` is `DATABASE_HOST` as it stands, `error` why it is not."""
    if settings.host.startswith("/"):
        return passed(f"{settings.host} is the folder of a socket")
    with_port = given is not None and ":" in given and settings.host != given.strip()
    taken_apart = f"; {settings.origin} holds host:port and is taken apart here" if with_port else ""
    if addresses:
        hint = f" (psql -h would look up the whole text as a name: give it -h {settings.host} -p {settings.port})"
        return passed(f"{settings.host} is {', '.join(addresses[:3])}{taken_apart}{hint if with_port else ''}")
    if settings.host.count(":") > 1:
        return failed(
            f"{settings.origin} is {settings.host!r}, which is no address and no host:port ({error})",
            f"Write {settings.origin} as host or host:port, with one port only",
        )
    remedy = f"Check {settings.origin}: the name looked up is {settings.host}, without :{settings.port}"
    parts = settings.host.split(".")
    if len(parts) >= 3 and parts[2] == "svc":
        remedy += f"; is there a Service? kubectl -n {parts[1]} get service {parts[0]}"
    return failed(f"the name {settings.host!r} is not known here: {error}{taken_apart}", remedy)


def era(schema: SpendLogsSchema) -> str:
    """Return which versions of LiteLLM have this schema."""
    return next((versions for column, versions in _ERAS if column not in schema.columns), "1.100 or later")


def judge_schema(schema: SpendLogsSchema) -> Verdict:
    """Judge the version of the schema, and whether rows may lie where nobody reads."""
    partitioned = ", partitioned" if schema.partitioned else ""
    rows = "an unknown number of" if schema.estimated_rows is None else f"about {schema.estimated_rows:,}"
    standby = ", a standby" if schema.on_standby else ""
    found = (
        f"the schema of LiteLLM {era(schema)}{partitioned}, {rows} spend logs, "
        f"PostgreSQL {schema.server_version}{standby}"
    )
    if schema.legacy_table_exists and not schema.legacy_table_readable:
        return warned(
            f'{found}; "LiteLLM_SpendLogs_legacy" may not be read, so no window can be certified',
            'As its owner: GRANT SELECT ON "LiteLLM_SpendLogs_legacy" to the role',
        )
    if era(schema) in {"1.44 to 1.53", "1.60 to 1.65"}:
        found += "; until 1.60 it stores local time (RECONCILE_SOURCE_TIME_ZONE)"
    return passed(found)


def judge_daily_tables(schema: SpendLogsSchema, username: str) -> Verdict:
    """Judge whether the second count can be read."""
    if schema.unreadable_daily_tables:
        names = sorted(table.value for table in schema.unreadable_daily_tables)
        tables, role = ", ".join(f'"{name}"' for name in names), username.replace('"', '""')
        return warned(
            f"the role may not read {', '.join(names)}: lost spend logs would not be noticed",
            f'As their owner: GRANT SELECT ON {tables} TO "{role}"',
        )
    readable = sorted(table.value for table in schema.daily_tables)
    return passed(f"reads {', '.join(readable)}" if readable else "this LiteLLM has none (they came with 1.65)")


def judge_index(schema: SpendLogsSchema) -> Verdict:
    """Judge whether windows can be read without a scan of the table."""
    if schema.has_start_time_index:
        return passed('an index begins with "startTime"')
    if schema.estimated_rows is not None and schema.estimated_rows < SMALL_TABLE_ROWS:
        return warned(
            f'no index begins with "startTime"; with about {schema.estimated_rows:,} rows that is still quick',
            'Before the table grows: CREATE INDEX CONCURRENTLY ON "LiteLLM_SpendLogs" ("startTime")',
        )
    rows = "an unknown number of" if schema.estimated_rows is None else f"about {schema.estimated_rows:,}"
    return failed(
        f'no index begins with "startTime", so every run scans {rows} rows',
        'As its owner: CREATE INDEX CONCURRENTLY ON "LiteLLM_SpendLogs" ("startTime"); ANALYZE "LiteLLM_SpendLogs"',
    )


def judge_times(newest_end: datetime | None, stored: datetime | None, clock: SourceClock, now: datetime) -> Verdict:
    """Judge the newest end of a call against the database's clock; `stored` is that end without a zone."""
    if newest_end is None or stored is None:
        return warned("there is no spend log to tell by", "Run again when LiteLLM has served calls")
    ago = now - newest_end
    offset, configured = _offset(stored, now), _configured_offset(clock, now)
    zones = [zone for zone in ("UTC", *_ZONES) if now.astimezone(ZoneInfo(zone)).utcoffset() == offset]
    proposal = (
        f"Set RECONCILE_SOURCE_TIME_ZONE to the zone of LiteLLM's containers (such as {', '.join(zones[:3])}); "
        "after an upgrade from before 1.61 also RECONCILE_SOURCE_UTC_SINCE"
    )
    if ago < -_CLOCK_SKEW:
        return failed(
            f"the newest spend log ends {_length(-ago)} in the future, read as {clock.zone}: its times are "
            f"{_signed(offset)} from UTC",
            proposal if zones and offset != configured else "Correct the clock of LiteLLM's containers",
        )
    if ago < _FRESH:
        return passed(f"the newest spend log ended {_length(ago)} ago, read as {clock.zone}")
    if zones and offset != configured and _just_ended(stored - offset, now):
        return warned(
            f"the newest spend log ended {_length(ago)} ago, read as {clock.zone}; read at {_signed(offset)} it would "
            "have ended just now",
            f"If LiteLLM served calls since: {proposal[0].lower()}{proposal[1:]}",
        )
    return warned(
        f"the newest spend log ended {_length(ago)} ago, read as {clock.zone}",
        "If LiteLLM served calls since, look whether it still writes spend logs, and at RECONCILE_SOURCE_TIME_ZONE",
    )


def judge_retention(oldest_start: datetime | None, window: Window) -> Verdict:
    """Judge whether the scheduled window lies inside what is kept."""
    if oldest_start is None:
        return warned("there is no spend log yet", "Run again when LiteLLM has served calls")
    if oldest_start > window.start + timedelta(hours=1):
        return warned(
            f"the oldest spend log starts {_instant(oldest_start)}, after the scheduled window, which starts "
            f"{_instant(window.start)}",
            "Lengthen LiteLLM's maximum_spend_logs_retention_period, or shorten RECONCILE_WINDOW_LENGTH; a new gateway "
            "passes with time",
        )
    return passed(
        f"the oldest spend log starts {_instant(oldest_start)}; the scheduled window starts {_instant(window.start)}"
    )


def judge_written(newest_start: datetime | None, later_requests: int | None, now: datetime) -> Verdict:
    """Judge whether spend logs are written; `later_requests` is what the daily table counts on later days."""
    since = "at all" if newest_start is None else f"since {_instant(newest_start)}"
    # After midnight the new day may be counted before its first spend log is written.
    if later_requests and (newest_start is None or now - newest_start > timedelta(hours=1)):
        return failed(
            f"there is no spend log {since}, but LiteLLM's daily table counts {later_requests:,} later requests",
            "Unset disable_spend_logs in LiteLLM's general_settings: without spend logs nothing can be reconciled",
        )
    if newest_start is None:
        return warned(
            "there is no spend log at all",
            "Check that this is LiteLLM's database, and that disable_spend_logs is unset",
        )
    return passed(f"the newest spend log starts {_instant(newest_start)}")


def judge_request_ids(ids: RequestIds, sample: SpendLogSample) -> Verdict:
    """Judge whether spend logs are lost because requests share an id."""
    trouble = []
    if ids.empty:
        trouble.append("a spend log has an empty request id: of all such calls only the first was kept")
    if ids.none:
        trouble.append('a spend log has the request id "None": of all such calls only the first was kept')
    if sample.repeated_ids:
        trouble.append(
            f"{sample.repeated_ids:,} of the newest {sample.rows:,} spend logs share a request id with another one"
        )
    if ids.logged is not None and ids.daily is not None and ids.daily > ids.logged:
        trouble.append(
            f"on {ids.day} LiteLLM's daily table counts {ids.daily:,} requests, but there are {ids.logged:,} spend logs"
        )
    if trouble:
        return warned(
            "; ".join(trouble),
            "Find the provider that repeats ids or gives none (daily.csv of a run shows the models); upgrade LiteLLM; "
            "what is lost is charged by hand",
        )
    compared = "" if ids.logged is None or ids.daily is None else f"; {ids.day} agrees with the daily table"
    return passed(f"the newest {sample.rows:,} spend logs have ids of their own{compared}")


def judge_attribution(sample: SpendLogSample, rules: Rules) -> Verdict:
    """Judge how many spend logs name who pays, why the others do not, and what would."""
    if not sample.billable:
        return warned("there is no spend log that would be billed", "Run again when LiteLLM has served calls")
    shares = {
        "end_user_id": sample.with_end_user,
        "user_id": sample.with_user,
        "team_id": sample.with_team,
        "organization_id": sample.with_organization,
        "api_key": sample.with_key,
        "key_alias": sample.with_key_alias,
    }
    of_each = ", ".join(f"{name} {_percent(rows, sample.billable)}" for name, rows in shares.items())
    without = sample.billable - sample.with_source
    unmapped = _unmapped(sample.sources, resolved(sample.sources, rules))
    found = f"of {sample.billable:,} recent spend logs, by {rules.charge_by.value}: "
    if not without and not unmapped:
        return passed(f"{found}all name who pays ({of_each})")
    trouble, remedies = [], []
    if without:
        trouble.append(f"{without:,} ({_percent(without, sample.billable)}) do not: {_why(rules.charge_by)}")
        best = max(shares, key=lambda name: shares[name])
        remedies.append(_attribution_remedy(rules.charge_by, best, shares[best] > sample.with_source))
    if unmapped:
        rows = sum(unmapped.values())
        trouble.append(f"{rows:,} have a value that the mapping file does not name: {some(list(unmapped))}")
        remedies.append("Add these values to the mapping file (RECONCILE_MAPPING_FILE)")
    judge = failed if without == sample.billable else warned
    return judge(f"{found}{'; '.join(trouble)} ({of_each})", "; ".join(remedies))


def judge_pinning(schema: SpendLogsSchema, sample: SpendLogSample, charge_by: ChargeBy) -> Verdict:
    """Judge whether this LiteLLM logs end users that can be believed."""
    if charge_by is not ChargeBy.END_USER_ID:
        return passed(f"{charge_by.value} is logged right by every LiteLLM")
    if not schema.may_pin_end_users:
        return passed(f"LiteLLM {era(schema)} logs the end user of each call")
    found = f"LiteLLM {era(schema)} can log a key's first end user for its later calls"
    remedy = "Upgrade LiteLLM, or charge by key, user or team (LAGO_API_CHARGE_BY)"
    if sample.keys_of_several_users:
        return failed(
            f"{found}, and {sample.keys_of_several_users:,} keys in recent spend logs serve several end users", remedy
        )
    return warned(f"{found}; no key in recent spend logs serves several", remedy)


def resolved(sources: Sequence[tuple[str, int]], rules: Rules) -> tuple[tuple[str, str], ...] | None:
    """Return who pays for each of these source values by the mapping file's exact rules; None without a file."""
    if rules.mapping is None:
        return None
    payer = dict(rules.mapping)
    return tuple((source, payer[source]) for source, _ in sources if source in payer)


def _unmapped(sources: tuple[tuple[str, int], ...], mapping: tuple[tuple[str, str], ...] | None) -> Mapping[str, int]:
    known = {source for source, _ in mapping or ()}
    return {} if mapping is None else {source: rows for source, rows in sources if source not in known}


def _why(charge_by: ChargeBy) -> str:
    if charge_by is ChargeBy.END_USER_ID:
        return "the end user id is not set (the caller sent no user), so LiteLLM's callback sent no event"
    return f"the spend log's {charge_by.value.removesuffix('_id')} is empty"


def _attribution_remedy(charge_by: ChargeBy, best: str, better: bool) -> str:
    callers = "Make callers send `user`" if charge_by is ChargeBy.END_USER_ID else "Give keys an owner"
    return f"{callers}, or set LAGO_API_CHARGE_BY={best}, which names more" if better else callers


def _offset(stored: datetime, now: datetime) -> timedelta:
    """Return the offset from UTC, in half hours, at which a call that has just ended would be stored like this."""
    half_hours = round((stored - now.replace(tzinfo=None)) / timedelta(minutes=30))
    return timedelta(minutes=30) * half_hours


def _just_ended(utc: datetime, now: datetime) -> bool:
    return -timedelta(minutes=1) <= now.replace(tzinfo=None) - utc <= timedelta(minutes=10)


def _configured_offset(clock: SourceClock, now: datetime) -> timedelta | None:
    zone = "UTC" if clock.utc_since is not None and now >= clock.utc_since else clock.zone
    return now.astimezone(ZoneInfo(zone)).utcoffset()


def _signed(offset: timedelta) -> str:
    minutes = round(abs(offset) / timedelta(minutes=1))
    return f"{'-' if offset < timedelta(0) else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _length(duration: timedelta) -> str:
    minutes = duration / timedelta(minutes=1)
    if minutes < 2:
        return f"{max(0, round(duration.total_seconds()))} s"
    return (
        f"{minutes:.0f} min"
        if minutes < 120
        else f"{minutes / 60:.1f} h"
        if minutes < 72 * 60
        else f"{duration.days} d"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if part in (0, whole) else f"{100 * part / whole:.1f}%"


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
