"""One content a hundred thousand times over: what finds its pairs must not look at each event once for each other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.adapters.workspace import Workspace
from jobs.core.assignment import Tolerance

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
