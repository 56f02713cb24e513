"""The role of k8s/reader-role.sql reads all that a run needs, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors, sql

from jobs.reconcile import reconcile
from jobs.settings import load_settings, reconcile_settings
from jobs.steps.reconcile_values import Run
from tests.support.passwords import new_password
from tests.support.scenario import SCENARIOS, Scenario, SilentProgress
from tests.support.twins import deep_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.playground.lago_standin import LagoStandIn

_ROLE = "litellm_lago_reader"
_SCRIPT = (Path(__file__).parents[2] / "k8s" / "reader-role.sql").read_bytes()
_NOW = datetime(2026, 11, 12, tzinfo=UTC)


def make_role(database_url: str) -> str:
    """Run the script and return the URL with which the role logs in."""
    password = new_password()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(_SCRIPT)
        connection.execute(_SCRIPT)  # as often as you like
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(_ROLE), sql.Literal(password)))
    parts = urlsplit(database_url)
    return parts._replace(netloc=f"{_ROLE}:{password}@{parts.hostname}:{parts.port or 5432}").geturl()


@pytest.fixture
def drop_role(litellm_database_at: Callable[[str], str], postgres_url: str) -> Iterator[Callable[[str], str]]:
    """Give databases of an era; afterwards the role is gone, which belongs to the whole server."""
    urls: list[str] = []

    def database_at(era: str) -> str:
        urls.append(litellm_database_at(era))
        return urls[-1]

    yield database_at
    for url in urls:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {_ROLE}".encode())
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {_ROLE}".encode())


def run_as(url: str, standin: LagoStandIn, scenario: Scenario, output: Path) -> Run:
    """Judge the scenario's hour with this login."""
    organization = scenario.make_organization(standin)
    environment = {
        "DATABASE_URL": url,
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": "llm_tokens",
        "RECONCILE_OUTPUT": str(output),
    }
    settings = load_settings(environment)
    asked = reconcile_settings(settings, "2026-11-10T12:00:00Z", "2026-11-10T13:00:00Z", _NOW)
    return reconcile(asked, SilentProgress(), now=_NOW, run_id="reader")


@pytest.mark.parametrize("era", deep_after(1, ["1.109", "1.53", "1.109-partitioned"]))
def test_a_run_needs_no_more(drop_role: Callable[[str], str], standin: LagoStandIn, tmp_path: Path, era: str) -> None:
    database = drop_role(era)
    scenario = Scenario(SCENARIOS / "class-d-lago-refused")
    if era == "1.109":
        with psycopg.connect(database, autocommit=True) as connection:
            scenario.fill_litellm(connection)
    run = run_as(make_role(database), standin, scenario, tmp_path)
    assert sum(row["spend_logs"] for row in run.spend_logs) == (3 if era == "1.109" else 0)


def test_it_may_do_nothing_else(drop_role: Callable[[str], str]) -> None:
    url = make_role(drop_role("1.109"))
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(errors.ReadOnlySqlTransaction):
            connection.execute('DELETE FROM "LiteLLM_SpendLogs"')
        # What the role begins with can be undone; that it has no right cannot.
        connection.execute("SET default_transaction_read_only = off")
        for statement in (
            b'DELETE FROM "LiteLLM_SpendLogs"',
            b'UPDATE "LiteLLM_DailyUserSpend" SET spend = 0',
            b"CREATE TABLE public.x (y int)",
            b'SELECT * FROM "LiteLLM_VerificationToken"',
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement)
