"""README holds what the product has, and nothing else: settings, columns, kinds, reasons, exit codes, commands."""

import re
from pathlib import Path

import click
import pytest

from jobs import cli
from jobs.core import reports
from jobs.core.kinds import Cause, Exclusion, HoldReason, Kind, next_step
from jobs.core.plan import Outcome
from jobs.errors import LagoError, RefusedError, SettingError
from jobs.settings import SETTINGS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return the text of one second-level section."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(text: str, header: str) -> list[str]:
    """Return the code words in the first column of the table with this header row."""
    table = text.split(header)[1].split("\n\n", maxsplit=1)[0]
    return [word for row in table.splitlines()[2:] for word in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_settings_are_those_of_the_product_in_order_with_their_defaults() -> None:
    table = section("Settings").split("| --- | --- | --- | --- |\n")[1].split("\n\n")[0].splitlines()
    shown = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]
    assert [[cell.strip("` ") for cell in row[:3]] for row in shown] == [
        [setting.variable, setting.name, setting.default or ""] for setting in SETTINGS
    ]
    assert [row[3].removesuffix(" |").strip() for row in shown] == [setting.help for setting in SETTINGS]


def test_kinds_and_reasons_are_the_closed_sets() -> None:
    text = section("What a run finds")
    assert sorted(first_cells(text, "| kind | meaning | what to do |")) == sorted(Kind)
    assert sorted(first_cells(text, "| reason of `held` | meaning | what to do |")) == sorted(HoldReason)
    assert all(f"`{reason}`" in text for reason in Exclusion)
    assert first_cells(text, "| cause | meaning |") == [cause.value for cause in Cause]


def test_what_to_do_is_what_the_report_says() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| .+ \| (.+) \|$", section("What a run finds"), re.MULTILINE)
    assert {name: step.replace("`", "") for name, step in rows} == {
        **{kind.value: next_step(kind) for kind in Kind},
        **{reason.value: next_step(Kind.HELD, reason) for reason in HoldReason},
    }


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("discrepancies.csv", reports.DISCREPANCY_COLUMNS),
        ("summary.csv", reports.SUMMARY_COLUMNS),
        ("usage.csv", reports.USAGE_COLUMNS),
        ("daily.csv", reports.DAILY_COLUMNS),
        ("outcomes.csv", reports.OUTCOME_COLUMNS),
    ],
)
def test_every_column_is_explained_and_no_other(name: str, columns: reports.Columns) -> None:
    text = section("What a run leaves behind").split(f"**`{name}`**")[1].split("\n**`")[0]
    if "| column | meaning |" in text:
        assert set(first_cells(text, "| column | meaning |")) == set(columns.names)
    else:
        assert set(columns.names) <= set(re.findall(r"`([a-z_]+)`", text))


def test_outcomes_are_named() -> None:
    assert all(f"`{outcome}`" in README for outcome in Outcome)


def test_exit_codes_are_those_of_the_product() -> None:
    table = README.split("| exit code | meaning |")[1].split("\n\n")[0]
    shown = {int(code) for code in re.findall(r"^\| (\d) \|", table, re.MULTILINE)}
    failed, setting, refused = LagoError.exit_code, SettingError.exit_code, RefusedError.exit_code
    assert shown == {cli.AGREEMENT, cli.FAILED, cli.DISCREPANCIES_REMAIN, failed, setting, refused}


def test_commands_and_their_options_exist() -> None:
    shown = re.findall(r"litellm-lago ([a-z]+)([^`\n]*)", README)
    assert {command for command, _ in shown} - {"reconcile"} == set(cli.cli.commands) - {"reconcile"}
    for name, rest in shown:
        command = cli.cli.commands[name]
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, name


def test_every_command_has_help() -> None:
    for command in cli.cli.commands.values():
        assert command.get_short_help_str()
        assert all(option.help for option in command.params if isinstance(option, click.Option))
