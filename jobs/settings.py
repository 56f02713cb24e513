"""Settings: the only reader of the environment and of the configuration file.

Each setting has one name in the configuration file and one environment variable; where LiteLLM or Lago's own tools
already have a variable, it is that one. A command-line option beats the environment, the environment beats the file.
"""

from __future__ import annotations

import csv
import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobs.adapters.litellm_database import Patience
from jobs.backfill import BackfillSettings
from jobs.core.assignment import Tolerance
from jobs.core.caps import Caps
from jobs.core.database_settings import DatabaseSettings, database_settings, store_settings
from jobs.core.durations import parse_duration
from jobs.core.kinds import ChargeBy
from jobs.core.lago_values import LagoConnection, normalise_api_base
from jobs.core.meters import MeterPart, check_parts, custom, preset
from jobs.core.notification import NotifyOn
from jobs.core.periods import DaySpan, PeriodLength, last_full_month, month_span
from jobs.core.rules import Rules
from jobs.core.shard import WHOLE, parse_shard
from jobs.core.spend_log_values import SourceClock
from jobs.core.store_values import PostgresStore, Store, clickhouse_store, parse_organization_id
from jobs.core.window import Window, scheduled_time, scheduled_window
from jobs.doctor import DoctorSettings
from jobs.errors import SettingError
from jobs.notifying import Notification
from jobs.publishing import Publication
from jobs.reconcile import ReconcileSettings
from jobs.usage import UsageSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: where it comes from, how its text is read, and what it means."""

    name: str
    """Dotted name in the configuration file."""
    variable: str
    """Environment variable."""
    parse: Callable[[str], Any]
    """Reads the text; raises `ValueError` with what would be right."""
    default: str | None
    """Text taken where nothing is set; None where there is no default."""
    help: str
    """One sentence for the documentation."""
    secret: bool = False
    """Never shown."""


_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
# Far enough from what Python can hold that any window can be widened, and any zone be applied.
_EARLIEST, _LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("give it a value, or leave it out")
    return text


def _flag(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.strip().lower() not in words:
        raise ValueError("write true or false")
    return words[text.strip().lower()]


def _path(text: str) -> Path:
    return Path(_text(text))


def _count(text: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(text.strip()) or int(text) < 1:
        raise ValueError("write a whole number from 1 to 999999999")
    return int(text)


def _slice_length(text: str) -> timedelta:
    length = parse_duration(text)
    if length < timedelta(hours=1):
        raise ValueError("write a duration of an hour or more")
    return length


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0
    if not 0 < rate <= 10_000:
        raise ValueError("write a number of requests per second above 0")
    return rate


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0 or abs(amount.adjusted()) > 30:
        raise ValueError("write a number above 0, with 30 digits at most")
    return amount


def _share(text: str) -> Decimal:
    share = _amount(text)
    if share > 1:
        raise ValueError("write a number above 0 and up to 1")
    return share


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("write a name of the time zone database, such as Asia/Seoul") from error
    return text


def parse_instant(text: str) -> datetime:
    """Read an ISO-8601 instant or a day as an aware time in UTC; raise `ValueError` where it has no zone."""
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError("write a day (2026-11-01) or an instant with its zone (2026-11-01T00:00:00Z)") from error
    if instant.tzinfo is None:
        if len(text.strip()) != len("2026-11-01"):
            raise ValueError("it has no time zone; write one, as in 2026-11-01T00:00:00Z")
        instant = instant.replace(tzinfo=UTC)
    if not _EARLIEST <= instant.replace(tzinfo=UTC) < _LATEST:
        raise ValueError("write an instant of the years 1970 to 9998")
    return instant.astimezone(UTC)


def _memory(text: str) -> str:
    number, unit = text.strip()[:-2], text.strip()[-2:].upper()
    if unit not in {"MB", "GB"} or not _WHOLE_NUMBER.fullmatch(number) or int(number) < 1:
        raise ValueError("write a whole number and MB or GB, such as 1GB")
    return text.strip()


def _charge_by(text: str) -> tuple[ChargeBy, str | None]:
    if text == "key_alias":
        return ChargeBy.METADATA, "user_api_key_alias"
    if text.startswith("metadata.") and len(text) > len("metadata."):
        return ChargeBy.METADATA, text.removeprefix("metadata.")
    choices = [choice.value for choice in ChargeBy if choice is not ChargeBy.METADATA]
    if text not in choices:
        raise ValueError(f"write one of {', '.join(choices)}, key_alias or metadata.<path>")
    return ChargeBy(text), None


def _events_from(text: str) -> str:
    if text not in {"api", "postgres", "clickhouse"}:
        raise ValueError("write api, postgres or clickhouse")
    return text


def _gateway(text: str) -> str:
    wrong = "write an address such as http://pushgateway:9091"
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError(wrong) from error
    if not usable or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", text.strip()):
        raise ValueError(wrong)
    return text.strip()


def _webhook(text: str) -> str:
    wrong = "write the whole address, as in https://chat.example/hooks/…"
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError(wrong) from error
    if not usable or not re.fullmatch(r"[!-~]+", text.strip()):
        raise ValueError(wrong)
    return text.strip()


def _notify_on(text: str) -> NotifyOn:
    if text not in set(NotifyOn):
        raise ValueError(f"write {', '.join(NotifyOn)}")
    return NotifyOn(text)


def _template(text: str) -> str:
    if "{request_id}" not in text:
        raise ValueError("it must contain {request_id}, and {part} where a request makes several events")
    return text


SETTINGS = (
    Setting("database.host", "DATABASE_HOST", _text, None, "PostgreSQL host of LiteLLM, with or without `:port`."),
    Setting("database.name", "DATABASE_NAME", _text, None, "Database that holds LiteLLM's tables."),
    Setting("database.username", "DATABASE_USERNAME", _text, None, "Role to log in as; reading is all it needs."),
    Setting(
        "database.password",
        "DATABASE_PASSWORD",
        str,
        None,
        "Its password, as it is, not URL-encoded.",
        secret=True,
    ),
    Setting("database.url", "DATABASE_URL", _text, None, "Used where the four above are not set.", secret=True),
    Setting(
        "database.schema",
        "DATABASE_SCHEMA",
        _text,
        None,
        "Schema of LiteLLM's tables, where it is not `public`.",
    ),
    Setting(
        "database.connect_attempts",
        "RECONCILE_CONNECT_ATTEMPTS",
        _count,
        "12",
        "Attempts to connect, about 2 minutes.",
    ),
    Setting(
        "database.statement_timeout",
        "RECONCILE_STATEMENT_TIMEOUT",
        parse_duration,
        "30m",
        "Longest database query.",
    ),
    Setting("lago.api_base", "LAGO_API_BASE", _text, None, "Lago's address, with or without `/api/v1`."),
    Setting("lago.api_key", "LAGO_API_KEY", _text, None, "Lago's API key.", secret=True),
    Setting("lago.event_code", "LAGO_API_EVENT_CODE", _text, None, "Code of the billable metric that events name."),
    Setting("lago.charge_by", "LAGO_API_CHARGE_BY", _charge_by, "end_user_id", "Whose id is the subscription."),
    Setting(
        "lago.requests_per_second",
        "RECONCILE_LAGO_RATE",
        _rate,
        "20",
        "Requests to Lago per second, never more.",
    ),
    Setting("lago.concurrency", "RECONCILE_LAGO_CONCURRENCY", _count, "4", "Requests to Lago at one time."),
    Setting("lago.attempts", "RECONCILE_LAGO_ATTEMPTS", _count, "8", "Times one request to Lago is tried."),
    Setting("lago.page_size", "RECONCILE_LAGO_PAGE_SIZE", _count, "1000", "Events per page asked of Lago."),
    Setting("lago.timeout", "RECONCILE_LAGO_TIMEOUT", parse_duration, "30s", "How long to wait for one answer."),
    Setting("lago.ca_file", "RECONCILE_LAGO_CA_FILE", _path, None, "Certificates to trust besides the public ones."),
    Setting(
        "lago.events_from",
        "RECONCILE_EVENTS_FROM",
        _events_from,
        "api",
        "Where recorded events are read: `api`, or Lago's own store: `postgres` or `clickhouse`.",
    ),
    Setting(
        "lago.store_url",
        "RECONCILE_LAGO_STORE_URL",
        _text,
        None,
        "That store's address, best of a replica.",
        secret=True,
    ),
    Setting(
        "lago.organization_id",
        "RECONCILE_LAGO_ORGANIZATION_ID",
        parse_organization_id,
        None,
        "Whose events these are in Lago; where not set, Lago is asked.",
    ),
    Setting("meter", "RECONCILE_METER", _text, "callback", "`callback`, `input-output`, `agent-sdk` or `custom`."),
    Setting(
        "id_template",
        "RECONCILE_ID_TEMPLATE",
        _template,
        None,
        "How the sender derives transaction ids, if it does.",
    ),
    Setting(
        "mapping_file",
        "RECONCILE_MAPPING_FILE",
        _path,
        None,
        "CSV `source,subscription`: who pays for a source value.",
    ),
    Setting(
        "allowed_file",
        "RECONCILE_ALLOWED_FILE",
        _path,
        None,
        "CSV `key_or_team,subscription`: the only subscriptions that a key (its hash) or team may name.",
    ),
    Setting(
        "look_back",
        "RECONCILE_LOOK_BACK",
        parse_duration,
        "7d",
        "How far before the window an end user counts as known to a key; `0s` tells no new ones.",
    ),
    Setting("alias_file", "RECONCILE_ALIAS_FILE", _path, None, "CSV `alias,model`: other spellings of model names."),
    Setting(
        "bill_cache_hits",
        "RECONCILE_BILL_CACHE_HITS",
        _flag,
        "true",
        "Whether cache hits should have events.",
    ),
    Setting(
        "source_time_zone",
        "RECONCILE_SOURCE_TIME_ZONE",
        _zone,
        "UTC",
        "Zone of LiteLLM's times; not UTC before 1.61.",
    ),
    Setting(
        "source_utc_since",
        "RECONCILE_SOURCE_UTC_SINCE",
        parse_instant,
        None,
        "When an upgrade made those times UTC.",
    ),
    Setting(
        "settlement_lag",
        "RECONCILE_SETTLEMENT_LAG",
        parse_duration,
        "2h",
        "How long after it ended a call is left alone.",
    ),
    Setting("longest_call", "RECONCILE_LONGEST_CALL", parse_duration, "2h", "The longest a call can last."),
    Setting("early", "RECONCILE_EARLY", parse_duration, "5s", "How much before the call's end its event may lie."),
    Setting("late", "RECONCILE_LATE", parse_duration, "60s", "How much after the call's end its event may lie."),
    Setting(
        "doubt_within", "RECONCILE_DOUBT_WITHIN", parse_duration, "1d", "How far beyond the window both sides are read."
    ),
    Setting(
        "window_length",
        "RECONCILE_WINDOW_LENGTH",
        parse_duration,
        "3d",
        "Length of the window of a scheduled run.",
    ),
    Setting(
        "scheduled_at",
        "RECONCILE_SCHEDULED_AT",
        parse_instant,
        None,
        "When the run was due, if it starts later; decides the window of a scheduled run.",
    ),
    Setting(
        "job_name",
        "RECONCILE_JOB_NAME",
        _text,
        None,
        "Name of the Kubernetes Job; a CronJob's says when the run was due.",
    ),
    Setting(
        "report_time_zone",
        "RECONCILE_REPORT_TIME_ZONE",
        _zone,
        "UTC",
        "Zone of the days and months of `usage`.",
    ),
    Setting(
        "token_parts",
        "RECONCILE_TOKEN_PARTS",
        _flag,
        "true",
        "Whether `usage` reads cached and reasoning tokens out of the metadata, which takes longer.",
    ),
    Setting("ledger_url", "RECONCILE_LEDGER_URL", _text, None, "Ledger: sqlite:/// or postgresql://.", secret=True),
    Setting("verify_within", "RECONCILE_VERIFY_WITHIN", parse_duration, "90s", "How long to wait for Lago to show it."),
    Setting("slice_length", "RECONCILE_SLICE_LENGTH", _slice_length, "7d", "A longer backfill is worked in slices."),
    Setting("top_up", "RECONCILE_TOP_UP", _flag, "false", "Whether a plan completes events that billed too little."),
    Setting(
        "send_closed_periods",
        "RECONCILE_SEND_CLOSED_PERIODS",
        _flag,
        "false",
        "Whether events of a billing period that is over may be sent; Lago stores them and does not bill them.",
    ),
    Setting(
        "allow_pay_in_advance",
        "RECONCILE_ALLOW_PAY_IN_ADVANCE",
        _flag,
        "false",
        "Whether events of charges that bill each event at once may be sent.",
    ),
    Setting("most_events", "RECONCILE_MOST_EVENTS", _count, "100000", "Most events a plan may hold."),
    Setting("most_quantity", "RECONCILE_MOST_QUANTITY", _amount, "1000000000", "Most quantity of one code in a plan."),
    Setting("most_share", "RECONCILE_MOST_SHARE", _share, "0.5", "Most of a subscription's usage in the window."),
    Setting(
        "most_share_from",
        "RECONCILE_MOST_SHARE_FROM",
        _count,
        "1000",
        "Expected events of a subscription from which its share is looked at.",
    ),
    Setting(
        "memory_limit",
        "RECONCILE_MEMORY_LIMIT",
        _memory,
        "1GB",
        "Memory of the matching; more spills to disk.",
    ),
    Setting("threads", "RECONCILE_THREADS", _count, None, "Threads of the matching; all cores where not set."),
    Setting(
        "shard",
        "RECONCILE_SHARD",
        parse_shard,
        None,
        "`i/n`: this process works on part i, from 0, of n parts of the subscriptions.",
    ),
    Setting("output", "RECONCILE_OUTPUT", _path, "runs", "Folder that each run leaves its own folder in."),
    Setting(
        "scratch", "RECONCILE_SCRATCH", _path, None, "Folder for a run's working files; within the output if not set."
    ),
    Setting(
        "termination_log",
        "RECONCILE_TERMINATION_LOG",
        _path,
        None,
        "File that the verdict is written to in one line, for Kubernetes.",
    ),
    Setting(
        "metrics_folder",
        "RECONCILE_METRICS_FOLDER",
        _path,
        None,
        "Folder of a textfile collector that metrics are written to.",
    ),
    Setting(
        "pushgateway_url",
        "RECONCILE_PUSHGATEWAY_URL",
        _gateway,
        None,
        "Pushgateway that metrics are pushed to, with its user and password where it asks for them.",
        secret=True,
    ),
    Setting(
        "metrics_subscriptions",
        "RECONCILE_METRICS_SUBSCRIPTIONS",
        _count,
        "20",
        "Subscriptions of each code that metrics tell one by one; the rest is `other`.",
    ),
    Setting(
        "webhook_url",
        "RECONCILE_WEBHOOK_URL",
        _webhook,
        None,
        "Webhook of Slack or its kin that is told how a command ended.",
        secret=True,
    ),
    Setting(
        "webhook_on",
        "RECONCILE_WEBHOOK_ON",
        _notify_on,
        "discrepancies",
        "What it is told: `discrepancies` and failures, only a `failure`, or `always`.",
    ),
)

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_OUR_VARIABLES = "RECONCILE_"
_MISSPELLED_CODE = "LAGO_EVENT_CODE"
_RENAME_CODE = (
    f"{_MISSPELLED_CODE} is taken for LAGO_API_EVENT_CODE here, but LiteLLM's callback does not know it "
    "and sends nothing: rename it"
)


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and where it came from."""

    value: Any
    """What the text means; that of the default, if any, where the text cannot be used."""
    origin: str
    """The option, variable, file or default that set it."""
    text: str
    """The text as it was given."""
    problem: SettingError | None = None
    """Why the text cannot be used."""


