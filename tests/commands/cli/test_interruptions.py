"""Signals, refusals and killed runs on the command line."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from jobs.adapters.run_folder import RunFolder
from jobs.errors import SettingError, StoppedError
from jobs.playground.lago_standin import Fault
from jobs.signals import ending_at_signals

if TYPE_CHECKING:
    from jobs.playground.lago_standin import Organization

from tests.commands.cli.helpers import _NOWHERE, _SECRET, _WINDOW, command, ended, refused, run
from tests.support.twins import deep_after


@pytest.mark.parametrize(
    ("number", "name", "arguments"),
    deep_after(1, [(signal.SIGTERM, "SIGTERM", ["reconcile"]), (signal.SIGINT, "Ctrl-C", ["explain", "call-1"])]),
    ids=["reconcile", "explain"],
)
def test_a_signal_ends_a_run_that_reads(
    environment: dict[str, str],
    organization: Organization,
    tmp_path: Path,
    number: int,
    name: str,
    arguments: list[str],
) -> None:
    scratch, output = tmp_path / "scratch", tmp_path / "runs"
    scratch.mkdir()
    organization.set_faults(Fault("slow", endpoint="list", delay_seconds=60))
    environment |= {"RECONCILE_SCRATCH": str(scratch), "RECONCILE_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.sqlite"}
    process = command(environment, *arguments, *_WINDOW)
    deadline = time.monotonic() + 60
    while not list(scratch.glob("*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(scratch.iterdir())
    process.send_signal(number)
    code, _, errors = ended(process)
    assert code == 1
    assert errors.splitlines()[-1] == f"error: the run was stopped by {name}. Run the same command again"
    assert not output.exists() or not list(output.iterdir())
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_is_not_lost_in_duckdb(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    try:
        # With several threads DuckDB first ends what each has begun, here all of it.
        with duckdb.connect(config={"threads": 1}) as connection:
            timer.start()
            with pytest.raises(StoppedError), ending_at_signals():
                connection.execute("SELECT count(*) FROM range(10000000000) AS number (n) WHERE hash(n) % 7 = 3")
    finally:
        timer.join()
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.parametrize(
    ("change", "exit_code", "named"),
    deep_after(
        3,
        [
            ({"DATABASE_PASSWORD": _SECRET}, 1, ("password authentication failed", "DATABASE_PASSWORD")),
            ({"LAGO_API_KEY": _SECRET}, 1, ("401", "LAGO_API_KEY")),
            ({"LAGO_API_EVENT_CODE": "tokens"}, 2, ("'tokens'", "'llm_tokens'", "LAGO_API_EVENT_CODE")),
            ({"DATABASE_HOST": "127.0.0.1:1"}, 1, ("127.0.0.1:1", "DATABASE_HOST")),
            ({"DATABASE_HOST": "postgres.invalid:5432"}, 1, ("postgres.invalid", "DATABASE_HOST")),
            ({"DATABASE_NAME": "nowhere"}, 1, ('"nowhere" does not exist', "DATABASE_NAME")),
        ],
    ),
    ids=["password", "key", "code", "no server", "no such host", "database"],
)
def test_a_neighbour_that_refuses(
    environment: dict[str, str], tmp_path: Path, change: dict[str, str], exit_code: int, named: tuple[str, ...]
) -> None:
    code, line = refused(environment | change, tmp_path / "runs", *_WINDOW)
    assert code == exit_code
    assert [name for name in named if name not in line] == [], line


@pytest.mark.parametrize(
    ("change", "arguments", "named"),
    [
        ({}, ("--from", "2026-11-11", "--to", "2026-11-10"), ("reversed", "--from")),
        ({}, ("--from", "2026-11-10", "--to", "2999-01-01"), ("future", "--to")),
        ({"RECONCILE_MAPPING_FILE": "/nowhere/mapping.csv"}, _WINDOW, ("/nowhere/mapping.csv",)),
        ({"RECONCILE_OUTPUT": "/dev/null/runs"}, _WINDOW, ("/dev/null/runs", "--output")),
        ({"LAGO_API_KEY": ""}, _WINDOW, ("LAGO_API_KEY is not set",)),
        ({"LAGO_API_BASE": f"https://user:{_SECRET}@lago"}, _WINDOW, ("LAGO_API_BASE",)),
        (
            {"DATABASE_HOST": "", "DATABASE_URL": f"postgresql://litellm:{_SECRET}/@db/litellm"},
            _WINDOW,
            ("DATABASE_URL", "DATABASE_PASSWORD"),
        ),
    ],
    ids=["reversed", "future", "mapping file", "output", "no key", "address with a password", "URL with a slash"],
)
def test_a_wrong_setting(
    tmp_path: Path, change: dict[str, str], arguments: tuple[str, ...], named: tuple[str, ...]
) -> None:
    output = tmp_path / "runs"
    code, line = refused({**_NOWHERE, "RECONCILE_OUTPUT": str(output), **change}, output, *arguments)
    assert code == 2
    assert [name for name in named if name not in line] == [], line


def test_a_mapping_file_that_cannot_be_used_is_named_with_its_line(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.csv"
    mapping.write_text("source,subscription\nteam-1,alice\nteam-1,bob\n", encoding="utf-8")
    code, line = refused(_NOWHERE | {"RECONCILE_MAPPING_FILE": str(mapping)}, tmp_path / "runs", *_WINDOW)
    assert code == 2
    assert f"{mapping}, line 3" in line


@pytest.mark.deep
def test_the_misspelled_code_is_taken_and_told(environment: dict[str, str]) -> None:
    environment["LAGO_EVENT_CODE"] = environment.pop("LAGO_API_EVENT_CODE")
    code, _, errors = run(environment, "reconcile", *_WINDOW)
    assert code == 3
    (note,) = (line for line in errors.splitlines() if "level=warning" in line)
    assert "LAGO_EVENT_CODE is taken for LAGO_API_EVENT_CODE" in note
    assert "rename it" in note


def test_a_killed_run_does_no_harm(environment: dict[str, str], organization: Organization, tmp_path: Path) -> None:
    output = tmp_path / "runs"
    organization.set_faults(Fault("slow", endpoint="list", delay_seconds=60))
    process = command(environment, "reconcile", *_WINDOW)
    deadline = time.monotonic() + 60
    while not list(output.glob("*/workspace/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    (unfinished,) = output.iterdir()
    assert unfinished.name.startswith("."), "nobody takes it for a report"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    organization.clear_faults()
    code, _, errors = run(environment, "reconcile", *_WINDOW)
    assert code == 3
    assert f"removed {unfinished.name}" in errors
    (folder,) = output.iterdir()
    assert (folder / "run.json").exists()


def _kept(output: Path) -> list[Path]:
    return [path for path in output.glob(".events-read-*/*") if path.suffix != ".partial"]


@pytest.mark.deep
def test_what_a_killed_run_has_read_is_taken_up_by_the_next(
    environment: dict[str, str], organization: Organization, tmp_path: Path
) -> None:
    output, start = tmp_path / "runs", datetime(2026, 11, 10, 12, tzinfo=UTC)
    organization.insert_events(
        {
            "transaction_id": f"other-{number}",
            "external_subscription_id": "other",
            "code": "llm_tokens",
            "timestamp": start + number * timedelta(milliseconds=100),
            "properties": {},
        }
        for number in range(25_000)
    )
    organization.set_faults(Fault("slow", endpoint="list", delay_seconds=0.3))
    process = command(environment, "reconcile", *_WINDOW)
    deadline = time.monotonic() + 60
    while not (kept := _kept(output)) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert kept
    organization.clear_faults()
    code, _, errors = run(environment, "reconcile", *_WINDOW)
    assert code == 3
    assert "events that an earlier run had read" in errors
    (folder,) = output.iterdir()
    assert (folder / "run.json").exists(), "and nothing else is left"


def test_a_live_run_keeps_its_folder_beside_another(tmp_path: Path) -> None:
    names = [f"20261110T120000Z-20261110T130000Z-{number}" for number in (1, 2)]
    with RunFolder(tmp_path, names[0]) as first:
        first.write_lines("plan.jsonl", [b"{}\n"])
        with RunFolder(tmp_path, names[1]) as second:
            assert second.removed == ()
        assert (first.path.with_name(f".{names[0]}.partial") / "plan.jsonl").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("scratch", [False, True], ids=["within", "scratch"])
@pytest.mark.parametrize("step", ["mkdir", "open", "flock", "stat"])
def test_a_signal_while_the_folder_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, scratch: bool
) -> None:
    """At its last chance: each of these has done what it does, once for every time that making a folder calls it."""
    module = fcntl if step == "flock" else os
    plain, made = getattr(module, step), tmp_path / "scratch"
    made.mkdir()
    for at in range(1, 20):
        calls = iter(range(1, 20))

        def stopped(*given: Any, calls: Iterator[int] = calls, at: int = at, **named: Any) -> Any:
            done = plain(*given, **named)
            if next(calls) == at:
                raise StoppedError("SIGTERM")
            return done

        folder = RunFolder(tmp_path / "runs", "20261110T120000Z-20261110T130000Z-1", made if scratch else None)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(module, step, stopped)
                folder.__enter__()
        except StoppedError:
            assert not list(tmp_path.glob("*/*"))
        else:
            assert at > 1, "it was never stopped"
            return
    raise AssertionError("it never got through")


def test_a_folder_that_another_run_is_in_is_left_to_it(tmp_path: Path) -> None:
    name = "20261110T120000Z-20261110T130000Z-1"
    with RunFolder(tmp_path, name) as first:
        first.write_lines("plan.jsonl", [b"{}\n"])
        with pytest.raises(SettingError, match="File exists"), RunFolder(tmp_path, name):
            pass
        assert first.file("plan.jsonl").exists()
        assert first.scratch.exists()


def test_help_does_not_wait_for_what_it_does_not_use() -> None:
    """Reach: under 0.3 s. Processor time, since other tests share the machine; and the modules that would cost it."""
    heavy = {"duckdb", "httpx", "lago_python_client", "numpy", "pandas", "psycopg", "rich", "sqlalchemy", "structlog"}
    look = "import sys; from jobs.cli import main; sys.argv = ['litellm-lago', '--help']\ntry: main()\nfinally: "
    look += "import time; print('imported', *sys.modules, sep='|'); print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    *_, modules, seconds = done.stdout.splitlines()
    assert not heavy & set(modules.split("|"))
    assert float(seconds) < 0.3
