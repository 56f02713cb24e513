"""A full disk is one line, a verdict and exit code 1 wherever it strikes, and nothing is lost by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.errors import DiskFullError
from jobs.steps.room import LEAST_FREE, RoomWatch, disk_trouble
from tests.support.backfilling import Notes, assert_billed_once, fill_litellm, new_organization, some_calls
from tests.support.command_runner import run_command
from tests.support.twins import deep_after

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

CALLS = some_calls(18, lost=(1, 4, 7, 8, 13, 16))
WINDOW = ("--from", "2025-11-10T12:00:00Z", "--to", "2025-11-10T14:00:00Z")
CHECKOUT = Path(__file__).parents[2]


def environment(database_url: str, organization: Organization, folder: Path) -> dict[str, str]:
    """Return what a deployment has set."""
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": "llm_tokens",
        "RECONCILE_OUTPUT": str(folder / "runs"),
        "RECONCILE_TERMINATION_LOG": str(folder / "verdict"),
        "RECONCILE_LAGO_RATE": "1000",
        "RECONCILE_VERIFY_WITHIN": "5s",
    }


def apply(
    database_url: str, organization: Organization, folder: Path, *, largest_file: int | None = None
) -> tuple[int, str, str]:
    """Run `reconcile --apply`; return its exit code, what it said on stderr and its verdict."""
    asked = environment(database_url, organization, folder)
    ended = run_command(asked, ("reconcile", "--apply", *WINDOW), folder, largest_file=largest_file)
    return ended.code, ended.errors, verdict_in(folder)


def verdict_in(folder: Path) -> str:
    """Return what the run has left for Kubernetes, if anything."""
    verdict = folder / "verdict"
    return verdict.read_text(encoding="utf-8") if verdict.exists() else ""


@pytest.mark.parametrize("kilobytes", [40, *(pytest.param(size, marks=pytest.mark.deep) for size in (120, 700))])
def test_wherever_a_write_fails_it_is_one_line(
    kilobytes: int, litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """No file may grow beyond so many kilobytes: the ledger, the workspace, the report and its page fail in turn."""
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, CALLS)
    code, said, verdict = apply(litellm_database, organization, tmp_path, largest_file=kilobytes * 1024)
    assert "Traceback" not in said
    assert code == 1, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "is full" in line or "Make room" in line
    assert verdict == f"exit code 1. {line.removeprefix('error: ')}"
    assert not list((tmp_path / "runs").glob(".*.partial"))
    code, said, _ = apply(litellm_database, organization, tmp_path)
    assert code == 0, said
    assert_billed_once(organization, CALLS)


@pytest.mark.parametrize("size", deep_after(1, ["1m", "16392k"]))
def test_a_volume_without_room_is_told(size: str, litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size={size} none "$0"; exec "$@"'
    mounted = ("unshare", "-rm", "sh", "-c", script, str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    probe = subprocess.run([*mounted, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no file system of its own can be mounted here: {probe.stderr.strip()}")
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, CALLS)
    ended = subprocess.run(
        [*mounted, sys.executable, "-m", "jobs", "reconcile", "--apply", *WINDOW],
        cwd=CHECKOUT,
        env=environment(litellm_database, organization, tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said, verdict = ended.stderr, verdict_in(tmp_path)
    assert "Traceback" not in said
    assert ended.returncode == 1, said
    assert f"error: the disk of {tmp_path / 'runs'} is full: " in said
    assert verdict.startswith("exit code 1. the disk of ")


def test_room_is_looked_at_during_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = LEAST_FREE
    monkeypatch.setattr("jobs.steps.room.shutil.disk_usage", lambda path: type("Usage", (), {"free": free}))
    notes = Notes()
    watched = RoomWatch(notes, tmp_path / "not" / "there")
    watched.step("matching")
    assert notes.said == ["matching"]
    free -= 1
    with pytest.raises(DiskFullError, match="is full: 16,383 KiB are free after 7 rows"):
        watched.count(7, None)


def test_another_error_is_no_full_disk() -> None:
    assert disk_trouble(PermissionError(13, "Permission denied")) is None
    assert disk_trouble(ValueError("No space left")) is None
