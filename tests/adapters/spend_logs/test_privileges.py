"""What may be missing in a database is told with its remedy."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import SourceError
from tests.adapters.spend_logs.helpers import DAY, ONE_CALL, UTC_CLOCK, opened, reader, run


def refusal(url: str, **changed: Any) -> SourceError:
    """Return the error with which the spend logs do not open."""
    with pytest.raises(SourceError) as raised, opened(url, **changed):
        pass
    assert "\n" not in str(raised.value)
    assert "hush" not in str(raised.value)
    return raised.value


def test_missing_privilege_names_the_grant_that_cures_it(litellm_database: str) -> None:
    """The remedy can be pasted, and then the role reads; a hostile password works."""
    with reader(litellm_database) as (name, password):
        error = refusal(litellm_database, username=name, password=password)
        assert "may not read" in error.what
        run(litellm_database, error.remedy.partition(": ")[2])
        with opened(litellm_database, username=name, password=password) as logs:
            assert not list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))


def test_row_level_security_is_an_error_not_a_lower_count(litellm_database: str) -> None:
    """A policy that hides rows would make a window look clean."""
    run(litellm_database, 'ALTER TABLE "LiteLLM_SpendLogs" ENABLE ROW LEVEL SECURITY')
    with (
        reader(litellm_database, 'GRANT SELECT ON "LiteLLM_SpendLogs" TO {role}') as (name, password),
        opened(litellm_database, username=name, password=password) as logs,
        pytest.raises(SourceError, match="BYPASSRLS"),
    ):
        list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))


def test_missing_table(database: str) -> None:
    """The wrong database, or the wrong schema, is named."""
    assert 'has no table "LiteLLM_SpendLogs"' in refusal(database).what
    run(database, "CREATE SCHEMA gateway", 'CREATE TABLE gateway."LiteLLM_SpendLogs" (request_id text)')
    assert "schema=gateway to the parameters of DATABASE_URL" in refusal(database).remedy


def test_missing_column_or_changed_type(litellm_database: str) -> None:
    """A table that is not LiteLLM's is not read on a guess."""
    run(litellm_database, 'ALTER TABLE "LiteLLM_SpendLogs" ALTER "endTime" TYPE timestamptz')
    assert '"endTime" is of type timestamp with time zone' in refusal(litellm_database).what
    run(litellm_database, 'ALTER TABLE "LiteLLM_SpendLogs" DROP end_user, DROP cache_hit')
    assert "lacks the columns cache_hit, end_user" in refusal(litellm_database).what
