"""Whatever strangers, providers and clocks put into a spend log: the run ends, and every row is accounted for."""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from jobs.core.plan import read_event
from jobs.core.text import spreadsheet_safe
from jobs.reconcile import reconcile
from jobs.settings import load_settings, reconcile_settings
from jobs.steps.plan_files import describe_plan
from jobs.steps.reconcile_values import Run
from tests.support.fuzzing import fuzzed, in_depth
from tests.support.scenario import SilentProgress
from tests.support.twins import deep_after

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization

pytestmark = pytest.mark.usefixtures("no_certificates")
CODE = "llm_tokens"
START = datetime(2026, 11, 10, 12, tzinfo=UTC)
END = START + timedelta(hours=1)
NOW = START + timedelta(days=2)
# What PostgreSQL's text and jsonb can hold: no NUL, no lone surrogates.
storable = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
nasty = st.sampled_from(
    [
        "",
        " ",
        "\n",
        '"',
        '""',
        "\\N",
        "\\.",
        "alice",
        "=1+1",
        "\x1b[31m",
        "\u202e",
        "\u2028",
        "\r\n",
        ",",
        "x" * 400,
        "NULL",
        "None",
        "unknown-model",
        "MCP: x",
        "failure",
        "litellm-internal-health-check",
        "0",
        "{}",
        "1e5",
        "NaN",
        "\U0001f9fe" * 100,
    ]
)
texts = nasty | st.text(storable, max_size=20)
integers = st.sampled_from([0, 0, 1, 40, 100, -1, 2**31 - 1, -(2**31)]) | st.integers(-(2**31), 2**31 - 1)
spends = st.sampled_from([0.0, 0.001, -1.0, math.nan, math.inf, -math.inf, 1e308, 5e-324, 1e11, 1e13]) | st.floats()
details = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)
metadata = st.one_of(
    st.just({}),
    details,
    st.fixed_dictionaries(
        {},
        optional={
            "status": texts,
            "user_api_key_alias": details,
            "additional_usage_values": details
            | st.fixed_dictionaries(
                {},
                optional={
                    "cache_read_input_tokens": details,
                    "cache_creation_input_tokens": details,
                    "completion_tokens_details": details | st.fixed_dictionaries({"reasoning_tokens": details}),
                },
            ),
        },
    ),
)
# When a call ended, in milliseconds after the window's start, and how long before that it started.
ends = st.sampled_from([0, 1, 3_599_999, 3_600_000, -1]) | st.integers(-1000, 3_601_000)
lengths = st.sampled_from([0, 1000, 7_200_000, -3_599_000]) | st.integers(-3_500_000, 7_200_000)
rows = st.fixed_dictionaries(
    {
        "call_type": texts,
        "api_key": texts,
        "spend": spends,
        "prompt_tokens": integers,
        "completion_tokens": integers,
        "total_tokens": integers,
        "end": ends,
        "length": lengths,
        "model": texts,
        "metadata": metadata,
    },
    optional={
        name: st.none() | texts
        for name in ("model_group", "custom_llm_provider", "user", "team_id", "end_user", "cache_hit", "status")
    },
)
METERS = {
    "callback": {"LAGO_API_EVENT_CODE": CODE},
    "agent-sdk": {"LAGO_API_CHARGE_BY": "key_alias"},
    "input-output": {"LAGO_API_EVENT_CODE": "tokens", "LAGO_API_CHARGE_BY": "metadata.additional_usage_values"},
}
_numbers = count()


@pytest.fixture(scope="module")
def organization(standin: LagoStandIn) -> Organization:
    """Make an organization in which anything may be missing."""
    made = standin.create_organization("fuzzed spend logs")
    made.configure(now=NOW)
    codes = (CODE, "tokens", "llm_input_tokens", "llm_output_tokens", "llm_cached_input_tokens")
    for code in codes:
        field = {CODE: "total_tokens", "tokens": "tokens"}.get(code, "value")
        made.add_metric(code, field_name=field)
    made.add_plan("standard", charges=[(code, {}) for code in codes])
    made.add_customer("customer")
    for name in ("alice", "=1+1", "\x1b[31m"):
        made.add_subscription(name, customer="customer", plan="standard", started_at=START - timedelta(days=60))
    return made


