"""The traffic of a month in LiteLLM's and Lago's tables, made by PostgreSQL."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

import click
import psycopg

from jobs.playground.litellm_schema import apply_migrations

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

SEED = 20261124
CODE = "llm_tokens"
SUBSCRIPTIONS = 500
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Target:
    """Where the two sides are."""

    database_url: str
    """LiteLLM's and Lago's tables."""
    api_base: str
    """The Lago stand-in, for the catalogue."""
    api_key: str
    """The organization's key."""
    organization_id: str
    """The organization's id in Lago."""
    memory_limit: str
    """Of the matching."""
    page_size: int = 1000
    """Events per page where the API is read."""


def make_data(
    database_url: str,
    standin: LagoStandIn,
    rows: int,
    shape: str = "usual",
    memory_limit: str = "500MB",
    *,
    with_shared_ids: bool = False,
) -> Target:
    """Fill LiteLLM's and Lago's tables with the same traffic, less what Lago never got.

    `with_shared_ids` adds the narrow tables for tools that compare rows of one id.
    """
    organization = standin.create_organization(f"bench {shape} {rows}")
    organization.add_metric(CODE, field_name="total_tokens")
    organization.add_plan("tokens", charges=[(CODE, {})])
    organization.add_customer("customer")
    start, began = datetime(2026, 11, 1, tzinfo=UTC), time.perf_counter()
    one_content = shape in ("repeated", "island")
    for number in range(1 if one_content else SUBSCRIPTIONS):
        organization.add_subscription(
            f"sub_{number:03d}", customer="customer", plan="tokens", started_at=start, current_period_started_at=start
        )
    parameters = {
        "rows": rows,
        "seed": SEED,
        "shape": shape,
        "one_content": one_content,
        "organization_id": organization.id,
    }
    with psycopg.connect(database_url, autocommit=True) as connection:
        apply_migrations(connection)
        cursor = psycopg.ClientCursor(connection)
        indexes = _drop_indexes(connection)
        # What lies there is read only, and a crash ends the benchmark: a log of it would be as much again to write.
        connection.execute('ALTER TABLE "LiteLLM_SpendLogs" SET UNLOGGED')
        names = ("make_traffic", "make_spend_logs", "make_events", *(("make_shared_ids",) if with_shared_ids else ()))
        for name in names:
            cursor.execute((HERE / f"{name}.sql").read_bytes(), parameters)
        connection.execute("DROP TABLE traffic")
        for index in indexes:
            connection.execute(index)
        connection.execute("VACUUM ANALYZE")
    click.echo(f"{shape}: {rows:,} spend logs and their events made in {time.perf_counter() - began:.0f} s", err=True)
    return Target(database_url, standin.api_base, organization.api_key, organization.id, memory_limit)


def _drop_indexes(connection: psycopg.Connection[Any]) -> list[LiteralString]:
    """Drop what only slows the filling down, and return what makes it anew."""
    found = connection.execute(
        "SELECT format('DROP INDEX %I.%I', schemaname, indexname), indexdef FROM pg_indexes"
        " WHERE tablename IN ('LiteLLM_SpendLogs', 'events') AND indexname NOT LIKE '%pkey'"
    ).fetchall()
    for statement, _ in found:
        connection.execute(statement)
    return [definition for _, definition in found]
