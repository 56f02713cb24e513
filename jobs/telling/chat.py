"""Posts to a chat how a command ended, if a person should know."""

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
    """Which webhook gets a message, and after which ends."""

    url: str = field(repr=False)
    """The webhook's address: a secret, since whoever has it can post there."""
    on: NotifyOn
    """After which ends it gets one."""

    def notify(self, ended: Ended) -> None:
        """Post how a command ended, if this end is wanted; raise `NotAnnouncedError` if that fails."""
        notice = notice_of(ended)
        if is_wanted(notice, self.on):
            post(self.url, message(notice))


def notice_of(ended: Ended) -> Notice:
    """Return what the message is made of, over all slices that were done."""
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
