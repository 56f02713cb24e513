"""Settings: precedence, and one clear line for each wrong one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.core.kinds import ChargeBy
from jobs.errors import SettingError
from jobs.settings import SETTINGS, load_settings, read_pairs, reconcile_settings
from jobs.settings.declared import lago, run

NOW = datetime(2026, 11, 24, 10, 30, tzinfo=UTC)
ENVIRONMENT = {
    "DATABASE_HOST": "db:5433",
    "DATABASE_NAME": "litellm",
    "DATABASE_USERNAME": "reader",
    "DATABASE_PASSWORD": "p@ss/word?#[x]",
    "LAGO_API_BASE": "http://lago:3000/api/v1/",
    "LAGO_API_KEY": "key",
    "LAGO_API_EVENT_CODE": "llm_tokens",
}


def test_everything_comes_from_the_variables_that_litellm_has() -> None:
    request = reconcile_settings(load_settings(ENVIRONMENT), None, None, NOW)
    assert (request.database.host, request.database.port) == ("db", 5433)
    assert request.database.password == "p@ss/word?#[x]"
    assert request.lago.api_base == "http://lago:3000"
    assert request.rules.charge_by is ChargeBy.END_USER_ID
    assert request.rules.parts[0].code == "llm_tokens"
    assert (request.window.start, request.window.end) == (
        datetime(2026, 11, 21, 8, tzinfo=UTC),
        datetime(2026, 11, 24, 8, tzinfo=UTC),
    )


def test_option_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('late = "10s"\nearly = "1s"\nmeter = "input-output"\nbill_cache_hits = false\n')
    environment = {**ENVIRONMENT, "RECONCILE_EARLY": "2s"}
    settings = load_settings(environment, config, {"meter": "agent-sdk"})
    assert settings.required(run.METER) == "agent-sdk"
    assert settings.required(run.EARLY) == timedelta(seconds=2)
    assert settings.required(run.LATE) == timedelta(seconds=10)
    assert settings.required(run.BILL_CACHE_HITS) is False
    assert settings.required(run.SETTLEMENT_LAG) == timedelta(hours=2)
    assert [settings.origin(name) for name in ("meter", "early", "late", "settlement_lag", "threads")] == [
        "option --meter",
        "environment RECONCILE_EARLY",
        f"{config}: late",
        "default",
        "not set",
    ]


def test_the_misspelled_event_code_is_taken_and_said() -> None:
    environment = {**ENVIRONMENT, "LAGO_API_EVENT_CODE": "", "LAGO_EVENT_CODE": "llm_tokens"}
    settings = load_settings(environment)
    assert settings.required(lago.EVENT_CODE) == "llm_tokens"
    assert "rename it" in settings.notes[0]
    assert load_settings({**ENVIRONMENT, "LAGO_EVENT_CODE": "other"}).notes == ()


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("LAGO_API_CHARGE_BY", "customer", "end_user_id, user_id, team_id"),
        ("RECONCILE_LATE", "60", "a whole number and a unit"),
        ("RECONCILE_SOURCE_TIME_ZONE", "Seoul", "time zone database"),
        ("RECONCILE_SOURCE_TIME_ZONE", "../etc/passwd", "time zone database"),
        ("RECONCILE_SOURCE_UTC_SINCE", "2025-02-10T09:30:00", "no time zone"),
        ("RECONCILE_MEMORY_LIMIT", "lots", "MB or GB"),
        ("RECONCILE_LAGO_RATE", "0", "above 0"),
        ("RECONCILE_LAGO_RATE", "nan", "above 0"),
        ("RECONCILE_LAGO_CONCURRENCY", "-1", "whole number from 1"),
        ("RECONCILE_BILL_CACHE_HITS", "maybe", "true or false"),
        ("RECONCILE_ID_TEMPLATE", "x-{id}", "{request_id}"),
    ],
)
def test_a_wrong_value_names_its_variable_and_what_is_right(variable: str, text: str, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        load_settings({**ENVIRONMENT, variable: text})
    assert variable in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", ["LAGO_API_BASE", "LAGO_API_KEY", "LAGO_API_EVENT_CODE"])
def test_a_missing_value_is_asked_for_by_name(variable: str) -> None:
    with pytest.raises(SettingError, match=f"{variable} is not set"):
        reconcile_settings(load_settings({**ENVIRONMENT, variable: ""}), None, None, NOW)


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2026-11-02", "2026-11-01", "empty or reversed"),
        ("2026-11-01", None, "given together"),
        ("2026-11-01T00:00:00", "2026-11-02", "no time zone"),
        ("yesterday", "2026-11-02", "--from"),
    ],
)
def test_a_wrong_window_is_refused(start: str, end: str | None, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        reconcile_settings(load_settings(ENVIRONMENT), start, end, NOW)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('settlement_lags = "2h"', "Did you mean 'settlement_lag'"),
        ('[lago]\napi_bas = "x"', "Did you mean 'lago.api_base'"),
        ("late = [1]", "Write a text"),
        ("late = ", "not valid TOML"),
        ("meter_parts = 3", r"\[\[meter_parts\]\]"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(content)
    with pytest.raises(SettingError, match=message):
        load_settings(ENVIRONMENT, config)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="No such file"):
        load_settings(ENVIRONMENT, tmp_path / "none.toml")


def test_a_custom_meter_comes_from_the_file(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        'meter = "custom"\n[[meter_parts]]\ncode = "images"\npart = "all"\n'
        'quantities = { count = "metadata.usage.images" }\n'
    )
    (part,) = load_settings(ENVIRONMENT, config).meter()
    assert (part.code, part.quantities) == ("images", (("count", "metadata.usage.images"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n", "Begin it with the line"),
        ("source,subscription\nx\n", "line 2: no row of two cells"),
        ("source,subscription\nx,\n", "line 2: no row of two cells"),
        ("source,subscription\nx,1\nx,2\n", "line 3: 'x' stands there twice"),
        ('source,subscription\n"x,1\n', "cannot read"),
    ],
)
def test_a_wrong_mapping_file_is_refused_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(content)
    with pytest.raises(SettingError, match=message):
        list(read_pairs(path, ("source", "subscription")))


def test_a_mapping_file_is_read_with_a_byte_order_mark_and_repeated_rows(tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_bytes("\ufeffsource,subscription\r\nx,1\r\n\r\nx,1\r\n".encode())
    assert list(read_pairs(path, ("source", "subscription"))) == [("x", "1")]


def test_secrets_are_not_in_messages() -> None:
    with pytest.raises(SettingError) as caught:
        load_settings({**ENVIRONMENT, "LAGO_API_KEY": "  "})
    assert "'  '" not in str(caught.value)


def test_names_and_variables_are_unique() -> None:
    assert (
        len({setting.name for setting in SETTINGS}) == len({setting.variable for setting in SETTINGS}) == len(SETTINGS)
    )
