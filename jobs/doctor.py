"""Use case: check everything before the first run and after every incident, and say what to do.

It only reads: nothing is written to Lago, to LiteLLM's database or to the ledger. Every question is bounded, so that it
is quick on any size. What is asked, and how an answer is judged, stands in `jobs/core/doctor/`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TypeVar

from jobs.adapters.lago import inspection as lago
from jobs.adapters.lago.catalogue import read_organization, read_prices, read_subscriptions
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.ledger import LedgerFacts, inspect_ledger
from jobs.adapters.litellm_database import Inspection, Patience, open_inspection
from jobs.adapters.network import reach, resolve
from jobs.adapters.run_folder import room_for_runs
from jobs.core.database.settings import DatabaseSettings
from jobs.core.doctor import lago_checks, source_checks
from jobs.core.doctor.asked import DoctorSettings
from jobs.core.doctor.checks import CHECKS, Diagnosis, Finding, Status, Verdict, because, failed, passed, some, warned
from jobs.core.doctor.lago_checks import SampledEvent
from jobs.core.doctor.source_checks import SpendLogSample, resolved
from jobs.core.kinds import ChargeBy
from jobs.core.lago.values import BillableMetric, Organization, Plan
from jobs.core.layout import lay_out
from jobs.core.litellm.call_types import NOT_INFERENCE
from jobs.core.litellm.spend_logs import SpendLogsBounds, SpendLogsSchema
from jobs.core.meters import bind
from jobs.core.rules import Rules
from jobs.core.window import Window
from jobs.drivers.patterns import payers
from jobs.errors import ReconcileError, SettingError, StoppedError
from jobs.steps.event_source import EventsAsked, read_recorded_events
from jobs.steps.reconcile_values import Progress

T = TypeVar("T")

# A healthy neighbour answers within this; the doctor asks many questions and waits for none longer.
_PATIENCE = timedelta(seconds=15)
_ATTEMPTS = 2
# A window before anything happened: asking for it shows that one may ask.
_NOTHING = Window(datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
# A run of a million spend logs and events needs about this much beside its report.
_ROOM_BYTES = 2 * 1024**3


def doctor(settings: DoctorSettings, progress: Progress, *, now: Callable[[], datetime]) -> Diagnosis:
    """Make every check in order; one that cannot be asked because an earlier one failed is skipped."""
    verdicts: dict[str, Verdict] = {}
    with ExitStack() as stack:
        examination = _Examination(settings, stack, progress, now)
        for number, check in enumerate(CHECKS):
            if number == 0 or check.group != CHECKS[number - 1].group:
                progress.step(f"checking: {check.group}")
            verdicts[check.id] = because(check, verdicts) or examination.verdict(check.id)
    return Diagnosis(tuple(Finding(check, verdicts[check.id]) for check in CHECKS))


class _Examination:
    """The questions, by the names of the checks; what one has learnt, later ones use."""

    def __init__(
        self, settings: DoctorSettings, stack: ExitStack, progress: Progress, now: Callable[[], datetime]
    ) -> None:
        self._settings = settings
        self._progress = progress
        self._stack = stack
        self._now = now
        self._database_skew: timedelta | None = None
        self._lago_skew: timedelta | None = None

    def verdict(self, name: str) -> Verdict:
        """Ask the check of this id; an error on the way is its failure."""
        if name in ("settings-values", "settings-database", "settings-lago", "settings-rules"):
            return self._settings_verdict(name)
        ask: Callable[[], Verdict] = getattr(self, name.replace("-", "_"))
        try:
            return ask()
        except StoppedError:
            raise
        except ReconcileError as error:
            return failed(error.what, error.remedy)

    # Settings.

    def _settings_verdict(self, name: str) -> Verdict:
        problems = self._settings.problems.get(name, ())
        if not problems:
            return passed("all of them can be used")
        remedies = dict.fromkeys(problem.remedy for problem in problems)
        return failed("; ".join(problem.what for problem in problems), "; ".join(remedies))

    def settings_unknown(self) -> Verdict:
        """Look for variables whose names are almost right, and for those that another one overrules."""
        if not self._settings.misspelled:
            return passed("every variable is a setting and has its effect")
        names = list(dict.fromkeys(name for name, _ in self._settings.misspelled))
        return warned(f"not all goes by {some(names)}", "; ".join(remedy for _, remedy in self._settings.misspelled))

    # LiteLLM's database.

    @property
    def _database(self) -> DatabaseSettings:
        return _given(self._settings.database)

    @cached_property
    def _inspection(self) -> Inspection:
        return self._stack.enter_context(open_inspection(self._database, timeout=_PATIENCE))

    @cached_property
    def _schema(self) -> SpendLogsSchema:
        return self._inspection.schema()

    @cached_property
    def _bounds(self) -> SpendLogsBounds:
        return self._inspection.bounds(self._settings.clock)

    @cached_property
    def _sample(self) -> SpendLogSample:
        rules = self._settings.rules
        charge_by = (rules.charge_by, rules.charge_by_path) if rules else (ChargeBy.END_USER_ID, None)
        return self._inspection.sample(*charge_by, self._settings.clock, NOT_INFERENCE)

    def database_name(self) -> Verdict:
        """Look the host's name up."""
        database, verdicts = self._database, list[Verdict]()
        for host, port in database.hosts:
            one, addresses, error = replace(database, host=host, port=port, more_hosts=()), tuple[str, ...](), ""
            if host and not host.startswith("/"):
                try:
                    addresses = resolve(host, port)
                except (OSError, UnicodeError) as trouble:
                    error = (trouble.strerror if isinstance(trouble, OSError) else None) or "it cannot be a name"
            verdicts.append(source_checks.judge_resolution(one, self._settings.database_host, addresses, error))
        # One host that is known is enough to connect.
        return max(verdicts, key=lambda verdict: verdict.status is Status.PASS)

    def database_reach(self) -> Verdict:
        """Connect to the port."""
        database = self._database
        told = ""
        for host, port in database.hosts:
            if host.startswith("/"):
                return passed(f"{host} is the folder of a socket")
            try:
                reach(host, port, _PATIENCE)
            except (OSError, UnicodeError) as error:
                told = (error.strerror if isinstance(error, OSError) else None) or str(error)
            else:
                return passed(f"something listens at {database.address}")
        return failed(
            f"nothing answers at {database.address}: {told}",
            f"Check the port in {database.names.port}, that PostgreSQL runs there, and any NetworkPolicy between",
        )

    def database_login(self) -> Verdict:
        """Log in, and compare clocks."""
        inspection, before = self._inspection, self._now()
        self._database_skew = inspection.now() - _middle(before, self._now())
        return passed(f"role '{self._database.username}' may log in to '{self._database.name}'")

    def database_tables(self) -> Verdict:
        """Read the catalogue."""
        return passed(f'"LiteLLM_SpendLogs" may be read; it has {len(self._schema.columns)} columns')

    def database_schema(self) -> Verdict:
        """Tell the schema's age."""
        return source_checks.judge_schema(self._schema)

    def daily_tables(self) -> Verdict:
        """Tell which daily tables can be read."""
        return source_checks.judge_daily_tables(self._schema, self._database.username)

    def start_time_index(self) -> Verdict:
        """Look for the index that every question about spend logs needs."""
        return source_checks.judge_index(self._schema)

    # Spend logs.

    def time_zone(self) -> Verdict:
        """Compare the newest ends with the database's clock."""
        sample, now = self._sample, self._inspection.now()
        return source_checks.judge_times(sample.newest_end, sample.newest_end_naive, self._settings.clock, now)

    def retention(self) -> Verdict:
        """Compare the oldest spend log with the scheduled window."""
        return source_checks.judge_retention(self._bounds.oldest_start, self._settings.window)

    def spend_logs_written(self) -> Verdict:
        """Compare the newest spend log with the daily table."""
        newest = self._bounds.newest_start
        later = self._inspection.later_requests(self._schema, newest.date() if newest else None)
        return source_checks.judge_written(newest, later, self._inspection.now())

    def request_ids(self) -> Verdict:
        """Look for ids that collide."""
        # The last day whose calls have all been written.
        day = (self._inspection.now().astimezone(UTC) - timedelta(days=1, hours=1)).date()
        ids = self._inspection.request_ids(self._schema, day)
        return source_checks.judge_request_ids(ids, self._sample)

    def attribution(self) -> Verdict:
        """Count who names a payer."""
        return source_checks.judge_attribution(self._sample, self._fitted_rules)

    def pinned_end_users(self) -> Verdict:
        """Look for keys that several end users share."""
        return source_checks.judge_pinning(self._schema, self._sample, _given(self._settings.rules).charge_by)

    # Lago.

    @cached_property
    def _client(self) -> LagoClient:
        connection = _given(self._settings.lago)
        timeout = min(connection.timeout_seconds, _PATIENCE.total_seconds())
        hurried = replace(connection, attempts=_ATTEMPTS, timeout_seconds=timeout)
        return self._stack.enter_context(LagoClient(hurried))

    @cached_property
    def _answer(self) -> lago.Answer:
        before = self._now()
        answer = lago.ask(self._client)
        if answer.clock is not None:
            # The header is cut to the second, so half a second is missing on average.
            self._lago_skew = answer.clock + timedelta(seconds=0.5) - _middle(before, self._now())
        return answer

    @cached_property
    def _organization(self) -> Organization:
        return read_organization(self._client)

    @cached_property
    def _prices(self) -> tuple[tuple[BillableMetric, ...], tuple[Plan, ...]]:
        return read_prices(self._client)

    @cached_property
    def _events(self) -> tuple[SampledEvent, ...]:
        parts = self._settings.rules.parts if self._settings.rules else ()
        return lago.recent_events(self._client, tuple(dict.fromkeys(part.code for part in parts)), self._now())

    def lago_reach(self) -> Verdict:
        """Send one request."""
        return passed(f"{self._client.host} answers with HTTP {self._answer.status}")

    def lago_answers(self) -> Verdict:
        """Look at the form of the answer."""
        return lago_checks.judge_answer(self._client.host, self._answer.is_lago, self._answer.what)

    def lago_key(self) -> Verdict:
        """Look at the answer's status."""
        return lago_checks.judge_key(self._answer.status)

    def lago_permissions(self) -> Verdict:
        """Ask for one of everything that a run reads."""
        return lago_checks.judge_permissions(*lago.forbidden(self._client))

    def lago_server(self) -> Verdict:
        """Ask which event store it has."""
        return lago_checks.judge_server(self._organization)

    def lago_rate(self) -> Verdict:
        """Look at the answer's rate limit headers."""
        return lago_checks.judge_rate(self._answer.requests_per_second, self._client.connection.requests_per_second)

    def metric(self) -> Verdict:
        """Bind the meter to the metrics."""
        return lago_checks.judge_metric(_given(self._settings.rules).parts, self._prices[0])

    def lago_store(self) -> Verdict:
        """Read an empty window the way a run reads events."""
        store, rules = self._settings.store, _given(self._settings.rules)
        if store is None:
            return passed("recorded events are read through the API")
        bound = bind(rules.parts, {metric.code: metric for metric in self._prices[0]})
        layout = lay_out(bound, rules.charge_by_path, rules.id_template)
        patience = Patience(attempts=1, connect_timeout=_PATIENCE)
        asked = EventsAsked(
            window=_NOTHING,
            settled_at=_NOTHING.end,
            statement_timeout=_PATIENCE,
            patience=patience,
        )
        for _ in read_recorded_events(
            store, self._client, self._organization, layout, asked, self._progress, self._now()
        ):
            pass
        return passed("Lago's own store can be read, and is that of the key's organization")

    def charges(self) -> Verdict:
        """Look for charges of the meter's codes."""
        return lago_checks.judge_charges(_given(self._settings.rules).parts, self._prices[1])

    # Events.

    def event_shape(self) -> Verdict:
        """Compare recent events with the meter."""
        return lago_checks.judge_shape(self._settings.meter, _given(self._settings.rules).parts, self._events)

    def event_codes(self) -> Verdict:
        """Compare recent events with the metrics."""
        return lago_checks.judge_codes(self._events, self._prices[0])

    def event_subscriptions(self) -> Verdict:
        """Look for recent events without a subscription."""
        return lago_checks.judge_event_subscriptions(self._events)

    def event_times(self) -> Verdict:
        """Look for recent events in the future."""
        return lago_checks.judge_event_times(self._events, self._now())

    def subscriptions_known(self) -> Verdict:
        """Compare the payers of recent spend logs with Lago's subscriptions."""
        mapping = resolved(self._sample.sources, self._fitted_rules)
        return lago_checks.judge_subscriptions(self._sample.sources, mapping, read_subscriptions(self._client))

    @cached_property
    def _fitted_rules(self) -> Rules:
        """The rules with what the mapping file's patterns say of the sample, word for word."""
        rules = _given(self._settings.rules)
        exact = dict(rules.mapping or ())
        fitting = payers((source for source, _ in self._sample.sources if source not in exact), rules.patterns)
        return replace(
            rules, mapping=None if rules.mapping is None else (*rules.mapping, *fitting.items()), patterns=()
        )

    # This machine.

    def clocks(self) -> Verdict:
        """Compare what the others said the time was."""
        return lago_checks.judge_clocks({"PostgreSQL": self._database_skew, "Lago": self._lago_skew})

    @cached_property
    def _ledger(self) -> LedgerFacts:
        return inspect_ledger(self._settings.ledger_url)

    def ledger(self) -> Verdict:
        """Look at the ledger without making or migrating it."""
        facts = self._ledger
        if facts.version == 0:
            return passed(f"the ledger ({facts.shown}) does not exist yet; the first backfill makes it")
        if facts.version > facts.latest:
            return failed(
                f"the ledger ({facts.shown}) has schema version {facts.version}; this version knows {facts.latest}",
                "Upgrade litellm-lago, or set RECONCILE_LEDGER_URL to another ledger",
            )
        return passed(f"the ledger ({facts.shown}) has schema version {facts.version} of {facts.latest}")

    def ledger_lock(self) -> Verdict:
        """Tell who holds the lock."""
        holders = self._ledger.holders
        if holders:
            return warned(f"held by {'; '.join(holders)}", "Wait until it has ended, or end it, before you apply")
        held = ", and holds through the pooler that stands before PostgreSQL" if self._ledger.pooled else ""
        return passed(f"free{held}")

    def output_folder(self) -> Verdict:
        """Try to write, and look at the disk."""
        output, scratch = self._settings.output, self._settings.scratch
        free, found = room_for_runs(output), f"{output} can be written"
        if scratch is not None:
            free, found = room_for_runs(scratch), f"{found}, and so can {scratch}"
        found += f"; {free / 1024**3:,.1f} GiB are free"
        if free < _ROOM_BYTES:
            return warned(
                found,
                "Make room, or set RECONCILE_OUTPUT to a larger disk: the matching spills about 0.3 GB per million",
            )
        return passed(found)


def _given(value: T | None) -> T:
    """Return a part of the settings that an earlier check has found to be there."""
    if value is None:
        raise SettingError("a setting that this needs cannot be used", "See the checks of the settings")
    return value


def _middle(before: datetime, after: datetime) -> datetime:
    return before + (after - before) / 2
