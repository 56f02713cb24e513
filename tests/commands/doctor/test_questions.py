"""What the doctor asks, and how its command ends."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from jobs.core.doctor.checks import CHECKS, Status, Verdict
from jobs.core.litellm.spend_logs import DailyTable
from tests.commands.cli.helpers import run
from tests.support.servers import pgbouncer

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

from tests.commands.doctor.faults import _READ, FAULTS
from tests.commands.doctor.helpers import _SECRET, World, _database, told
from tests.support.twins import deep_after


@pytest.mark.deep
def test_a_url_that_differs_from_the_parts_is_used_and_told(world: World) -> None:
    """LiteLLM goes by it too."""
    url = urlsplit(world.database_url)
    world.environment |= {"DATABASE_URL": world.database_url, "DATABASE_HOST": url.hostname or ""}
    diagnosis = world.diagnose()
    verdicts = {finding.check.id: finding.verdict for finding in diagnosis.findings}
    assert verdicts["database-login"].status == "pass"
    assert verdicts["settings-unknown"].status == "warn"
    assert "the port of DATABASE_HOST differs from DATABASE_URL" in verdicts["settings-unknown"].remedy


def test_one_of_several_hosts_is_enough(world: World) -> None:
    """As for connecting."""
    world.environment["DATABASE_HOST"] = f"db.invalid,{world.environment['DATABASE_HOST']}"
    verdicts = {finding.check.id: finding.verdict for finding in world.diagnose().findings}
    assert [verdicts[f"database-{name}"].status for name in ("name", "reach", "login")] == ["pass"] * 3


def test_a_pooler_before_the_ledger_is_told(world: World, database: str, tmp_path: Path) -> None:
    """The lock holds through it."""
    with pgbouncer(tmp_path, database, "transaction") as url:
        world.environment["RECONCILE_LEDGER_URL"] = url
        verdict = told(world, "ledger-lock")
    assert verdict.found == "free, and holds through the pooler that stands before PostgreSQL"


@pytest.mark.deep
def test_a_proxy_that_cannot_be_used_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable."""
    monkeypatch.setenv("HTTP_PROXY", "ftp://proxy:21")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    verdict = told(world, "lago-reach")
    assert verdict.status == "fail"
    assert verdict.found.startswith("HTTP_PROXY begins with ftp://")


def test_every_check_is_shown_a_fault() -> None:
    assert {check for _, check, _, _ in FAULTS.values()} | {"database-schema"} == {check.id for check in CHECKS}


_INSERT = """
    INSERT INTO "LiteLLM_SpendLogs"
        (request_id, call_type, api_key, spend, total_tokens, prompt_tokens, completion_tokens, "startTime", "endTime",
        model, end_user, metadata)
    VALUES ('one', 'acompletion', 'key', 0.1, 3, 2, 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC',
        'gpt-4o', 'alice', '{}')
"""


@pytest.mark.parametrize(
    ("era", "named"),
    deep_after(
        2,
        [
            ("1.53", "LiteLLM 1.44 to 1.53,"),
            ("1.109-partitioned", "LiteLLM 1.100 or later, partitioned,"),
            ("1.60", "LiteLLM 1.60 to 1.65,"),
            ("1.70", "LiteLLM 1.70,"),
            ("1.80", "LiteLLM 1.75 to 1.80,"),
            ("1.90", "LiteLLM 1.82 to 1.90,"),
        ],
    ),
)
def test_every_schema_is_recognised_and_can_be_asked_everything(era: str, named: str, world: World) -> None:
    world.database_url, world.is_own = world.database_at(era), True
    world.environment |= _database(world.database_url)
    world.sql(_INSERT, "ANALYZE")
    findings = {finding.check.id: finding.verdict for finding in world.diagnose().findings}
    assert named in findings["database-schema"].found
    assert [name for name, verdict in findings.items() if verdict.status in {Status.FAIL, Status.SKIPPED}] == []


def test_lagos_own_store_is_tried(world: World, standin: LagoStandIn) -> None:
    world.environment |= {"RECONCILE_EVENTS_FROM": "postgres", "RECONCILE_LAGO_STORE_URL": standin.database_url}
    verdict = told(world, "lago-store")
    assert verdict.status is Status.PASS, verdict
    assert "Lago's own store can be read" in verdict.found