class Settings:
    """Every setting's value and origin; a value that is needed but missing is asked for by name."""

    def __init__(
        self,
        values: Mapping[str, Value],
        meter_tables: list[dict[str, Any]],
        misspelled: tuple[tuple[str, str], ...],
        problems: tuple[SettingError, ...],
    ) -> None:
        """Take the values by setting name, the `[[meter_parts]]` tables, and what is wrong."""
        self.values = values
        self._meter_tables = meter_tables
        self.misspelled = misspelled
        """Environment variables that are no settings, each with what to do about it."""
        self.problems = problems
        """Everything about the configuration file and single values that cannot be used."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what the log should say about variables that are no settings."""
        return tuple(remedy for _, remedy in self.misspelled)

    def optional(self, name: str) -> Any:
        """Return a setting's value, or None where it has none."""
        found = self.values.get(name)
        return found.value if found else None

    def required(self, name: str) -> Any:
        """Return a setting's value; raise `SettingError` naming its variable where it has none."""
        found = self.optional(name)
        if found is None:
            raise _not_set(name)
        return found

    def origin(self, name: str) -> str:
        """Return where a setting's value came from."""
        found = self.values.get(name)
        return found.origin if found else "not set"

    def meter(self) -> tuple[MeterPart, ...]:
        """Return the configured meter's parts; raise `SettingError` where it cannot be used."""
        name = self.required("meter")
        if name == "agent-sdk":
            return preset(name, "")
        if name == "custom":
            return custom(self._meter_tables, self.optional("lago.event_code") or "")
        return check_parts(preset(name, self.required("lago.event_code")))


