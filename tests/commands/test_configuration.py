"""`config show` hides secrets and tells origins; `config example` is a file that the loader takes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from jobs.configuration import example, show
from jobs.settings import SETTINGS, load_settings, survey_settings
from tests.commands.cli.helpers import run

_SECRET = "planted-secret"
_WHOLE = {
    "DATABASE_URL": f"postgresql://me:{_SECRET}@db/litellm",
    "LAGO_API_BASE": "https://lago",
    "LAGO_API_KEY": _SECRET,
    "LAGO_API_EVENT_CODE": "llm_tokens",
}


def test_the_example_sets_every_setting_to_its_default(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(example(), encoding="utf-8")
    loaded, defaults = load_settings({}, file), load_settings({})
    for setting in SETTINGS:
        assert loaded.optional(setting) == defaults.optional(setting), setting.name
        where = f"{file}: {setting.name}" if setting.default is not None else "not set"
        assert loaded.origin(setting.name) == where
    assert all(text in example() for setting in SETTINGS for text in (setting.help, setting.variable))


def test_the_example_without_its_comment_signs_has_every_setting_and_a_meter(tmp_path: Path) -> None:
    everything = tomllib.loads(re.sub(r"^# (?=\w+ = |\[\[)", "", example(), flags=re.MULTILINE))
    assert everything.pop("meter_parts")[0]["quantities"] == {"total_tokens": "total_tokens"}
    tables = {name: table for name, table in everything.items() if isinstance(table, dict)}
    names = {name for name in everything if name not in tables}
    names |= {f"{name}.{key}" for name, table in tables.items() for key in table}
    assert names == {setting.name for setting in SETTINGS}


def test_origins_are_told_and_the_stronger_one_wins(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('late = "90s"\nearly = "9s"\n', encoding="utf-8")
    shown = show(survey_settings({"RECONCILE_LATE": "2m"}, file, {"output": "there"}), ()).settings
    told = {setting.name: (setting.value, setting.origin) for setting in shown}
    assert told["late"] == ("2m", "environment RECONCILE_LATE")
    assert told["early"] == ("9s", f"{file}: early")
    assert told["output"] == ("there", "option --output")
    assert told["settlement_lag"] == ("2h", "default")
    assert told["threads"] == (None, "not set")


def test_secrets_are_hidden_wherever_they_stand() -> None:
    environment = {
        "DATABASE_PASSWORD": _SECRET,
        "RECONCILE_LEDGER_URL": f"postgresql://me:{_SECRET}@db/ledger",
        "LAGO_API_BASE": f"https://me:{_SECRET}@lago",
        **{name: text for name, text in _WHOLE.items() if _SECRET in text},
    }
    for arguments in ((), ("--json",)):
        code, output, errors = run(environment, "config", "show", *arguments)
        assert code == 2, "an address may hold no password"
        assert output.count("********") == 5
        assert errors == ""


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[lago]\napi_bse = "x"\n[database]\nhots = "x"\n', encoding="utf-8")
    environment = {"RECONCILE_LATE": "soon", "RECONCILE_LATTE": "1m", "RECONCILE_XYZZY": "1"}
    code, output, _ = run(environment, "config", "show", "--config", str(file), "--json")
    document = json.loads(output)
    assert code == 2
    nearest = [problem.rpartition(". ")[2] for problem in document["problems"][:2]]
    assert nearest == ["Did you mean 'lago.api_base'?", "Did you mean 'database.host'?"]
    assert any("'soon' cannot be used for late" in problem for problem in document["problems"])
    assert any("LAGO_API_KEY is not set" in problem for problem in document["problems"])
    assert document["warnings"] == [
        "RECONCILE_LATTE is no setting: did you mean RECONCILE_LATE?",
        "RECONCILE_XYZZY is no setting: remove it",
    ]
    (late,) = (setting for setting in document["settings"] if setting["name"] == "late")
    assert late["value"] == "soon"
    assert late["problem"].startswith("Write a whole number and a unit")


@pytest.mark.parametrize("arguments", [("config", "show"), ("config", "example")])
def test_a_whole_configuration_ends_with_0(arguments: tuple[str, ...]) -> None:
    assert run(_WHOLE, *arguments)[0] == 0


def test_a_misspelled_variable_is_told_by_every_run() -> None:
    assert load_settings({"RECONCILE_TOPUP": "true"}).notes == (
        "RECONCILE_TOPUP is no setting: did you mean RECONCILE_TOP_UP?",
    )
