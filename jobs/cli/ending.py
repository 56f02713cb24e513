"""How a command reports its end to those who do not watch it: verdict line, metrics and chat."""

from __future__ import annotations

import functools
import os
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli.group import one_line_for_disks
from jobs.cli.options import Command
from jobs.errors import ReconcileError
from jobs.signals import ending_at_signals

if TYPE_CHECKING:
    from jobs.telling.announcing import Announcement


def leaving_its_verdict(command: Command) -> Command:
    """Write the verdict of an error or signal to `RECONCILE_TERMINATION_LOG`, and announce every end."""

    @functools.wraps(command)
    def wrapped(*, config_file: Path | None, **options: Any) -> None:
        try:
            with _announcing(command.__name__, config_file) as announcement, ending_at_signals(), one_line_for_disks():
                announcement.manual = command.__name__ == "reconcile" and _is_manual(options, config_file)
                command(config_file=config_file, announcement=announcement, **options)
        except ReconcileError as error:
            from jobs.telling.verdict import error_line

            say_verdict(config_file, error_line(error.exit_code, str(error)))
            raise

    return wrapped


def _announcing(command: str, config_file: Path | None) -> AbstractContextManager[Announcement]:
    """Announce how the command ends to whom the settings name, even if other settings are wrong."""
    from jobs.core.text import visible
    from jobs.settings import notification, publication, survey_settings
    from jobs.telling.announcing import announcing

    settings = survey_settings(os.environ, config_file)
    metrics, chat = publication(settings), notification(settings)
    return announcing(
        command,
        [*([metrics.publish] if metrics else []), *([chat.notify] if chat else [])],
        lambda text: click.echo(visible(text), err=True),
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
    )


def _is_manual(options: dict[str, Any], config_file: Path | None) -> bool:
    """Tell whether a person asked for this run: its metrics are kept apart from the schedule's."""
    from jobs.settings import is_manual, survey_settings

    return is_manual(survey_settings(os.environ, config_file), options.get("start"), datetime.now(UTC))


def say_verdict(config_file: Path | None, line: str) -> None:
    """Write the verdict's line to `RECONCILE_TERMINATION_LOG`, where Kubernetes finds it."""
    from jobs.settings import termination_log
    from jobs.telling.verdict import leave_verdict

    failed = leave_verdict(termination_log(os.environ, config_file), line)
    if failed:
        click.echo(failed, err=True)