def _not_set(name: str) -> SettingError:
    setting = _BY_NAME[name]
    return SettingError(f"{setting.variable} is not set", f"It is: {setting.help}")


def load_settings(
    environment: Mapping[str, str], config_file: Path | None = None, options: Mapping[str, str] | None = None
) -> Settings:
    """Read every setting; raise `SettingError` naming the first one that is wrong and where it was set.

    `options` holds the command line's texts by setting name.
    """
    settings = survey_settings(environment, config_file, options)
    for problem in settings.problems:
        raise problem
    return settings


def survey_settings(
    environment: Mapping[str, str], config_file: Path | None = None, options: Mapping[str, str] | None = None
) -> Settings:
    """Read every setting, and keep what is wrong beside what can be used instead of raising it."""
    problems: list[SettingError] = []
    file_texts, meter_tables = _read_config(config_file, problems) if config_file else ({}, [])
    misspelled = [*_misspelled(environment)]
    if not environment.get("LAGO_API_EVENT_CODE") and environment.get(_MISSPELLED_CODE):
        environment = {**environment, "LAGO_API_EVENT_CODE": environment[_MISSPELLED_CODE]}
        misspelled.insert(0, (_MISSPELLED_CODE, _RENAME_CODE))
    values = {}
    for setting in SETTINGS:
        sources = (
            (
                (options or {}).get(setting.name),
                f"option --{setting.name.rpartition('.')[2].replace('_', '-')}",
            ),
            (environment.get(setting.variable) or None, f"environment {setting.variable}"),
            (file_texts.get(setting.name), f"{config_file}: {setting.name}"),
            (setting.default, "default"),
        )
        text, origin = next(((text, origin) for text, origin in sources if text is not None), (None, ""))
        if text is not None:
            values[setting.name] = _value(setting, text, origin)
    problems += [value.problem for value in values.values() if value.problem is not None]
    return Settings(values, meter_tables, tuple(misspelled), tuple(problems))


