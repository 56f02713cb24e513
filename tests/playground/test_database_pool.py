"""The databases that tests take one after another: each is as if it were new."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.databases import DatabasePool, Eras

ROW = (
    'INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, "startTime", "endTime")'
    " VALUES ('r', 'c', now(), now())"
)
COUNT = 'SELECT count(*) FROM "LiteLLM_SpendLogs"'


@pytest.fixture
def pool(postgres_url: str, litellm_eras: Eras) -> DatabasePool:
    return DatabasePool(postgres_url, litellm_eras)


def taken(pool: DatabasePool, *statements: str) -> tuple[str, int]:
    """Take a database, change it, and give it back; return its URL and how many rows it had."""
    with pool.taking() as take:
        url = take("1.53")
        with psycopg.connect(url, autocommit=True) as connection:
            (count,) = connection.execute(COUNT).fetchone() or (0,)
            for statement in statements:
                connection.execute(statement.encode())
    return url, count


def test_rows_are_gone_and_the_database_is_the_same(pool: DatabasePool) -> None:
    first, _ = taken(pool, ROW)
    assert taken(pool, ROW) == (first, 0)
    pool.drop_all()


@pytest.mark.parametrize(
    "change",
    [
        'ALTER TABLE "LiteLLM_SpendLogs" DROP COLUMN model',
        'GRANT SELECT ON "LiteLLM_SpendLogs" TO pg_monitor',
        'CREATE INDEX ON "LiteLLM_SpendLogs" (request_id)',
        "CREATE SCHEMA other",
    ],
)
def test_a_database_of_which_more_than_rows_was_changed_is_not_given_again(pool: DatabasePool, change: str) -> None:
    first, _ = taken(pool, change)
    again, count = taken(pool)
    assert (again == first, count) == (False, 0)
    pool.drop_all()


def test_two_at_once_are_two(pool: DatabasePool) -> None:
    with pool.taking() as take:
        assert take("1.53") != take("1.53")
    pool.drop_all()
