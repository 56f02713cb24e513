"""The usage report: equal to independent SQL, exact, repeatable, and harmless to open."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import psycopg
import pytest

from jobs.core.kinds import Exclusion
from jobs.core.periods import DaySpan, PeriodLength
from jobs.core.telling.usage_values import Change, change, comparison_texts, plain
from jobs.errors import SettingError
from jobs.settings import load_settings, usage_settings
from jobs.usage import Usage, usage
from tests.adapters.spend_logs.helpers import insert
from tests.commands.cli.helpers import run as run_command
from tests.support.scenario import SCENARIOS, Scenario, SilentProgress

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
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


def report(
    database_url: str, output: Path, *days: str, environment: dict[str, str] | None = None, **asked: Any
) -> Usage:
    """Run the job as the command line would, with nothing of Lago's set."""
    settings = load_settings(
        {"DATABASE_URL": database_url, "RECONCILE_OUTPUT": str(output), "RECONCILE_THREADS": "1", **(environment or {})}
    )
    start, end = days or (None, None)
    options = {"month": None, "by": PeriodLength.DAY, "compare": False, "now": NOW, **asked}
    request = usage_settings(settings, start, end, options.pop("month"), **options)
    return usage(request, SilentProgress(), now=NOW, run_id="test")


def rows(told: Usage, name: str = "usage.csv") -> list[dict[str, str]]:
    """Return the rows of one of the report's CSV files."""
    with (told.folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def parquet(told: Usage) -> list[tuple[Any, ...]]:
    """Return the rows of the report's Parquet file."""
    return duckdb.read_parquet(str(told.folder / "usage.parquet")).fetchall()


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
    expected = [["" if cell is None else str(cell) for cell in row] for row in independent]
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


def call(metadata: dict[str, Any], prompt: int = 100, completion: int = 40, **others: Any) -> dict[str, Any]:
    """Return one spend log of alice with this metadata."""
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"end_user": "alice", "metadata": metadata, **tokens, **others}


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
    ["internal-calls", "gateway-internal-calls", "class-k-health-checks", "charge-by-mapping-file", "hostile-texts"],
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


@pytest.mark.parametrize("parts", ["true", "false"])
@pytest.mark.parametrize("era", ["1.53", "1.109-partitioned"])
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


def test_month_over_month(litellm_database: str, tmp_path: Path) -> None:
    def at(day: str, number: int, **others: Any) -> dict[str, Any]:
        return call({}, request_id=f"{day}-{number}", startTime=f"{day} 12:00", endTime=f"{day} 12:01", **others)

    insert(
        litellm_database,
        *(at("2026-10-05", number, spend=0.1) for number in range(3)),
        at("2026-10-30", 0, spend=99.0),  # October has this day and November not yet
        *(at("2026-11-05", number, spend=0.3) for number in range(4)),
        at("2026-11-06", 0, end_user="new", spend=0.05),
        at("2026-10-06", 1, end_user="gone", spend=0.05),
    )
    told = report(litellm_database, tmp_path, month="2026-11", by=PeriodLength.MONTH, compare=True)
    assert told.settings.days == DaySpan(date(2026, 11, 1), date(2026, 11, 24), ZoneInfo("UTC"))
    assert [row["period"] for row in rows(told)] == ["2026-11", "2026-11"]
    found = {row["subscription"]: row for row in rows(told, "comparison.csv")}
    assert [*found] == ["alice", "gone", "new"]
    spend = [found["alice"][name] for name in ("spend", "previous_spend", "spend_change", "spend_change_percent")]
    assert spend == ["1.2", "0.3", "0.9", "300"]
    assert (found["alice"]["requests_change"], found["alice"]["requests_change_percent"]) == ("1", "33.33")
    assert (found["gone"]["requests"], found["gone"]["requests_change_percent"]) == ("0", "-100")
    assert (found["new"]["previous_spend"], found["new"]["spend_change_percent"]) == ("0", "")
    assert told.changes["requests"] == Change(Decimal(1), Decimal("25.00"))
    assert told.changes["spend"].absolute == Decimal("0.9")


def test_changes_are_exact() -> None:
    assert change(Decimal("1e20"), Decimal("1e-12")).percent == Decimal("9999999999999999999999999999999900")
    assert change(0, 3) == Change(Decimal(-3), Decimal("-100.00"))
    assert change(5, 0) == Change(Decimal(5), None)
    assert [plain(Decimal(text)) for text in ("1E+3", "0.50", "-0.0", "-12.00")] == ["1000", "0.5", "0", "-12"]


