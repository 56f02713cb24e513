"""The command line as a user types it: a process of its own, an environment, an exit code, two streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import duckdb
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.adapters.run_folder import RunFolder
from jobs.cli import cli
from jobs.errors import StoppedError
from jobs.playground.lago_standin import Fault
from jobs.signals import ending_at_signals
from tests.support.scenario import SCENARIOS, Scenario
from tests.support.scripted_server import Received, Scripted, scripted_server

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

_CHECKOUT = Path(__file__).parents[2]
_WINDOW = ("--from", "2026-11-10T12:00:00Z", "--to", "2026-11-10T13:00:00Z")
_SECRET = "planted-secret"
# Enough to get past every setting, and to nowhere.
_NOWHERE = {
    "DATABASE_HOST": "127.0.0.1:1",
    "DATABASE_NAME": "litellm",
    "DATABASE_USERNAME": "litellm",
    "DATABASE_PASSWORD": _SECRET,
    "LAGO_API_BASE": "http://127.0.0.1:1",
    "LAGO_API_KEY": _SECRET,
    "LAGO_API_EVENT_CODE": "llm_tokens",
}


def command(environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start the command line with this environment and no other."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=_CHECKOUT,
        env={"PATH": os.environ["PATH"], "RECONCILE_CONNECT_ATTEMPTS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error; no output of ours ever shows a secret or a trace."""
    output, errors = process.communicate(timeout=120)
    assert _SECRET not in output + errors
    assert "Traceback" not in output + errors
    return process.returncode, output, errors