@pytest.mark.deep
def test_a_table_put_aside_that_may_not_be_read_is_told(world: World) -> None:
    world.database_url, world.is_own = world.database_at("1.109-partitioned"), True
    world.environment |= _database(world.database_url)
    world.reader(_READ, *(f'GRANT SELECT ON "{table.value}"' for table in DailyTable))
    verdict = told(world, "database-schema")
    assert verdict.status is Status.WARN
    assert "LiteLLM_SpendLogs_legacy" in verdict.remedy


@pytest.mark.deep
def test_a_repeated_id_in_a_partitioned_table_is_told(world: World) -> None:
    world.database_url, world.is_own = world.database_at("1.109-partitioned"), True
    world.environment |= _database(world.database_url)
    world.sql(_INSERT, _INSERT, "ANALYZE")
    verdict = told(world, "request-ids")
    assert verdict.status is Status.WARN
    assert "1 of the newest 2 spend logs share a request id" in verdict.found


@pytest.mark.deep
def test_a_question_that_takes_too_long_fails_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.use("1.109")
    with psycopg.connect(world.database_url) as migration:
        migration.execute('LOCK TABLE "LiteLLM_DailyUserSpend"')
        monkeypatch.setattr("jobs.adapters.litellm_database.inspection._LOCK_TIMEOUT", timedelta(milliseconds=200))
        findings = {finding.check.id: finding.verdict for finding in world.diagnose().findings}
    failures = {name for name, verdict in findings.items() if verdict.status is Status.FAIL}
    assert failures == {"spend-logs-written", "request-ids"}
    assert "locked" in findings["request-ids"].found
    assert findings["attribution"].status is Status.PASS


def test_what_failed_first_is_why_the_rest_is_skipped(world: World) -> None:
    world.environment |= {"DATABASE_HOST": "127.0.0.1:1"}
    findings = {finding.check.id: finding.verdict for finding in world.diagnose().findings}
    assert findings["attribution"] == Verdict(Status.SKIPPED, "because database-reach failed")
    assert findings["subscriptions-known"].found == "because database-reach failed"
    assert findings["metric"].status is Status.PASS, "the rest goes on"


def test_without_any_setting_it_says_which_and_goes_on(world: World) -> None:
    world.environment.clear()
    diagnosis = world.diagnose()
    failures = [finding.check.id for finding in diagnosis.findings if finding.verdict.status is Status.FAIL]
    assert failures == ["settings-database", "settings-lago", "settings-rules"]
    assert diagnosis.settings_are_wrong


def test_the_command_ends_with_0_and_a_readable_report(world: World) -> None:
    code, output, errors = run(world.environment, "doctor")
    assert code == 0, output + errors
    for check in CHECKS:
        assert f"pass     {check.id} " in output
    assert f"{len(CHECKS)} passed" in output


def test_the_command_ends_with_1_and_shows_strangers_text_as_escapes(world: World) -> None:
    world.sql("UPDATE \"LiteLLM_SpendLogs\" SET end_user = E'\\x1b[31mmallory'")
    code, output, _ = run(world.environment, "doctor")
    assert code == 1
    assert "\\x1b[31mmallory" in output
    assert "\x1b" not in output
    assert "→ Create these subscriptions in Lago" in output


def test_the_command_ends_with_2_where_a_setting_is_wrong(world: World) -> None:
    code, output, _ = run(world.environment | {"LAGO_API_KEY": ""}, "doctor")
    assert code == 2
    assert "LAGO_API_KEY is not set" in output
    assert "pass     attribution" in output


@pytest.mark.deep
def test_json_holds_every_check(world: World) -> None:
    code, output, _ = run(world.environment | {"DATABASE_PASSWORD": _SECRET}, "doctor", "--json")
    document = json.loads(output)
    assert code == 1
    assert document.keys() == {"status", "counts", "checks"}
    assert document["status"] == "fail"
    assert document["counts"]["fail"] == 1
    assert [check["id"] for check in document["checks"]] == [check.id for check in CHECKS]
    assert all(check.keys() == {"id", "group", "status", "found", "remedy"} for check in document["checks"])
    assert all(check["remedy"] for check in document["checks"] if check["status"] in {"warn", "fail"})
