"""Strangers' texts through every output: a real run, applied, and everything that it prints and leaves."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.adapters.ledger import Ledger
from jobs.adapters.page import render
from jobs.core.kinds import Kind
from jobs.core.telling.metrics import GAUGES
from jobs.core.telling.page import ReasonLine
from jobs.core.text import visible
from jobs.core.window import Window
from jobs.explain import explain
from jobs.playground.simulated_gateway import load_spend_logs
from jobs.playground.simulation import SPEND_LOG_COLUMNS
from jobs.steps.backfill_values import Backfill
from jobs.steps.plan_files import describe_plan
from jobs.telling import console, plans
from jobs.telling.progress import console_progress
from tests.support.backfilling import NOW, START, Call, Notes, new_organization, run_one, settings_for
from tests.support.command_runner import run_command
from tests.support.hostile import CONTROL, MARKUP, PAYLOADS
from tests.support.paging import Reader

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

_DAY = Window(START - timedelta(hours=12), START + timedelta(hours=12))
_OUR_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_BEGINS_A_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")  # noqa: RUF001
_ELEMENTS = set(
    """
    html head meta title style body a header p h1 h2 h3 nav main section span div label input table thead tr th tbody td
    svg rect g path text details summary ol ul li strong pre code article footer script
    """.split()
)


@dataclass(frozen=True)
class Hostile:
    """A run over hostile texts, and where it put everything."""

    result: Backfill
    ledger_url: str
    lost: tuple[Call, ...]
    """Calls whose events were missing."""
    story: tuple[str, ...]
    """What `explain` says of one of them."""

    def file(self, name: str) -> bytes:
        """Return one of the run's files."""
        return (self.result.run.folder / name).read_bytes()


def _calls(minute: int, *, lost: bool) -> tuple[Call, ...]:
    return tuple(
        Call(
            request_id=f"{text}#{minute}-{number}",
            subscription=text,
            at=START + timedelta(minutes=minute, seconds=7 * number),
            tokens=(1000 * minute + number, 40),
            lost=lost,
            model=text,
        )
        for number, text in enumerate(PAYLOADS)
    )


