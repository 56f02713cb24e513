"""Lago's ClickHouse on ClickHouse in process: its tables, and what the stand-in has in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

_COLUMNS = "organization_id String, external_subscription_id String, code String, transaction_id String,"
# As Lago's own migrations make them, but for columns that nothing here reads.
TABLES = (
    f"events_raw ({_COLUMNS} timestamp DateTime64(3), properties Map(String, String), ingested_at DateTime64(3))"
    " ENGINE = MergeTree ORDER BY (organization_id, external_subscription_id, code, transaction_id, timestamp)",
    f"events_enriched ({_COLUMNS} timestamp DateTime64(3), properties Map(String, String), enriched_at DateTime64(3),"
    " precise_total_amount_cents Nullable(Decimal(40, 15)))"
    " ENGINE = ReplacingMergeTree(timestamp)"
    " PRIMARY KEY (organization_id, code, external_subscription_id, toDate(timestamp)) ORDER BY"
    " (organization_id, code, external_subscription_id, toDate(timestamp), timestamp, transaction_id)",
    f"events_dead_letter ({_COLUMNS} timestamp DateTime64(3)) ENGINE = MergeTree ORDER BY (organization_id, code)",
)


def make_tables(client: Any) -> None:
    """Make the tables anew, as bad as it gets: nothing is collapsed by itself."""
    for table in TABLES:
        client.command(f"DROP TABLE IF EXISTS {table.split(' ', 1)[0]}")
        client.command(f"CREATE TABLE {table}")
    client.command("SYSTEM STOP MERGES")


def fill(client: Any, standin: LagoStandIn, organization: Organization) -> None:
    """Copy the organization's events from the stand-in, one insert each, so that each makes a part of its own."""
    with psycopg.connect(standin.database_url, row_factory=dict_row) as connection:
        for table, moment in (("events_raw", "ingested_at"), ("events_enriched", "enriched_at")):
            statement = sql.SQL("SELECT * FROM {} WHERE organization_id = %s ORDER BY seq")
            rows = connection.execute(statement.format(sql.Identifier(table)), [organization.id])
            columns = ["organization_id", "external_subscription_id", "code", "transaction_id", "timestamp"]
            for row in rows:
                values = [str(row[name]) if name == "organization_id" else row[name] for name in columns]
                client.insert(
                    table, [[*values, row["properties"], row[moment]]], column_names=[*columns, "properties", moment]
                )
        dead = connection.execute("SELECT * FROM events_dead_letter WHERE organization_id = %s", [organization.id])
        for row in dead:
            values = [str(row[name]) if name == "organization_id" else row[name] for name in columns]
            client.insert("events_dead_letter", [values], column_names=columns)
