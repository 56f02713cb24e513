"""What Ctrl-C and SIGTERM do: a command ends at once and tidies up; one that sends ends what is under way first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobs.errors import StoppedError

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


@contextmanager
def ending_at_signals() -> Iterator[None]:
    """Raise `StoppedError` at either; as process 1 of a container, a command would not end at all without a handler."""
    asked: list[StoppedError] = []

    def end(number: int, frame: Any) -> None:
        asked.append(StoppedError(_NAMES[signal.Signals(number)]))
        raise asked[-1]

    for number in _NAMES:
        signal.signal(number, end)
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:
        # What a handler raises while DuckDB works, or imports what it needs, is lost there, and another comes instead.
        if asked:
            raise asked[-1] from error
        raise


def stop_on_signals() -> threading.Event:
    """Return an event that either sets, so that what is under way ends cleanly; a second signal kills."""
    stop = threading.Event()

    def ask(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in _NAMES:
        signal.signal(number, ask)
    return stop
