"""LiteLLM's real schema in each era the fixtures offer: the columns that a gateway of that time had."""

from collections.abc import Callable

import psycopg
import pytest

from jobs.errors import SettingError, SourceError
from jobs.playground.litellm_schema import apply_migrations

_PORTABLE = (
    "request_id call_type api_key spend total_tokens prompt_tokens completion_tokens startTime endTime"
    " completionStartTime model model_id model_group api_base user metadata cache_hit cache_key request_tags"
    " team_id end_user requester_ip_address"
).split()
_SINCE_1_60 = [*_PORTABLE, "custom_llm_provider", "messages", "response"]
_SINCE_1_70 = [*_SINCE_1_60, "proxy_server_request", "session_id", "status"]
_SINCE_1_80 = [*_SINCE_1_70, "mcp_namespaced_tool_name"]
_SINCE_1_90 = [*_SINCE_1_80, "organization_id", "agent_id", "request_duration_ms"]
_SINCE_1_109 = [*_SINCE_1_90, "created_at", "updated_at", "litellm_call_id", "billing_agent_id"]

_COLUMNS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = 'LiteLLM_SpendLogs'
"""
_PRIMARY_KEY = """
    SELECT pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = '"LiteLLM_SpendLogs"'::regclass AND contype = 'p'
"""
_TYPES = """
    SELECT column_name, data_type, datetime_precision, is_nullable, column_default
    FROM information_schema.columns
    WHERE table_name = 'LiteLLM_SpendLogs' AND column_name = ANY(%(columns)s) ORDER BY column_name
"""


def _first_column(url: str, query: bytes) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(query)]


@pytest.mark.parametrize(
    ("era", "columns", "primary_key"),
    [
        ("1.53", _PORTABLE, "PRIMARY KEY (request_id)"),
        ("1.60", _SINCE_1_60, "PRIMARY KEY (request_id)"),
        ("1.70", _SINCE_1_70, "PRIMARY KEY (request_id)"),
        ("1.80", _SINCE_1_80, "PRIMARY KEY (request_id)"),
        ("1.90", _SINCE_1_90, "PRIMARY KEY (request_id)"),
        ("1.109", _SINCE_1_109, "PRIMARY KEY (request_id)"),
        ("1.109-partitioned", _SINCE_1_109, 'PRIMARY KEY (request_id, "startTime")'),
    ],
)
def test_each_era_has_its_columns_and_key(
    litellm_database_at: Callable[[str], str], era: str, columns: list[str], primary_key: str
) -> None:
    url = litellm_database_at(era)
    assert sorted(_first_column(url, _COLUMNS.encode())) == sorted(columns)
    assert _first_column(url, _PRIMARY_KEY.encode()) == [primary_key]


def test_the_oldest_table_is_typed_like_the_first_migration(litellm_database_at: Callable[[str], str]) -> None:
    def types(era: str) -> list[tuple[object, ...]]:
        with psycopg.connect(litellm_database_at(era)) as connection:
            return connection.execute(_TYPES.encode(), {"columns": _PORTABLE}).fetchall()

    assert len(types("1.53")) == 22
    assert types("1.53") == types("1.60")


def test_the_oldest_table_has_no_index_but_its_key(litellm_database_at: Callable[[str], str]) -> None:
    indexes = b"SELECT indexname FROM pg_indexes WHERE tablename = 'LiteLLM_SpendLogs'"
    assert _first_column(litellm_database_at("1.53"), indexes) == ["LiteLLM_SpendLogs_pkey"]


def test_databases_of_one_test_are_separate(litellm_database_at: Callable[[str], str]) -> None:
    one, other = litellm_database_at("1.53"), litellm_database_at("1.53")
    with psycopg.connect(one) as connection:
        connection.execute('DROP TABLE "LiteLLM_SpendLogs"')
    assert len(_first_column(other, _COLUMNS.encode())) == 22


def test_counts_the_migrations_and_stops_after_the_named_one(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        assert apply_migrations(connection, until="20250327180120_add_api_requests_to_daily_user_table") == 3


def test_goes_on_after_the_named_one(database: str) -> None:
    third, fifth = (
        "20250327180120_add_api_requests_to_daily_user_table",
        "20250331215456_track_success_and_failed_requests_daily_agg_table",
    )
    with psycopg.connect(database, autocommit=True) as connection:
        assert apply_migrations(connection, until=third) == 3
        assert apply_migrations(connection, until=fifth, after=third) > 0
        with pytest.raises(SourceError, match="already exists"):
            apply_migrations(connection, until=fifth)


def test_an_unknown_migration_is_refused_before_anything_is_applied(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(SettingError, match="no migration named '2099'"):
            apply_migrations(connection, until="2099")
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_refused_migration_is_named(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute('CREATE VIEW "LiteLLM_SpendLogs" AS SELECT 1 AS one')
        with pytest.raises(SourceError, match="20250326162113_baseline"):
            apply_migrations(connection)


def test_a_connection_in_a_transaction_is_a_mistake_of_the_caller(database: str) -> None:
    with psycopg.connect(database) as connection, pytest.raises(ValueError, match="autocommit"):
        apply_migrations(connection)
