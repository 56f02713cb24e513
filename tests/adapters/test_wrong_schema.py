"""LiteLLM's tables in another schema than the one that is read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from jobs.adapters.litellm_database import open_spend_logs
from jobs.core.database.settings import DatabaseSettings
from jobs.core.litellm.variables import database_settings
from jobs.errors import SourceError


def opened(settings: DatabaseSettings) -> None:
    """Open the spend logs and leave."""
    with open_spend_logs(settings, statement_timeout=timedelta(seconds=30)):
        pass


def test_an_empty_leftover_is_not_taken_for_the_real_table(litellm_database: str) -> None:
    """The other schema is named, in the words of the setting that names one; both remedies work."""
    settings = database_settings(url=litellm_database)
    with psycopg.connect(litellm_database, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA gateway")
        owner.execute('CREATE TABLE gateway."LiteLLM_SpendLogs" (LIKE public."LiteLLM_SpendLogs" INCLUDING ALL)')
        opened(settings)  # Both are empty.
        owner.execute(
            'INSERT INTO gateway."LiteLLM_SpendLogs" (request_id, call_type, "startTime", "endTime") '
            "VALUES ('r', 'acompletion', now(), now())"
        )
    with pytest.raises(SourceError) as raised:
        opened(settings)
    assert 'in schema public of database "' in raised.value.what
    assert raised.value.what.endswith("is empty, and that in schema gateway is not")
    assert raised.value.remedy == (
        "Add schema=gateway to the parameters of DATABASE_URL, or add schema=public to the parameters of DATABASE_URL "
        "if the empty one is meant"
    )
    names = database_settings("h", "n", "u").names
    with pytest.raises(SourceError, match="Set DATABASE_SCHEMA to gateway, or set DATABASE_SCHEMA to public if"):
        opened(replace(settings, given_names=names))
    opened(replace(settings, schema="gateway"))
    opened(replace(settings, schema="public"))
