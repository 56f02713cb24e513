"""README and docs/ hold what the product has, and nothing else: settings, columns, kinds, exit codes, commands."""

import gzip
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from jobs.cli import cli, group
from jobs.core.doctor.checks import CHECKS
from jobs.core.kinds import Cause, Exclusion, HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.money.worth import REASONS
from jobs.core.plan import Outcome
from jobs.core.sorts import next_step
from jobs.core.telling import focus, reports
from jobs.core.telling.focus import FocusCharge
from jobs.core.telling.metrics import GAUGES
from jobs.errors import LagoError, RefusedError, SettingError
from jobs.settings import SETTINGS

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((CHECKOUT / "docs").glob("*.md"))}
FACTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((CHECKOUT / "docs" / "facts").glob("*.md"))}
CONTRIBUTING = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EVERYTHING = "\n".join([README, CONTRIBUTING, *DOCS.values(), *FACTS.values()])


def section(document: str, title: str) -> str:
    """Return the text of one second-level section of a document in docs/."""
    return DOCS[document].split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(text: str, header: str) -> list[str]:
    """Return the code words in the first column of the table with this header row."""
    table = text.split(header)[1].split("\n\n", maxsplit=1)[0]
    return [word for row in table.splitlines()[2:] for word in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_settings_are_those_of_the_product_in_order_with_their_defaults() -> None:
    table = DOCS["settings"].split("| --- | --- | --- | --- |\n")[1].split("\n\n")[0].splitlines()
    shown = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]
    assert [[cell.strip("` ") for cell in row[:3]] for row in shown] == [
        [setting.variable, setting.name, setting.default or ""] for setting in SETTINGS
    ]
    assert [row[3].removesuffix(" |").strip() for row in shown] == [setting.help for setting in SETTINGS]


def test_kinds_and_reasons_are_the_closed_sets() -> None:
    text = section("files", "What a run finds")
    assert sorted(first_cells(text, "| kind | meaning | what to do |")) == sorted(Kind)
    assert sorted(first_cells(text, "| reason of `held` | meaning | what to do |")) == sorted(HoldReason)
    assert all(f"`{reason}`" in text for reason in Exclusion)
    assert first_cells(text, "| cause | meaning |") == [cause.value for cause in Cause]


def test_why_there_is_no_amount_is_told_as_it_is() -> None:
    text = section("files", "What a run leaves behind").split("| `unpriced` | meaning |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", text, re.MULTILINE)
    assert dict(rows) == {reason.value: f"{text[0].upper()}{text[1:]}." for reason, text in REASONS.items()}


def test_what_to_do_is_what_the_report_says() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| .+ \| (.+) \|$", section("files", "What a run finds"), re.MULTILINE)
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
    text = section("files", "What a run leaves behind").split(f"**`{name}`**")[1].split("\n**`")[0]
    if "| column | meaning |" in text:
        assert set(first_cells(text, "| column | meaning |")) == set(columns.names)
    else:
        assert set(columns.names) <= set(re.findall(r"`([a-z_]+)`", text))


@pytest.mark.parametrize(
    ("name", "columns"),
    [("usage.csv", reports.USAGE_REPORT_COLUMNS), ("comparison.csv", reports.COMPARISON_COLUMNS)],
)
def test_every_column_of_a_usage_report_is_explained(name: str, columns: reports.Columns) -> None:
    shown = first_cells(section("usage", "Report usage"), f"| column of `{name}` | meaning |")
    assert set(shown) == set(columns.names)


def test_every_column_of_focus_that_is_filled_is_explained() -> None:
    shown = first_cells(section("usage", "Report usage"), "| column of `focus.csv` | meaning |")
    now = datetime(2026, 11, 1, tzinfo=UTC)
    charge = FocusCharge("s", "c", "o", "code", "tokens", "m", "EUR", 100, "1", now, now, now, now, is_correction=True)
    text = section("usage", "Report usage")
    filled = {name for name, value in charge.row().items() if value}
    assert filled == {name for name in focus.FOCUS_COLUMNS.names if f"`{name}`" in text}
    assert set(shown) == filled - {"ConsumedUnit", "PricingUnit"}


def test_metrics_are_those_of_the_product_in_order() -> None:
    rows = re.findall(r"^\| `litellm_lago_([a-z_]+)` \| .* \| (.+) \|$", section("metrics", "Metrics"), re.MULTILINE)
    assert rows == list(GAUGES.items())


def test_outcomes_are_named() -> None:
    assert all(f"`{outcome}`" in section("files", "What a run leaves behind") for outcome in Outcome)


def test_exit_codes_are_those_of_the_product() -> None:
    table = README.split("| exit code | meaning |")[1].split("\n\n")[0]
    shown = {int(code) for code in re.findall(r"^\| (\d) \|", table, re.MULTILINE)}
    failed, setting, refused = LagoError.exit_code, SettingError.exit_code, RefusedError.exit_code
    assert shown == {group.AGREEMENT, group.FAILED, group.DISCREPANCIES_REMAIN, failed, setting, refused}


def test_exit_codes_in_the_help_are_those_of_the_readme() -> None:
    table = README.split("| exit code | meaning |")[1].split("\n\n")[0]
    helped = click.Context(cli).get_help().split("Exit codes:\n")[1]
    assert re.findall(r"^ +(\d)  ", helped, re.MULTILINE) == re.findall(r"^\| (\d) \|", table, re.MULTILINE)