@pytest.fixture(scope="module")
def hostile(
    litellm_database_for_module: str, standin: LagoStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Hostile:
    """Missing, mismatched, orphaned, unattributed and daily figures of every payload, with the missing ones applied."""
    lost, bare, nobodys = _calls(1, lost=True), _calls(15, lost=True), _calls(30, lost=True)
    database, folder = litellm_database_for_module, tmp_path_factory.mktemp("runs")
    with psycopg.connect(database, autocommit=True) as connection:
        load_spend_logs(connection, (_row(call, call.subscription) for call in (*lost, *bare)))
        load_spend_logs(connection, (_row(call, "") for call in nobodys))
        for number, text in enumerate(PAYLOADS):
            connection.execute(
                'INSERT INTO "LiteLLM_DailyEndUserSpend"'
                " (id, end_user_id, date, api_key, model, prompt_tokens, completion_tokens, api_requests, updated_at)"
                " VALUES (%s, %s, %s, %s, %s, 5, 5, 3, now())",
                [f"daily-{number}", text, f"{START:%Y-%m-%d}", text, text],
            )
    organization = new_organization(standin, [replace(call, lost=True) for call in (*lost, *bare)])
    organization.insert_events(
        {**call.original(), "properties": {"model": call.model}, "transaction_id": f"{call.model} bare"}
        for call in bare
    )
    organization.insert_events(
        {
            **call.original(),
            "transaction_id": f"{call.model} orphan",
            "timestamp": call.at + timedelta(hours=3),
        }
        for call in nobodys
    )
    settings = settings_for(database, organization, folder, window=_DAY)
    result = run_one(settings, "hostile")
    with Ledger.open(settings.ledger_url, now=lambda: NOW) as ledger:
        story = explain(settings.reconcile, ledger, Notes(), request_id=lost[3].request_id, now=NOW).lines
    return Hostile(result, settings.ledger_url, lost, tuple(story))


def _row(call: Call, end_user: str) -> tuple[Any, ...]:
    values = dict(zip(SPEND_LOG_COLUMNS, call.row(), strict=True))
    return tuple({**values, "end_user": end_user, "call_type": call.model, "api_key": call.model}.values())


def _unsafe(text: str) -> list[str]:
    """Return the characters that could steer a terminal or hide what a text says."""
    return [character for character in text if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


def test_the_run_saw_them_all(hostile: Hostile) -> None:
    kinds, applied = hostile.result.run.kinds, hostile.result.applied
    assert {kind for kind, count in kinds.items() if count} >= {Kind.MISSING, Kind.MISMATCHED, Kind.ORPHANED}
    assert kinds[Kind.MISSING] + kinds[Kind.HELD] + kinds[Kind.AMBIGUOUS] >= len(PAYLOADS)
    assert kinds[Kind.UNATTRIBUTED] == len(PAYLOADS)
    assert applied is not None
    assert applied.verified > len(PAYLOADS) // 2


def _rows(content: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter, strict=delimiter == ","))


@pytest.mark.parametrize("name", ["discrepancies", "summary", "usage", "daily", "outcomes"])
def test_no_csv_holds_a_formula(hostile: Hostile, name: str) -> None:
    content = hostile.file(f"{name}.csv")
    header, *rows = _rows(content)
    assert len(rows) >= len(PAYLOADS)
    assert {len(row) for row in rows} == {len(header)}
    sheet = openpyxl.Workbook().active
    for row in rows:
        sheet.append(row)
    for opened in sheet.iter_rows():
        for cell in opened:
            assert cell.data_type != "f", cell.value
    for row in rows:
        for cell in row:
            assert _unsafe(cell) == [], cell
            assert _NUMBER.fullmatch(cell) or not _BEGINS_A_FORMULA.match(cell), cell
    # A spreadsheet of another locale splits at semicolons, whatever the quotes are for.
    for delimiter in ";\t|":
        for row in _rows(content, delimiter):
            for cell in row[1:]:
                assert not _BEGINS_A_FORMULA.match(cell.strip('"')), cell


def test_no_text_becomes_markup(hostile: Hostile) -> None:
    page = hostile.file("report.html")
    read = Reader(page)
    assert read.names <= _ELEMENTS
    assert sum(name == "script" for name, _ in read.elements) == 1
    for _, attributes in read.elements:
        assert not any(name.startswith("on") or name in {"src", "action", "style"} for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert [character for character in _unsafe(page.decode()) if character != "\n"] == []
    shown = "\n".join(read.cells)
    for text in MARKUP + CONTROL:
        assert visible(f"{text}#") in shown, text


def test_a_lone_surrogate_is_shown_as_an_escape(hostile: Hostile) -> None:
    page = replace(hostile.result.run.page, reasons=[ReasonLine("\ud800", "\udfff")])
    assert b"\\ud800" in b"".join(render(page))


def test_json_gives_back_what_came_and_nothing_else(hostile: Hostile) -> None:
    header, *events = (json.loads(line) for line in hostile.file("plan.jsonl").splitlines())
    assert header["events"] == len(events)
    planned = {event["request_id"]: event["payload"]["external_subscription_id"] for event in events}
    texts = {call.request_id: call.subscription for call in hostile.lost}
    assert planned.items() <= texts.items()
    assert json.loads(hostile.file("run.json"))["causes"]
    for name in ("plan.jsonl", "run.json"):
        assert not re.search(rb"[\x00-\x09\x0b-\x1f]", hostile.file(name))


def test_metrics_stay_the_lines_that_they_are(hostile: Hostile) -> None:
    text = hostile.file("metrics.txt").decode()
    assert [character for character in _unsafe(text) if character != "\n"] == []
    families = list(text_string_to_metric_families(text))
    assert all(family.name.removeprefix("litellm_lago_") in GAUGES for family in families)
    (expected,) = (family for family in families if family.name == "litellm_lago_expected_quantity")
    named = {sample.labels["subscription"] for sample in expected.samples}
    assert len(named) == 21
    texts = {visible(call.subscription)[:200] for call in hostile.lost}
    assert len(named & texts) > 10, "as they came, but for what is not seen"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _printed(hostile: Hostile, stream: io.StringIO) -> str:
    console.show_backfill(hostile.result, stream)
    plans.show_plan(describe_plan(hostile.result.run.folder / "plan.jsonl"), stream)
    with Ledger.open(hostile.ledger_url, now=lambda: NOW) as ledger:
        detail = ledger.run("hostile")
        assert detail is not None
        console.show_runs(ledger.runs(5), stream)
        console.show_run_detail(detail, ledger.run_events("hostile"), stream)
    for line in hostile.story:
        stream.write(visible(line) + "\n")
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, _Terminal], ids=["a file", "a terminal"])
def test_nothing_steers_the_terminal(hostile: Hostile, stream: type[io.StringIO]) -> None:
    printed = _OUR_COLOURS.sub("", _printed(hostile, stream()))
    assert [character for character in _unsafe(printed) if character != "\n"] == []
    assert "[bold red]not markup" in printed


def _logged(texts: tuple[str, ...]) -> Iterator[str]:
    stream = io.StringIO()
    with console_progress(stream) as progress:
        for text in texts:
            progress.step("a step")
            progress.note(text)
    yield from stream.getvalue().splitlines()


def test_a_log_line_stays_one_line() -> None:
    lines = list(_logged(PAYLOADS))
    assert len(lines) == 2 * len(PAYLOADS)
    assert [_unsafe(line) for line in lines] == [[]] * len(lines)
    assert all(line.startswith("timestamp=") for line in lines)


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\r\nerror: forged", "\u202egpj"], ids=["colour", "line", "bidi"])
def test_an_error_stays_one_line(text: str, tmp_path: Path) -> None:
    environment = {"RECONCILE_OUTPUT": str(tmp_path)}
    ended = run_command(environment, ("runs", "show", text), tmp_path)
    assert ended.code == 2
    assert ended.output == ""
    assert ended.errors.startswith("error: ")
    assert ended.errors.count("\n") == 1
    assert _unsafe(ended.errors.rstrip("\n")) == []
