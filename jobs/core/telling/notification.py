"""What a chat is told of how a command ended: one small JSON document that Slack and its kin take.

Nothing in it comes from a stranger but the line of an error, and that stays plain text: no mention, no link, no markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from jobs.core.kinds import Kind
from jobs.core.text import visible
from jobs.core.window import Window

# Slack refuses a section's text of more than 3,000 characters and a header of more than 150, counted as they are sent.
_LONGEST_TEXT = 2900
_LONGEST_FIELD = 1900
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class NotifyOn(StrEnum):
    """Which ends of a command are told."""

    DISCREPANCIES = "discrepancies"
    """A failure, and what a person has to look at."""
    FAILURE = "failure"
    """A failure: the run could not do its work, or was refused."""
    ALWAYS = "always"
    """Every end."""


@dataclass(frozen=True, slots=True)
class Notice:
    """How a command ended, as far as a chat is told."""

    command: str
    """Its name, as `reconcile --apply`."""
    exit_code: int
    """What the process ended with."""
    window: Window | None
    """What was judged; None where that did not come about."""
    certified: bool
    """Whether all that was judged is certified."""
    repaired: bool
    """Whether something was found, and all of it has been sent and verified."""
    kinds: Mapping[Kind, int]
    """Discrepancies found, by kind."""
    left: Mapping[Kind, int] | None
    """Those that are left after an apply; None where nothing was applied."""
    planned: int
    """Events that the plan held."""
    verified: int | None
    """Events of it that were sent and Lago shows; None where nothing was applied."""
    folder: Path | None
    """Where the last report is."""
    error: str | None
    """The one line of what ended the command."""

    @property
    def failed(self) -> bool:
        """Tell whether the command did not do its work."""
        return self.exit_code not in {0, 3}

    @property
    def verdict(self) -> str:
        """Say in a word or two how it ended."""
        if self.exit_code == 4:
            return "refused"
        if self.failed:
            return "failed"
        if self.window is None:
            return "done"
        if self.repaired:
            return "repaired"
        return "certified" if self.certified else "not certified"


def is_wanted(notice: Notice, on: NotifyOn) -> bool:
    """Tell whether this end is one to tell."""
    if on is NotifyOn.ALWAYS:
        return True
    if on is NotifyOn.FAILURE:
        return notice.failed
    return notice.exit_code != 0 or notice.verdict == "not certified"


def message(notice: Notice) -> dict[str, Any]:
    """Return the document; every text in it is escaped, and short enough for Slack."""
    title = f"litellm-lago {notice.command}: {notice.verdict}"
    facts = dict(_facts(notice))
    lines = [title, *(f"{name}: {text}" for name, text in facts.items())]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(title, 150)},
        {"type": "section", "fields": [_plain(f"{name}\n{text}", _LONGEST_FIELD) for name, text in facts.items()]},
    ]
    if notice.error is not None:
        error = visible(notice.error)
        lines.append(error)
        blocks.append({"type": "section", "text": _plain(error, _LONGEST_TEXT)})
    # Without markup and previews: a line of an error may hold what looks like either.
    return {
        "text": escaped("\n".join(lines), _LONGEST_TEXT),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }


def escaped(text: str, most: int) -> str:
    """Return the text with the three characters that Slack reads as markup escaped, cut to so many characters."""
    whole = "".join(_ESCAPES.get(character, character) for character in text)
    if len(whole) <= most:
        return whole
    kept, length = [], 1
    for character in text:
        piece = _ESCAPES.get(character, character)
        length += len(piece)
        if length > most:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def _facts(notice: Notice) -> Iterator[tuple[str, str]]:
    yield "Exit code", str(notice.exit_code)
    if notice.window is not None:
        yield "Window", f"{notice.window.start:%Y-%m-%d %H:%M} to {notice.window.end:%Y-%m-%d %H:%M} UTC"
        yield "Discrepancies", _kinds(notice.kinds)
        if notice.left is not None:
            yield "Left", _kinds(notice.left)
        yield "Plan", _plan(notice)
    if notice.folder is not None:
        yield "Report", visible(str(notice.folder))


def _kinds(kinds: Mapping[Kind, int]) -> str:
    return ", ".join(f"{kinds[kind]:,} {kind.value}" for kind in Kind if kinds.get(kind)) or "none"


def _plan(notice: Notice) -> str:
    events = f"{notice.planned:,} event{'' if notice.planned == 1 else 's'}"
    return f"{events} could be sent" if notice.verified is None else f"{events}, {notice.verified:,} sent and verified"


def _plain(text: str, most: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": escaped(text, most), "emoji": False}
