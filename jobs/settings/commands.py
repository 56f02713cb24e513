"""What each command gets of the settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from jobs.adapters.litellm_database import Patience
from jobs.core.assignment import Tolerance
from jobs.core.caps import Caps
from jobs.core.database.settings import DatabaseSettings, store_settings
from jobs.core.doctor.asked import DoctorSettings
from jobs.core.lago.store import PostgresStore, Store, clickhouse_store
from jobs.core.lago.values import LagoConnection, normalise_api_base
from jobs.core.litellm.spend_logs import SourceClock
from jobs.core.litellm.variables import chosen_database
from jobs.core.meters import AGENT_SDK_CODES, MeterPart
from jobs.core.periods import DaySpan, PeriodLength, last_full_month, month_span
from jobs.core.rules import Rules
from jobs.core.window import Window, scheduled_time, scheduled_window
from jobs.errors import SettingError
from jobs.settings.declared import database, lago, run
from jobs.settings.pairs import read_mapping, read_pairs
from jobs.settings.setting import Setting
from jobs.settings.sources import Settings, given_database, load_settings, not_set
from jobs.settings.texts import as_sentence, parse_instant
from jobs.steps.backfill_values import BackfillSettings
from jobs.steps.reconcile_values import ClusterSettings, ReconcileSettings, Sources
from jobs.steps.revenue import RevenueAsked
from jobs.telling.chat import Notification
from jobs.telling.metrics import Publication
from jobs.usage import UsageSettings

T = TypeVar("T")


def publication(settings: Settings) -> Publication | None:
    """Return where metrics go, if they do."""
    folder, pushgateway = settings.optional(run.METRICS_FOLDER), settings.optional(run.PUSHGATEWAY_URL)
    if folder is None and pushgateway is None:
        return None
    return Publication(folder, pushgateway, settings.required(run.METRICS_SUBSCRIPTIONS))


def notification(settings: Settings) -> Notification | None:
    """Return the webhook that gets a message when a command ends, if one is set."""
    url = settings.optional(run.WEBHOOK_URL)
    return None if url is None else Notification(url, settings.required(run.WEBHOOK_ON))


def reconcile_settings(settings: Settings, start: str | None, end: str | None, now: datetime) -> ReconcileSettings:
    """Return what a run is asked to do; `start` and `end` are the command line's texts, both or neither given."""
    _refuse_missing(settings)
    return ReconcileSettings(
        window=_window(settings, start, end, now),
        rules=_rules(settings, settings.meter()),
        caps=Caps(
            events=settings.required(run.MOST_EVENTS),
            quantity=settings.required(run.MOST_QUANTITY),
            share=settings.required(run.MOST_SHARE),
            share_from_events=settings.required(run.MOST_SHARE_FROM),
            amount=settings.optional(run.MOST_AMOUNT),
        ),
        memory_limit=settings.required(run.MEMORY_LIMIT),
        output=settings.required(run.OUTPUT),
        database=_database(settings),
        clock=_clock(settings),
        statement_timeout=settings.required(database.STATEMENT_TIMEOUT),
        patience=Patience(attempts=settings.required(database.CONNECT_ATTEMPTS)),
        lago=_lago(settings),
        store=_store(settings),
        look_back=settings.required(run.LOOK_BACK),
        threads=settings.optional(run.THREADS),
        cluster=_cluster(settings),
        scratch=settings.optional(run.SCRATCH),
        usage_subscriptions=settings.required(run.USAGE_SUBSCRIPTIONS),
        metrics_subscriptions=settings.required(run.METRICS_SUBSCRIPTIONS),
    )


def _cluster(settings: Settings) -> ClusterSettings | None:
    address = settings.optional(run.CLUSTER)
    if address is None:
        return None
    return ClusterSettings(
        address=address,
        parts=settings.optional(run.CLUSTER_PARTS),
        wait=settings.required(run.CLUSTER_WAIT),
        sources=sources_here,
    )


def sources_here() -> Sources:
    """Return how this process, a worker of a cluster, reaches what runs read: its environment alone says so."""
    settings = load_settings(os.environ)
    has_api = settings.optional(lago.API_BASE) is not None and settings.optional(lago.API_KEY) is not None
    return Sources(_database(settings), _lago(settings) if has_api else None, _store(settings))


