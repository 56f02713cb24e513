"""Announces once how a command ended, however it did.

Whatever a listener raises becomes a note and does not change how the command ends, since its files are already written.
A signal stops the announcing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.errors import NotAnnouncedError, ReconcileError, StoppedError
from jobs.steps.backfill_values import Backfill


@dataclass(slots=True)
class Announcement:
    """What a command says about itself while it runs."""

    command: str
    """Its name, as `reconcile --apply`."""
    backfills: list[Backfill] = field(default_factory=list)
    """The slices that are done; a run without an apply is one."""
    silent: bool = False
    """Whether its end is not announced."""
    manual: bool = False
    """Whether a person asked for a run that is also scheduled: it is announced under another name."""

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
    """Whether it ran to its end, without an error or a kill."""
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
    """Run a command, tell the listeners how it ended, and let that end stand."""
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
        # Errors of click, which reads the command line, have an exit code of their own.
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
            note(f"{error.what} while it announced how it ended: not everybody was told")
            return
        except (NotAnnouncedError, OSError) as error:
            note(str(error))
        except Exception as error:  # noqa: BLE001 - a fault in announcing becomes a note, and undoes nothing
            note(f"could not tell how the run ended: {type(error).__name__}: {error}")
