"""Usage equals what an independent query counts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobs.core.kinds import Exclusion
from jobs.core.periods import PeriodLength
from tests.adapters.spend_logs.helpers import insert
from tests.commands.usage.helpers import MONEY, call, parquet, report, rows
from tests.support.scenario import SCENARIOS, Scenario

DatabaseAt = Callable[[str], str]

# Nothing of the product is in this query: the exclusions and the names of models are said again, for these rows.
_INDEPENDENT = """
SELECT
    COALESCE(end_user, ''),
    lower(regexp_replace(model, '^(openai|anthropic)/', '')),
    to_char("endTime" AT TIME ZONE 'UTC' AT TIME ZONE %(zone)s, %(format)s),
    count(*),
    sum(prompt_tokens),
    sum(CAST(metadata #>> '{usage_object,prompt_tokens_details,cached_tokens}' AS bigint)),
    sum(completion_tokens),
    sum(CAST(metadata #>> '{usage_object,completion_tokens_details,reasoning_tokens}' AS bigint)),
    sum(total_tokens),
    trim_scale(sum(round(CAST(CAST(spend AS text) AS numeric), 20)))
FROM "LiteLLM_SpendLogs"
WHERE COALESCE(status, 'success') <> 'failure'
    AND api_key <> 'litellm-internal-health-check'
    AND call_type <> 'aget_responses'
    AND prompt_tokens >= 0
    AND ("endTime" AT TIME ZONE 'UTC' AT TIME ZONE %(zone)s)::date >= %(first)s
    AND ("endTime" AT TIME ZONE 'UTC' AT TIME ZONE %(zone)s)::date < %(after)s
GROUP BY 1, 2, 3
"""


def traffic(count: int, start: datetime, length: timedelta, seed: int = 0) -> list[dict[str, Any]]:
    """Return spend logs of all sorts, spread over this time."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        end = start + length * chance.random()
        prompt, completion = chance.randrange(2000), chance.randrange(500)
        parts = {
            "prompt_tokens_details": {"cached_tokens": chance.randrange(prompt + 1)},
            "completion_tokens_details": {"reasoning_tokens": chance.randrange(completion + 1)},
        }
        made.append(
            {
                "request_id": f"request-{number}",
                "startTime": (end - timedelta(seconds=2)).replace(tzinfo=None),
                "endTime": end.replace(tzinfo=None),
                "call_type": chance.choice(["acompletion"] * 9 + ["aget_responses"]),
                "api_key": chance.choice(["key-1"] * 9 + ["litellm-internal-health-check"]),
                "model": chance.choice(["openai/gpt-4o", "gpt-4o", "anthropic/Claude-3", "o1"]),
                "custom_llm_provider": "openai",
                "end_user": chance.choice(["alice", "bob", "Zoë", "", None]),
                "prompt_tokens": chance.choice([prompt] * 19 + [-1]),
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "spend": chance.random() / 10 ** chance.randrange(6),
                "status": chance.choice(["success"] * 9 + ["failure", None]),
                "metadata": {"usage_object": parts} if chance.random() < 0.7 else {},
            }
        )
    return made


@pytest.mark.parametrize(
    ("zone", "by", "text"),
    [
        ("UTC", PeriodLength.DAY, "YYYY-MM-DD"),
        ("America/New_York", PeriodLength.DAY, "YYYY-MM-DD"),  # its clocks are set back on 2026-11-01
        ("Asia/Seoul", PeriodLength.MONTH, "YYYY-MM"),
    ],
)
def test_totals_equal_independent_sql(
    litellm_database: str, tmp_path: Path, zone: str, by: PeriodLength, text: str
) -> None:
    insert(litellm_database, *traffic(900, datetime(2026, 10, 29, tzinfo=UTC), timedelta(days=6)))
    told = report(
        litellm_database,
        tmp_path,
        "2026-10-30",
        "2026-11-03",
        by=by,
        environment={"RECONCILE_REPORT_TIME_ZONE": zone},
    )
    asked = {"zone": zone, "format": text, "first": date(2026, 10, 30), "after": date(2026, 11, 3)}
    with psycopg.connect(litellm_database) as connection:
        independent = sorted(connection.execute(_INDEPENDENT, asked).fetchall(), key=lambda row: row[:3])
    assert len({row[0] for row in independent}) == 4
    expected = [["" if cell is None else str(cell) for cell in row] + [""] * len(MONEY) for row in independent]
    assert [list(row.values()) for row in rows(told)] == expected
    assert parquet(told) == independent
    assert told.total.requests == sum(row[3] for row in independent)
    assert told.total.spend == sum(row[9] for row in independent)
    assert f'<p class="figure">{told.total.requests}</p>' in (told.folder / "usage.html").read_text(encoding="utf-8")
    saved = json.loads((told.folder / "run.json").read_bytes())
    assert saved["total"]["total_tokens"] == str(sum(row[8] for row in independent))
    assert {row["reason"] for row in saved["spend_logs"]} == {
        "",
        Exclusion.FAILED,
        Exclusion.HEALTH_CHECK,
        Exclusion.NOT_INFERENCE,
        Exclusion.INVALID_QUANTITY,
    }
    assert {row["disposition"] for row in saved["spend_logs"]} == {"attributed", "unattributed", "excluded"}


def test_equal_input_gives_equal_bytes(litellm_database_at: DatabaseAt, tmp_path: Path) -> None:
    made = traffic(400, datetime(2026, 10, 1, tzinfo=UTC), timedelta(days=25))
    found = []
    for threads, order in (("1", made), ("2", made[::-1])):
        database = litellm_database_at("1.109")
        insert(database, *order)
        environment = {"RECONCILE_THREADS": threads}
        told = report(database, tmp_path / threads, "2026-10-03", "2026-10-20", compare=True, environment=environment)
        found.append({path.name: path.read_bytes() for path in told.folder.iterdir()})
    assert found[0].keys() == {"usage.csv", "usage.parquet", "usage.html", "comparison.csv", "run.json"}
    assert found[0] == found[1]


# What the metadata says of a call of 100 and 40 tokens, and what is cached and reasoning of them.
_PARTS: tuple[tuple[dict[str, Any], str, str], ...] = (
    # LiteLLM 1.109 tells twice, 1.53 only in the second place.
    (
        {
            "usage_object": {
                "prompt_tokens_details": {"cached_tokens": 64},
                "completion_tokens_details": {"reasoning_tokens": 16},
            },
            "additional_usage_values": {"cache_read_input_tokens": 64},
        },
        "64",
        "16",
    ),
    (
        {
            "additional_usage_values": {
                "prompt_tokens_details": {"cached_tokens": 64},
                "completion_tokens_details": {"reasoning_tokens": 16},
            }
        },
        "64",
        "16",
    ),
    ({"usage_object": {"prompt_tokens_details": None, "cache_read_input_tokens": 50}}, "50", ""),
    ({"usage_object": {"input_tokens_details": {"cached_tokens": 0}}}, "0", ""),
    ({"usage_object": {"prompt_tokens_details": {"cached_tokens": 5000}}}, "100", ""),  # more than the whole
    ({"usage_object": {"prompt_tokens_details": {"cached_tokens": "-7"}}}, "", ""),
    ({"usage_object": {"prompt_tokens_details": {"cached_tokens": "9" * 40}}}, "", ""),
    ({"usage_object": {"prompt_tokens_details": {"cached_tokens": {"deep": "=1+1"}}}}, "", ""),
    ({"usage_object": ["not an object"], "additional_usage_values": "no JSON {"}, "", ""),
    ({}, "", ""),
)


def test_parts_of_tokens_are_told_beside_their_wholes(litellm_database: str, tmp_path: Path) -> None:
    insert(litellm_database, *(call(part[0], end_user=f"payer-{place}") for place, part in enumerate(_PARTS)))
    found = rows(report(litellm_database, tmp_path, "2026-11-23", "2026-11-24"))
    assert [(row["cached_tokens"], row["reasoning_tokens"]) for row in found] == [part[1:] for part in _PARTS]
    wholes = {(row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) for row in found}
    assert wholes == {("100", "40", "140")}


def test_parts_are_left_alone_where_the_setting_says_so(litellm_database: str, tmp_path: Path) -> None:
    insert(litellm_database, call({"usage_object": {"cache_read_input_tokens": 5}, "payer": "carol"}))
    environment = {"RECONCILE_TOKEN_PARTS": "false", "LAGO_API_CHARGE_BY": "metadata.payer"}
    (row,) = rows(report(litellm_database, tmp_path, "2026-11-23", "2026-11-24", environment=environment))
    assert (row["subscription"], row["cached_tokens"]) == ("carol", "")


def test_a_value_of_the_metadata_attributes_beside_the_parts(litellm_database: str, tmp_path: Path) -> None:
    insert(litellm_database, call({"usage_object": {"cache_read_input_tokens": 5}, "payer": "7"}))
    environment = {"LAGO_API_CHARGE_BY": "metadata.payer"}
    (row,) = rows(report(litellm_database, tmp_path, "2026-11-23", "2026-11-24", environment=environment))
    assert (row["subscription"], row["cached_tokens"], row["reasoning_tokens"]) == ("7", "5", "")


@pytest.mark.parametrize("era", ["1.53", "1.109-partitioned"])
def test_every_schema_is_read(litellm_database_at: DatabaseAt, tmp_path: Path, era: str) -> None:
    database = litellm_database_at(era)
    insert(database, call({"additional_usage_values": {"cache_read_input_tokens": 64}}))
    (row,) = rows(report(database, tmp_path, "2026-11-23", "2026-11-24"))
    assert (row["subscription"], row["model"], row["cached_tokens"]) == ("alice", "starcoder", "64")


def test_a_repeated_id_counts_once_though_the_first_lies_before_the_days(
    litellm_database_at: DatabaseAt, tmp_path: Path
) -> None:
    database = litellm_database_at("1.109-partitioned")
    times = (("2026-11-22 23:30:00", "2026-11-22 23:30:01"), ("2026-11-23 12:00:00", "2026-11-23 12:00:01"))
    insert(database, *(call({}, request_id="again", startTime=start, endTime=end) for start, end in times))
    told = report(database, tmp_path, "2026-11-23", "2026-11-24")
    assert rows(told) == []
    assert [(row["reason"], row["spend_logs"]) for row in told.dispositions] == [("duplicate_request_id", 1)]


@pytest.mark.parametrize(
    "name",
    [
        "gateway-internal-calls",
        "charge-by-mapping-file",
        *(
            pytest.param(name, marks=pytest.mark.deep)
            for name in ("internal-calls", "class-k-health-checks", "hostile-texts")
        ),
    ],
)
def test_the_rules_are_those_of_reconcile(litellm_database_at: DatabaseAt, tmp_path: Path, name: str) -> None:
    scenario = Scenario(SCENARIOS / name)
    database = litellm_database_at(scenario.era)
    with psycopg.connect(database, autocommit=True) as connection:
        scenario.fill_litellm(connection)
    environment = {name: text.format(folder=scenario.folder) for name, text in scenario.settings["environment"].items()}
    told = report(database, tmp_path, "2026-11-10", "2026-11-11", environment=environment)
    verdict = json.loads((scenario.expected / "verdict.json").read_bytes())["spend_logs"]
    found = [{**row, "reason": row["reason"] or None} for row in told.dispositions]
    assert [{key: row[key] for key in verdict[0]} for row in found] == verdict


@pytest.mark.parametrize(
    ("era", "parts"),
    [
        ("1.53", "true"),
        pytest.param("1.53", "false", marks=pytest.mark.deep),
        pytest.param("1.109-partitioned", "true", marks=pytest.mark.deep),
        ("1.109-partitioned", "false"),
    ],
)
def test_calls_of_the_gateway_itself_are_no_usage(
    litellm_database_at: DatabaseAt, tmp_path: Path, era: str, parts: str
) -> None:
    made = {
        "caller": {},
        "judge": {"internal_call_origin": "shadow_eval_judge"},
        "new": {"internal_call_origin": "a_new_one"},
        "poll_background_cost": {"internal_call_origin": "background_response_cost_poll"},
        "empty": {"internal_call_origin": ""},
    }
    url = litellm_database_at(era)
    for name, metadata in made.items():
        insert(
            url,
            {**call(metadata), "request_id": name, "call_type": "aget_responses" if "poll" in name else "acompletion"},
        )
    told = report(url, tmp_path, "2026-11-23", "2026-11-24", environment={"RECONCILE_TOKEN_PARTS": parts})
    assert told.total.requests == 3
    dispositions = {(row["reason"], row["spend_logs"], row["total_tokens"]) for row in told.dispositions}
    assert dispositions == {("", 3, "420"), ("internal_call", 2, "280")}
