"""The page: what it says, that it is one file, and that it stays the same and small."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import zipfile
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from jobs.core.figures import grouped, share, usd
from jobs.core.money.statement import Money
from jobs.steps.backfill_values import Applied
from jobs.steps.page import applied_backfill
from jobs.steps.plan import PlanSummary
from tests.support.judging import CODE, Event, SpendLog, judged_window, tokens
from tests.support.paging import PLAN, Reader, page_of

_CHECKOUT = Path(__file__).parents[2]
_MINUTE = 60_000

LOGS = [SpendLog(f"request-{n}", (n + 1) * 7 * _MINUTE, tokens=(100 + n, 40)) for n in range(60)]
LOGS += [SpendLog(f"nobody-{n}", (n + 1) * 11 * _MINUTE, end_user=None) for n in range(3)]
EVENTS = [
    Event(f"event-{n}", log.at_ms + 300, properties=tokens("gpt-4o", *log.tokens)) for n, log in enumerate(LOGS[:50])
]
EVENTS[3] = replace(EVENTS[3], properties={"model": "gpt-4o"})
EVENTS[4] = replace(EVENTS[4], subscription="bob")
EVENTS += [replace(EVENTS[9], transaction_id="again", at_ms=EVENTS[9].at_ms + 200)]


@pytest.fixture(scope="module")
def page() -> bytes:
    """A page with something in every section."""
    return page_of(LOGS, EVENTS)


def test_the_page_is_one_file_that_asks_nobody_for_anything(page: bytes) -> None:
    read = Reader(page)
    assert read.names.isdisjoint({"link", "img", "iframe", "object", "embed", "base", "form", "video", "audio"})
    for _, attributes in read.elements:
        assert attributes.keys().isdisjoint({"src", "srcset", "style", "action"})
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = (
        attributes["content"]
        for _, attributes in read.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert b"url(" not in page
    assert b"@import" not in page


def test_every_link_leads_somewhere(page: bytes) -> None:
    elements = Reader(page).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(attributes["href"] or "").removeprefix("#") for name, attributes in elements if name == "a"}
    labels = [
        attributes[name] for _, attributes in elements for name in ("aria-labelledby", "for") if name in attributes
    ]
    assert targets | set(labels) <= set(ids)


def test_the_page_says_what_was_found(page: bytes) -> None:
    text = page.decode()
    for said in (
        "Not certified",
        "2026-11-10 to 2026-11-11 UTC",
        "some missing events",
        "Apply the plan.",
        "a warning",
        "Recorded and agreed",
        "Elsewhere",
        "Events without their tokens",
        "plan.jsonl holds 3 events that may be sent: 420 llm_tokens.",
        "3 events would be sent, more …",
        "litellm-lago backfill --plan plan.jsonl --apply",
        "misattributed (1)",
        "request-4",
        "Correct the sender and settle it by hand",
        "unattributed (3)",
        "again",
    ):
        assert said in text, said
    # 10 have no event, one lacks its tokens; one event is one too many; one is under bob.
    missing = sum(140 + n for n in range(50, 60)) + 143
    figures = re.findall(r'<p class="figure">([\d,]+) ', text)
    # Lago bills all that it has.
    assert figures[2:] == [grouped(missing), grouped(140 + 9), grouped(144), "0"]


def test_an_event_under_another_subscription_is_missing_neither_in_a_code_nor_in_a_time() -> None:
    with judged_window(LOGS[:50], [event for event in EVENTS[:50] if event.transaction_id != "event-3"]) as (found, _):
        (code,) = found.rows("page_codes")
        times = found.rows("page_times", code=CODE, start_us=0, step_us=10**18)
    assert (code["missing_events"], code["elsewhere_events"]) == (1, 1)
    assert [(row["missing_events"], row["missing_quantity"]) for row in times] == [(1, code["missing_quantity"])]


def test_the_same_rows_in_another_order_give_the_same_page(page: bytes) -> None:
    assert page_of(LOGS[::-1], EVENTS[::-1]) == page


def test_a_certified_window_has_a_quiet_page() -> None:
    nothing = PlanSummary("hash", 0, (), Money(), ())
    text = page_of(LOGS[:40], EVENTS[10:40], plan=nothing).decode()
    assert "There is nothing that could be sent." in text
    empty = page_of([], [], plan=nothing).decode()
    assert "There are no expected and no recorded events in this window." in empty
    assert "There is nothing to explain." in empty


def test_the_page_after_an_apply_says_what_became_of_the_plan() -> None:
    applied = Applied(Counter(), unsent=0, verified=2, not_verified=1, not_counted=())
    told = applied_backfill(PLAN, ["3 missing events"], {"sent": 2, "rejected": 1}, applied)
    assert "Before the plan was applied: 3 missing events. Then 1 rejected, 2 sent; 2 events verified in Lago" in (
        told.headline
    )
    assert told.warnings == ["1 not seen in Lago as planned: run it again later"]
    assert told.commands == []


@pytest.mark.parametrize("calls", [10_000, pytest.param(100_000, marks=pytest.mark.deep)])
def test_the_page_stays_small_and_quick_with_many_discrepancies(calls: int) -> None:
    logs = [
        SpendLog(f"request-{n}-{'x' * 60}", n * 800, f"sub-{n % 2000}", f"openai/model-{n % 30}", (n, 7))
        for n in range(calls)
    ]
    events = [
        Event(f"event-{n}", n * 800 + 100, f"sub-{n % 2000}", {"model": f"model-{n % 30}"}) for n in range(calls // 2)
    ]
    began = time.monotonic()
    page = page_of(logs, events)
    assert time.monotonic() - began < 120
    assert len(page) < 3_000_000
    text = page.decode()
    assert f"50 of {calls // 2:,} shown; all are in discrepancies.csv." in text
    assert "25 of 2,000 shown; all are in summary.csv." in text


def test_an_installed_wheel_has_the_templates_and_the_queries(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=_CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {f"jobs/adapters/page/templates/report.{kind}" for kind in ("html", "css", "js")}
    assert templates <= names
    queries = {f"jobs/{path.relative_to(_CHECKOUT)}" for path in (_CHECKOUT / "sql").rglob("*.sql")}
    assert len(queries) > 200
    assert queries <= names


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (1, 3, "33.33 %"),
        (0, 5, "0 %"),
        (5, 5, "100 %"),
        (1, 10**9, "0.01 %"),
        (10**9 - 1, 10**9, "99.99 %"),
        (0, 0, "-"),
        (6, 5, "120 %"),
    ],
)
def test_a_share_is_all_or_nothing_only_where_it_is(part: int, whole: int, shown: str) -> None:
    assert share(part, whole) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0"),
        ("1234.565", "$1,234.56"),
        ("0.000175", "$0.000175"),
        ("0.00000002", "<$0.000001"),
        ("0.05", "$0.05"),
    ],
)
def test_money_shows_what_there_is(amount: str, shown: str) -> None:
    assert usd(Decimal(amount)) == shown
