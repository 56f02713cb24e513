"""Every setting: its names, how its text is read, its default and its meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.core.durations import parse_duration
from jobs.core.lago.store import parse_organization_id
from jobs.core.shard import parse_shard
from jobs.settings.texts import (
    parse_amount,
    parse_bound,
    parse_causes,
    parse_charge_by,
    parse_count,
    parse_events_from,
    parse_flag,
    parse_gateway,
    parse_instant,
    parse_memory,
    parse_notify_on,
    parse_path,
    parse_rate,
    parse_share,
    parse_slice_length,
    parse_template,
    parse_text,
    parse_webhook,
    parse_zone,
)


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


SETTINGS = (
    Setting(
        "database.host",
        "DATABASE_HOST",
        parse_text,
        None,
        "PostgreSQL host of LiteLLM, with or without `:port`; several with commas.",
    ),
    Setting("database.port", "DATABASE_PORT", parse_text, None, "Its port, where the host names none; else 5432."),
    Setting("database.name", "DATABASE_NAME", parse_text, None, "Database that holds LiteLLM's tables."),
    Setting("database.user", "DATABASE_USER", parse_text, None, "Role to log in as; reading is all it needs."),
    Setting("database.username", "DATABASE_USERNAME", parse_text, None, "The same, as LiteLLM's older chart names it."),
    Setting(
        "database.password",
        "DATABASE_PASSWORD",
        str,
        None,
        "Its password, as it is, not URL-encoded; none where the server wants none.",
        secret=True,
    ),
    Setting(
        "database.schema",
        "DATABASE_SCHEMA",
        parse_text,
        None,
        "Schema of LiteLLM's tables, where it is not `public`.",
    ),
    Setting(
        "database.sslmode",
        "DATABASE_SSLMODE",
        parse_text,
        None,
        "TLS as libpq names it; `verify-full` where only the next is set.",
    ),
    Setting("database.sslrootcert", "DATABASE_SSLROOTCERT", parse_text, None, "File of the server's authority."),
    Setting("database.url", "DATABASE_URL", parse_text, None, "All of it in one; goes before the above.", secret=True),
    Setting(
        "database.direct_url", "DIRECT_URL", parse_text, None, "Used where no other names the database.", secret=True
    ),
    Setting(
        "database.url_read_replica",
        "DATABASE_URL_READ_REPLICA",
        parse_text,
        None,
        "A replica, which goes before the primary.",
        secret=True,
    ),
    *(
        Setting(
            f"database.{part}_read_replica",
            f"DATABASE_{part.upper()}_READ_REPLICA",
            str if part == "password" else parse_text,
            None,
            "The replica's host, which goes before the primary." if part == "host" else "Where the replica's differs.",
            secret=part == "password",
        )
        for part in ("host", "port", "name", "user", "username", "password", "schema")
    ),
    Setting(
        "database.iam_token_db_auth",
        "IAM_TOKEN_DB_AUTH",
        parse_flag,
        "false",
        "Whether the password is a token of AWS RDS (extra `aws`).",
    ),
    Setting("database.aws_region_name", "AWS_REGION_NAME", parse_text, None, "The region of such a token."),
    Setting("database.aws_region", "AWS_REGION", parse_text, None, "The same, as AWS names it."),
    Setting(
        "database.connect_attempts",
        "RECONCILE_CONNECT_ATTEMPTS",
        parse_count,
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
    Setting("lago.api_base", "LAGO_API_BASE", parse_text, None, "Lago's address, with or without `/api/v1`."),
    Setting("lago.api_key", "LAGO_API_KEY", parse_text, None, "Lago's API key.", secret=True),
    Setting(
        "lago.event_code", "LAGO_API_EVENT_CODE", parse_text, None, "Code of the billable metric that events name."
    ),
    Setting("lago.charge_by", "LAGO_API_CHARGE_BY", parse_charge_by, "end_user_id", "Whose id is the subscription."),
    Setting(
        "lago.requests_per_second",
        "RECONCILE_LAGO_RATE",
        parse_rate,
        "20",
        "Requests to Lago per second, never more.",
    ),
    Setting("lago.concurrency", "RECONCILE_LAGO_CONCURRENCY", parse_count, "4", "Requests to Lago at one time."),
    Setting("lago.attempts", "RECONCILE_LAGO_ATTEMPTS", parse_count, "8", "Times one request to Lago is tried."),
    Setting("lago.page_size", "RECONCILE_LAGO_PAGE_SIZE", parse_count, "1000", "Events per page asked of Lago."),
    Setting("lago.timeout", "RECONCILE_LAGO_TIMEOUT", parse_duration, "30s", "How long to wait for one answer."),
    Setting(
        "lago.ca_file", "RECONCILE_LAGO_CA_FILE", parse_path, None, "Certificates to trust besides the public ones."
    ),
    Setting(
        "lago.events_from",
        "RECONCILE_EVENTS_FROM",
        parse_events_from,
        "api",
        "Where recorded events are read: `api`, or Lago's own store: `postgres` or `clickhouse`.",
    ),
    Setting(
        "lago.store_url",
        "RECONCILE_LAGO_STORE_URL",
        parse_text,
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
    Setting("meter", "RECONCILE_METER", parse_text, "callback", "`callback`, `input-output`, `agent-sdk` or `custom`."),
    Setting(
        "id_template",
        "RECONCILE_ID_TEMPLATE",
        parse_template,
        None,
        "How the sender derives transaction ids, if it does.",
    ),
    Setting(
        "mapping_file",
        "RECONCILE_MAPPING_FILE",
        parse_path,
        None,
        "CSV `source,subscription`, or with `match`: who pays for a source value.",
    ),
    Setting(
        "allowed_file",
        "RECONCILE_ALLOWED_FILE",
        parse_path,
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
    Setting(
        "alias_file", "RECONCILE_ALIAS_FILE", parse_path, None, "CSV `alias,model`: other spellings of model names."
    ),
    Setting(
        "bill_cache_hits",
        "RECONCILE_BILL_CACHE_HITS",
        parse_flag,
        "true",
        "Whether cache hits should have events.",
    ),
    Setting(
        "source_time_zone",
        "RECONCILE_SOURCE_TIME_ZONE",
        parse_zone,
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
        parse_text,
        None,
        "Name of the Kubernetes Job; a CronJob's says when the run was due.",
    ),
    Setting(
        "report_time_zone",
        "RECONCILE_REPORT_TIME_ZONE",
        parse_zone,
        "UTC",
        "Zone of the days and months of `usage`.",
    ),
    Setting(
        "token_parts",
        "RECONCILE_TOKEN_PARTS",
        parse_flag,
        "true",
        "Whether `usage` reads cached and reasoning tokens out of the metadata, which takes longer.",
    ),
    Setting(
        "ledger_url", "RECONCILE_LEDGER_URL", parse_text, None, "Ledger: sqlite:/// or postgresql://.", secret=True
    ),
    Setting("verify_within", "RECONCILE_VERIFY_WITHIN", parse_duration, "90s", "How long to wait for Lago to show it."),
    Setting(
        "slice_length",
        "RECONCILE_SLICE_LENGTH",
        parse_slice_length,
        "7d",
        "What is missing in a longer window is sent in slices, each verified before the next.",
    ),
    Setting(
        "top_up", "RECONCILE_TOP_UP", parse_flag, "false", "Whether a plan completes events that billed too little."
    ),
    Setting(
        "send_closed_periods",
        "RECONCILE_SEND_CLOSED_PERIODS",
        parse_flag,
        "false",
        "Whether events of a billing period that is over may be sent; Lago stores them and does not bill them.",
    ),
    Setting(
        "allow_pay_in_advance",
        "RECONCILE_ALLOW_PAY_IN_ADVANCE",
        parse_flag,
        "false",
        "Whether events of charges that bill each event at once may be sent.",
    ),
    Setting(
        "send_despite",
        "RECONCILE_SEND_DESPITE",
        parse_causes,
        None,
        "Causes, with commas between them, that speak against a setting and shall not keep a plan from being sent.",
    ),
    Setting(
        "proven_from",
        "RECONCILE_PROVEN_FROM",
        parse_count,
        "3",
        "Calls of an API key with events from which LiteLLM 1.60 to 1.90 is believed to log its users right.",
    ),
    Setting(
        "send_unproven_keys",
        "RECONCILE_SEND_UNPROVEN_KEYS",
        parse_flag,
        "false",
        "Whether calls of API keys may be sent whose users, by LiteLLM 1.60 to 1.90, nothing speaks for.",
    ),
    Setting("most_events", "RECONCILE_MOST_EVENTS", parse_count, "100000", "Most events a plan may hold."),
    Setting(
        "most_quantity", "RECONCILE_MOST_QUANTITY", parse_amount, "1000000000", "Most quantity of one code in a plan."
    ),
    Setting("most_share", "RECONCILE_MOST_SHARE", parse_share, "0.5", "Most of a subscription's usage in the window."),
    Setting(
        "most_share_from",
        "RECONCILE_MOST_SHARE_FROM",
        parse_count,
        "1000",
        "Expected events of a subscription from which its share is looked at.",
    ),
    Setting(
        "most_amount",
        "RECONCILE_MOST_AMOUNT",
        parse_amount,
        None,
        "Most that a plan may bill in any one currency; a plan with anything unpriced is then refused.",
    ),
    Setting(
        "memory_limit",
        "RECONCILE_MEMORY_LIMIT",
        parse_memory,
        "1GB",
        "Memory of the matching; more spills to disk.",
    ),
    Setting("threads", "RECONCILE_THREADS", parse_count, None, "Threads of the matching; all cores where not set."),
    Setting(
        "shard",
        "RECONCILE_SHARD",
        parse_shard,
        None,
        "`i/n`: this process works on part i, from 0, of n parts of the subscriptions.",
    ),
    Setting("output", "RECONCILE_OUTPUT", parse_path, "runs", "Folder that each run leaves its own folder in."),
    Setting(
        "scratch",
        "RECONCILE_SCRATCH",
        parse_path,
        None,
        "Folder for a run's working files; within the output if not set.",
    ),
    Setting(
        "termination_log",
        "RECONCILE_TERMINATION_LOG",
        parse_path,
        None,
        "File that the verdict is written to in one line, for Kubernetes.",
    ),
    Setting(
        "metrics_folder",
        "RECONCILE_METRICS_FOLDER",
        parse_path,
        None,
        "Folder of a textfile collector that metrics are written to.",
    ),
    Setting(
        "pushgateway_url",
        "RECONCILE_PUSHGATEWAY_URL",
        parse_gateway,
        None,
        "Pushgateway that metrics are pushed to, with its user and password where it asks for them.",
        secret=True,
    ),
    Setting(
        "usage_subscriptions",
        "RECONCILE_USAGE_SUBSCRIPTIONS",
        parse_bound,
        "200",
        "Subscriptions whose usage Lago is asked for, to price discrepancies; the most at stake first, `0` none.",
    ),
    Setting(
        "metrics_subscriptions",
        "RECONCILE_METRICS_SUBSCRIPTIONS",
        parse_count,
        "20",
        "Subscriptions of each code that metrics tell one by one; the rest is `other`.",
    ),
    Setting(
        "webhook_url",
        "RECONCILE_WEBHOOK_URL",
        parse_webhook,
        None,
        "Webhook of Slack or its kin that is told how a command ended.",
        secret=True,
    ),
    Setting(
        "webhook_on",
        "RECONCILE_WEBHOOK_ON",
        parse_notify_on,
        "discrepancies",
        "What it is told: `discrepancies` and failures, only a `failure`, or `always`.",
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}
