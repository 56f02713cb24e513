"""What Ctrl-C and SIGTERM do: a command stops at once and tidies up; one that sends first ends what is under way."""

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
    """Raise `StoppedError` at either. Without a handler, process 1 of a container would ignore them."""
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
        # While DuckDB works or imports a module, it swallows what a handler raises and raises another error.
        if asked:
            raise asked[-1] from error
        raise


def stop_on_signals() -> threading.Event:
    """Return an event that either sets, so that what is under way can end cleanly; a second signal kills."""
    stop = threading.Event()

    def ask(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in _NAMES:
        signal.signal(number, ask)
    return stop