def _misspelled(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that look like ours and are not, each with what to do about it."""
    # Without what they share: it would make every two of them alike.
    known = [setting.variable.removeprefix(_OUR_VARIABLES) for setting in SETTINGS]
    for name in sorted(environment):
        own = name.removeprefix(_OUR_VARIABLES)
        if own != name and own not in known:
            nearest = difflib.get_close_matches(own, known, n=1)
            yield (
                name,
                f"{name} is no setting: {f'did you mean {_OUR_VARIABLES}{nearest[0]}?' if nearest else 'remove it'}",
            )


def termination_log(environment: Mapping[str, str], config_file: Path | None) -> Path | None:
    """Return where the verdict goes, even where other settings are wrong: just these are worth a word there."""
    text: str | None = environment.get("RECONCILE_TERMINATION_LOG")
    if not text and config_file is not None:
        text = _read_config(config_file, [])[0].get("termination_log")
    return Path(text) if text else None


def publication(settings: Settings) -> Publication | None:
    """Return where metrics go, if they do."""
    folder, pushgateway = settings.optional("metrics_folder"), settings.optional("pushgateway_url")
    if folder is None and pushgateway is None:
        return None
    return Publication(folder, pushgateway, settings.required("metrics_subscriptions"))


def notification(settings: Settings) -> Notification | None:
    """Return who is told how a command ends, if anybody is."""
    url = settings.optional("webhook_url")
    return None if url is None else Notification(url, settings.required("webhook_on"))


def reconcile_settings(settings: Settings, start: str | None, end: str | None, now: datetime) -> ReconcileSettings:
    """Return what a run is asked to do; `start` and `end` are the command line's texts, both or neither given."""
    return ReconcileSettings(
        window=_window(settings, start, end, now),
        rules=_rules(settings, settings.meter()),
        caps=Caps(
            events=settings.required("most_events"),
            quantity=settings.required("most_quantity"),
            share=settings.required("most_share"),
            share_from_events=settings.required("most_share_from"),
        ),
        memory_limit=settings.required("memory_limit"),
        output=settings.required("output"),
        database=_database(settings),
        clock=_clock(settings),
        statement_timeout=settings.required("database.statement_timeout"),
        patience=Patience(attempts=settings.required("database.connect_attempts")),
        lago=_lago(settings),
        store=_store(settings),
        look_back=settings.required("look_back"),
        threads=settings.optional("threads"),
        shard=settings.optional("shard") or WHOLE,
        scratch=settings.optional("scratch"),
        metrics_subscriptions=settings.required("metrics_subscriptions"),
    )


def usage_settings(
    settings: Settings,
    start: str | None,
    end: str | None,
    month: str | None,
    now: datetime,
    *,
    by: PeriodLength,
    compare: bool,
) -> UsageSettings:
    """Return what a usage report is asked to tell; no setting of Lago's is needed but whose id is the subscription.

    `start` and `end` are the command line's texts, both or neither given, or `month` alone.
    """
    return UsageSettings(
        days=_days(ZoneInfo(settings.required("report_time_zone")), start, end, month, now),
        by=by,
        compare=compare,
        token_parts=settings.required("token_parts"),
        rules=_rules(settings, parts=()),
        memory_limit=settings.required("memory_limit"),
        output=settings.required("output"),
        database=_database(settings),
        clock=_clock(settings),
        statement_timeout=settings.required("database.statement_timeout"),
        patience=Patience(attempts=settings.required("database.connect_attempts")),
        threads=settings.optional("threads"),
        scratch=settings.optional("scratch"),
    )


def _days(zone: ZoneInfo, start: str | None, end: str | None, month: str | None, now: datetime) -> DaySpan:
    if month is not None and (start is not None or end is not None):
        raise SettingError("--month names all days", "Give it without --from and --to")
    if month is not None:
        return month_span(_month(month), now, zone)
    if start is None and end is None:
        return last_full_month(now, zone)
    if start is None or end is None:
        raise SettingError("--from and --to are given together", "Give both, or neither for the last full month")
    return DaySpan(_day("--from", start), _day("--to", end), zone)


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise SettingError(f"{text!r} cannot be used for {option}", "Write a day, as in 2026-11-01") from error


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text.strip()}-01")
    except ValueError as error:
        raise SettingError(f"{text!r} cannot be used for --month", "Write a month, as in 2026-11") from error


