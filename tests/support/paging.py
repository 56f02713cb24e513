"""Pages made from spend logs and events given as plain values, and read back as a browser's parser reads them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

from jobs.adapters.page import render
from jobs.core.caps import PlanTotal
from jobs.core.certification import Reason
from jobs.core.money.statement import Money
from jobs.core.money.worth import Unpriced
from jobs.steps.causes import find_causes
from jobs.steps.page import Findings, make_page
from jobs.steps.plan import PlanSummary
from tests.support.judging import CODE, RULES, WINDOW, Event, SpendLog, judged_window

PLAN = PlanSummary(
    "hash",
    3,
    (PlanTotal("alice", CODE, 3, Decimal(420), 100, Decimal(14_000)),),
    Money({"EUR": 420}),
    ("3 events would be sent, more …",),
)

MONEY = Money({"EUR": 123456}, {"EUR": 5678}, {Unpriced.PRORATED: 3})


def page_of(logs: Iterable[SpendLog], events: Iterable[Event], *, plan: PlanSummary = PLAN, **changes: Any) -> bytes:
    """Return the page of this window, its plan and reasons made up."""
    with judged_window(logs, events, **changes) as (workspace, window_facts):
        causes = find_causes(workspace, changes.get("rules", RULES), WINDOW, window_facts)
        found = Findings(
            window=WINDOW,
            reasons=(
                Reason("missing", "some missing events", "Apply the plan."),
                Reason("retention", "old", "Run sooner."),
            ),
            warnings=("a warning",),
            spend_logs=tuple(workspace.rows("count_spend_logs")),
            causes=causes,
            plan=plan,
            money=MONEY,
        )
        return b"".join(render(make_page(workspace, found)))


class Reader(HTMLParser):
    """Collects a page's elements, and the text of its table cells."""

    def __init__(self, page: bytes) -> None:
        """Read the page."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._in_cell = False
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        self.elements.append((tag, dict(attrs)))
        if tag == "td":
            self.cells.append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        """Take note of a cell's end."""
        self._in_cell = self._in_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        """Take note of a cell's text."""
        if self._in_cell:
            self.cells[-1] += data

    @property
    def names(self) -> set[str]:
        """Return the names of all elements."""
        return {name for name, _ in self.elements}
