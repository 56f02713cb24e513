"""What a workspace says when its engine fails: one line that names the query and what to do."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from jobs.adapters.workspace import Workspace
from jobs.core.telling.reports import OUTCOME_COLUMNS, Columns, csv_lines
from jobs.core.text import spreadsheet_safe
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
        workspace.load("load_listed_events", [rows], properties=0)


def test_rows_of_long_texts_need_no_more_memory_than_others(tmp_path: Path) -> None:
    texts = [f"{number:06d}" * 1000 for number in range(10_000)]
    with Workspace(tmp_path, memory_limit="100MB", threads=1) as workspace:
        workspace.insert("losing_sender", ((text,) for text in texts))
        found = workspace._database.execute("SELECT count(DISTINCT subscription) FROM losing_sender").fetchall()
    assert found == [(len(texts),)]


def test_what_became_of_events_of_very_long_texts_is_read_again(tmp_path: Path) -> None:
    row = dict.fromkeys(OUTCOME_COLUMNS.names, "") | {"request_id": 'say "x", ' * 500_000}
    rows = [{**row, "transaction_id": text, "verified": text} for text in ("true", "false", "")]
    (tmp_path / "outcomes.csv").write_bytes(b"".join(csv_lines(OUTCOME_COLUMNS, rows)))
    columns = dict.fromkeys(OUTCOME_COLUMNS.names, "VARCHAR")
    with Workspace(tmp_path, memory_limit="500MB") as workspace:
        workspace.run("take_settled_events", path=str(tmp_path / "outcomes.csv"), columns=columns)
        assert workspace._database.execute("FROM settled_event").fetchall() == [("true",)]


def test_a_csv_holds_what_python_would_write_of_strangers_texts(tmp_path: Path) -> None:
    names = [
        "plain",
        "=1+1",
        "a,b",
        'say "x"',
        " =x",
        "a;-1",
        "b|+2",
        "@x",
        "line\nbreak",
        "tab\t=1",
        "\u202egpt",
        "\uff1d1",
        "é",
        "-",
        "a-b",
    ]
    with Workspace(tmp_path, memory_limit="200MB") as workspace:
        workspace.insert("sent_event", [("id", "alice", "tokens", 1, None, dict.fromkeys(names, "1"))])
        rows = workspace.write_csv(
            tmp_path / "names.csv", Columns(("name",), frozenset({"name"})), "sent_property_names"
        )
    expected = io.StringIO()
    csv.writer(expected, lineterminator="\n").writerows(
        [["name"], *([spreadsheet_safe(name)] for name in sorted(names))]
    )
    assert (tmp_path / "names.csv").read_text(encoding="utf-8") == expected.getvalue()
    assert rows == len(names)


def test_a_csv_of_several_queries_has_one_header(tmp_path: Path) -> None:
    with Workspace(tmp_path, memory_limit="200MB") as workspace:
        workspace.insert("sent_event", [("id", "alice", "tokens", 1, None, {"model": "gpt", "": "1"})])
        both = ("sent_property_names", "sent_property_names")
        rows = workspace.write_csv(tmp_path / "names.csv", Columns(("name",), frozenset({"name"})), *both)
    assert ((tmp_path / "names.csv").read_bytes(), rows) == (b"name\n\nmodel\n\nmodel\n", 4)


def test_values_arrive_in_a_table_as_they_are(tmp_path: Path) -> None:
    began = datetime(2026, 11, 1, 0, 0, 0, 123456, tzinfo=UTC).replace(tzinfo=None)
    with Workspace(tmp_path, memory_limit="200MB") as workspace:
        workspace._database.execute(
            "CREATE TABLE kept (a VARCHAR, b BIGINT, c DECIMAL(38, 20), d TIMESTAMP, e BOOLEAN, f VARCHAR[])"
        )
        rows = [
            ('x\0"\n\u2028é', 2**63 - 1, Decimal("12.00000000000000000001"), began, True, ["1", None]),
            ("", None, None, None, None, []),
        ]
        workspace.insert("kept", rows)
        assert workspace._database.execute("FROM kept").fetchall() == rows


def test_a_run_imports_neither_pandas_nor_what_opens_a_ledger() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, jobs.reconcile, jobs.settings; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()
    assert not {"pandas", "sqlalchemy"} & set(loaded)