def commands(group: click.Group = cli, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its whole name, those of groups included."""
    for name, command in group.commands.items():
        yield before + name, command
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")


def options_of(command: click.Command) -> set[str]:
    """Return the long options of one command."""
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def test_every_command_is_explained_with_options_it_has() -> None:
    known = dict(commands())
    only_groups = {name for name, command in known.items() if getattr(command, "no_args_is_help", False)}
    for text in (README, EVERYTHING):
        shown = set()
        for words, rest in re.findall(r"litellm-lago ([a-z]+(?: [a-z]+)?)([^`\n]*)", text):
            name = words if words in known else words.split()[0]
            assert name in known
            assert set(re.findall(r"--[a-z-]+", words + rest)) <= options_of(known[name]), name
            shown.add(name)
        assert shown == set(known) - only_groups


def test_every_option_is_explained_and_no_other() -> None:
    not_ours = {"--require-hashes", "--no-deps", "--help", "--version"}
    not_ours |= {"--from-file", "--dry-run", "--local", "--type"}  # of kubectl
    not_ours |= {"--port", "--nthreads", "--memory-limit"}  # of dask
    options = {option for _, command in commands() for option in options_of(command)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", EVERYTHING)) - not_ours == options


def test_every_variable_is_a_setting() -> None:
    named = set(re.findall(r"\b(?:AWS|DATABASE|DIRECT|IAM|LAGO|RECONCILE|TEST)_[A-Z_]*[A-Z]\b", EVERYTHING))
    assert named == {setting.variable for setting in SETTINGS} | {"LAGO_EVENT_CODE", "TEST_POSTGRES", "TEST_BROWSER"}


def test_make_targets_exist_and_help_lists_them_all() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert targets == set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split())
    assert set(re.findall(r'^\t@echo "make ([\w-]+)', makefile, re.MULTILINE)) == targets - {"help"}
    assert set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", EVERYTHING, re.MULTILINE)) <= targets


def test_files_that_documents_point_to_exist() -> None:
    for document in [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("benchmarks/*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", document.read_text(encoding="utf-8")):
            file = document.parent / target if target else document
            assert file.exists(), f"{document.name} points to {target}"
            assert not anchor or anchor in anchors(file), f"{document.name} points to {target}#{anchor}"


def anchors(document: Path) -> set[str]:
    """Return what a link into this document can name: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_paths_of_the_checkout_exist() -> None:
    named = set(
        re.findall(r"(?<![\w./-])((?:benchmarks|docs|jobs|k8s|locks|sql|tests)/[\w.-]*[\w/][\w./-]*[\w/])", EVERYTHING)
    )
    assert {path for path in named if not (CHECKOUT / path).exists()} == set()
    assert "jobs/reconcile.py" in named


def test_queries_that_documents_name_exist() -> None:
    queries = {path.name for folder in ("sql", "k8s", "tests") for path in (CHECKOUT / folder).rglob("*.sql")}
    named = {name.rpartition("/")[2] for name in re.findall(r"[\w/-]+\.sql\b", EVERYTHING)}
    assert named - queries == {"structure.sql"}, "which is Lago's"
    assert len(named) > 20


def test_the_doctors_checks_are_those_of_the_product_in_order() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", DOCS["doctor"], re.MULTILINE)
    assert rows == [(check.id, check.asks) for check in CHECKS]


def test_every_command_has_help() -> None:
    for name, command in commands():
        assert command.get_short_help_str(), name
        assert all(option.help for option in command.params if isinstance(option, click.Option)), name


def recorded(name: str) -> set[str]:
    """Return the names of what a recording of Lago shows."""
    with gzip.open(CHECKOUT / "jobs" / "data" / f"lago-1.51-{name}.json.gz", "rt", encoding="utf-8") as file:
        recording = json.load(file)
    return {shown["name"] for shown in recording["steps" if name == "answers" else "vectors"]}


def test_recorded_evidence_is_in_the_recordings() -> None:
    calls = json.loads((CHECKOUT / "jobs" / "data" / "litellm-1.109.1.json").read_text(encoding="utf-8"))["calls"]
    named = set(re.findall(r"`recorded: ([^`]+)`", FACTS["litellm"])) - {"case"}
    assert named
    assert named <= {call["case"] for call in calls}
    for name, sample in (("answers", "step"), ("billed", "vector"), ("usage", "vector"), ("pricing", "vector")):
        shown = set(re.findall(rf"`{name}: ([^`]+)`", FACTS["lago"])) - {sample}
        assert shown
        assert shown <= recorded(name), name


def test_documents_that_the_code_refers_to_exist() -> None:
    named = {
        (path, name)
        for folder in ("jobs", "sql", "tests", "benchmarks", "k8s", ".ci")
        for path in (CHECKOUT / folder).rglob("*")
        if path.suffix in {".py", ".sql", ".md", ".yaml", ".json", ""} and path.is_file()
        for name in re.findall(
            r"(?:[\w.-]+/)+[\w-]+\.md\b|DESIGN\.md", path.read_text(encoding="utf-8", errors="replace")
        )
    }
    assert len(named) > 10
    absent = {
        (str(path), name) for path, name in named if not ((CHECKOUT / name).exists() or (path.parent / name).exists())
    }
    assert absent == set()


def files_of_a_run() -> set[str]:
    """Return the names of the files that docs/files.md says a run leaves behind."""
    return set(re.findall(r"^\*\*`([a-z-]+\.[a-z]+)`\*\*", section("files", "What a run leaves behind"), re.MULTILINE))


def test_why_lago_does_not_bill_is_the_closed_set() -> None:
    rows = re.findall(
        r"^\| recorded, `([a-z_]+)` \| .+ \| (.+) \|$", section("files", "What a run finds"), re.MULTILINE
    )
    assert dict(rows) == {reason.value: next_step(Kind.RECORDED_UNBILLED, reason) for reason in Unbilled}
