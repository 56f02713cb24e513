"""The command line: arguments to settings, one use case, an exit code. It prints and never decides."""

from __future__ import annotations

import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from jobs import __version__
from jobs.errors import ReconcileError

AGREEMENT, DISCREPANCIES_REMAIN = 0, 3

_EXIT_CODES = """
\b
Exit codes:
  0  agreement
  1  the run failed
  2  a setting or option is wrong
  3  discrepancies remain
  4  the run was refused
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
@click.version_option(__version__)
def cli() -> None:
    """Compare LiteLLM's spend logs with the usage events that Lago bills."""


@cli.command()
@click.option(
    "--from",
    "start",
    metavar="INSTANT",
    help="Start of the window, included: 2026-11-01 or with a time and zone.",
)
@click.option("--to", "end", metavar="INSTANT", help="End of the window, excluded.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration file (TOML).")
@click.option("--output", metavar="FOLDER", help="Folder that the run's folder is put into.")
@click.option("--meter", metavar="NAME", help="callback, input-output, agent-sdk or custom.")
@click.option("--charge-by", metavar="SOURCE", help="Whose id is the subscription: end_user_id, user_id, team_id …")
def reconcile(
    start: str | None,
    end: str | None,
    config_file: Path | None,
    output: str | None,
    meter: str | None,
    charge_by: str | None,
) -> None:
    """Judge a window and write the discrepancy report; nothing is written to Lago.

    Without --from and --to the window is the last settled days (RECONCILE_WINDOW_LENGTH), ending on a full hour.
    """
    # Imported here, so that --help does not wait for pandas and DuckDB.
    from jobs import reconcile as use_case
    from jobs.console import console_progress, show_run
    from jobs.settings import load_settings, reconcile_settings

    options = {"output": output, "meter": meter, "lago.charge_by": charge_by}
    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file, {name: text for name, text in options.items() if text})
    request = reconcile_settings(settings, start, end, now)
    with console_progress() as progress:
        for note in settings.notes:
            progress.note(note)
        run = use_case.reconcile(request, progress, now=now, run_id=new_run_id(now))
    show_run(run)
    sys.exit(DISCREPANCIES_REMAIN if run.discrepancies_remain else AGREEMENT)


@cli.command()
@click.option("--output", metavar="FOLDER", default="runs", show_default=True, help="Folder for the runs' folders.")
def demo(output: str) -> None:
    """Run the real job on an embedded PostgreSQL and a Lago stand-in, on recorded and simulated input."""
    from jobs import demo as use_case
    from jobs.console import console_progress, show_demo

    with console_progress() as progress:
        result = use_case.demo(Path(output), progress, run_id=new_run_id(datetime.now(UTC)))
    show_demo(result)
    sys.exit(AGREEMENT if result.finds_the_truth else 1)


def new_run_id(now: datetime) -> str:
    """Return a name for one execution: when it began, and enough chance to tell two apart."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def main() -> None:
    """Run the command line; every error ends in one line that says what to change, and its exit code."""
    try:
        cli()
    except ReconcileError as error:
        from jobs.core.text import visible

        click.echo(f"error: {visible(str(error))}", err=True)
        sys.exit(error.exit_code)
