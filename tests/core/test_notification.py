"""What a chat is told through a webhook, by the command line and a real web server on loopback."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from jobs.adapters.webhook import post
from jobs.core.kinds import Kind
from jobs.core.telling.notification import Notice, NotifyOn, escaped, is_wanted, message
from jobs.core.window import Window
from jobs.errors import NotAnnouncedError, SettingError
from jobs.settings import load_settings
from tests.commands.cli.helpers import _NOWHERE, _SECRET, _WINDOW, run
from tests.support.scenario import SCENARIOS, Scenario
from tests.support.scripted_server import Received, Scripted, scripted_server

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

_PATH = "/services/T0/B0/path-that-is-secret"
_WINDOW_OF_A_DAY = Window(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC))
_HOSTILE = "<!channel> & <https://evil.example|click> *bold* \x1b[31m\n" + "&" * 3000


@dataclass
class Chat:
    """A webhook that keeps what it is told."""

    url: str = ""
    """Where to post."""
    statuses: list[int] = field(default_factory=list)
    """What to answer, one after another, then 200."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of each answer."""
    received: list[Received] = field(default_factory=list)
    """What was posted."""

    def answer(self, path: str, query: Mapping[str, str]) -> Scripted:
        """Answer one post."""
        assert path == _PATH
        return Scripted(b"ok", self.statuses.pop(0) if self.statuses else 200, self.headers)

    @property
    def told(self) -> list[dict[str, Any]]:
        """Return the documents that were posted."""
        return [json.loads(request.body) for request in self.received]


@pytest.fixture
def chat() -> Iterator[Chat]:
    """A chat that listens."""
    served = Chat()
    with scripted_server(served.answer, served.received) as base:
        served.url = base + _PATH
        yield served


@pytest.fixture
def environment(litellm_database: str, standin: LagoStandIn, chat: Chat, tmp_path: Path) -> dict[str, str]:
    """One of three events is missing, and a chat is told."""
    scenario = Scenario(SCENARIOS / "class-d-lago-refused")
    organization = scenario.make_organization(standin)
    scenario.send(organization)
    with psycopg.connect(litellm_database, autocommit=True) as connection:
        scenario.fill_litellm(connection)
    parts = urlsplit(litellm_database)
    return {
        "DATABASE_HOST": f"{parts.hostname}:{parts.port or 5432}",
        "DATABASE_NAME": parts.path.removeprefix("/"),
        "DATABASE_USERNAME": unquote(parts.username or ""),
        "DATABASE_PASSWORD": unquote(parts.password or ""),
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
        "LAGO_API_EVENT_CODE": "llm_tokens",
        "RECONCILE_OUTPUT": str(tmp_path / "runs"),
        "RECONCILE_WEBHOOK_URL": chat.url,
    }