def fill(connection: psycopg.Connection, given_rows: list[dict[str, Any]]) -> int:
    """Write the rows in place of those there; return how many calls ended in the window."""
    connection.execute('TRUNCATE "LiteLLM_SpendLogs"')
    inside = 0
    for number, given_row in enumerate(given_rows):
        row = dict(given_row)
        end = START + timedelta(milliseconds=row.pop("end"))
        start = end - timedelta(milliseconds=row.pop("length"))
        inside += START <= end < END
        row |= {
            "request_id": f"{number}-{next(_numbers)}" + "\t=x\n" * (number % 3),
            "startTime": start.replace(tzinfo=None),
            "endTime": end.replace(tzinfo=None),
            "metadata": orjson.dumps(row["metadata"], default=str).decode(),
        }
        connection.execute(
            sql.SQL('INSERT INTO "LiteLLM_SpendLogs" ({}) VALUES ({})').format(
                sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(sql.Placeholder() * len(row))
            ),
            list(row.values()),
        )
    return inside


def judged(database_url: str, organization: Organization, meter: str, folder: Path) -> Run:
    """Run the job over the window."""
    environment = {
        "DATABASE_URL": database_url,
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "RECONCILE_LAGO_RATE": "10000",
        "RECONCILE_THREADS": "1",
        "RECONCILE_METER": meter,
        "RECONCILE_OUTPUT": str(folder),
        **METERS[meter],
    }
    request = reconcile_settings(load_settings(environment), START.isoformat(), END.isoformat(), NOW)
    return reconcile(request, SilentProgress(), now=NOW, run_id=f"fuzz{next(_numbers)}")


def assert_harmless(run: Run) -> None:
    """Assert that no report holds what a terminal or a spreadsheet would act upon, and that the plan can be read."""
    for path in run.folder.glob("*.csv"):
        text = path.read_text(encoding="utf-8")
        hidden = {character for character in text if unicodedata.category(character) in {"Cc", "Cf", "Cs"}}
        assert hidden <= {"\n"}, path.name
        with path.open(encoding="utf-8", newline="") as file:
            header, *table = csv.reader(file, strict=True)
            assert all(len(row) == len(header) for row in table)
            names = [header.index(name) for name in ("subscription", "model", "request_id") if name in header]
            assert all(
                spreadsheet_safe(row[place]) in {row[place], "'" + row[place]} for row in table for place in names
            )
    describe_plan(run.folder / "plan.jsonl")
    for line in (run.folder / "plan.jsonl").read_bytes().splitlines()[1:]:
        read_event(line)
    orjson.loads((run.folder / "run.json").read_bytes())


@in_depth(4, 8)
def test_any_spend_log(
    examples: int, litellm_database_at: Callable[[str], str], organization: Organization, tmp_path: Path
) -> None:
    database_url = litellm_database_at("1.109")
    with psycopg.connect(database_url, autocommit=True) as connection:

        @fuzzed(examples)
        @given(given_rows=st.lists(rows, max_size=25), meter=st.sampled_from(sorted(METERS)))
        def check(given_rows: list[dict[str, Any]], meter: str) -> None:
            inside = fill(connection, given_rows)
            run = judged(database_url, organization, meter, tmp_path)
            assert sum(row["spend_logs"] for row in run.spend_logs) == inside
            assert_harmless(run)

        check()


@pytest.mark.parametrize(
    ("start", "end"),
    deep_after(
        2,
        [
            ("-infinity", "infinity"),
            ("54295-01-01", "54295-01-01"),
            ("0001-01-01", "0001-01-01"),
            ("0044-03-15 BC", "0044-03-15 BC"),
            ("2026-11-10 12:00:00", "54295-01-01"),
            ("2026-11-10 12:00:00", "0001-01-01"),
        ],
    ),
)
def test_times_that_python_cannot_hold(
    start: str, end: str, litellm_database: str, organization: Organization, tmp_path: Path
) -> None:
    with psycopg.connect(litellm_database, autocommit=True) as connection:
        fill(
            connection,
            [{"call_type": "", "api_key": "", "spend": 0, "model": "", "metadata": {}, "end": 0, "length": 0}],
        )
        connection.execute(
            """
            INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, "startTime", "endTime")
            VALUES ('far', 'acompletion', CAST(%s AS timestamp), CAST(%s AS timestamp))
            """,
            [start, end],
        )
        run = judged(litellm_database, organization, "callback", tmp_path)
    assert sum(row["spend_logs"] for row in run.spend_logs) == 1
    assert run.ends_in_the_future == (end.startswith("54295") or end == "infinity")
    assert_harmless(run)
