"""What a run judges, what it may send, and what it leaves behind."""

from __future__ import annotations

from jobs.core.durations import parse_duration
from jobs.settings.setting import Setting
from jobs.settings.texts import (
    parse_amount,
    parse_bound,
    parse_causes,
    parse_count,
    parse_currency,
    parse_flag,
    parse_gateway,
    parse_instant,
    parse_markup,
    parse_memory,
    parse_notify_on,
    parse_parts,
    parse_path,
    parse_scheduler,
    parse_share,
    parse_slice_length,
    parse_template,
    parse_text,
    parse_webhook,
    parse_zone,
)

METER = Setting(
    "meter",
    "RECONCILE_METER",
    parse_text,
    "callback",
    "`callback`, `input-output`, `agent-sdk`, `agent-sdk-price` or `custom`.",
)
MARKUP = Setting(
    "markup",
    "RECONCILE_MARKUP",
    parse_markup,
    None,
    "What a call cost, times this, is the amount that its event carries, for dynamic charges; none where not set.",
)
AMOUNT_CURRENCY = Setting(
    "amount_currency",
    "RECONCILE_AMOUNT_CURRENCY",
    parse_currency,
    "USD",
    "Currency of these amounts; the markup then holds the rate, as LiteLLM counts in USD.",
)
ID_TEMPLATE = Setting(
    "id_template",
    "RECONCILE_ID_TEMPLATE",
    parse_template,
    None,
    "How the sender derives transaction ids, if it does.",
)
MAPPING_FILE = Setting(
    "mapping_file",
    "RECONCILE_MAPPING_FILE",
    parse_path,
    None,
    "CSV `source,subscription`, or with `match`: who pays for a source value.",
)
ALLOWED_FILE = Setting(
    "allowed_file",
    "RECONCILE_ALLOWED_FILE",
    parse_path,
    None,
    "CSV `key_or_team,subscription`: the only subscriptions that a key (its hash) or team may name.",
)
LOOK_BACK = Setting(
    "look_back",
    "RECONCILE_LOOK_BACK",
    parse_duration,
    "7d",
    "How far before the window an end user counts as known to a key; `0s` tells no new ones.",
)
ALIAS_FILE = Setting(
    "alias_file", "RECONCILE_ALIAS_FILE", parse_path, None, "CSV `alias,model`: other spellings of model names."
)
BILL_CACHE_HITS = Setting(
    "bill_cache_hits",
    "RECONCILE_BILL_CACHE_HITS",
    parse_flag,
    "true",
    "Whether cache hits should have events.",
)
SOURCE_TIME_ZONE = Setting(
    "source_time_zone",
    "RECONCILE_SOURCE_TIME_ZONE",
    parse_zone,
    "UTC",
    "Zone of LiteLLM's times; not UTC before 1.61.",
)
SOURCE_UTC_SINCE = Setting(
    "source_utc_since",
    "RECONCILE_SOURCE_UTC_SINCE",
    parse_instant,
    None,
    "When an upgrade made those times UTC.",
)
SETTLEMENT_LAG = Setting(
    "settlement_lag",
    "RECONCILE_SETTLEMENT_LAG",
    parse_duration,
    "2h",
    "How long after it ended a call is left alone.",
)
LONGEST_CALL = Setting("longest_call", "RECONCILE_LONGEST_CALL", parse_duration, "2h", "The longest a call can last.")
EARLY = Setting("early", "RECONCILE_EARLY", parse_duration, "5s", "How much before the call's end its event may lie.")
LATE = Setting("late", "RECONCILE_LATE", parse_duration, "60s", "How much after the call's end its event may lie.")
DOUBT_WITHIN = Setting(
    "doubt_within", "RECONCILE_DOUBT_WITHIN", parse_duration, "1d", "How far beyond the window both sides are read."
)
WINDOW_LENGTH = Setting(
    "window_length",
    "RECONCILE_WINDOW_LENGTH",
    parse_duration,
    "3d",
    "Length of the window of a scheduled run.",
)
SCHEDULED_AT = Setting(
    "scheduled_at",
    "RECONCILE_SCHEDULED_AT",
    parse_instant,
    None,
    "When the run was due, if it starts later; decides the window of a scheduled run.",
)
JOB_NAME = Setting(
    "job_name",
    "RECONCILE_JOB_NAME",
    parse_text,
    None,
    "Name of the Kubernetes Job; a CronJob's says when the run was due.",
)
REPORT_TIME_ZONE = Setting(
    "report_time_zone",
    "RECONCILE_REPORT_TIME_ZONE",
    parse_zone,
    "UTC",
    "Zone of the days and months of `usage`.",
)
TOKEN_PARTS = Setting(
    "token_parts",
    "RECONCILE_TOKEN_PARTS",
    parse_flag,
    "true",
    "Whether `usage` reads cached and reasoning tokens out of the metadata, which takes longer.",
)
LEDGER_URL = Setting(
    "ledger_url", "RECONCILE_LEDGER_URL", parse_text, None, "Ledger: sqlite:/// or postgresql://.", secret=True
)
VERIFY_WITHIN = Setting(
    "verify_within", "RECONCILE_VERIFY_WITHIN", parse_duration, "90s", "How long to wait for Lago to show it."
)
SLICE_LENGTH = Setting(
    "slice_length",
    "RECONCILE_SLICE_LENGTH",
    parse_slice_length,
    "7d",
    "What is missing in a longer window is sent in slices, each verified before the next.",
)
TOP_UP = Setting(
    "top_up", "RECONCILE_TOP_UP", parse_flag, "false", "Whether a plan completes events that billed too little."
)
SEND_CLOSED_PERIODS = Setting(
    "send_closed_periods",
    "RECONCILE_SEND_CLOSED_PERIODS",
    parse_flag,
    "false",
    "Whether events of a billing period that is over may be sent; Lago stores them and does not bill them.",
)
ALLOW_PAY_IN_ADVANCE = Setting(
    "allow_pay_in_advance",
    "RECONCILE_ALLOW_PAY_IN_ADVANCE",
    parse_flag,
    "false",
    "Whether events of charges that bill each event at once may be sent.",
)
SEND_DESPITE = Setting(
    "send_despite",
    "RECONCILE_SEND_DESPITE",
    parse_causes,
    None,
    "Causes, with commas between them, that speak against a setting and shall not keep a plan from being sent.",
)
PROVEN_FROM = Setting(
    "proven_from",
    "RECONCILE_PROVEN_FROM",
    parse_count,
    "3",
    "Calls of an API key with events from which LiteLLM 1.60 to 1.90 is believed to log its users right.",
)
SEND_UNPROVEN_KEYS = Setting(
    "send_unproven_keys",
    "RECONCILE_SEND_UNPROVEN_KEYS",
    parse_flag,
    "false",
    "Whether calls of API keys may be sent whose users, by LiteLLM 1.60 to 1.90, nothing speaks for.",
)
MOST_EVENTS = Setting("most_events", "RECONCILE_MOST_EVENTS", parse_count, "100000", "Most events a plan may hold.")
MOST_QUANTITY = Setting(
    "most_quantity", "RECONCILE_MOST_QUANTITY", parse_amount, "1000000000", "Most quantity of one code in a plan."
)
MOST_SHARE = Setting(
    "most_share", "RECONCILE_MOST_SHARE", parse_share, "0.5", "Most of a subscription's usage in the window."
)
MOST_SHARE_FROM = Setting(
    "most_share_from",
    "RECONCILE_MOST_SHARE_FROM",
    parse_count,
    "1000",
    "Expected events of a subscription from which its share is looked at.",
)
MOST_AMOUNT = Setting(
    "most_amount",
    "RECONCILE_MOST_AMOUNT",
    parse_amount,
    None,
    "Most that a plan may bill in any one currency, for amounts that events carry at most; a plan with anything "
    "unpriced is then refused.",
)
MEMORY_LIMIT = Setting(
    "memory_limit",
    "RECONCILE_MEMORY_LIMIT",
    parse_memory,
    "1GB",
    "Memory of the matching; more spills to disk.",
)
THREADS = Setting(
    "threads", "RECONCILE_THREADS", parse_count, None, "Threads of the matching; all cores where not set."
)
CLUSTER = Setting(
    "cluster",
    "RECONCILE_CLUSTER",
    parse_scheduler,
    None,
    "Dask scheduler whose workers read and match, `tcp://HOST:8786` or `tls://`; this process does it where not set.",
)
CLUSTER_PARTS = Setting(
    "cluster_parts",
    "RECONCILE_CLUSTER_PARTS",
    parse_parts,
    None,
    "Parts of the subscriptions that workers match one by one; by rows and workers where not set.",
)
CLUSTER_WAIT = Setting(
    "cluster_wait",
    "RECONCILE_CLUSTER_WAIT",
    parse_duration,
    "5m",
    "How long a run does without any worker before it fails.",
)
OUTPUT = Setting("output", "RECONCILE_OUTPUT", parse_path, "runs", "Folder that each run leaves its own folder in.")
SCRATCH = Setting(
    "scratch",
    "RECONCILE_SCRATCH",
    parse_path,
    None,
    "Folder for a run's working files; within the output if not set.",
)
TERMINATION_LOG = Setting(
    "termination_log",
    "RECONCILE_TERMINATION_LOG",
    parse_path,
    None,
    "File that the verdict is written to in one line, for Kubernetes.",
)
METRICS_FOLDER = Setting(
    "metrics_folder",
    "RECONCILE_METRICS_FOLDER",
    parse_path,
    None,
    "Folder of a textfile collector that metrics are written to.",
)
PUSHGATEWAY_URL = Setting(
    "pushgateway_url",
    "RECONCILE_PUSHGATEWAY_URL",
    parse_gateway,
    None,
    "Pushgateway that metrics are pushed to, with its user and password where it asks for them.",
    secret=True,
)
USAGE_SUBSCRIPTIONS = Setting(
    "usage_subscriptions",
    "RECONCILE_USAGE_SUBSCRIPTIONS",
    parse_bound,
    "200",
    "Subscriptions whose usage Lago is asked for, to price and to compare; the most at stake first, `0` none.",
)
METRICS_SUBSCRIPTIONS = Setting(
    "metrics_subscriptions",
    "RECONCILE_METRICS_SUBSCRIPTIONS",
    parse_count,
    "20",
    "Subscriptions of each code that metrics tell one by one; the rest is `other`.",
)
WEBHOOK_URL = Setting(
    "webhook_url",
    "RECONCILE_WEBHOOK_URL",
    parse_webhook,
    None,
    "Webhook of Slack or its kin that is told how a command ended.",
    secret=True,
)
WEBHOOK_ON = Setting(
    "webhook_on",
    "RECONCILE_WEBHOOK_ON",
    parse_notify_on,
    "discrepancies",
    "What it is told: `discrepancies` and failures, only a `failure`, or `always`.",
)

ALL = tuple(value for value in tuple(globals().values()) if isinstance(value, Setting))