def run(environment: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line to its end."""
    return ended(command(environment, *arguments))


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    """An organization that lacks one of three events."""
    scenario = Scenario(SCENARIOS / "class-d-lago-refused")
    organization = scenario.make_organization(standin)
    scenario.send(organization)
    return organization


@pytest.fixture
def environment(litellm_database: str, organization: Organization, tmp_path: Path) -> dict[str, str]:
    """What a deployment of LiteLLM has set, and three spend logs in its database."""
    with psycopg.connect(litellm_database, autocommit=True) as connection:
        Scenario(SCENARIOS / "class-d-lago-refused").fill_litellm(connection)
    parts = urlsplit(litellm_database)
    return {
        "DATABASE_HOST": f"{parts.hostname}:{parts.port or 5432}",
        "DATABASE_NAME": parts.path.removeprefix("/"),
        "DATABASE_USERNAME": unquote(parts.username or ""),
        "DATABASE_PASSWORD": unquote(parts.password or ""),
        "LAGO_API_BASE": f"{organization.api_base}/api/v1/",
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": "llm_tokens",
        "RECONCILE_OUTPUT": str(tmp_path / "runs"),
    }


def test_help_lists_every_command() -> None:
    code, output, errors = run({}, "--help")
    assert (code, errors) == (0, "")
    assert {"reconcile", "demo"} <= cli.commands.keys()
    for name in cli.commands:
        assert f"\n  {name} " in output
    assert "3  discrepancies remain" in output


def test_discrepancies_end_with_3_and_a_folder(environment: dict[str, str], tmp_path: Path) -> None:
    code, output, _ = run(environment, "reconcile", *_WINDOW)
    assert code == 3
    assert "NOT CERTIFIED" in output
    assert "1 missing event" in output
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "discrepancies.csv",
        "summary.csv",
        "usage.csv",
        "daily.csv",
        "plan.jsonl",
        "metrics.txt",
        "report.html",
        "run.json",
    }


def test_agreement_ends_with_0(environment: dict[str, str], organization: Organization) -> None:
    organization.insert_events(
        [
            {
                "transaction_id": "the-lost-one",
                "external_subscription_id": "alice",
                "code": "llm_tokens",
                "timestamp": "1794312001.5",
                "properties": {"model": "gpt-4o", "prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140},
            }
        ]
    )
    code, output, _ = run(environment, "reconcile", *_WINDOW)
    assert code == 0
    assert "\nCERTIFIED" in output


def test_equal_input_gives_equal_bytes(environment: dict[str, str], tmp_path: Path) -> None:
    folders: list[Path] = []
    for name in ("one", "two"):
        assert run(environment, "reconcile", *_WINDOW, "--output", str(tmp_path / name))[0] == 3
        folders += (tmp_path / name).iterdir()
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert first.pop("run.json") != second.pop("run.json")
    assert first == second


def test_the_verdict_is_left_in_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.write_text("the verdict of an earlier run, which was longer than any that a run could ever leave there " * 9)
    environment["RECONCILE_TERMINATION_LOG"] = str(log)
    assert run(environment, "reconcile", *_WINDOW)[0] == 3
    line = log.read_text()
    assert line.startswith("exit code 3. 2026-11-10 12:00 to 2026-11-10 13:00 UTC. not certified: 1 missing event")
    assert f". 1 events could be sent. report in {tmp_path / 'runs'}/" in line
    assert "\n" not in line
    assert run(environment, "backfill", *_WINDOW, "--apply")[0] == 0
    assert "exit code 0. " in log.read_text()
    assert ". 1 events planned, 1 sent, 1 verified. " in log.read_text()


def metrics(texts: Mapping[str, str]) -> dict[tuple[str, ...], float]:
    """Return all samples by name, command and other labels in order of their names, as Prometheus reads them."""
    found = {}
    for text in texts.values():
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sorted(sample.labels.items(), key=lambda pair: (pair[0] != "command", pair[0]))
                found[sample.name.removeprefix("litellm_lago_"), *(value for _, value in labels)] = sample.value
    return found


def test_metrics_of_a_success_outlive_a_failure(
    environment: dict[str, str], organization: Organization, tmp_path: Path
) -> None:
    folder, received, by_hand = tmp_path / "metrics", list[Received](), "reconcile (manual)"
    folder.mkdir()
    pushed: dict[str, str] = {}

    def published(code: int, *arguments: str, **changed: str) -> dict[tuple[str, ...], float]:
        assert run(environment | changed, *arguments)[0] == code
        for request in received:
            assert request.method == "PUT"
            pushed[request.path.rpartition("/")[2]] = request.body.decode()
        received.clear()
        files = {path.stem.removeprefix("litellm-lago-"): path.read_text() for path in folder.iterdir()}
        assert files.keys() == pushed.keys()
        assert environment["LAGO_API_KEY"] not in str((files, pushed))
        assert metrics(files) == metrics(pushed)
        return metrics(files)

    with scripted_server(lambda path, query: Scripted(b""), received) as url:
        environment["RECONCILE_PUSHGATEWAY_URL"] = url.replace("http://", f"http://prometheus:{_SECRET}@")
        environment["RECONCILE_METRICS_FOLDER"] = str(folder)
        first = published(3, "reconcile", *_WINDOW)
        assert first["missing_quantity", by_hand, "llm_tokens", "alice"] == 140
        assert (first["discrepancies", by_hand, "missing"], first["certified", by_hand]) == (1, 0)
        assert (first["last_run_exit_code", by_hand], first["planned_events", by_hand]) == (3, 1)
        (ran,) = (tmp_path / "runs").iterdir()
        own = metrics({"": (ran / "metrics.txt").read_text()})
        assert {(name, by_hand, *labels): value for (name, *labels), value in own.items()} == {
            key: value for key, value in first.items() if not key[0].startswith("last_")
        }
        failed = published(1, "reconcile", *_WINDOW, LAGO_API_KEY=_SECRET)
        assert failed.pop(("last_run_exit_code", by_hand)) == 1
        assert failed["last_run_timestamp_seconds", by_hand] > first["last_run_timestamp_seconds", by_hand]
        assert published(2, "reconcile", *_WINDOW, RECONCILE_LATE="x")["last_run_exit_code", by_hand] == 2
        assert {key: value for key, value in failed.items() if not key[0].startswith("last_run")} == {
            key: value for key, value in first.items() if not key[0].startswith("last_run")
        }
        applied = published(0, "backfill", *_WINDOW, "--apply")
        assert applied["outcome_events", "backfill --apply", "sent"] == 1
        assert applied["verified_events", "backfill --apply"] == 1
        assert applied["last_success_timestamp_seconds", by_hand] == first["last_success_timestamp_seconds", by_hand]


def test_an_apply_that_is_not_complete_is_told_and_is_no_success(
    environment: dict[str, str], organization: Organization, tmp_path: Path
) -> None:
    organization.set_faults(Fault("server_error", endpoint="batch"), Fault("server_error", endpoint="create"))
    environment |= {"RECONCILE_LAGO_ATTEMPTS": "1", "RECONCILE_VERIFY_WITHIN": "1s"}
    environment["RECONCILE_METRICS_FOLDER"] = str(tmp_path)
    assert run(environment, "reconcile", *_WINDOW, "--apply")[0] == 1
    found = metrics({path.name: path.read_text() for path in tmp_path.glob("*.prom")})
    assert found["outcome_events", "reconcile --apply (manual)", "unknown"] == 1
    assert found["verified_events", "reconcile --apply (manual)"] == 0
    assert found["last_run_exit_code", "reconcile --apply (manual)"] == 1
    assert ("last_success_timestamp_seconds", "reconcile --apply (manual)") not in found


def test_metrics_that_cannot_be_published_change_no_exit_code(environment: dict[str, str], tmp_path: Path) -> None:
    environment["RECONCILE_METRICS_FOLDER"] = str(tmp_path / "nowhere")
    environment["RECONCILE_PUSHGATEWAY_URL"] = f"http://prometheus:{_SECRET}@127.0.0.1:1"
    code, _, errors = run(environment, "reconcile", *_WINDOW)
    assert code == 3
    assert f"cannot write metrics to '{tmp_path}/nowhere'" in errors
    assert "the Pushgateway http://127.0.0.1:1 did not take the metrics" in errors


@pytest.mark.parametrize(
    ("command_name", "change", "code", "named"),
    [
        ("reconcile", {"RECONCILE_LAGO_ATTEMPTS": "1"}, 1, "127.0.0.1:1"),
        ("reconcile", {"LAGO_API_KEY": ""}, 2, "LAGO_API_KEY is not set"),
        ("backfill", {"RECONCILE_LATE": "x"}, 2, "late"),
    ],
    ids=["failure", "missing", "malformed"],
)
def test_an_error_is_a_verdict_too(
    tmp_path: Path, command_name: str, change: dict[str, str], code: int, named: str
) -> None:
    config, log = tmp_path / "config.toml", tmp_path / "termination-log"
    config.write_text(f'termination_log = "{log}"\noutput = "{tmp_path}/runs"\n', encoding="utf-8")
    assert run(_NOWHERE | change, command_name, *_WINDOW, "--config", str(config))[0] == code
    assert log.read_text().startswith(f"exit code {code}. ")
    assert named in log.read_text()


def test_a_verdict_that_cannot_be_written_changes_no_exit_code(environment: dict[str, str], tmp_path: Path) -> None:
    code, _, errors = run(environment | {"RECONCILE_TERMINATION_LOG": str(tmp_path)}, "reconcile", *_WINDOW)
    assert code == 3
    assert "cannot write the verdict" in errors


def test_working_files_go_where_they_should_and_leave(environment: dict[str, str], tmp_path: Path) -> None:
    scratch, output = tmp_path / "scratch", tmp_path / "runs"
    assert run(environment | {"RECONCILE_SCRATCH": str(scratch)}, "reconcile", *_WINDOW)[0] == 2
    assert not list(output.iterdir()), "a scratch folder that is not there: nothing is begun"
    scratch.mkdir()
    assert run(environment | {"RECONCILE_SCRATCH": str(scratch)}, "reconcile", *_WINDOW, "--apply")[0] == 0
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("number", "name", "arguments"),
    [(signal.SIGTERM, "SIGTERM", ["reconcile"]), (signal.SIGINT, "Ctrl-C", ["explain", "call-1"])],
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


def refused(environment: Mapping[str, str], output: Path, *arguments: str) -> tuple[int, str]:
    """Run into an error; return the exit code and the one line, after checking that nothing else is left or said."""
    code, said, errors = run(environment, "reconcile", *arguments)
    assert said == ""
    lines = [line for line in errors.splitlines() if "level=info" not in line]
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    assert not output.exists() or not list(output.iterdir())
    return code, lines[0]


@pytest.mark.parametrize(
    ("change", "exit_code", "named"),
    [
        ({"DATABASE_HOST": "127.0.0.1:1"}, 1, ("127.0.0.1:1", "DATABASE_HOST")),
        ({"DATABASE_HOST": "postgres.invalid:5432"}, 1, ("postgres.invalid", "DATABASE_HOST")),
        ({"DATABASE_PASSWORD": _SECRET}, 1, ("password authentication failed", "DATABASE_PASSWORD")),
        ({"DATABASE_NAME": "nowhere"}, 1, ('"nowhere" does not exist', "DATABASE_NAME")),
        ({"LAGO_API_KEY": _SECRET}, 1, ("401", "LAGO_API_KEY")),
        ({"LAGO_API_EVENT_CODE": "tokens"}, 2, ("'tokens'", "'llm_tokens'", "LAGO_API_EVENT_CODE")),
    ],
    ids=["no server", "no such host", "password", "database", "key", "code"],
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


def test_help_does_not_wait_for_what_it_does_not_use() -> None:
    """Reach: under 0.3 s. Processor time, since other tests share the machine; and the modules that would cost it."""
    heavy = {"duckdb", "httpx", "lago_python_client", "numpy", "pandas", "psycopg", "rich", "sqlalchemy", "structlog"}
    look = "import sys; from jobs.cli import main; sys.argv = ['litellm-lago', '--help']\ntry: main()\nfinally: "
    look += "import time; print('imported', *sys.modules, sep='|'); print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    *_, modules, seconds = done.stdout.splitlines()
    assert not heavy & set(modules.split("|"))
    assert float(seconds) < 0.3
