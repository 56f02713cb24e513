"""The demo's month with what the demo leaves out: found is what is true, and what is due is billed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from jobs.core.litellm.variables import database_settings
from jobs.core.window import Window
from jobs.demo import CODE, MONTH_START, _backfill, _billed, _compare, _due, _organization, _settings
from jobs.playground.simulation import (
    DAILY_END_USER_SPEND_COLUMNS,
    SPEND_LOG_COLUMNS,
    LossClass,
    SimulationSettings,
    simulate,
)
from tests.support.scenario import SilentProgress

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

HIDDEN = SimulationSettings(MONTH_START, requests=15_000, code=CODE, hides_losses=True)
PINNED = SimulationSettings(MONTH_START, seed=2, requests=15_000, code=CODE, pins_keys=True)
SMALL = replace(HIDDEN, requests=5_000)
IN_HIDDEN = {LossClass.LATE_BESIDE_LOST, LossClass.INTERNAL_CALL}
IN_PINNED = {LossClass.LEAKED, LossClass.LEAKED_LOST, LossClass.UNPROVEN_KEY}


def _copy(
    connection: psycopg.Connection, table: str, names: Sequence[str], rows: Iterable[Sequence[str | int | float | None]]
) -> None:
    """Copy what this version's table has columns for; a version without the table counts nothing."""
    of_table = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)"
    known = {name for (name,) in connection.execute(of_table, [f'"{table}"'])}
    kept = [place for place, name in enumerate(names) if name in known]
    columns = sql.SQL(", ").join(sql.Identifier(names[place]) for place in kept)
    if not kept:
        return
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row([row[place] for place in kept])


@pytest.mark.parametrize(
    ("era", "simulated", "classes"),
    [
        pytest.param("1.109", SMALL, IN_HIDDEN, id="small", marks=pytest.mark.deep),
        pytest.param("1.109", HIDDEN, IN_HIDDEN, id="hidden", marks=pytest.mark.deep),
        pytest.param("1.79", PINNED, IN_PINNED, id="pinned", marks=pytest.mark.deep),
    ],
)
def test_the_month_is_found_as_it_is_and_billed_once(
    era: str,
    simulated: SimulationSettings,
    classes: set[LossClass],
    litellm_database_at: Callable[[str], str],
    standin: LagoStandIn,
    tmp_path: Path,
) -> None:
    month = simulate(simulated)
    assert classes <= {row.loss_class for row in month.truth()}
    database_url = litellm_database_at(era)
    with psycopg.connect(database_url, autocommit=True) as connection:
        _copy(connection, "LiteLLM_SpendLogs", SPEND_LOG_COLUMNS, month.spend_logs())
        _copy(connection, "LiteLLM_DailyEndUserSpend", DAILY_END_USER_SPEND_COLUMNS, month.daily_end_user_spend())
    lago = _organization(standin, "simulated month", month)
    lago.insert_events(event._asdict() for event in month.events())
    window = Window(MONTH_START, month.settings.month_end)
    settings = _settings(window, tmp_path, database_settings(url=database_url), standin, lago)
    applying = replace(settings, rules=replace(settings.rules, top_up=True))

    before = _billed(lago, month)
    applied = _backfill(applying, SilentProgress(), "applied")
    again = _backfill(applying, SilentProgress(), "again")
    # With top-ups a bare event's call is told as what it was: mismatched.
    differing = [
        item for item in _compare(month, applied.run) if item.wrong_places or item.lost_tokens != item.found_tokens
    ]
    assert not differing
    assert applied.applied is not None
    assert applied.applied.complete
    assert _billed(lago, month) - before == _due(tuple(_compare(month, applied.run))) > Decimal(0)
    assert again.run.plan.events == 0