def ledger_url(settings: Settings) -> str:
    """Return where the ledger is: as set, or a file in the output folder."""
    found: str | None = settings.optional("ledger_url")
    return found or f"sqlite:///{settings.required('output') / 'ledger.sqlite'}"


def backfill_settings(settings: Settings, request: ReconcileSettings, *, apply: bool) -> BackfillSettings:
    """Return what a backfill is asked to do; `request` is the reconcile run that it begins with."""
    return BackfillSettings(
        reconcile=request,
        ledger_url=ledger_url(settings),
        verify_within=settings.required("verify_within"),
        slice_length=settings.required("slice_length"),
        apply=apply,
    )


def doctor_settings(settings: Settings, now: datetime) -> DoctorSettings:
    """Return what the doctor looks at; what cannot be used is told there and not raised."""
    problems: dict[str, tuple[SettingError, ...]] = {"settings-values": settings.problems}

    def tried(check: str, make: Callable[[Settings], T], *needed: str) -> T | None:
        missing = [_not_set(name) for name in needed if settings.optional(name) is None]
        problems[check] = (*problems.get(check, ()), *missing)
        try:
            return None if missing else make(settings)
        except SettingError as error:
            problems[check] += (error,)
            return None

    return DoctorSettings(
        database=tried("settings-database", _database),
        lago=tried("settings-lago", _lago, "lago.api_base", "lago.api_key"),
        store=tried("settings-lago", _store),
        rules=tried("settings-rules", _metered_rules),
        problems=problems,
        misspelled=settings.misspelled,
        database_host=settings.optional("database.host"),
        clock=_clock(settings),
        meter=settings.required("meter"),
        window=_window(settings, None, None, now),
        ledger_url=ledger_url(settings),
        output=settings.required("output"),
        scratch=settings.optional("scratch"),
    )