def test_a_comparison_is_written_in_plain_digits() -> None:
    row = {
        "subscription": "alice",
        "model": "gpt-4o",
        "requests": 4,
        "previous_requests": 3,
        "total_tokens": Decimal("1E+3"),
        "previous_total_tokens": 0,
        "spend": Decimal("0.50"),
        "previous_spend": Decimal("1.00"),
    }
    assert comparison_texts(row) == {
        "subscription": "alice",
        "model": "gpt-4o",
        "requests": "4",
        "previous_requests": "3",
        "requests_change": "1",
        "requests_change_percent": "33.33",
        "total_tokens": "1000",
        "previous_total_tokens": "0",
        "total_tokens_change": "1000",
        "total_tokens_change_percent": "",
        "spend": "0.5",
        "previous_spend": "1",
        "spend_change": "-0.5",
        "spend_change_percent": "-50",
    }


def test_what_may_be_incomplete_is_said(litellm_database: str, tmp_path: Path) -> None:
    insert(litellm_database, call({}, startTime="2026-11-10 12:00:00", endTime="2026-11-10 12:00:01", spend="NaN"))
    told = report(litellm_database, tmp_path, "2026-11-01", "2026-11-24")
    assert not told.complete
    assert [reason.code for reason in told.reasons] == ["retention"]
    assert [row["unreadable_spend"] for row in told.dispositions] == [1]
    assert "retention may have deleted some" in (told.folder / "usage.html").read_text(encoding="utf-8")


def test_an_empty_table_is_a_report_too(litellm_database: str, tmp_path: Path) -> None:
    told = report(litellm_database, tmp_path, compare=True)
    assert told.settings.days == DaySpan(date(2026, 10, 1), date(2026, 11, 1), ZoneInfo("UTC"))
    assert (told.total.requests, told.total.spend) == (0, Decimal(0))
    assert rows(told) == []
    assert parquet(told) == []


def test_hostile_texts_stay_texts(litellm_database: str, tmp_path: Path) -> None:
    hostile = [
        "<script>alert(1)</script>",
        '=HYPERLINK("//evil")',
        "\x1b[31mred",
        '"><img src=x onerror=y>',
        "{{ 7*7 }}",
    ]
    insert(
        litellm_database, *(call({}, request_id=f"r{n}", end_user=text, model=text) for n, text in enumerate(hostile))
    )
    told = report(litellm_database, tmp_path, "2026-11-23", "2026-11-24")
    text = (told.folder / "usage.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert "{{ 7*7 }}" in text
    assert "http:" not in text  # nothing is fetched from anywhere
    assert "https:" not in text
    assert {row["subscription"] for row in rows(told)} >= {'\'=HYPERLINK("//evil")', "\\x1b[31mred"}


@pytest.mark.parametrize(
    ("start", "end", "month", "said"),
    [
        ("2026-11-02", "2026-11-02", None, "empty or reversed"),
        ("2026-11-02", None, None, "given together"),
        ("2026-11-02", "2026-11-03", "2026-11", "names all days"),
        ("yesterday", "2026-11-03", None, "'yesterday' cannot be used for --from"),
        (None, None, "2026-13", "'2026-13' cannot be used for --month"),
        (None, None, "2026-12", "no day of 2026-12 is over yet"),
    ],
)
def test_days_that_cannot_be_reported(start: str | None, end: str | None, month: str | None, said: str) -> None:
    settings = load_settings({"DATABASE_URL": "postgresql://nobody@localhost/nowhere"})
    with pytest.raises(SettingError, match=said):
        usage_settings(settings, start, end, month, NOW, by=PeriodLength.DAY, compare=False)


def test_days_that_are_not_over_are_refused(litellm_database: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="in the future"):
        report(litellm_database, tmp_path, "2026-11-24", "2026-11-25")
    assert list(tmp_path.iterdir()) == []


def test_the_command_needs_nothing_of_lago(litellm_database: str, tmp_path: Path) -> None:
    insert(litellm_database, call({"usage_object": {"cache_read_input_tokens": 64}}, spend=0.25))
    environment = {"DATABASE_URL": litellm_database, "RECONCILE_OUTPUT": str(tmp_path)}
    days = ("--from", "2026-11-23", "--to", "2026-11-24", "--time-zone", "Asia/Seoul", "--compare")
    code, output, errors = run_command(environment, "usage", *days)
    assert code == 0, errors
    assert "2026-11-23 to 2026-11-24 (excluded), Asia/Seoul" in output
    assert "alice" in output
    assert "0.2500" in output
    assert "(nothing before)" in output
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("20261122T150000Z-20261123T150000Z-")
