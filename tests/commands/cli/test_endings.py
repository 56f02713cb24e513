"""How commands end, and what they leave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.cli import cli
from jobs.playground.lago_standin import Fault
from tests.support.scripted_server import Received, Scripted, scripted_server

if TYPE_CHECKING:
    from jobs.playground.lago_standin import Organization

from tests.commands.cli.helpers import _NOWHERE, _SECRET, _WINDOW, run
from tests.support.twins import deep_after


def test_help_lists_every_command() -> None:
    code, output, errors = run({}, "--help")
    assert (code, errors) == (0, "")
    assert {"reconcile", "demo"} <= cli.commands.keys()
    for name in cli.commands:
        assert f"\n  {name} " in output
    assert "3  discrepancies remain" in output


FILES = {
    "discrepancies.csv",
    "summary.csv",
    "usage.csv",
    "daily.csv",
    "focus.csv",
    "plan.jsonl",
    "metrics.txt",
    "report.html",
    "run.json",
}


@pytest.mark.deep
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


def test_discrepancies_end_with_3_and_a_folder_of_the_same_bytes_each_time(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folders: list[Path] = []
    for name in ("one", "two"):
        code, output, _ = run(environment, "reconcile", *_WINDOW, "--output", str(tmp_path / name))
        assert code == 3
        assert "NOT CERTIFIED" in output
        assert "1 missing event" in output
        folders += (tmp_path / name).iterdir()
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert first.keys() == FILES
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


@pytest.mark.deep
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


@pytest.mark.parametrize(
    ("command_name", "change", "code", "named"),
    deep_after(
        2,
        [
            ("reconcile", {"RECONCILE_LAGO_ATTEMPTS": "1"}, 1, "127.0.0.1:1"),
            ("reconcile", {"LAGO_API_KEY": ""}, 2, "LAGO_API_KEY is not set"),
            ("backfill", {"RECONCILE_LATE": "x"}, 2, "late"),
        ],
    ),
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


def test_working_files_leave_and_a_verdict_and_metrics_that_cannot_be_told_change_no_exit_code(
    environment: dict[str, str], tmp_path: Path
) -> None:
    scratch, output = tmp_path / "scratch", tmp_path / "runs"
    environment["RECONCILE_SCRATCH"] = str(scratch)
    assert run(environment, "reconcile", *_WINDOW)[0] == 2
    assert not list(output.iterdir()), "a scratch folder that is not there: nothing is begun"
    scratch.mkdir()
    # What cannot be told changes no exit code.
    environment["RECONCILE_TERMINATION_LOG"] = str(tmp_path)
    environment["RECONCILE_METRICS_FOLDER"] = str(tmp_path / "nowhere")
    environment["RECONCILE_PUSHGATEWAY_URL"] = f"http://prometheus:{_SECRET}@127.0.0.1:1"
    code, _, errors = run(environment, "reconcile", *_WINDOW)
    assert code == 3
    assert "cannot write the verdict" in errors
    assert f"cannot write metrics to '{tmp_path}/nowhere'" in errors
    assert "the Pushgateway http://127.0.0.1:1 did not take the metrics" in errors
    assert not list(scratch.iterdir())
