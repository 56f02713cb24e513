"""The page in a real browser: at two widths, light and dark, by keyboard, without script, and on paper."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from jobs.adapters.page.usage import render_usage
from jobs.core.certification import Reason
from jobs.core.money.revenue import Revenue, RevenueSum
from jobs.core.money.worth import Unpriced
from jobs.core.periods import DaySpan
from jobs.core.telling.usage_values import COMPARED, Change, UsageSum
from tests.steps.test_report_page import EVENTS, LOGS
from tests.support.browser_choice import UnavailableBrowserError, choose_browser
from tests.support.hostile import PAYLOADS
from tests.support.judging import SpendLog
from tests.support.paging import page_of
from tests.support.scenario import SCENARIOS

_PICTURE = Path(__file__).parents[2] / "docs" / "report.png"
_FLAGS = """
    --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
"""
_DESKTOP, _PHONE = (1280, 900), (390, 844)

# The least contrast of any text that is seen against the background behind it, by WCAG's formula.
_LEAST_CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((value) => value / 255)
    .map((value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [21, ""];
  for (const element of document.querySelectorAll("body *:not(script)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.closest("svg")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < worst[0]) worst = [contrast, element.outerHTML.slice(0, 80)];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def browser(browser_path: str) -> Iterator[Browser]:
    """A headless browser with a fresh profile."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser_path, args=_FLAGS.split())
        yield running
        running.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with something in every section, and with hostile texts."""
    hostile = [SpendLog(f"hostile-{n}-{text}", 60_000 * n, text, text, (900 + n, 1)) for n, text in enumerate(PAYLOADS)]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(page_of([*LOGS, *hostile], EVENTS))
    return path


@pytest.fixture(scope="module")
def usage_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a usage report with hostile texts, something that is not complete, and a comparison."""
    sums = tuple(UsageSum(text, 1 + n, 900, 3, 40, None, 940, Decimal("0.5")) for n, text in enumerate(PAYLOADS))
    whole = UsageSum("", 10, 9000, 30, 400, None, 9400, Decimal(5))
    days = DaySpan(date(2026, 11, 1), date(2026, 12, 1), ZoneInfo("Asia/Seoul"))
    reason = Reason("retention", "the oldest spend log starts after the window does", "Run sooner.")
    disposition = {"disposition": "attributed", "reason": None, "spend_logs": 10, "total_tokens": "9400", "spend": "5"}
    told = SimpleNamespace(
        total=whole,
        sums={"period": (whole,), "subscription": sums, "model": sums},
        complete=False,
        reasons=(reason,),
        dispositions=(disposition,),
        changes={name: Change(Decimal(1), Decimal(10)) for name in COMPARED},
        revenue=Revenue(
            {("total", ""): RevenueSum({"USD": 123_456, "EUR": 1}, Decimal(-3))}, {}, {Unpriced.NO_CHARGE: 2}
        ),
    )
    path = tmp_path_factory.mktemp("usage") / "usage.html"
    path.write_bytes(
        render_usage(
            told=told, days=days, last=date(2026, 11, 30), by="day", compared=days.previous(), most=100, unattributed=1
        )
    )
    return path


class Opened:
    """A page in the browser, and everything that it said or asked for."""

    def __init__(self, browser: Browser, path: Path, size: tuple[int, int] = _DESKTOP, **context: Any) -> None:
        """Open the file."""
        width, height = size
        self._context = browser.new_context(viewport={"width": width, "height": height}, **context)
        self.page: Page = self._context.new_page()
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: self.trouble.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def _on_console(self, message: ConsoleMessage) -> None:
        self.trouble.append(message.text)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *error: object) -> None:
        self._context.close()


# Each size and each colour scheme once in every run; the other two of the four are deep.
_LOOKS = pytest.mark.parametrize(
    ("scheme", "size"),
    [
        pytest.param("light", _DESKTOP, id="light-desktop"),
        pytest.param("dark", _PHONE, id="dark-phone"),
        pytest.param("dark", _DESKTOP, id="dark-desktop", marks=pytest.mark.deep),
        pytest.param("light", _PHONE, id="light-phone", marks=pytest.mark.deep),
    ],
)


