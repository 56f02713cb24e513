"""Connecting to the database of LiteLLM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from jobs.adapters.litellm_database import (
    FailedAttempt,
    Patience,
    connect,
)
from jobs.core.litellm.variables import database_settings
from jobs.errors import SourceError
from tests.adapters.spend_logs.helpers import reader, run


@dataclass(frozen=True)
class Trials:
    """What connecting did: the waits that were slept, in seconds, and the failures that were reported."""

    waits: list[float]
    failures: list[FailedAttempt]
    error: SourceError


def failing(url: str, attempts: int = 5, **changed: Any) -> Trials:
    """Connect without really waiting, and return how it failed."""
    waits: list[float] = []
    failures: list[FailedAttempt] = []
    settings = replace(database_settings(url=url), **changed)
    with pytest.raises(SourceError) as raised:
        connect(settings, patience=Patience(attempts), sleep=waits.append, on_failed_attempt=failures.append)
    assert "\n" not in str(raised.value)
    assert "hush" not in str(raised.value)
    return Trials(waits, failures, raised.value)


def test_unknown_host_is_tried_again_and_then_explained(database: str) -> None:
    """The case users reported: a name that does not resolve. The waits double, with jitter, up to a limit."""
    trials = failing(database, 8, host="litellm-db.invalid", origin="DATABASE_HOST")
    assert [failure.number for failure in trials.failures] == [1, 2, 3, 4, 5, 6, 7]
    assert [failure.wait.total_seconds() for failure in trials.failures] == pytest.approx(trials.waits)
    for wait, least in zip(trials.waits, (0.5, 1, 2, 4, 8, 16, 20), strict=True):
        assert least <= wait <= least + 0.5
    assert "cannot reach PostgreSQL at litellm-db.invalid:" in trials.error.what
    assert "after 8 attempts" in trials.error.what
    assert 'DATABASE_HOST (it may hold host:port): the name "litellm-db.invalid" was looked up' in trials.error.remedy
    assert "litellm-db.invalid" in trials.failures[0].reason


def test_refused_connection_is_tried_again(database: str) -> None:
    """Nothing listens on port 1."""
    trials = failing(database, port=1)
    assert len(trials.waits) == 4
    assert "after 5 attempts: " in trials.error.what
    assert "refused" in trials.error.what
    assert ":1 after" in trials.error.what
    assert "Check DATABASE_URL" in trials.error.remedy


def test_host_that_cannot_be_a_name(database: str) -> None:
    """Python refuses to look such a name up at all; that is one line too."""
    trials = failing(database, host="db..example")
    assert "cannot be a name" in trials.error.what
    assert not trials.waits


@pytest.mark.parametrize(
    ("changed", "what", "remedy"),
    [
        ({"password": "hush hush"}, "password authentication failed", "the password in DATABASE_URL"),
        (
            {"password": "hush\n"},
            "password authentication failed",
            "or line break",
        ),
        ({"password": None}, "no password supplied", "the password in DATABASE_URL"),
        ({"name": "nowhere"}, 'database "nowhere" does not exist', "the database name in DATABASE_URL"),
        (
            {"name": "nowhere", "given_names": database_settings("h", "n", "u").names},
            "does not exist",
            "Check DATABASE_NAME",
        ),
        ({"parameters": (("sslmode", "sometimes"),)}, "sslmode", "ssl parameters"),
    ],
)
def test_what_cannot_pass_fails_at_once(database: str, changed: dict[str, Any], what: str, remedy: str) -> None:
    """A wrong password is not tried twelve times; the message names the setting to change."""
    trials = failing(database, **changed)
    assert not trials.waits
    assert what in trials.error.what
    assert remedy in trials.error.remedy


def test_role_that_may_not_connect(database: str) -> None:
    """The GRANT in the remedy cures it."""
    name = database_settings(url=database).name
    run(database, f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')
    with reader(database) as (role, password):
        trials = failing(database, username=role, password=password)
        assert not trials.waits
        run(database, trials.error.remedy.partition(": ")[2])
        connect(replace(database_settings(url=database), username=role, password=password)).close()


def test_full_server_is_waited_for(database: str) -> None:
    """Too many connections is trouble that passes."""
    with reader(database) as (role, password):
        run(database, f'ALTER ROLE "{role}" CONNECTION LIMIT 1')
        settings = replace(database_settings(url=database), username=role, password=password)
        failures: list[FailedAttempt] = []
        with connect(settings) as holder:

            def leave(_: float) -> None:
                if len(failures) == 3:
                    holder.close()
                    with psycopg.connect(database, autocommit=True) as owner:
                        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = %s"
                        while not owner.execute(gone, [role]).fetchone()[0]:  # type: ignore[index]
                            pass

            connect(settings, sleep=leave, on_failed_attempt=failures.append).close()
    assert [failure.number for failure in failures] == [1, 2, 3]
    assert "too many connections" in failures[0].reason
