"""One tree of errors; each carries the exit code the command line ends with.

A discrepancy is a value, never an exception. An exception here means that the run could not do its work, and its
message is the one line a person reads: what was wrong, and where to set it right.
"""

from __future__ import annotations


class ReconcileError(Exception):
    """The run could not do its work."""

    exit_code = 1

    def __init__(self, what: str, remedy: str) -> None:
        """Take what was wrong, and what the reader can do about it."""
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}. {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle it without the constructor of its class, whose parameters differ."""
        return _again, (type(self), self.what, self.remedy)

    def at(self, place: str) -> ReconcileError:
        """Return the same error with the place where it came up in front."""
        return _again(type(self), f"{place}: {self.what}", self.remedy)


def _again(kind: type[ReconcileError], what: str, remedy: str) -> ReconcileError:
    error = kind.__new__(kind)
    ReconcileError.__init__(error, what, remedy)
    return error


class SettingError(ReconcileError):
    """A setting, option or file the user gave is missing, malformed or contradicts another."""

    exit_code = 2


class SourceError(ReconcileError):
    """PostgreSQL cannot be reached or read."""


class LagoError(ReconcileError):
    """Lago cannot be reached, refuses the key, or answers in a way that cannot be used."""


class LedgerError(ReconcileError):
    """The ledger cannot be reached, read or written."""


class ClusterError(ReconcileError):
    """The cluster that a run is spread over cannot be reached, has lost its scheduler, or has no room for a task."""


class DiskFullError(ReconcileError):
    """A disk that a run writes to is full, or nearly."""

    def __init__(self, place: str, detail: str = "") -> None:
        """Take what lies on that disk, and what is known of it."""
        super().__init__(
            f"the disk of {place} is full{f': {detail}' if detail else ''}",
            "Make room, then run the same command again: an unfinished report is removed, what was sent is not sent "
            "again, and the page of an apply that was cut short says so",
        )


class LawBrokenError(ReconcileError):
    """A run-time check of one of the product's laws failed: nothing it computed may be trusted."""

    def __init__(self, what: str) -> None:
        """Take which law is broken, and how."""
        super().__init__(what, "This is a fault of litellm-lago: nothing was sent; report this line and the version")


class StoppedError(ReconcileError):
    """The process was asked to stop."""

    def __init__(self, by: str) -> None:
        """Take what asked for it: SIGTERM or Ctrl-C."""
        super().__init__(f"the run was stopped by {by}", "Run the same command again")


class NotAnnouncedError(ReconcileError):
    """How a command ended could not be announced; that changes nothing about the end."""


class RefusedError(ReconcileError):
    """A plan or run was refused: stale, edited, over a cap, or another run holds the lock."""

    exit_code = 4