@_LOOKS
def test_the_page_is_whole_and_quiet(
    browser: Browser, page_file: Path, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    with Opened(browser, page_file, size, color_scheme=scheme, is_mobile=size == _PHONE) as opened:
        picture = opened.page.screenshot(path=tmp_path / "page.png", full_page=True)
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 50_000, "there is something on it"
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it never scrolls sideways"
        contrast, where = opened.page.evaluate(_LEAST_CONTRAST)
        assert contrast >= 4.5, where
        background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(18, 22, 29)") is (scheme == "dark")
    assert opened.trouble == []
    assert opened.requests == [page_file.as_uri()]


@_LOOKS
def test_the_page_of_usage_is_whole_and_quiet_too(
    browser: Browser, usage_file: Path, size: tuple[int, int], scheme: str
) -> None:
    with Opened(browser, usage_file, size, color_scheme=scheme, is_mobile=size == _PHONE) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it never scrolls sideways"
        contrast, where = opened.page.evaluate(_LEAST_CONTRAST)
        assert contrast >= 4.5, where
        background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(18, 22, 29)") is (scheme == "dark"), "it has the style of the report"
        assert opened.page.get_by_role("heading", level=1).count() == 1
        assert opened.page.get_by_role("table").count() == 4
    assert opened.trouble == []
    assert opened.requests == [usage_file.as_uri()]


def test_a_table_is_sorted_by_keyboard_and_says_so(browser: Browser, page_file: Path) -> None:
    with Opened(browser, page_file) as opened:
        table = opened.page.locator("#models")
        table.locator("input").focus()
        for _ in range(4):  # the table's own scroll area, then its headings
            opened.page.keyboard.press("Tab")
        assert opened.page.evaluate("document.activeElement.textContent") == "expected"
        heading = table.locator("th", has_text="expected").first

        def column() -> list[int]:
            return [int(text.replace(",", "")) for text in table.locator("tbody td:nth-child(3)").all_inner_texts()]

        opened.page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == "descending"
        assert column() == sorted(column(), reverse=True)
        assert table.get_by_role("status").inner_text() == "Sorted by expected, descending."
        opened.page.keyboard.press("Space")
        assert heading.get_attribute("aria-sort") == "ascending"
        assert column() == sorted(column())
        assert table.locator("th[aria-sort=none]").count() == table.locator("th").count() - 1


def test_a_table_is_filtered_by_keyboard_and_says_so(browser: Browser, page_file: Path) -> None:
    with Opened(browser, page_file) as opened:
        table = opened.page.locator("#models")
        rows = table.locator("tbody tr")
        everything = rows.count()
        opened.page.get_by_label("Filter").and_(table.locator("input")).focus()
        opened.page.keyboard.type("ALICE gpt-4o")
        assert table.locator("tbody tr:visible").count() == 1
        assert table.get_by_role("status").inner_text() == f"1 of {everything} rows."
        opened.page.keyboard.press("Control+a")
        opened.page.keyboard.press("Delete")
        assert table.locator("tbody tr:visible").count() == everything


def test_everything_can_be_named_and_reached(browser: Browser, page_file: Path) -> None:
    with Opened(browser, page_file) as opened:
        page = opened.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.get_by_role("heading", level=1).count() == 1
        for selector in ("table", "[role=region]", "input", "svg[role=img]"):
            for element in page.locator(selector).all():
                name = element.evaluate(
                    "e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent"
                    " || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent"
                )
                assert name, element.evaluate("e => e.outerHTML.slice(0, 200)")


def test_without_script_the_tables_are_just_tables(browser: Browser, page_file: Path) -> None:
    with Opened(browser, page_file, java_script_enabled=False) as opened:
        assert opened.page.locator("tbody tr").count() > 20
        assert opened.page.locator(".tools:visible").count() == 0


@pytest.mark.deep
def test_paper_has_no_controls_and_every_row(browser: Browser, page_file: Path) -> None:
    with Opened(browser, page_file) as opened:
        opened.page.emulate_media(media="print")
        assert opened.page.locator(".tools:visible, nav:visible").count() == 0
        cut = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollHeight > box.clientHeight + 1).length"
        assert opened.page.evaluate(cut) == 0
        assert opened.page.pdf().startswith(b"%PDF")


def test_the_readme_shows_this_page(browser: Browser) -> None:
    """Looked at by a person; `UPDATE_GOLDENS=1` takes it anew from the recorded hour's page."""
    golden = SCENARIOS / "recorded-proxy" / "expected" / "report.html"
    with Opened(browser, golden, (1200, 1010)) as opened:
        if os.environ.get("UPDATE_GOLDENS") == "1":
            opened.page.screenshot(path=_PICTURE)
        assert opened.page.get_by_text("Not certified", exact=True).is_visible()
    assert opened.trouble == []
    assert 20_000 < _PICTURE.stat().st_size < 400_000
    assert "docs/report.png" in (_PICTURE.parent.parent / "README.md").read_text(encoding="utf-8")


def test_a_browser_is_chosen_and_never_replaced() -> None:
    here = {"chromium": "/usr/bin/chromium", "/opt/mine": "/opt/mine"}.get
    assert choose_browser("", here).path == "/usr/bin/chromium"
    assert choose_browser("/opt/mine", here).path == "/opt/mine"
    assert choose_browser("none", here).path is None
    nothing = choose_browser("", lambda _: None)
    assert nothing.path is None
    assert "skipped" in nothing.header
    with pytest.raises(UnavailableBrowserError, match="/opt/other"):
        choose_browser("/opt/other", here)
