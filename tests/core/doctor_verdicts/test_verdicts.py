"""Facts become verdicts, case by case."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.core.assignment import Tolerance
from jobs.core.database.settings import DatabaseSettings
from jobs.core.doctor.checks import Status, Verdict
from jobs.core.doctor.lago_checks import (
    SampledEvent,
    judge_answer,
    judge_charges,
    judge_clocks,
    judge_codes,
    judge_event_subscriptions,
    judge_event_times,
    judge_key,
    judge_metric,
    judge_permissions,
    judge_rate,
    judge_server,
    judge_shape,
    judge_subscriptions,
)
from jobs.core.doctor.source_checks import (
    RequestIds,
    SpendLogSample,
    judge_attribution,
    judge_daily_tables,
    judge_index,
    judge_pinning,
    judge_request_ids,
    judge_resolution,
    judge_retention,
    judge_schema,
    judge_times,
    judge_written,
)
from jobs.core.kinds import ChargeBy
from jobs.core.lago.values import BillableMetric, Charge, Organization, Plan, Subscription
from jobs.core.litellm.spend_logs import DailyTable, SourceClock, SpendLogsSchema
from jobs.core.litellm.variables import database_settings
from jobs.core.meters import preset
from jobs.core.rules import Rules
from jobs.core.window import Window
from tests.support.judging import subscription

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


STORED = NOW.replace(tzinfo=None)


MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


WINDOW = Window(NOW - 74 * HOUR, NOW - 2 * HOUR)


RULES = Rules(
    parts=preset("callback", "llm_tokens"),
    charge_by=ChargeBy.END_USER_ID,
    charge_by_path=None,
    tolerance=Tolerance(5_000_000, 60_000_000),
    settlement_lag=2 * HOUR,
    longest_call=2 * HOUR,
)


SCHEMA = SpendLogsSchema(
    columns=frozenset(
        {"custom_llm_provider", "session_id", "mcp_namespaced_tool_name", "request_duration_ms", "litellm_call_id"}
    ),
    primary_key=("request_id",),
    partitioned=False,
    has_start_time_index=True,
    legacy_table_exists=False,
    legacy_table_readable=False,
    daily_tables=frozenset(),
    unreadable_daily_tables=frozenset(),
    estimated_rows=500_000,
    server_version="17.2",
    on_standby=False,
)


SAMPLE = SpendLogSample(
    rows=2000,
    billable=1000,
    repeated_ids=0,
    keys_of_several_users=0,
    newest_end=NOW,
    newest_end_naive=STORED,
    with_source=1000,
    with_end_user=1000,
    with_user=0,
    with_team=999,
    with_organization=5,
    with_key=1000,
    with_key_alias=500,
    sources=(("alice", 900), ("bob", 100)),
)


IDS = RequestIds(empty=False, none=False, day="2026-11-09", logged=1000, daily=1000)


CALLBACK = preset("callback", "llm_tokens")


TOKENS = BillableMetric("llm_tokens", "sum_agg", "total_tokens", expression=None, filters=())


CHARGE = Charge("llm_tokens", pay_in_advance=False)


EVENT = SampledEvent(
    "llm_tokens",
    "alice",
    NOW,
    frozenset({"model", "prompt_tokens", "completion_tokens", "total_tokens"}),
    frozenset({"prompt_tokens", "completion_tokens", "total_tokens"}),
)


TOKENLESS = replace(EVENT, properties=frozenset({"model", "response_cost"}), numbers=frozenset({"response_cost"}))


OTHERS = replace(EVENT, code="other", properties=frozenset({"model", "type", "tokens"}), numbers=frozenset({"tokens"}))


def database(url: str) -> DatabaseSettings:
    return database_settings(url=url)


def in_parts(host: str) -> DatabaseSettings:
    return database_settings(host, "litellm", "reader", "hush")


def without(*columns: str) -> SpendLogsSchema:
    return replace(SCHEMA, columns=SCHEMA.columns - set(columns))


def times(ago: timedelta, zone: str = "UTC", since: datetime | None = None, skew: timedelta = timedelta(0)) -> Verdict:
    """Judge a call that ended so long ago as the zone reads it; it is stored so much later than that."""
    return judge_times(NOW - ago, STORED - ago + skew, SourceClock(zone, since), NOW)


def subscriptions(*rows: tuple[str, str]) -> list[Subscription]:
    return [subscription(name, status=status) for name, status in rows]


JUDGED: dict[str, Callable[[], Verdict]] = {
    "resolution 1": lambda: judge_resolution(in_parts("/run/postgresql"), "/run/postgresql", (), ""),
    "resolution 2": lambda: judge_resolution(in_parts("db"), "db", ("10.0.0.1",), ""),
    "resolution 3": lambda: judge_resolution(
        in_parts("db:6543"), " db:6543 ", ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"), ""
    ),
    "resolution 4": lambda: judge_resolution(in_parts("fd00::7"), "fd00::7", ("fd00::7",), ""),
    "resolution 5": lambda: judge_resolution(in_parts("a:b:c"), "a:b:c", (), "no name"),
    "resolution 6": lambda: judge_resolution(in_parts("db:6543"), "db:6543", (), "no name"),
    "resolution 7": lambda: judge_resolution(
        in_parts("pg.data.svc.cluster.local"), "pg.data.svc.cluster.local", (), "no name"
    ),
    "resolution 8": lambda: judge_resolution(in_parts("pg.data.svc"), "pg.data.svc", (), "no name"),
    "resolution 9": lambda: judge_resolution(in_parts("pg.data.example"), "pg.data.example", (), "no name"),
    "resolution 10": lambda: judge_resolution(database("postgresql://u:p@db:6543/d"), None, (), "no name"),
    "schema 1": lambda: judge_schema(SCHEMA),
    "schema 2": lambda: judge_schema(replace(SCHEMA, partitioned=True, estimated_rows=None, on_standby=True)),
    "schema 3": lambda: judge_schema(without("custom_llm_provider", "session_id")),
    "schema 4": lambda: judge_schema(without("session_id")),
    "schema 5": lambda: judge_schema(without("mcp_namespaced_tool_name")),
    "schema 6": lambda: judge_schema(without("request_duration_ms")),
    "schema 7": lambda: judge_schema(without("litellm_call_id")),
    "schema 8": lambda: judge_schema(replace(SCHEMA, legacy_table_exists=True)),
    "schema 9": lambda: judge_schema(replace(SCHEMA, legacy_table_exists=True, legacy_table_readable=True)),
    "daily tables 1": lambda: judge_daily_tables(SCHEMA, "reader"),
    "daily tables 2": lambda: judge_daily_tables(
        replace(SCHEMA, daily_tables=frozenset({DailyTable.USER, DailyTable.END_USER})), "reader"
    ),
    "daily tables 3": lambda: judge_daily_tables(
        replace(SCHEMA, unreadable_daily_tables=frozenset({DailyTable.USER, DailyTable.TEAM})), 're"ader'
    ),
    "index 1": lambda: judge_index(SCHEMA),
    "index 2": lambda: judge_index(replace(SCHEMA, has_start_time_index=False, estimated_rows=499_999)),
    "index 3": lambda: judge_index(replace(SCHEMA, has_start_time_index=False)),
    "index 4": lambda: judge_index(replace(SCHEMA, has_start_time_index=False, estimated_rows=None)),
    "times 1": lambda: judge_times(None, STORED, SourceClock(), NOW),
    "times 2": lambda: judge_times(NOW, None, SourceClock(), NOW),
    "times 3": lambda: times(timedelta(0)),
    "times 4": lambda: times(-5 * MINUTE),
    "times 5": lambda: times(-5 * MINUTE - timedelta(seconds=1)),
    "times 6": lambda: times(-9 * HOUR),
    "times 7": lambda: times(-15 * HOUR),
    "times 8": lambda: times(5.5 * HOUR),
    "times 9": lambda: times(20 * MINUTE - timedelta(seconds=1)),
    "times 10": lambda: times(20 * MINUTE),
    "times 11": lambda: times(9 * HOUR, "Asia/Seoul", skew=9 * HOUR),
    "times 12": lambda: times(9 * HOUR + 10 * MINUTE, "Asia/Seoul", skew=9 * HOUR),
    "times 13": lambda: times(9 * HOUR + 11 * MINUTE, "Asia/Seoul", skew=9 * HOUR),
    "times 14": lambda: times(9 * HOUR - 2 * MINUTE, "Asia/Seoul", skew=9 * HOUR),
    "times 15": lambda: times(5 * HOUR),
    "times 16": lambda: times(5 * HOUR, "Asia/Seoul", since=NOW),
    "times 17": lambda: times(5 * HOUR, "Asia/Seoul", since=NOW + MINUTE),
    "times 18": lambda: times(13 * HOUR),
    "times 19": lambda: times(71.9 * HOUR),
    "times 20": lambda: times(72 * HOUR),
    "times 21": lambda: times(119 * MINUTE),
    "times 22": lambda: times(120 * MINUTE),
    "retention 1": lambda: judge_retention(None, WINDOW),
    "retention 2": lambda: judge_retention(WINDOW.start + HOUR, WINDOW),
    "retention 3": lambda: judge_retention(WINDOW.start + HOUR + timedelta(seconds=1), WINDOW),
    "spend logs written 1": lambda: judge_written(None, None, NOW),
    "spend logs written 2": lambda: judge_written(None, 1, NOW),
    "spend logs written 3": lambda: judge_written(NOW - HOUR, 1234, NOW),
    "spend logs written 4": lambda: judge_written(NOW - HOUR - timedelta(seconds=1), 1234, NOW),
    "spend logs written 5": lambda: judge_written(NOW - 2 * HOUR, 0, NOW),
    "spend logs written 6": lambda: judge_written(NOW - 2 * HOUR, None, NOW),
    "request ids 1": lambda: judge_request_ids(IDS, SAMPLE),
    "request ids 2": lambda: judge_request_ids(replace(IDS, logged=None), SAMPLE),
    "request ids 3": lambda: judge_request_ids(replace(IDS, daily=None), SAMPLE),
    "request ids 4": lambda: judge_request_ids(replace(IDS, daily=999), SAMPLE),
    "request ids 5": lambda: judge_request_ids(replace(IDS, daily=1001), SAMPLE),
    "request ids 6": lambda: judge_request_ids(
        replace(IDS, empty=True, none=True, daily=2000), replace(SAMPLE, repeated_ids=1500)
    ),
    "attribution 1": lambda: judge_attribution(replace(SAMPLE, billable=0), RULES),
    "attribution 2": lambda: judge_attribution(SAMPLE, RULES),
    "attribution 3": lambda: judge_attribution(SAMPLE, replace(RULES, mapping=(("alice", "a"), ("bob", "b")))),
    "attribution 4": lambda: judge_attribution(SAMPLE, replace(RULES, mapping=(("alice", "a"),))),
    "attribution 5": lambda: judge_attribution(replace(SAMPLE, with_source=900, with_end_user=900), RULES),
    "attribution 6": lambda: judge_attribution(replace(SAMPLE, with_source=0, with_end_user=0), RULES),
    "attribution 7": lambda: judge_attribution(
        replace(SAMPLE, with_source=1, with_end_user=1, with_key=1, with_team=1), RULES
    ),
    "attribution 8": lambda: judge_attribution(
        replace(SAMPLE, with_source=0, with_team=0), replace(RULES, charge_by=ChargeBy.TEAM_ID)
    ),
    "attribution 9": lambda: judge_attribution(
        replace(SAMPLE, with_source=999), replace(RULES, charge_by=ChargeBy.TEAM_ID, mapping=(("bob", "b"),))
    ),
    "attribution 10": lambda: judge_attribution(
        replace(SAMPLE, with_source=900, with_end_user=900, with_team=0, with_key=900, with_key_alias=0), RULES
    ),
    "pinned end users 1": lambda: judge_pinning(SCHEMA, SAMPLE, ChargeBy.TEAM_ID),
    "pinned end users 2": lambda: judge_pinning(SCHEMA, SAMPLE, ChargeBy.END_USER_ID),
    "pinned end users 3": lambda: judge_pinning(without("litellm_call_id"), SAMPLE, ChargeBy.END_USER_ID),
    "pinned end users 4": lambda: judge_pinning(
        without("litellm_call_id"), replace(SAMPLE, keys_of_several_users=1234), ChargeBy.END_USER_ID
    ),
    "lago 1": lambda: judge_answer("lago:3000", True, ""),
    "lago 2": lambda: judge_answer("lago:3000", False, "HTML"),
    "lago 3": lambda: judge_key(200),
    "lago 4": lambda: judge_key(401),
    "lago 5": lambda: judge_key(403),
    "lago 6": lambda: judge_permissions([], True),
    "lago 7": lambda: judge_permissions(["events", "plans"], True),
    "lago 7b": lambda: judge_permissions([], False),
    "lago 8": lambda: judge_server(Organization(None, None, "unknown")),
    "lago 9": lambda: judge_server(Organization(None, "Acme", "unknown")),
    "lago 10": lambda: judge_server(Organization(None, None, "postgres")),
    "lago 11": lambda: judge_server(Organization(None, "Acme", "clickhouse")),
    "metric 1": lambda: judge_metric(CALLBACK, [TOKENS]),
    "metric 2": lambda: judge_metric(CALLBACK, []),
    "metric 3": lambda: judge_metric(CALLBACK, [replace(TOKENS, aggregation_type="count_agg", field_name=None)]),
    "metric 4": lambda: judge_metric(CALLBACK, [replace(TOKENS, aggregation_type="max_agg")]),
    "metric 5": lambda: judge_metric((*CALLBACK, *preset("callback", "more")), [TOKENS]),
    "metric 6": lambda: judge_metric(preset("input-output", "llm_tokens"), [replace(TOKENS, field_name="tokens")]),
    "charges 1": lambda: judge_charges(CALLBACK, []),
    "charges 2": lambda: judge_charges(
        CALLBACK, [Plan("flat", ()), Plan("gold", (replace(CHARGE, metric_code="other"),))]
    ),
    "charges 3": lambda: judge_charges(CALLBACK, [Plan("gold", (CHARGE,)), Plan("flat", ()), Plan("basic", (CHARGE,))]),
    "charges 4": lambda: judge_charges(
        CALLBACK, [Plan("gold", (CHARGE, replace(CHARGE, pay_in_advance=True))), Plan("basic", (CHARGE,))]
    ),
    "charges 5": lambda: judge_charges(
        CALLBACK, [Plan("gold", (CHARGE, replace(CHARGE, metric_code="x", pay_in_advance=True)))]
    ),
    "event shape 1": lambda: judge_shape("callback", CALLBACK, []),
    "event shape 2": lambda: judge_shape("callback", CALLBACK, [OTHERS]),
    "event shape 3": lambda: judge_shape("callback", CALLBACK, [replace(EVENT, code="other")]),
    "event shape 4": lambda: judge_shape("callback", CALLBACK, [EVENT, EVENT, OTHERS]),
    "event shape 5": lambda: judge_shape("callback", CALLBACK, [EVENT, TOKENLESS]),
    "event shape 6": lambda: judge_shape("input-output", preset("input-output", "llm_tokens"), [EVENT, TOKENLESS]),
    "event shape 7": lambda: judge_shape("callback", CALLBACK, [replace(OTHERS, code="llm_tokens")]),
    "event shape 8": lambda: judge_shape("callback", CALLBACK, [EVENT, replace(OTHERS, code="llm_tokens")]),
    "event shape 9": lambda: judge_shape("callback", CALLBACK, [EVENT, TOKENLESS, replace(OTHERS, code="llm_tokens")]),
    "event shape 10": lambda: judge_shape(
        "custom", CALLBACK, [SampledEvent("llm_tokens", "a", NOW, frozenset(), frozenset())]
    ),
    "event shape 11": lambda: judge_shape(
        "callback",
        CALLBACK,
        [
            SampledEvent(
                "llm_tokens",
                "a",
                NOW,
                frozenset({"model", "input_count", "output_count", "cost", "n", "tier"}),
                frozenset({"input_count", "output_count", "cost", "n"}),
            )
        ],
    ),
    "event shape 12": lambda: judge_shape(
        "callback", CALLBACK, [SampledEvent("llm_input_tokens", "a", NOW, frozenset({"value"}), frozenset({"value"}))]
    ),
    "event shape 13": lambda: judge_shape(
        "agent-sdk",
        preset("agent-sdk", ""),
        [SampledEvent("llm_input_tokens", "a", NOW, frozenset({"model", "value"}), frozenset({"value"}))],
    ),
    "event shape 14": lambda: judge_shape(
        "callback",
        CALLBACK,
        [SampledEvent("llm_tokens", "a", NOW, frozenset({"prompt_size"}), frozenset({"prompt_size"}))],
    ),
    "event shape 15": lambda: judge_shape(
        "callback",
        CALLBACK,
        [SampledEvent("llm_tokens", "a", NOW, frozenset("abcdefghi"), frozenset())],
    ),
    "event shape 16": lambda: judge_shape(
        "agent-sdk",
        preset("agent-sdk", ""),
        [SampledEvent("llm_input_tokens", "a", NOW, frozenset({"tokens"}), frozenset({"tokens"}))],
    ),
    "event shape 17": lambda: judge_shape(
        "callback", CALLBACK, [SampledEvent("other", "a", NOW, frozenset({"value"}), frozenset({"value"}))]
    ),
    "event shape 18": lambda: judge_shape(
        "callback",
        CALLBACK,
        [SampledEvent("llm_input_tokens", "a", NOW, frozenset({"model", "value"}), frozenset({"value"}))],
    ),
    "event codes 1": lambda: judge_codes([], [TOKENS]),
    "event codes 2": lambda: judge_codes([EVENT, EVENT], [TOKENS]),
    "event codes 3": lambda: judge_codes([EVENT, OTHERS, OTHERS, replace(EVENT, code="third")], [TOKENS]),
    "event subscriptions 1": lambda: judge_event_subscriptions([EVENT, EVENT]),
    "event subscriptions 2": lambda: judge_event_subscriptions(
        [EVENT, replace(EVENT, subscription=None), replace(EVENT, subscription="")]
    ),
    "event times 1": lambda: judge_event_times([EVENT, replace(EVENT, time=NOW + 5 * MINUTE)], NOW),
    "event times 2": lambda: judge_event_times(
        [EVENT, replace(EVENT, time=NOW + 5 * MINUTE + timedelta(seconds=1)), replace(EVENT, time=None)], NOW
    ),
    "subscriptions 1": lambda: judge_subscriptions([], None, []),
    "subscriptions 2": lambda: judge_subscriptions([("alice", 5)], (), subscriptions(("alice", "active"))),
    "subscriptions 3": lambda: judge_subscriptions(
        [("alice", 3), ("bob", 1)], None, subscriptions(("alice", "active"), ("bob", "terminated"), ("bob", "active"))
    ),
    "subscriptions 4": lambda: judge_subscriptions(
        [("alice", 2), ("bob", 1)], None, subscriptions(("alice", "active"))
    ),
    "subscriptions 5": lambda: judge_subscriptions(
        [("alice", 2), ("bob", 1)], None, subscriptions(("alice", "terminated"), ("bob", "active"))
    ),
    "subscriptions 6": lambda: judge_subscriptions(
        [("alice", 2), ("bob", 3)], None, subscriptions(("carol", "active"))
    ),
    "subscriptions 7": lambda: judge_subscriptions(
        [("a", 2), ("b", 3), ("x", 9)], (("a", "alice"), ("b", "alice")), subscriptions(("alice", "active"))
    ),
    "subscriptions 8": lambda: judge_subscriptions(
        [("a", 2), ("b", 3), ("bob", 5), ("carol", 1)],
        (("a", "alice"), ("b", "alice"), ("bob", "bob"), ("carol", "carol")),
        subscriptions(("alice", "active"), ("carol", "terminated")),
    ),
    "rate 1": lambda: judge_rate(None, 20.0),
    "rate 2": lambda: judge_rate(20.0, 20.0),
    "rate 3": lambda: judge_rate(19.5, 20.0),
    "rate 4": lambda: judge_rate(1.0, 20.0),
    "clocks 1": lambda: judge_clocks({"PostgreSQL": None, "Lago": None}),
    "clocks 2": lambda: judge_clocks({"PostgreSQL": timedelta(seconds=5), "Lago": timedelta(seconds=-5)}),
    "clocks 3": lambda: judge_clocks({"PostgreSQL": timedelta(seconds=5.1), "Lago": None}),
    "clocks 4": lambda: judge_clocks({"PostgreSQL": timedelta(seconds=1), "Lago": timedelta(seconds=-60)}),
    "clocks 5": lambda: judge_clocks({"PostgreSQL": timedelta(seconds=1), "Lago": timedelta(seconds=-60.1)}),
    "clocks 6": lambda: judge_clocks({"PostgreSQL": None, "Lago": None, "a replica": timedelta(0)}),
}


with (Path(__file__).parents[2] / "data" / "doctor_verdicts.csv").open(encoding="utf-8", newline="") as file:
    table = list(csv.DictReader(file))
EXPECTED = {row["case"]: Verdict(Status(row["status"]), row["found"], row["remedy"]) for row in table}


def test_every_case_has_its_verdict() -> None:
    assert list(JUDGED) == list(EXPECTED)


@pytest.mark.parametrize("case", JUDGED)
def test_facts_become_a_verdict(case: str) -> None:
    assert JUDGED[case]() == EXPECTED[case]
