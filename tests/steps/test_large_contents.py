"""One content a hundred thousand times over: what finds its pairs must not look at each event once for each other."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from jobs.adapters.workspace import Workspace
from jobs.core.assignment import Tolerance
from jobs.steps.stages import find_left_over

EVENTS = 100_000
TOLERANCE = Tolerance(early_us=5_000_000, late_us=60_000_000)
# A second is what it needs, and a quarter of a minute what it did when it looked back.
MOST_CPU_SECONDS = 6.0
ONE_EVERY = """
    INSERT INTO scratch.candidate
    SELECT is_expected, 2 * number + CAST(is_expected AS BIGINT), 1,
        number * 6000000 + CASE WHEN is_expected THEN 0 ELSE 400000 END, md5(CAST(number AS VARCHAR))
    FROM range(?) AS numbered (number), (VALUES (true), (false)) AS sides (is_expected)
    WHERE is_expected OR number % 100 <> ?
"""


@pytest.mark.parametrize(("lost", "pairs"), [(100, EVENTS), (1, EVENTS * 99 // 100)])
def test_a_content_of_many_events_is_paired_in_proportion_to_them(tmp_path: Path, lost: int, pairs: int) -> None:
    reach = {"early_us": TOLERANCE.early_us, "late_us": TOLERANCE.late_us}
    with Workspace(tmp_path, memory_limit="500MB", threads=1) as workspace:
        workspace.run("clear_candidates")
        workspace._database.execute(ONE_EVERY, [EVENTS, lost])
        began = time.process_time()
        workspace.run("find_islands", **reach)
        workspace.run("measure_islands", **reach, read_start_us=-(10**12), read_end_us=10**15)
        workspace.run("rank_islands", **reach)
        workspace.run("pair_solved_islands", stage="content")
        workspace.insert("pair", workspace._solve_islands("content", TOLERANCE))
        spent = time.process_time() - began
        found = workspace._database.execute("SELECT count(*), count(DISTINCT recorded_id) FROM pair").fetchall()
    assert found == [(pairs, pairs)]
    assert spent < MOST_CPU_SECONDS


def test_identical_calls_beside_a_lost_one_are_found_in_proportion_to_them(tmp_path: Path) -> None:
    calls = 3 * EVENTS  # of which a window that looks back needs half a minute
    with Workspace(tmp_path, memory_limit="500MB", threads=1) as workspace:
        workspace._database.execute(
            """
            CREATE TABLE expected_event AS
            SELECT
                number AS id, number AS spend_log_id, CAST(number AS VARCHAR) AS request_id, 'alice' AS subscription,
                'tokens' AS code, '["gpt"]' AS dimensions, '1|2|3' AS quantities,
                make_timestamp(number * 6000000) AS time
            FROM range(?) AS numbered (number)
            """,
            [calls],
        )
        workspace._database.execute("INSERT INTO pair SELECT id, id, 'content' FROM expected_event WHERE id <> 7")
        began = time.process_time()
        workspace.run("find_alike_calls", early_us=TOLERANCE.early_us, late_us=TOLERANCE.late_us)
        spent = time.process_time() - began
        found = workspace._database.execute("SELECT count(*), count(stage) FROM scratch.alike_call").fetchall()
    assert found == [(calls, calls - 1)]
    assert spent < MOST_CPU_SECONDS


def test_what_is_left_over_is_looked_at_in_proportion_to_it(tmp_path: Path) -> None:
    # Every tenth call is lost, and of every tenth the event stands twice: each with each other would be minutes.
    with Workspace(tmp_path, memory_limit="500MB", threads=1) as workspace:
        workspace._database.execute(
            """
            CREATE TABLE expected_event AS
            SELECT
                number AS id, number AS spend_log_id, CAST(number AS VARCHAR) AS request_id, 'alice' AS subscription,
                'tokens' AS code, '["gpt"]' AS dimensions, '100|200|300' AS quantities, 300 AS quantity,
                CAST(NULL AS INTEGER) AS topped_up, make_timestamp(number * 30000000) AS time, true AS in_window
            FROM range(?) AS numbered (number)
            """,
            [EVENTS],
        )
        workspace._database.execute(
            """
            CREATE TABLE recorded_event AS
            SELECT
                id, CAST(id AS VARCHAR) AS transaction_id, subscription, code, dimensions, quantities, quantity, time,
                in_window
            FROM expected_event
            WHERE id % 10 <> 3
            UNION ALL
            SELECT
                id + $calls, CAST(id AS VARCHAR) || ' again', subscription, code, dimensions, quantities, quantity,
                time + INTERVAL 1 SECOND, in_window
            FROM expected_event
            WHERE id % 10 = 7
            """,
            {"calls": EVENTS},
        )
        workspace._database.execute(
            "INSERT INTO pair SELECT id, id, 'content' FROM recorded_event WHERE id < ?", [EVENTS]
        )
        reach = {"early_us": TOLERANCE.early_us, "late_us": TOLERANCE.late_us}
        began = time.process_time()
        find_left_over(workspace)
        workspace.run("find_late_answers", **reach, read_start=datetime(1969, 1, 1), read_end=datetime(2100, 1, 1))  # noqa: DTZ001
        workspace.run("find_foreign_answers", **reach)
        workspace.run("judge_recorded_events", twin_within_us=20_000_000)
        spent = time.process_time() - began
        kinds = workspace._database.execute("SELECT kind, count(*) FROM judged_recorded GROUP BY kind").fetchall()
        repeating = workspace._database.execute("SELECT count(*) FROM repeating_event").fetchall()
    assert (kinds, repeating) == ([("duplicated", EVENTS // 10)], [(EVENTS // 10,)])
    assert spent < MOST_CPU_SECONDS
