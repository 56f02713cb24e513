"""Databases for tests: fresh ones, and LiteLLM's schema of every era."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from jobs.playground.litellm_schema import apply_migrations

_DATA = Path(__file__).parents[1] / "data"

# The last migration in the litellm-proxy-extras of that time; the newest era has all.
_LAST_MIGRATION = {
    "1.60": "20250329084805_new_cron_job_table",
    "1.65": "20250331215456_track_success_and_failed_requests_daily_agg_table",
    "1.70": "20250514142245_add_guardrails_table",
    "1.79": "20251031181430_add_cache_config_table",
    "1.80": "20251101131415_add_managed_vector_store_index_table",
    "1.90": "20260721000000_add_sso_identity_assertion",
    "1.109": None,
}


def on_server(server_url: str, statement: sql.Composed) -> None:
    """Run a statement on the server, outside any transaction."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(statement)


def create_database(server_url: str, template: str = "template0") -> str:
    """Create a database and return its URL."""
    name = f"test_{secrets.token_hex(6)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    on_server(server_url, create.format(sql.Identifier(name), sql.Identifier(template)))
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def build_era(database_url: str, era: str) -> None:
    """Give an empty database the schema that LiteLLM had in `era`."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        if era == "1.53":
            connection.execute((_DATA / "spend_logs_1_53.sql").read_bytes())
            return
        version, _, partitioned = era.partition("-")
        apply_migrations(connection, until=_LAST_MIGRATION[version])
        if partitioned:
            connection.execute((_DATA / "partition_spend_logs.sql").read_bytes())