def _clock(settings: Settings) -> SourceClock:
    return SourceClock(settings.required("source_time_zone"), settings.optional("source_utc_since"))


def _metered_rules(settings: Settings) -> Rules:
    return _rules(settings, settings.meter())


def _rules(settings: Settings, parts: tuple[MeterPart, ...]) -> Rules:
    if settings.required("settlement_lag") < settings.required("late"):
        raise SettingError(
            "RECONCILE_SETTLEMENT_LAG is shorter than RECONCILE_LATE: events would be judged that are still on the way",
            "Make it longer, best two hours",
        )
    charge_by, charge_by_path = settings.required("lago.charge_by")
    files = (settings.optional(f"{name}_file") for name in ("mapping", "allowed", "alias"))
    mapping_file, allowed_file, alias_file = files
    return Rules(
        parts=parts,
        charge_by=charge_by,
        charge_by_path=charge_by_path,
        tolerance=Tolerance(
            settings.required("early") // timedelta(microseconds=1),
            settings.required("late") // timedelta(microseconds=1),
        ),
        settlement_lag=settings.required("settlement_lag"),
        longest_call=settings.required("longest_call"),
        doubt_within=settings.required("doubt_within"),
        mapping=_pairs(mapping_file, ("source", "subscription")) if mapping_file else None,
        allowed=_pairs(allowed_file, ("key_or_team", "subscription"), repeats=True) if allowed_file else None,
        aliases=_pairs(alias_file, ("alias", "model")) if alias_file else (),
        bill_cache_hits=settings.required("bill_cache_hits"),
        id_template=settings.optional("id_template"),
        top_up=settings.required("top_up"),
        send_closed_periods=settings.required("send_closed_periods"),
        allow_pay_in_advance=settings.required("allow_pay_in_advance"),
    )


