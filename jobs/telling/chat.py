"""Tell a chat how a command ended, where a person should know."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from jobs.adapters.webhook import post
from jobs.core.kinds import Kind
from jobs.core.telling.notification import Notice, NotifyOn, is_wanted, message
from jobs.core.window import Window
from jobs.telling.announcing import Ended


@dataclass(frozen=True, slots=True)
class Notification:
    """Who is told, and of what."""

    url: str = field(repr=False)
    """The webhook's address, which is all that a stranger needs to write there."""
    on: NotifyOn
    """Which ends are told."""

    def notify(self, ended: Ended) -> None:
        """Post how a command ended, if that is one to tell; raise `NotToldError` where it could not be."""
        notice = notice_of(ended)
        if is_wanted(notice, self.on):
            post(self.url, message(notice))


def notice_of(ended: Ended) -> Notice:
    """Return what a chat is told, over all slices that were done."""
    runs = [one.left for one in ended.backfills]
    applied = [one.applied for one in ended.backfills if one.applied is not None]
    about_sources = [reason for run in runs for reason in run.reasons if reason.code not in set(Kind)]
    return Notice(
        command=ended.command,
        exit_code=ended.exit_code,
        window=Window(runs[0].window.start, runs[-1].window.end) if runs else None,
        certified=all(run.certified for run in runs),
        repaired=bool(applied) and ended.exit_code == 0 and not about_sources,
        kinds=sum((Counter(dict(one.run.kinds)) for one in ended.backfills), Counter[Kind]()),
        left=sum((Counter(dict(run.kinds)) for run in runs), Counter[Kind]()) if applied else None,
        planned=sum(run.plan.events for run in runs),
        verified=sum(one.verified for one in applied) if applied else None,
        folder=runs[-1].folder if runs else None,
        error=None if ended.error is None else str(ended.error),
    )