def texts(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text that a chat would show."""
    yield document["text"]
    for block in document["blocks"]:
        for shown in [block["text"]] if "text" in block else block["fields"]:
            assert (shown["type"], shown["emoji"]) == ("plain_text", False)
            yield shown["text"]


def test_discrepancies_are_told_then_their_repair(environment: dict[str, str], chat: Chat, tmp_path: Path) -> None:
    assert run(environment, "reconcile", *_WINDOW)[0] == 3
    (document,) = chat.told
    (folder,) = (tmp_path / "runs").iterdir()
    assert document["text"].splitlines() == [
        "litellm-lago reconcile (manual): not certified",
        "Exit code: 3",
        "Window: 2026-11-10 12:00 to 2026-11-10 13:00 UTC",
        "Discrepancies: 1 missing",
        "Plan: 1 event could be sent",
        f"Report: {folder}",
    ]
    assert "alice" not in json.dumps(document).replace(str(tmp_path), ""), "no customer's text"
    assert environment["LAGO_API_KEY"] not in json.dumps(document)
    assert _PATH not in (folder / "run.json").read_text() + json.dumps(document)

    repair = ("reconcile", *_WINDOW, "--apply")
    assert run(environment | {"RECONCILE_WEBHOOK_ON": "always"}, *repair)[0] == 0
    assert "reconcile --apply (manual): repaired" in chat.told[1]["text"]
    assert "Plan: 1 event, 1 sent and verified" in chat.told[1]["text"]


@pytest.mark.deep
def test_only_failures_are_told_if_so_set(environment: dict[str, str], chat: Chat) -> None:
    environment["RECONCILE_WEBHOOK_ON"] = "failure"
    assert run(environment, "reconcile", *_WINDOW)[0] == 3
    assert chat.told == []
    environment |= {"DATABASE_HOST": "127.0.0.1:1", "DATABASE_PASSWORD": _SECRET}
    code, output, errors = run(environment, "reconcile", *_WINDOW)
    assert code == 1
    (document,) = chat.told
    assert document["text"].startswith("litellm-lago reconcile (manual): failed\nExit code: 1\n")
    assert "127.0.0.1:1" in document["blocks"][-1]["text"]["text"], "the error's line"
    assert _SECRET not in json.dumps(document)
    assert _PATH not in output + errors


def test_a_strangers_text_is_no_markup(chat: Chat) -> None:
    environment = _NOWHERE | {"RECONCILE_WEBHOOK_URL": chat.url}
    assert run(environment, "backfill", "--from", _HOSTILE, "--to", "2026-11-02")[0] == 2
    (document,) = chat.told
    assert document["mrkdwn"] is False
    for text in texts(document):
        assert not set(text) & set("<>\x1b")
        assert text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0
        assert len(text) < 3000
    assert "&lt;!channel&gt; &amp; " in document["blocks"][-1]["text"]["text"]


@pytest.mark.deep
def test_a_chat_that_takes_nothing_is_a_note_with_its_host_and_no_more(chat: Chat) -> None:
    chat.statuses = [503] * 9
    code, output, errors = run(_NOWHERE | {"LAGO_API_KEY": "", "RECONCILE_WEBHOOK_URL": chat.url}, "reconcile")
    assert code == 2, "as without a chat"
    assert "LAGO_API_KEY is not set" in errors
    assert "the webhook at 127.0.0.1 was not told how this ended: HTTP 503 (last of 4 attempts)" in errors
    assert _PATH not in output + errors
    assert len(chat.received) == 4


def test_a_chat_that_refuses_is_not_asked_again(chat: Chat) -> None:
    chat.statuses = [404]
    with pytest.raises(NotAnnouncedError, match="HTTP 404"):
        post(chat.url, {})
    assert len(chat.received) == 1


def test_nobody_at_the_address_is_a_note_too() -> None:
    began = time.monotonic()
    with pytest.raises(NotAnnouncedError, match=r"^the webhook at 127\.0\.0\.1 was not told") as raised:
        post(f"http://127.0.0.1:1{_PATH}", {}, sleep=lambda seconds: None)
    assert _PATH not in str(raised.value)
    assert raised.value.__cause__ is None
    assert time.monotonic() - began < 10


def test_a_chat_that_is_busy_is_told_when_it_says_so(chat: Chat) -> None:
    chat.statuses, chat.headers = [429, 500], {"Retry-After": "3"}
    waited: list[float] = []
    post(chat.url, {"text": "x"}, sleep=waited.append)
    assert waited == [3.0, 3.0]
    assert chat.told == [{"text": "x"}] * 3


@pytest.mark.parametrize(
    "url", ["lost.example/T0", "ftp://lost.example", "https:///T0", "https://lost example", "http://lost:T0"]
)
def test_an_address_that_cannot_be_used_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingError) as raised:
        load_settings({"RECONCILE_WEBHOOK_URL": url})
    assert "RECONCILE_WEBHOOK_URL" in str(raised.value)
    assert not {"lost", "T0"} & set(re.findall(r"\w+", str(raised.value)))


def notice(exit_code: int, *, certified: bool = True, window: Window | None = _WINDOW_OF_A_DAY) -> Notice:
    """Return how a reading run ended."""
    return Notice("reconcile", exit_code, window, certified, False, {Kind.MISSING: 1200}, None, 1200, None, None, None)


@pytest.mark.parametrize(
    ("ended", "verdict", "told_on"),
    [
        (notice(0), "certified", {NotifyOn.ALWAYS}),
        (notice(0, window=None), "done", {NotifyOn.ALWAYS}),
        (notice(0, certified=False), "not certified", {NotifyOn.ALWAYS, NotifyOn.DISCREPANCIES}),
        (notice(3, certified=False), "not certified", {NotifyOn.ALWAYS, NotifyOn.DISCREPANCIES}),
        (notice(1, window=None), "failed", set(NotifyOn)),
        (notice(2, window=None), "failed", set(NotifyOn)),
        (notice(4, window=None), "refused", set(NotifyOn)),
    ],
)
def test_what_is_told_when(ended: Notice, verdict: str, told_on: set[NotifyOn]) -> None:
    assert ended.verdict == verdict
    assert {on for on in NotifyOn if is_wanted(ended, on)} == told_on
    assert all(list(texts(message(ended))))


def test_a_plan_is_told_in_events_and_after_an_apply_in_what_was_verified() -> None:
    def told(planned: int, verified: int | None) -> list[str]:
        return [
            text for text in texts(message(replace(notice(3), planned=planned, verified=verified))) if "event" in text
        ]

    assert any("1,200 events could be sent" in text for text in told(1200, None))
    assert any("1 event could be sent" in text for text in told(1, None))
    assert any("1,200 events, 1,199 sent and verified" in text for text in told(1200, 1199))


def test_the_whole_document_is_plain_text() -> None:
    kinds = {Kind.MISSING: 1200, Kind.HELD: 2, Kind.ORPHANED: 0}
    told = replace(notice(1), kinds=kinds, planned=1, folder=Path("/runs/a\nb"), error="<!here> it\nfailed")
    window = "2026-11-01 00:00 to 2026-11-02 00:00 UTC"
    facts = [("Exit code", "1"), ("Window", window), ("Discrepancies", "1,200 missing, 2 held")]
    facts += [("Plan", "1 event could be sent"), ("Report", "/runs/a\\nb")]
    title = "litellm-lago reconcile: failed"
    error = "&lt;!here&gt; it\\nfailed"

    def plain(text: str) -> dict[str, Any]:
        return {"type": "plain_text", "text": text, "emoji": False}

    assert message(told) == {
        "text": "\n".join([title, *(f"{name}: {text}" for name, text in facts), error]),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [
            {"type": "header", "text": plain(title)},
            {"type": "section", "fields": [plain(f"{name}\n{text}") for name, text in facts]},
            {"type": "section", "text": plain(error)},
        ],
    }
    assert "\nDiscrepancies: none\n" in message(replace(notice(0), kinds={}))["text"]
    assert "Report" not in message(notice(0))["text"]


def test_each_text_is_short_enough_for_slack() -> None:
    blocks = message(replace(notice(1), command="x" * 200, folder=Path("x" * 2500), error="x" * 4000))["blocks"]
    sizes = [len(blocks[0]["text"]["text"]), len(blocks[1]["fields"][-1]["text"]), len(blocks[2]["text"]["text"])]
    assert sizes == [150, 1900, 2900]


def test_a_text_is_cut_between_characters_and_never_within_an_escape() -> None:
    assert escaped("a<b", 6) == "a&lt;b"
    assert escaped("a<b", 5) == "a…"
    assert escaped("abcd", 3) == "ab…"
    assert escaped("<" * 1000, 2900) == "&lt;" * 724 + "…"
