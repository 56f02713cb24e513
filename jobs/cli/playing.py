"""The commands that need no deployment of LiteLLM: conformance and demo."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from jobs.cli.group import AGREEMENT, DISCREPANCIES_REMAIN, FAILED, cli, new_run_id


@cli.command()
@click.option("--api-base", metavar="URL", required=True, help="Address of the Lago that is tried.")
@click.option(
    "--api-key",
    metavar="KEY",
    required=True,
    help="Key of an organization made only for this, which stays filled; - reads it from standard input.",
)
def conformance(api_base: str, api_key: str) -> None:
    """Play recorded requests on a running Lago, in an organization of its own, and print the answers that differ.

    Ends with 0 if it answers as the recorded one did, 3 if not, 4 if the organization holds anything already.
    """
    from jobs.conformance import conformance as use_case

    click.echo("This writes metrics, a plan, subscriptions and hundreds of events, and never removes them.", err=True)
    key = sys.stdin.readline().strip() if api_key == "-" else api_key
    shown = use_case(
        api_base, key, lambda text: click.echo(text, err=True), now=lambda: datetime.now(UTC), wait=time.sleep
    )
    for one in shown.differences:
        click.echo(f"{one.position:3}  {one.name}: {one.request}")
        for line in one.lines:
            click.echo(f"       {line}")
    if shown.not_compared:
        click.echo(f"{shown.not_compared} answers are about the month of the recording, and were not compared")
    click.echo(f"{shown.compared - len(shown.differences)} of {shown.compared} answers are those of {shown.recorded}")
    sys.exit(DISCREPANCIES_REMAIN if shown.differences else AGREEMENT)


@cli.command()
@click.option("--output", metavar="FOLDER", default="runs", show_default=True, help="Folder for the runs' folders.")
def demo(output: str) -> None:
    """Run the real job on an embedded PostgreSQL and a Lago stand-in, on recorded and simulated input."""
    from jobs.errors import SettingError
    from jobs.telling.console import show_demo
    from jobs.telling.progress import console_progress

    try:
        from jobs import demo as use_case

        with console_progress() as progress:
            result = use_case.demo(Path(output), progress, run_id=new_run_id(datetime.now(UTC)))
    except ModuleNotFoundError as error:
        raise SettingError(
            f"the demo needs the package {error.name}, which is not installed",
            "Run `make demo` in a checkout, or install litellm-lago-reconcile[demo]; the image leaves it out",
        ) from error
    show_demo(result)
    sys.exit(AGREEMENT if result.finds_the_truth and result.bills_each_once else FAILED)
