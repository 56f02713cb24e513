"""Whatever stands in the environment, in a configuration file or in a CSV file: a `SettingError`, or settings."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.errors import SettingError
from jobs.settings import (
    SETTINGS,
    backfill_settings,
    ledger_url,
    load_settings,
    parse_instant,
    read_pairs,
    reconcile_settings,
)
from tests.support.fuzzing import fuzzed, texts

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ENVIRONMENT = {
    "DATABASE_URL": "postgresql://reader:secret@db.example:5432/litellm",
    "LAGO_API_BASE": "https://lago.example",
    "LAGO_API_KEY": "key",
    "LAGO_API_EVENT_CODE": "llm_tokens",
}
amounts = st.builds(
    lambda number, unit: f"{number}{unit}",
    st.sampled_from(["0", "1", "007", "²", "٣", "-1", "9" * 9, "9" * 30, "9" * 5000, "1e9", "nan", "inf", "0.0000001"]),
    st.sampled_from(["", "s", "d", "ms", "GB", "MB", " GB"]),
)
settings_texts = texts | amounts
_TOML_KEYS = [setting.name for setting in SETTINGS] + ["meter_parts", "lago", "unknown", "lago.unknown"]
toml_values = st.sampled_from(
    [
        '""',
        '"\\u0000"',
        "[]",
        "{}",
        "[[[]]]",
        "{ a = { b = 1 } }",
        "-1",
        "0x10",
        "inf",
        "nan",
        "true",
        "1979-05-27",
        "07:32:00",
        "1979-05-27T07:32:00Z",
        '"a"',
        "[{}]",
        "[1]",
        '"""\n"""',
    ]
)


def try_settings(
    environment: dict[str, str], file: Path | None = None, start: str | None = None, end: str | None = None
) -> None:
    """Take the settings as far as the command line does before it connects to anything."""
    with suppress(SettingError):
        settings = load_settings(environment, file)
        request = reconcile_settings(settings, start, end, NOW)
        backfill_settings(settings, request, apply=True)
        ledger_url(settings)
        request.rules.fingerprint()
        if request.window.end <= NOW:
            request.rules.read_window(request.window)


@fuzzed(150)
@given(variable=st.sampled_from([setting.variable for setting in SETTINGS]), text=settings_texts)
@example(variable="RECONCILE_SLICE_LENGTH", text="0s")
@example(variable="RECONCILE_MEMORY_LIMIT", text="²GB")
@example(variable="RECONCILE_THREADS", text="9" * 30)
@example(variable="RECONCILE_SOURCE_UTC_SINCE", text="0001-01-01T00:00:00+14:00")
@example(variable="LAGO_API_EVENT_CODE", text="\udcff")
@example(variable="RECONCILE_ALIAS_FILE", text="\ud800")
def test_any_environment(variable: str, text: str) -> None:
    try_settings(ENVIRONMENT | {variable: text})


@fuzzed(60)
@given(start=settings_texts, end=st.none() | settings_texts)
@example(start="0001-01-01", end="0001-01-02")
@example(start="0001-01-01T00:00:00+14:00", end="2026-01-01")
@example(start="9999-12-31T23:59:59-14:00", end="9999-12-31")
@example(start="1970-01-01", end="1970-01-02")
def test_any_window(start: str, end: str | None) -> None:
    try_settings(ENVIRONMENT, start=start, end=end)
    with suppress(ValueError):
        parse_instant(start)


@fuzzed(100)
@given(
    lines=st.lists(
        st.builds(lambda key, value: f"{key} = {value}", st.sampled_from(_TOML_KEYS), toml_values), max_size=4
    ),
    noise=texts,
)
@example(lines=["meter_parts = " + "[" * 5000], noise="")
@example(lines=['mapping_file = "\\u0000"'], noise="")
@example(lines=['meter = "custom"', "[[meter_parts]]", 'part = "a"', 'dimensions = { "" = "model" }'], noise="")
def test_any_configuration_file(tmp_path: Path, lines: list[str], noise: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes("\n".join([*lines, noise]).encode("utf-8", "surrogatepass"))
    try_settings(ENVIRONMENT, file)


@fuzzed(100)
@given(rows=st.lists(st.lists(texts, max_size=3), max_size=4), noise=st.binary(max_size=10))
def test_any_mapping_file(tmp_path: Path, rows: list[list[str]], noise: bytes) -> None:
    file = tmp_path / "mapping.csv"
    lines = ["source,subscription", *(",".join(row) for row in rows)]
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + noise)
    with suppress(SettingError):
        list(read_pairs(file, ("source", "subscription")))


@pytest.mark.parametrize("name", ["", "folder", "absent"])
def test_a_file_that_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    try_settings(ENVIRONMENT | {"RECONCILE_MAPPING_FILE": str(tmp_path / name)}, tmp_path / name)