def usage_settings(
    settings: Settings,
    start: str | None,
    end: str | None,
    month: str | None,
    now: datetime,
    *,
    by: PeriodLength,
    compare: bool,
    revenue: bool = False,
) -> UsageSettings:
    """Return what a usage report has to hold; without revenue it needs no setting of Lago but who pays.

    `start` and `end` are the command line's texts, both or neither given, or `month` alone.
    """
    return UsageSettings(
        days=_days(ZoneInfo(settings.required(run.REPORT_TIME_ZONE)), start, end, month, now),
        by=by,
        compare=compare,
        token_parts=settings.required(run.TOKEN_PARTS),
        rules=_rules(settings, settings.meter() if revenue else ()),
        memory_limit=settings.required(run.MEMORY_LIMIT),
        output=settings.required(run.OUTPUT),
        database=_database(settings),
        clock=_clock(settings),
        statement_timeout=settings.required(database.STATEMENT_TIMEOUT),
        patience=Patience(attempts=settings.required(database.CONNECT_ATTEMPTS)),
        threads=settings.optional(run.THREADS),
        scratch=settings.optional(run.SCRATCH),
        revenue=RevenueAsked(_lago(settings), settings.required(run.USAGE_SUBSCRIPTIONS)) if revenue else None,
    )


_DATABASE_PARTS = (database.HOST, database.NAME, database.USERNAME, database.PASSWORD)
# Where the manifests take each from; everything else is a value of the deployment.
_FROM_SECRETS: dict[Setting[str], str] = {
    database.USERNAME: "psql-secret",
    database.PASSWORD: "psql-secret",
    lago.API_KEY: "lago-secret",
}


