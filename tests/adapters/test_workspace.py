"""What a workspace says when its engine fails: one line that names the query and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.adapters.workspace import Workspace
from jobs.errors import ReconcileError


def test_rows_that_cannot_be_read_are_told_in_one_line(tmp_path: Path) -> None:
    with Workspace(tmp_path, memory_limit="100MB") as workspace:
        with pytest.raises(ReconcileError, match=r"could not run load_daily_totals: .*report this line") as told:
            workspace.load(
                "load_daily_totals", [b'"2026-11-01","alice","key","gpt-4o","openai","many","1","1","1","1"\n']
            )
        assert "\n" not in str(told.value)
        workspace.load("load_daily_totals", [b'"2026-11-01","alice","key","gpt-4o","openai","5","1","1","1","1"\n'])
        assert workspace.rows("has_daily_totals") == [{"has_daily_totals": True}]


def test_a_memory_limit_that_is_too_small_is_told(tmp_path: Path) -> None:
    rows = b"".join(b',"%d","alice","tokens","2026-11-01T00:00:00Z",,"[]"\n' % number for number in range(400_000))
    with (
        Workspace(tmp_path, memory_limit="8MB", threads=1) as workspace,
        pytest.raises(ReconcileError, match=r"memory limit is too small for .*\. Raise RECONCILE_MEMORY_LIMIT"),
    ):
        workspace.load("load_listed_events", [rows], shard=0, shards=1)