def _pairs(path: Path, columns: tuple[str, str], *, repeats: bool = False) -> tuple[tuple[str, str], ...]:
    return tuple(read_pairs(path, columns, repeats=repeats))


def _window(settings: Settings, start: str | None, end: str | None, now: datetime) -> Window:
    if start is None and end is None:
        at = settings.optional("scheduled_at") or scheduled_time(settings.optional("job_name") or "", now) or now
        return scheduled_window(at, settings.required("settlement_lag"), settings.required("window_length"))
    if start is None or end is None:
        raise SettingError("--from and --to are given together", "Give both, or neither for the last settled days")
    edges = []
    for option, text in (("--from", start), ("--to", end)):
        try:
            edges.append(parse_instant(text))
        except ValueError as error:
            raise SettingError(f"{text!r} cannot be used for {option}", _sentence(error)) from error
    return Window(*edges)


def _database(settings: Settings) -> DatabaseSettings:
    return database_settings(
        **{
            part: settings.optional(f"database.{part}")
            for part in ("host", "name", "username", "password", "url", "schema")
        }
    )


def _lago(settings: Settings) -> LagoConnection:
    ca_file = settings.optional("lago.ca_file")
    return LagoConnection(
        api_base=normalise_api_base(settings.required("lago.api_base")),
        api_key=settings.required("lago.api_key"),
        requests_per_second=settings.required("lago.requests_per_second"),
        concurrency=settings.required("lago.concurrency"),
        page_size=settings.required("lago.page_size"),
        attempts=settings.required("lago.attempts"),
        timeout_seconds=settings.required("lago.timeout").total_seconds(),
        ca_file=None if ca_file is None else str(ca_file),
    )


