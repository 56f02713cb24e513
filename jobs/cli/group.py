"""The group of all commands, their exit codes, and how an error ends."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from jobs import __version__
from jobs.errors import ReconcileError
from jobs.signals import ending_at_signals

AGREEMENT, FAILED, SETTING_WRONG, DISCREPANCIES_REMAIN = 0, 1, 2, 3

_EXIT_CODES = """
\b
Exit codes:
  0  both sides agree, or everything planned was sent and verified
  1  the run failed, or not everything planned could be sent and verified
  2  a setting or option is wrong
  3  discrepancies remain
  4  the plan or run was refused
"""


class _Commands(click.Group):
    def invoke(self, context: click.Context) -> Any:
        with ending_at_signals():
            return super().invoke(context)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
@click.version_option(__version__)
def cli() -> None:
    """Compare LiteLLM's spend logs with the usage events that Lago bills, and send what is missing, once."""


@contextmanager
def one_line_for_disks() -> Iterator[None]:
    """Turn the error of a full disk into one line, wherever it comes up."""
    try:
        yield
    except Exception as error:
        from jobs.steps.room import disk_trouble

        trouble = disk_trouble(error)
        if trouble is None:
            raise
        raise trouble from error


def new_run_id(now: datetime) -> str:
    """Return a name for one execution: when it began, and some random digits."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def main() -> None:
    """Run the command line; every error ends in one line that says what to change, and its exit code."""
    try:
        with one_line_for_disks():
            cli()
    except ReconcileError as error:
        from jobs.core.text import visible

        click.echo(f"error: {visible(str(error))}", err=True)
        sys.exit(error.exit_code)
