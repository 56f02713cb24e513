"""Shards: every side computes the same part, and a merge takes all the shards of one run or none.

That merged shards leave what an unsharded run leaves is shown for every scenario by `test_scenarios.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from jobs.adapters.workspace import Workspace
from jobs.core.kinds import ChargeBy
from jobs.core.litellm.spend_logs import DailyTable, SpendLogsBounds, SpendLogsSchema
from jobs.core.shard import WHOLE, Shard, SpendLogShard, parse_shard, spend_log_shard
from jobs.core.shard_record import Agreement, ShardRecord, checked_shards, read_record
from jobs.core.window import Window
from jobs.errors import RefusedError, SettingError
from jobs.reconcile import reconcile
from jobs.sharding import RECORD_FILE, merge
from tests.support.judging import RULES
from tests.support.scenario import SCENARIOS, Scenario, SilentProgress

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

SUBSCRIPTIONS = (None, "", "alice", "bob", "sub_ext_1", "=cmd", "é\n\u202e😀", "x" * 4000, *map(str, range(50)))
DAY = datetime(2026, 11, 10, tzinfo=UTC)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 1000])
def test_every_side_computes_the_same_shard(database: str, tmp_path: Path, count: int) -> None:
    expected = [next(i for i in range(count) if Shard(i, count).has(name)) for name in SUBSCRIPTIONS]
    with Workspace(tmp_path, memory_limit="100MB") as workspace:
        connection = workspace._database
        in_duckdb = [connection.execute("SELECT shard_of(?, ?)", [name, count]).fetchall() for name in SUBSCRIPTIONS]
    digits = "left(encode(sha256(convert_to(COALESCE(%s, ''), 'UTF8')), 'hex'), 8)"
    statement = f"SELECT mod(CAST(CAST('x' || {digits} AS bit(32)) AS bigint), %s)"
    with psycopg.connect(database) as postgres:
        in_postgres = [postgres.execute(statement.encode(), [name, count]).fetchall() for name in SUBSCRIPTIONS]
    assert in_duckdb == in_postgres == [[(index,)] for index in expected]


def test_shards_are_even() -> None:
    parts = [sum(Shard(index, 4).has(f"sub_{number}") for number in range(4000)) for index in range(4)]
    assert sum(parts) == 4000
    assert all(900 < part < 1100 for part in parts)


@pytest.mark.parametrize("name", [None, "", "sub_1", "\u202eevil", "\ud800"])
def test_a_shard_is_the_first_four_octets_of_a_hash(name: str | None) -> None:
    octets = sha256((name or "").encode("utf-8", "surrogatepass")).digest()[:4]
    assert [index for index in range(1000) if Shard(index, 1000).has(name)] == [int.from_bytes(octets, "big") % 1000]


@pytest.mark.parametrize("text", ["", "1", "3/3", "-1/3", "1/0", "0/1001", "1/2/3", "a/b", "0/٣"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write i/n"):
        parse_shard(text)


def test_a_shard_reads_as_it_is_written() -> None:
    assert parse_shard(" 2/3 ") == Shard(2, 3)
    assert parse_shard("999/1000") == Shard(999, 1000)


def test_a_mapping_file_decides_by_the_subscription_it_names() -> None:
    rules = replace(RULES, charge_by=ChargeBy.TEAM_ID, mapping=(("team-1", "alice"), ("team-2", "bob")))
    parts = [spend_log_shard(Shard(index, 3), rules) for index in range(3)]
    for source, subscription in rules.mapping or ():
        (own,) = (part.shard for part in parts if source in (part.own_sources or ()))
        assert own.has(subscription)
        assert all(source in part.other_sources for part in parts if part.shard != own)


def test_a_shard_is_told_in_terms_of_litellms_database() -> None:
    by_metadata = replace(RULES, charge_by=ChargeBy.METADATA, charge_by_path="tenant.id")
    assert spend_log_shard(WHOLE, by_metadata) == SpendLogShard(WHOLE, ChargeBy.METADATA, ("tenant", "id"), None, ())
    mapped = replace(RULES, mapping=())
    assert spend_log_shard(WHOLE, mapped) == SpendLogShard(WHOLE, ChargeBy.END_USER_ID, (), (), ())


def a_record(index: int = 0, count: int = 2, **changed: Any) -> ShardRecord:
    agreement = Agreement("1.0", Window(DAY, DAY + timedelta(days=1)), "rules", "meter", "sources")
    given = {
        name: changed.pop(name) for name in ("code_version", "window", "rules", "meter", "sources") if name in changed
    }
    return ShardRecord(
        Shard(index, count),
        replace(agreement, **given),
        DAY,
        changed.pop("schema", SCHEMA),
        SpendLogsBounds(DAY, DAY, DAY, None),
        **{"legacy_rows": 0, **changed},
    )


SCHEMA = SpendLogsSchema(
    columns=frozenset({"request_id", "endTime"}),
    primary_key=("request_id",),
    partitioned=False,
    has_start_time_index=True,
    legacy_table_exists=False,
    legacy_table_readable=False,
    daily_tables=frozenset({DailyTable.TEAM}),
    unreadable_daily_tables=frozenset({DailyTable.USER}),
    estimated_rows=None,
    server_version="18.0",
    on_standby=False,
)


@pytest.mark.parametrize("changed", [{}, {"legacy_rows": None}, {"dead_letters": 3}])
def test_a_record_survives_its_file(changed: dict[str, Any]) -> None:
    record = a_record(**changed)
    assert read_record(json.loads(json.dumps(record.document())), "folder") == record


@pytest.mark.parametrize("document", [None, [], {}, {"format": "litellm-lago-shard/1"}, {"format": "x"}, "text"])
def test_what_is_no_record_is_refused(document: object) -> None:
    with pytest.raises(RefusedError) as raised:
        read_record(document, "folder")
    assert str(raised.value) == (
        "folder is not what a shard leaves behind. Give the folders that `reconcile --shard` made"
    )


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([a_record(0)], "shard 1/2 is not there"),
        ([a_record(0), a_record(1), a_record(1)], "shard 1/2 is twice there"),
        ([a_record(0), a_record(1, window=Window(DAY, DAY + timedelta(days=2)))], "over another window"),
        ([a_record(0), a_record(1, rules="r")], "under other rules"),
        ([a_record(0), a_record(1, code_version="0.9")], "by another version"),
        ([a_record(0), a_record(1, meter="m")], "with other billable metrics"),
        ([a_record(0), a_record(1, sources="s")], "from other sources"),
        ([a_record(0, 1), a_record(1, 2)], "another number of shards"),
        ([a_record(0), a_record(1, schema=replace(SCHEMA, partitioned=True))], "another schema"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(records: list[ShardRecord], words: str) -> None:
    named = {f"folder-{number}": record for number, record in enumerate(records)}
    with pytest.raises(RefusedError, match=words):
        checked_shards(named, a_record().agreement)


def test_shards_come_in_order() -> None:
    assert checked_shards({"a": a_record(1), "b": a_record(0)}, a_record().agreement) == ["b", "a"]


def test_a_merge_that_is_refused_says_which_folder_and_why() -> None:
    other_window = a_record(1, window=Window(DAY, DAY + timedelta(days=2)))
    together = "Run all shards of one run, and the merge, with the same version, window and settings"
    cases = [
        ({"a": other_window, "b": a_record(0)}, f"a was made over another window than b. {together}"),
        (
            {"a": a_record(0, code_version="0.9")},
            f"a was made by another version of this job than what is set now. {together}",
        ),
        (
            {"a": a_record(0, 13)},
            "shard 1/13, 2/13, 3/13, 4/13, 5/13, 6/13, 7/13, 8/13, 9/13, 10/13 is not there. "
            "Give each shard's folder once",
        ),
    ]
    for records, message in cases:
        with pytest.raises(RefusedError) as raised:
            checked_shards(records, a_record().agreement)
        assert str(raised.value) == message


def test_misattribution_across_shards_is_found_and_folders_are_checked(
    litellm_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path
) -> None:
    """The two subscriptions of this scenario are of different shards, so no shard alone can see the pair."""
    scenario = Scenario(SCENARIOS / "class-0-end-user-of-another-call")
    database_url = litellm_database_at(scenario.era)
    organization = scenario.fill(database_url, standin)
    run = scenario.sharded(database_url, organization, tmp_path, 3)
    report = (run.folder / "discrepancies.csv").read_text(encoding="utf-8")
    pairs = [row.split(",") for row in report.splitlines() if row.startswith("misattributed")]
    header = report.splitlines()[0].split(",")
    sides = [(row[header.index("subscription")], row[header.index("recorded_subscription")]) for row in pairs]
    assert any(
        Shard(index, 3).has(one) and not Shard(index, 3).has(other) for one, other in sides for index in range(3)
    )

    folders = sorted(path for path in (tmp_path / "shards").iterdir() if path.is_dir())
    request = scenario.request(database_url, organization, tmp_path / "again")
    for wrong, words in (
        (folders[:2], "shard 2/3 is not there"),
        ([*folders, folders[0]], "given twice"),
        ([tmp_path], "holds no readable"),
    ):
        with pytest.raises(RefusedError, match=words):
            merge(request, wrong, SilentProgress(), run_id="again")
    copy = shutil.copytree(folders[0], tmp_path / "copy")
    with pytest.raises(RefusedError, match="shard 0/3 is twice there"):
        merge(request, [*folders, copy], SilentProgress(), run_id="again")
    other_rules = scenario.request(database_url, organization, tmp_path / "again", RECONCILE_LATE="61s")
    with pytest.raises(RefusedError, match="under other rules"):
        merge(other_rules, folders, SilentProgress(), run_id="again")
    assert RECORD_FILE in {path.name for path in folders[0].iterdir()}
    assert not list((tmp_path / "again").glob("*"))

    in_a_shard = scenario.request(database_url, organization, tmp_path / "again", RECONCILE_SHARD="0/3")
    assert in_a_shard.shard != WHOLE
    with pytest.raises(SettingError, match="RECONCILE_SHARD is set"):
        reconcile(in_a_shard, SilentProgress(), now=scenario.now, run_id="again")
