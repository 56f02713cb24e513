"""Values of spend logs arrive as they are."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from jobs.adapters.workspace import Workspace
from jobs.core.litellm.spend_logs import SPEND_LOG_COLUMNS
from jobs.core.litellm.variables import database_settings
from jobs.drivers import copying
from tests.adapters.spend_logs.helpers import DAY, ONE_CALL, UTC_CLOCK, Table, insert, opened, read, run


def test_empty_text_is_null_but_in_three_columns(litellm_database: str, table: Table) -> None:
    """LiteLLM writes '' and NULL for the same thing; an empty request id, call type or model stays what it is."""
    nullable = (
        "user",
        "team_id",
        "organization_id",
        "end_user",
        "model_group",
        "custom_llm_provider",
        "cache_hit",
    )
    insert(
        litellm_database,
        {"request_id": "", "call_type": "", "model": "", "api_key": "", **dict.fromkeys(nullable, "")},
        {"request_id": "null", **dict.fromkeys(nullable)},
    )
    empty, null = read(table, litellm_database)
    assert (empty["request_id"], empty["call_type"], empty["model"]) == ("", "", "")
    for column in ("api_key", "user_id", *nullable[1:]):
        assert (empty[column], null[column]) == (None, None)


def test_hostile_text_survives(litellm_database: str, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers' text reaches DuckDB unchanged, and every chunk is whole rows even where text has line breaks."""
    monkeypatch.setattr(copying, "CHUNK_BYTES", 1)
    texts = [
        'a"b""c',
        "line\nbreak\r\nand\rreturn",
        "comma,semicolon;tab\t",
        "back\\slash\\N\\.\\x41",
        "\\.",
        "\n\n\n",
        '"',
        "'; DROP TABLE x; --",
        "=cmd|' /C calc'!A0",
        "\u202eright to left\u0000"[:-1],
        "\x01\x1b[31mred\x7f\x85",
        "🦜 é e\u0301 \ufeff \u2028",
        "resp_" + "x" * 395,
        " leading and trailing ",
        "NULL",
        "%s %(zone)s $1 {x}",
    ]
    insert(litellm_database, *({"request_id": f"{n:02}{text}", "end_user": text} for n, text in enumerate(texts)))
    with opened(litellm_database) as logs:
        chunks = list(logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))
    assert len(chunks) == len(texts)
    found = [row for chunk in chunks for row in table.load(iter([chunk]), SPEND_LOG_COLUMNS)]
    assert {(row["request_id"], row["end_user"]) for row in found} == {
        (f"{n:02}{text}", text) for n, text in enumerate(texts)
    }
    assert len(table.load(iter(chunks), SPEND_LOG_COLUMNS)) == len(texts)


def test_every_character_survives_wherever_it_stands(
    litellm_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request id that a chunk begins with, too: there a reader takes a mark of byte order away."""
    monkeypatch.setattr(copying, "CHUNK_BYTES", 1)
    characters = [*map(chr, range(1, 0x180)), *"\u2000\u2028\u2029\u202e\u3000\ufeff\ufffe\uffff\U0001f99c"]
    texts = {text for one in characters for text in (one, f"{one}a", f"a{one}", f"{one}{one}", f'{one}"{one}')}
    insert(litellm_database, *({"request_id": text, "end_user": text, "call_type": ""} for text in texts))
    with opened(litellm_database) as logs, Workspace(tmp_path, memory_limit="500MB") as workspace:
        workspace.load("load_spend_logs", logs.read(DAY, clock=UTC_CLOCK, longest_call=ONE_CALL))
        found = workspace._database.execute("SELECT request_id, end_user, call_type, user_id FROM spend_log").fetchall()
    assert sorted(found) == sorted((text, text, "", None) for text in texts)


def test_numbers_are_exact(litellm_database: str, table: Table) -> None:
    """A spend is the shortest text that reads back as the same double, whatever the role's default."""
    spends = [0.1 + 0.2, 1.7e-7, 5e-324, 1e300, -0.5, float("nan"), float("inf"), float("-inf")]
    insert(litellm_database, *({"spend": spend} for spend in spends))
    insert(
        litellm_database,
        {
            "request_id": "tokens",
            "prompt_tokens": 2**31 - 1,
            "completion_tokens": -(2**31),
            "total_tokens": -1,
        },
    )
    name = database_settings(url=litellm_database).name
    run(litellm_database, f'ALTER DATABASE "{name}" SET extra_float_digits = 0')
    *found, tokens = read(table, litellm_database)
    assert [row["spend"] for row in found] == [
        *("0.30000000000000004", "1.7e-07", "5e-324", "1e+300", "-0.5", "NaN", "Infinity", "-Infinity")
    ]
    assert [tokens[f"{part}_tokens"] for part in ("prompt", "completion", "total")] == [
        "2147483647",
        "-2147483648",
        "-1",
    ]


def test_paths_into_metadata(litellm_database: str, table: Table) -> None:
    """Each path gives the text it finds, in the order asked: paths of any depth, hostile steps, any JSON value."""
    insert(
        litellm_database,
        {
            "metadata": {
                "a": {"b": {"c": 'deep "quoted"\nline'}},
                "n": 1.50,
                "t": True,
                "z": None,
                "list": [10, {"x": ""}],
                'odd"}, key': "odd",
                "": "empty",
            }
        },
        {"metadata": None},
        {"metadata": []},
    )
    paths = [
        ["a", "b", "c"],
        ["n"],
        ["t"],
        ["z"],
        ["list", "0"],
        ["list", "1"],
        ["a", "nowhere"],
        ['odd"}, key'],
        [""],
    ]
    found = [json.loads(row["extras"] or "") for row in read(table, litellm_database, paths=paths)]
    assert found == [
        ['deep "quoted"\nline', "1.5", "true", None, "10", '{"x": ""}', None, "odd", "empty"],
        [None] * len(paths),
        [None] * len(paths),
    ]
    assert [row["extras"] for row in read(table, litellm_database)] == [None] * 3


@pytest.mark.parametrize("text", [r'{"a": "\u0000"}', r'{"a": "\ud83e"}'])
def test_postgresql_stores_no_text_that_utf8_cannot_hold(litellm_database: str, text: str) -> None:
    """NUL and lone surrogates cannot be in the metadata, so this reader has nothing to escape."""
    with psycopg.connect(litellm_database) as connection, pytest.raises(psycopg.DataError):
        connection.execute("SELECT CAST(%s AS jsonb)", [text])
