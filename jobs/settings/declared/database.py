"""Where LiteLLM's database is, by LiteLLM's own names."""

from __future__ import annotations

from jobs.core.durations import parse_duration
from jobs.settings.setting import Setting
from jobs.settings.texts import (
    parse_count,
    parse_flag,
    parse_text,
)

HOST = Setting(
    "database.host",
    "DATABASE_HOST",
    parse_text,
    None,
    "PostgreSQL host of LiteLLM, with or without `:port`; several separated by commas.",
)
PORT = Setting("database.port", "DATABASE_PORT", parse_text, None, "Its port, if the host names none; else 5432.")
NAME = Setting("database.name", "DATABASE_NAME", parse_text, None, "Database that holds LiteLLM's tables.")
USER = Setting("database.user", "DATABASE_USER", parse_text, None, "Role to log in as; reading is all it needs.")
USERNAME = Setting(
    "database.username", "DATABASE_USERNAME", parse_text, None, "The same, as LiteLLM's older chart names it."
)
PASSWORD = Setting(
    "database.password",
    "DATABASE_PASSWORD",
    str,
    None,
    "Its password as it is, not URL-encoded; unset if the server asks for none.",
    secret=True,
)
SCHEMA = Setting(
    "database.schema",
    "DATABASE_SCHEMA",
    parse_text,
    None,
    "Schema of LiteLLM's tables, if it is not `public`.",
)
SSLMODE = Setting(
    "database.sslmode",
    "DATABASE_SSLMODE",
    parse_text,
    None,
    "TLS mode as libpq names it; `verify-full` if only the next one is set.",
)
SSLROOTCERT = Setting(
    "database.sslrootcert",
    "DATABASE_SSLROOTCERT",
    parse_text,
    None,
    "File with the certificate of the server's authority.",
)
URL = Setting(
    "database.url",
    "DATABASE_URL",
    parse_text,
    None,
    "All of these in one address; wins over the variables above.",
    secret=True,
)
DIRECT_URL = Setting(
    "database.direct_url", "DIRECT_URL", parse_text, None, "Used if no other variable names the database.", secret=True
)
URL_READ_REPLICA = Setting(
    "database.url_read_replica",
    "DATABASE_URL_READ_REPLICA",
    parse_text,
    None,
    "Address of a replica, which is read instead of the primary.",
    secret=True,
)
REPLICA = tuple(
    Setting(
        f"database.{part}_read_replica",
        f"DATABASE_{part.upper()}_READ_REPLICA",
        str if part == "password" else parse_text,
        None,
        "Host of a replica, which is read instead of the primary."
        if part == "host"
        else "The same of the replica, if it differs.",
        secret=part == "password",
    )
    for part in ("host", "port", "name", "user", "username", "password", "schema")
)
IAM_TOKEN_DB_AUTH = Setting(
    "database.iam_token_db_auth",
    "IAM_TOKEN_DB_AUTH",
    parse_flag,
    "false",
    "Whether the password is a token of AWS RDS (extra `aws`).",
)
AWS_REGION_NAME = Setting("database.aws_region_name", "AWS_REGION_NAME", parse_text, None, "Region of such a token.")
AWS_REGION = Setting("database.aws_region", "AWS_REGION", parse_text, None, "The same, as AWS names it.")
CONNECT_ATTEMPTS = Setting(
    "database.connect_attempts",
    "RECONCILE_CONNECT_ATTEMPTS",
    parse_count,
    "12",
    "Attempts to connect; 12 take about 2 minutes.",
)
STATEMENT_TIMEOUT = Setting(
    "database.statement_timeout",
    "RECONCILE_STATEMENT_TIMEOUT",
    parse_duration,
    "30m",
    "How long one database query may take.",
)

ALL = (*(value for value in tuple(globals().values()) if isinstance(value, Setting)), *REPLICA)