def _store(settings: Settings) -> Store | None:
    if settings.required("lago.events_from") == "api":
        return None
    if settings.required("lago.events_from") == "clickhouse":
        return clickhouse_store(settings.required("lago.store_url"), settings.optional("lago.organization_id"))
    return PostgresStore(store_settings(settings.required("lago.store_url")), settings.optional("lago.organization_id"))


def _value(setting: Setting, text: str, origin: str) -> Value:
    try:
        return Value(_parse(setting, text), origin, text)
    except ValueError as error:
        shown = "its value" if setting.secret else repr(text)
        problem = SettingError(f"{shown} cannot be used for {setting.name} ({origin})", _sentence(error))
    instead = None if setting.default is None else setting.parse(setting.default)
    return Value(instead, origin, text, problem)


def _parse(setting: Setting, text: str) -> Any:
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    if setting.parse is not _path:
        text.encode()  # a lone surrogate, as the environment has for bytes that are no UTF-8, is a ValueError
    return setting.parse(text)


def _sentence(error: ValueError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]


def _read_config(path: Path, problems: list[SettingError]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return what the file sets and its meter tables, and add what is wrong with it to `problems`."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what, remedy = (
            f"cannot read the configuration file {str(path)!r}: {error.strerror}",
            "Give --config one that can be",
        )
        problems.append(SettingError(what, remedy))
        return {}, []
    except (ValueError, RecursionError) as error:
        what = f"the configuration file {str(path)!r} is not valid TOML: {error}"
        problems.append(SettingError(what, "Correct it at that place"))
        return {}, []
    meter_tables = content.pop("meter_parts", [])
    if not isinstance(meter_tables, list) or not all(isinstance(table, dict) for table in meter_tables):
        problems.append(
            SettingError(f"{path}: meter_parts is no list of tables", "Head each part with [[meter_parts]]")
        )
        meter_tables = []
    return dict(_flatten(content, path, problems)), meter_tables


def _flatten(
    table: Mapping[str, Any], path: Path, problems: list[SettingError], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict):
            yield from _flatten(value, path, problems, f"{name}.")
        elif name not in _BY_NAME:
            nearest = difflib.get_close_matches(name, _BY_NAME, n=1)
            remedy = (
                f"Did you mean {nearest[0]!r}?" if nearest else "Remove it; `litellm-lago config example` has them all"
            )
            problems.append(SettingError(f"{path} sets {name!r}, which is not a setting", remedy))
        elif isinstance(value, bool):
            yield name, str(value).lower()
        elif isinstance(value, str | int | float | datetime):
            yield name, value.isoformat() if isinstance(value, datetime) else str(value)
        else:
            remedy = "Write a text, a number, true, false or a time"
            problems.append(SettingError(f"{path}: {name} is of no usable type", remedy))


def read_pairs(path: Path, columns: tuple[str, str], *, repeats: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the rows of a two-column CSV file with this header.

    Raises `SettingError` naming the file and line for an unreadable file, another header, a row of another width, an
    empty cell, or, unless it `repeats`, a first cell that came before with another second one.
    """
    seen: dict[str, str] = {}
    pairs: dict[tuple[str, str], None] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            if next(rows, None) != list(columns):
                raise SettingError(f"{path} has another header", f"Begin it with the line {','.join(columns)!r}")
            for row in rows:
                if not row:
                    continue
                if len(row) != 2 or not all(row):
                    raise SettingError(f"{path}, line {rows.line_num}: no row of two cells", "Write two, neither empty")
                pairs[row[0], row[1]] = None
                if seen.setdefault(row[0], row[1]) != row[1] and not repeats:
                    raise SettingError(
                        f"{path}, line {rows.line_num}: {row[0]!r} stands there twice, differently",
                        "Remove one of them",
                    )
        yield from pairs
    except (OSError, UnicodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingError(
            f"cannot read {str(path)!r}: {reason}", "Name a CSV file in UTF-8 that can be read"
        ) from error
