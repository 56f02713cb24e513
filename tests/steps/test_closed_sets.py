"""A new kind, cause, column or meter fails here until it stands in each place that docs/code.md lists for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from jobs.adapters.workspace import Workspace
from jobs.cli import cli
from jobs.core.kinds import EVENT_KINDS, PAIRED, WITHOUT_EVENT, WITHOUT_SPEND_LOG, Cause, Kind
from jobs.core.laws import check_conservation
from jobs.core.meters import PRESETS, preset
from jobs.core.sorts import next_step
from jobs.core.telling.cause_texts import CAUSE_TEXTS
from jobs.core.telling.reports import DISCREPANCY_COLUMNS, SUMMARY_COLUMNS
from jobs.errors import LawBrokenError, SettingError
from jobs.settings import SETTINGS
from jobs.steps.page.decisions import _DECISION_ORDER
from tests.support.judging import SpendLog, judged, judged_workspace

_CHECKOUT = Path(__file__).parents[2]
_CODE = "".join(
    path.read_text(encoding="utf-8")
    for folder in ("sql/workspace", "jobs/steps")
    for path in sorted((_CHECKOUT / folder).rglob("*"))
    if path.suffix in {".py", ".sql"}
)
_DOCS = {path.stem: path.read_text(encoding="utf-8") for path in (_CHECKOUT / "docs").glob("*.md")}
_OF_SPEND_LOGS, _OF_BILLING = {Kind.UNATTRIBUTED}, {Kind.RECORDED_UNBILLED}


def _columns(kind: Kind) -> set[str]:
    """Return the columns of `summary.csv` that count this kind."""
    sides = [f"{kind}_expected", f"{kind}_recorded"] if kind in PAIRED else [kind.value]
    return {f"{side}_{measure}" for side in sides for measure in ("events", "quantity")}


def test_the_summary_counts_every_kind_of_events() -> None:
    assert set(EVENT_KINDS) | _OF_SPEND_LOGS | _OF_BILLING == set(Kind), "jobs/core/kinds.py says what each kind is of"
    whole = {"subscription", "model", "code"}
    whole |= {f"{side}_{measure}" for side in ("expected", "recorded") for measure in ("events", "quantity")}
    whole |= {f"matched_{side}_{measure}" for side in ("expected", "recorded") for measure in ("events", "quantity")}
    counted = set().union(*map(_columns, EVENT_KINDS))
    counted |= {f"{side}_{measure}" for side in ("billed", "unbilled") for measure in ("events", "quantity")}
    counted |= {"currency", "missing_amount", "surplus_amount", "unpriced"}
    assert set(SUMMARY_COLUMNS.names) == whole | counted, "jobs/core/telling/reports.py"
    (row,) = judged([SpendLog("one", 0)], []).summary
    assert set(row) == whole | counted, "sql/workspace/5_judge/summarise.sql"


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_conservation_counts_every_kind(kind: Kind) -> None:
    row = dict.fromkeys(SUMMARY_COLUMNS.names, "0")
    check_conservation([row])
    for column in _columns(kind):
        with pytest.raises(LawBrokenError):
            check_conservation([row | {column: "1"}])


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_its_places(kind: Kind) -> None:
    assert f"'{kind}'" in _CODE, "the query that gives it"
    assert next_step(kind), "jobs/core/sorts.py"
    assert kind in _DECISION_ORDER or kind is Kind.MISSING, "jobs/steps/page/decisions.py"
    assert f"\n| `{kind}` |" in _DOCS["files"], "docs/files.md"


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_places(cause: Cause) -> None:
    assert f"'{cause}'" in _CODE or f"Cause.{cause.name}" in _CODE, "the query in sql/workspace/6_cause that finds it"
    assert cause in CAUSE_TEXTS, "jobs/core/telling/cause_texts.py"
    assert f"\n| `{cause}` | {CAUSE_TEXTS[cause].title} |" in _DOCS["files"], "docs/files.md"


def test_every_column_of_the_discrepancies_is_made() -> None:
    (row,) = judged([SpendLog("one", 0)], []).discrepancies
    assert set(row) >= set(DISCREPANCY_COLUMNS.names), "sql/workspace/8_report/discrepancies.sql"


@pytest.fixture(scope="module")
def nothing_found() -> Iterator[Workspace]:
    """Give a judged window without a discrepancy."""
    with judged_workspace([], []) as workspace:
        yield workspace


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_every_kind_is_missing_or_too_much_or_elsewhere(kind: Kind, nothing_found: Workspace) -> None:
    expected, recorded = (7, 5) if kind in PAIRED else (None, 5) if kind in WITHOUT_SPEND_LOG else (7, None)
    database = nothing_found._database
    database.execute("DELETE FROM discrepancy")
    database.execute(
        "INSERT INTO discrepancy BY NAME SELECT 1 AS id, ? AS kind, ? AS expected_quantity, ? AS recorded_quantity",
        [kind.value, expected, recorded],
    )
    flags = database.execute("SELECT is_missing, is_surplus, is_elsewhere FROM finding").fetchall()
    assert flags == [
        (kind in WITHOUT_EVENT or kind is Kind.MISMATCHED, kind in WITHOUT_SPEND_LOG, kind is Kind.MISATTRIBUTED)
    ]


def test_every_meter_preset_has_its_places() -> None:
    with pytest.raises(SettingError) as raised:
        preset("none", "")
    assert ", ".join(PRESETS) in str(raised.value)
    (setting,) = (setting for setting in SETTINGS if setting.name == "meter")
    (option,) = (item for item in cli.commands["reconcile"].params if item.name == "meter")
    assert isinstance(option, click.Option)
    for name in PRESETS:
        assert preset(name, "code"), "jobs/core/meters.py"
        assert name in setting.help, "jobs/settings"
        assert name in str(option.help), "jobs/cli/options.py"
        assert f"\n| `{name}` |" in _DOCS["matching"], "docs/matching.md"
