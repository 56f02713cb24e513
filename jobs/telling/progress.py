"""What a person at a terminal, or a log, sees while a run works."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from jobs.core.text import visible
from jobs.steps.reconcile_values import Progress


class _TerminalProgress:
    """A line with a spinner per step."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=None)

    def step(self, name: str) -> None:
        self._bar.reset(self._task, total=None, description=name)

    def note(self, text: str) -> None:
        self._bar.console.print(Text(visible(text)))

    def count(self, done: int, total: int | None) -> None:
        self._bar.update(self._task, completed=done, total=total)


class _LoggedProgress:
    """A structured log line per step."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log

    def step(self, name: str) -> None:
        self._log.info("step", name=name)

    def note(self, text: str) -> None:
        self._log.warning("note", text=visible(text))

    def count(self, done: int, total: int | None) -> None:
        self._log.debug("progress", done=done, total=total)


def _logger(stream: TextIO) -> structlog.typing.FilteringBoundLogger:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


@contextmanager
def console_progress(stream: TextIO = sys.stderr) -> Iterator[Progress]:
    """Yield where a run says what it does: a live line on a terminal, plain structured log lines elsewhere."""
    if not stream.isatty():
        yield _LoggedProgress(_logger(stream))
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(file=stream), transient=True) as bar:
        yield _TerminalProgress(bar)