def _refuse_missing(settings: Settings) -> None:
    """Name all missing settings at once, and where to set them; a single one is reported better where it is used."""
    needed = (
        *(_DATABASE_PARTS if settings.optional(database.URL) is None else ()),
        *(lago.API_BASE, lago.API_KEY),
        *(() if settings.required(run.METER) in {"custom", *AGENT_SDK_CODES} else (lago.EVENT_CODE,)),
    )
    missing = [setting for setting in needed if settings.optional(setting) is None]
    if len(missing) < 2:
        return
    variables = [setting.variable for setting in missing]
    secrets = dict.fromkeys(_FROM_SECRETS[setting] for setting in missing if setting in _FROM_SECRETS)
    places = [
        *(["k8s/deployment.yaml (ConfigMap litellm-lago-deployment)"] if set(missing) - _FROM_SECRETS.keys() else []),
        *(f"the Secret {name}" for name in secrets),
    ]
    parts = {"DATABASE_HOST": "db.endpoint", "DATABASE_NAME": "db.database"}
    helm = [f"{name} is {parts[name]} in LiteLLM's values" for name in variables if name in parts]
    raise SettingError(
        f"{', '.join(variables[:-1])} and {variables[-1]} are not set",
        f"Set them in the environment or in the file of --config; on Kubernetes in {' and '.join(places)}"
        f"{''.join(f'; {text}' for text in helm)}",
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
    return settings.optional(run.LEDGER_URL) or f"sqlite:///{settings.required(run.OUTPUT) / 'ledger.sqlite'}"


def backfill_settings(settings: Settings, request: ReconcileSettings, *, apply: bool) -> BackfillSettings:
    """Return what a backfill is asked to do; `request` is the reconcile run that it begins with."""
    return BackfillSettings(
        reconcile=request,
        ledger_url=ledger_url(settings),
        verify_within=settings.required(run.VERIFY_WITHIN),
        slice_length=settings.required(run.SLICE_LENGTH),
        send_despite=settings.optional(run.SEND_DESPITE) or frozenset(),
        apply=apply,
    )


def doctor_settings(settings: Settings, now: datetime) -> DoctorSettings:
    """Return what the doctor looks at; a setting that cannot be used is a finding there, not an error."""
    problems: dict[str, tuple[SettingError, ...]] = {"settings-values": settings.problems}

    def tried(check: str, make: Callable[[Settings], T], *needed: Setting[str]) -> T | None:
        missing = [not_set(setting) for setting in needed if settings.optional(setting) is None]
        problems[check] = (*problems.get(check, ()), *missing)
        try:
            return None if missing else make(settings)
        except SettingError as error:
            problems[check] += (error,)
            return None

    return DoctorSettings(
        database=tried("settings-database", _database),
        lago=tried("settings-lago", _lago_in_haste, lago.API_BASE, lago.API_KEY),
        store=tried("settings-lago", _store),
        rules=tried("settings-rules", _metered_rules),
        problems=problems,
        misspelled=settings.misspelled,
        database_host=settings.optional(database.HOST),
        clock=_clock(settings),
        meter=settings.required(run.METER),
        window=_window(settings, None, None, now),
        ledger_url=ledger_url(settings),
        output=settings.required(run.OUTPUT),
        scratch=settings.optional(run.SCRATCH),
    )


def is_manual(settings: Settings, start: str | None, now: datetime) -> bool:
    """Tell whether a person asked for this run: for a window of its own, or as a Job that no firing made."""
    job_name, scheduled_at = settings.optional(run.JOB_NAME), settings.optional(run.SCHEDULED_AT)
    return start is not None or bool(job_name and scheduled_at is None and scheduled_time(job_name, now) is None)


def _clock(settings: Settings) -> SourceClock:
    return SourceClock(settings.required(run.SOURCE_TIME_ZONE), settings.optional(run.SOURCE_UTC_SINCE))


def _metered_rules(settings: Settings) -> Rules:
    return _rules(settings, settings.meter())


def _rules(settings: Settings, parts: tuple[MeterPart, ...]) -> Rules:
    if settings.required(run.SETTLEMENT_LAG) < settings.required(run.LATE):
        raise SettingError(
            "RECONCILE_SETTLEMENT_LAG is shorter than RECONCILE_LATE: events would be judged that are still on the way",
            "Make it longer, best two hours",
        )
    charge_by, charge_by_path = settings.required(lago.CHARGE_BY)
    files = (settings.optional(file) for file in (run.MAPPING_FILE, run.ALLOWED_FILE, run.ALIAS_FILE))
    mapping_file, allowed_file, alias_file = files
    mapping, patterns = read_mapping(mapping_file) if mapping_file else (None, ())
    return Rules(
        parts=parts,
        charge_by=charge_by,
        charge_by_path=charge_by_path,
        tolerance=Tolerance(
            settings.required(run.EARLY) // timedelta(microseconds=1),
            settings.required(run.LATE) // timedelta(microseconds=1),
        ),
        settlement_lag=settings.required(run.SETTLEMENT_LAG),
        longest_call=settings.required(run.LONGEST_CALL),
        doubt_within=settings.required(run.DOUBT_WITHIN),
        mapping=mapping,
        patterns=patterns,
        allowed=_pairs(allowed_file, ("key_or_team", "subscription"), repeats=True) if allowed_file else None,
        aliases=_pairs(alias_file, ("alias", "model")) if alias_file else (),
        bill_cache_hits=settings.required(run.BILL_CACHE_HITS),
        id_template=settings.optional(run.ID_TEMPLATE),
        top_up=settings.required(run.TOP_UP),
        send_closed_periods=settings.required(run.SEND_CLOSED_PERIODS),
        allow_pay_in_advance=settings.required(run.ALLOW_PAY_IN_ADVANCE),
        proven_from=settings.required(run.PROVEN_FROM),
        send_unproven_keys=settings.required(run.SEND_UNPROVEN_KEYS),
    )


def _pairs(path: Path, columns: tuple[str, str], *, repeats: bool = False) -> tuple[tuple[str, str], ...]:
    return tuple(read_pairs(path, columns, repeats=repeats))


def _window(settings: Settings, start: str | None, end: str | None, now: datetime) -> Window:
    if start is None and end is None:
        at = settings.optional(run.SCHEDULED_AT) or scheduled_time(settings.optional(run.JOB_NAME) or "", now) or now
        return scheduled_window(at, settings.required(run.SETTLEMENT_LAG), settings.required(run.WINDOW_LENGTH))
    if start is None or end is None:
        raise SettingError("--from and --to are given together", "Give both, or neither for the last settled days")
    edges = []
    for option, text in (("--from", start), ("--to", end)):
        try:
            edges.append(parse_instant(text))
        except ValueError as error:
            raise SettingError(f"{text!r} cannot be used for {option}", as_sentence(error)) from error
    return Window(*edges)


def _database(settings: Settings) -> DatabaseSettings:
    return chosen_database(given_database(settings.values))[0]


def _lago(settings: Settings) -> LagoConnection:
    ca_file = settings.optional(lago.CA_FILE)
    return LagoConnection(
        api_base=normalise_api_base(settings.required(lago.API_BASE)),
        api_key=settings.required(lago.API_KEY),
        requests_per_second=settings.required(lago.REQUESTS_PER_SECOND),
        concurrency=settings.required(lago.CONCURRENCY),
        page_size=settings.required(lago.PAGE_SIZE),
        attempts=settings.required(lago.ATTEMPTS),
        timeout_seconds=settings.required(lago.TIMEOUT).total_seconds(),
        ca_file=None if ca_file is None else str(ca_file),
    )


def _lago_in_haste(settings: Settings) -> LagoConnection:
    """Return the connection with two attempts at most, since a person waits for the doctor."""
    found = _lago(settings)
    return replace(found, attempts=min(found.attempts, 2))


def _store(settings: Settings) -> Store | None:
    if settings.required(lago.EVENTS_FROM) == "api":
        return None
    if settings.required(lago.EVENTS_FROM) == "clickhouse":
        return clickhouse_store(settings.required(lago.STORE_URL), settings.optional(lago.ORGANIZATION_ID))
    return PostgresStore(store_settings(settings.required(lago.STORE_URL)), settings.optional(lago.ORGANIZATION_ID))
