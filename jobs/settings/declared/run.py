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
    "For dynamic charges: an event carries what its call cost times this; without it, no amount.",
)
AMOUNT_CURRENCY = Setting(
    "amount_currency",
    "RECONCILE_AMOUNT_CURRENCY",
    parse_currency,
    "USD",
    "Currency of these amounts; if not USD, the markup has to include the exchange rate.",
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
    "CSV `source,subscription`, optionally with `match`: who pays for a source value.",
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
    "How far before the window a key's end users are looked up, to report new ones; `0s` reports none.",
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
    "Time zone of LiteLLM's times; before 1.61 that of its server.",
)
SOURCE_UTC_SINCE = Setting(
    "source_utc_since",
    "RECONCILE_SOURCE_UTC_SINCE",
    parse_instant,
    None,
    "When an upgrade changed those times to UTC.",
)
SETTLEMENT_LAG = Setting(
    "settlement_lag",
    "RECONCILE_SETTLEMENT_LAG",
    parse_duration,
    "2h",
    "How long a call is left alone after its end.",
)
LONGEST_CALL = Setting("longest_call", "RECONCILE_LONGEST_CALL", parse_duration, "2h", "The longest a call can last.")
EARLY = Setting("early", "RECONCILE_EARLY", parse_duration, "5s", "How long before the call's end its event may lie.")
LATE = Setting("late", "RECONCILE_LATE", parse_duration, "60s", "How long after the call's end its event may lie.")
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
    "Time zone of the days and months of `usage`.",
)
TOKEN_PARTS = Setting(
    "token_parts",
    "RECONCILE_TOKEN_PARTS",
    parse_flag,
    "true",
    "Whether `usage` reads cached and reasoning tokens from the metadata, which takes longer.",
)
LEDGER_URL = Setting(
    "ledger_url",
    "RECONCILE_LEDGER_URL",
    parse_text,
    None,
    "Address of the ledger: sqlite:/// or postgresql://; a file in the output folder if not set.",
    secret=True,
)
VERIFY_WITHIN = Setting(
    "verify_within",
    "RECONCILE_VERIFY_WITHIN",
    parse_duration,
    "90s",
    "How long to wait until Lago shows what was sent.",
)
SLICE_LENGTH = Setting(
    "slice_length",
    "RECONCILE_SLICE_LENGTH",
    parse_slice_length,
    "7d",
    "A longer window is sent in slices of this length, each verified before the next.",
)
TOP_UP = Setting(
    "top_up", "RECONCILE_TOP_UP", parse_flag, "false", "Whether a plan completes events that billed too little."
)
SEND_CLOSED_PERIODS = Setting(
    "send_closed_periods",
    "RECONCILE_SEND_CLOSED_PERIODS",
    parse_flag,
    "false",
    "Whether events of a closed billing period may be sent; Lago stores them but does not bill them.",
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
    "Causes, separated by commas, despite which a plan may be sent, although they suggest a wrong setting.",
)
PROVEN_FROM = Setting(
    "proven_from",
    "RECONCILE_PROVEN_FROM",
    parse_count,
    "3",
    "How many calls of an API key need an event before LiteLLM 1.60 to 1.90 is trusted to log its user right.",
)
SEND_UNPROVEN_KEYS = Setting(
    "send_unproven_keys",
    "RECONCILE_SEND_UNPROVEN_KEYS",
    parse_flag,
    "false",
    "Whether calls of API keys may be sent although nothing shows that LiteLLM 1.60 to 1.90 logged their users right.",
)
MOST_EVENTS = Setting("most_events", "RECONCILE_MOST_EVENTS", parse_count, "100000", "Most events a plan may hold.")
MOST_QUANTITY = Setting(
    "most_quantity", "RECONCILE_MOST_QUANTITY", parse_amount, "1000000000", "Most quantity of one code in a plan."
)
MOST_SHARE = Setting(
    "most_share",
    "RECONCILE_MOST_SHARE",
    parse_share,
    "0.5",
    "Largest part of a subscription's usage in the window that a plan may hold, from 0 to 1.",
)
MOST_SHARE_FROM = Setting(
    "most_share_from",
    "RECONCILE_MOST_SHARE_FROM",
    parse_count,
    "1000",
    "The share is checked for subscriptions with at least this many expected events.",
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
    "Memory for matching; what needs more spills to disk.",
)
THREADS = Setting("threads", "RECONCILE_THREADS", parse_count, None, "Threads for matching; all cores if not set.")
CLUSTER = Setting(
    "cluster",
    "RECONCILE_CLUSTER",
    parse_scheduler,
    None,
    "Dask scheduler whose workers read and match, `tcp://HOST:8786` or `tls://`; if not set, this process does.",
)
CLUSTER_PARTS = Setting(
    "cluster_parts",
    "RECONCILE_CLUSTER_PARTS",
    parse_parts,
    None,
    "In how many parts the subscriptions are matched; if not set, by rows and workers.",
)
CLUSTER_WAIT = Setting(
    "cluster_wait",
    "RECONCILE_CLUSTER_WAIT",
    parse_duration,
    "5m",
    "How long a run waits without any worker before it fails.",
)
OUTPUT = Setting(
    "output", "RECONCILE_OUTPUT", parse_path, "runs", "Folder in which each run leaves a folder of its own."
)
SCRATCH = Setting(
    "scratch",
    "RECONCILE_SCRATCH",
    parse_path,
    None,
    "Folder for a run's working files; inside the output folder if not set.",
)
TERMINATION_LOG = Setting(
    "termination_log",
    "RECONCILE_TERMINATION_LOG",
    parse_path,
    None,
    "File for the one-line verdict, for Kubernetes.",
)
METRICS_FOLDER = Setting(
    "metrics_folder",
    "RECONCILE_METRICS_FOLDER",
    parse_path,
    None,
    "Folder for metrics, of a textfile collector.",
)
PUSHGATEWAY_URL = Setting(
    "pushgateway_url",
    "RECONCILE_PUSHGATEWAY_URL",
    parse_gateway,
    None,
    "Address of a Pushgateway for metrics, with user and password if it asks for them.",
    secret=True,
)
USAGE_SUBSCRIPTIONS = Setting(
    "usage_subscriptions",
    "RECONCILE_USAGE_SUBSCRIPTIONS",
    parse_bound,
    "200",
    "For how many subscriptions Lago is asked for usage; those with the most at stake first; `0` for none.",
)
METRICS_SUBSCRIPTIONS = Setting(
    "metrics_subscriptions",
    "RECONCILE_METRICS_SUBSCRIPTIONS",
    parse_count,
    "20",
    "How many subscriptions of each code metrics name one by one; the rest is `other`.",
)
WEBHOOK_URL = Setting(
    "webhook_url",
    "RECONCILE_WEBHOOK_URL",
    parse_webhook,
    None,
    "Webhook of Slack, or a compatible one, that gets a message when a command ends.",
    secret=True,
)
WEBHOOK_ON = Setting(
    "webhook_on",
    "RECONCILE_WEBHOOK_ON",
    parse_notify_on,
    "discrepancies",
    "When it gets one: after `discrepancies` and failures, only after a `failure`, or `always`.",
)

ALL = tuple(value for value in tuple(globals().values()) if isinstance(value, Setting))
