"""What surrounds a command: however it ends, those who want to know are told once.

Whatever a listener raises is a note, and the command ends as it did: what it has written is written. A signal cuts the
telling short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.errors import NotToldError, ReconcileError, StoppedError
from jobs.steps.backfill_values import Backfill


@dataclass(slots=True)
class Announcement:
    """What a command says of itself while it works."""

    command: str
    """Its name, as `reconcile --apply`."""
    backfills: list[Backfill] = field(default_factory=list)
    """The slices that are done; a run without an apply is one."""
    silent: bool = False
    """Whether it does nothing that anybody is told of."""
    manual: bool = False
    """Whether a person asked for a run that is also scheduled: it is told under another name."""

    @property
    def known_as(self) -> str:
        """Return the name that metrics and chats know it by."""
        return f"{self.command} (manual)" if self.manual else self.command


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    command: str
    """Its name, as `reconcile --apply`."""
    exit_code: int
    """What the process ends with."""
    backfills: tuple[Backfill, ...]
    """The slices that were done."""
    error: ReconcileError | None
    """What ended it, if that is one of ours."""
    finished: bool
    """Whether it came to its end, and no error or kill was in its way."""
    at: datetime
    """When; aware."""
    duration: timedelta
    """How long it took."""

    @property
    def did_its_work(self) -> bool:
        """Tell whether everything asked for was done, whatever was found."""
        return self.finished and bool(self.backfills) and self.exit_code in {0, 3}


Listener = Callable[[Ended], None]


@contextmanager
def announcing(
    command: str,
    listeners: Sequence[Listener],
    note: Callable[[str], None],
    *,
    now: Callable[[], datetime],
    monotonic: Callable[[], float],
) -> Iterator[Announcement]:
    """Let a command work, tell the listeners how it ended, and end as it did."""
    announcement, began = Announcement(command), monotonic()
    exit_code, ours, finished = 0, None, True
    try:
        yield announcement
    except SystemExit as ending:
        exit_code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        raise
    except ReconcileError as error:
        exit_code, ours, finished = error.exit_code, error, False
        raise
    except BaseException as error:
        # What reads the command line has an exit code of its own.
        exit_code, finished = getattr(error, "exit_code", 1), False
        raise
    finally:
        if not announcement.silent:
            duration = timedelta(seconds=monotonic() - began)
            backfills = tuple(announcement.backfills)
            ended = Ended(announcement.known_as, exit_code, backfills, ours, finished, now(), duration)
            _tell(listeners, ended, note)


def _tell(listeners: Sequence[Listener], ended: Ended, note: Callable[[str], None]) -> None:
    for listener in listeners:
        try:
            listener(ended)
        except StoppedError as error:
            note(f"{error.what} while it told how it ended: not everybody was told")
            return
        except (NotToldError, OSError) as error:
            note(str(error))
        except Exception as error:  # noqa: BLE001 - a fault in telling is told too, and undoes nothing
            note(f"could not tell how the run ended: {type(error).__name__}: {error}")
