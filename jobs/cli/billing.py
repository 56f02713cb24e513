"""The commands that judge a window, and send what is missing."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from jobs.cli.ending import leaving_its_verdict, say_verdict
from jobs.cli.group import AGREEMENT, DISCREPANCIES_REMAIN, FAILED, cli, new_run_id
from jobs.cli.options import BACKFILL_OPTIONS, CLUSTER_OPTIONS, OPTIONS, setting_options, texts, window_options
from jobs.signals import stop_on_signals

if TYPE_CHECKING:
    from jobs.telling.announcing import Announcement


@cli.command()
@window_options
@setting_options({**OPTIONS, **CLUSTER_OPTIONS, **BACKFILL_OPTIONS})
@click.option("--apply", is_flag=True, help="Send what the plan holds; without it nothing is written to Lago.")
@leaving_its_verdict
def reconcile(
    start: str | None,
    end: str | None,
    config_file: Path | None,
    announcement: Announcement,
    apply: bool,
    **options: str | None,
) -> None:
    """Judge a window and write the discrepancy report; with --apply, also send what is missing.

    Without --from and --to the window is the last settled days (RECONCILE_WINDOW_LENGTH), ending on a full hour.
    """
    if apply:
        announcement.command = "reconcile --apply"
        _backfill(start, end, config_file, options, announcement, apply=True)
    # Imported here, so that --help does not wait for DuckDB and others.
    from jobs import reconcile as use_case
    from jobs.settings import load_settings, reconcile_settings
    from jobs.steps.backfill_values import Backfill
    from jobs.telling.console import show_run
    from jobs.telling.progress import console_progress
    from jobs.telling.verdict import verdict_line

    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file, texts(options))
    request = reconcile_settings(settings, start, end, now)
    with console_progress() as progress:
        for note in settings.notes:
            progress.note(note)
        run = use_case.reconcile(request, progress, now=now, run_id=new_run_id(now))
    announcement.backfills.append(Backfill(run, None))
    show_run(run)
    code = DISCREPANCIES_REMAIN if run.billing_discrepancies else AGREEMENT
    say_verdict(config_file, verdict_line(code, announcement.backfills))
    sys.exit(code)


@cli.command()
@window_options
@setting_options({**OPTIONS, **CLUSTER_OPTIONS, **BACKFILL_OPTIONS})
@click.option(
    "--subscription", "subscriptions", multiple=True, metavar="ID", help="Only this subscription; repeatable."
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model, as the report names it.")
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only this billable metric.")
@click.option("--plan", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Send this plan file.")
@click.option("--show", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Print what a plan holds.")
@click.option("--apply", is_flag=True, help="Send the plan; without it nothing is written to Lago.")
@leaving_its_verdict
def backfill(  # noqa: PLR0913, PLR0917 - one parameter per option
    start: str | None,
    end: str | None,
    config_file: Path | None,
    announcement: Announcement,
    subscriptions: tuple[str, ...],
    models: tuple[str, ...],
    codes: tuple[str, ...],
    plan: Path | None,
    show: Path | None,
    apply: bool,
    **options: str | None,
) -> None:
    """Plan what is missing in a window, and with --apply send it so that Lago bills each request once.

    What is missing in a window longer than RECONCILE_SLICE_LENGTH is sent in slices, each verified before the next;
    stopping and starting again loses nothing.
    """
    if show is not None:
        from jobs.steps.plan_files import describe_plan
        from jobs.telling.plans import show_plan

        announcement.silent = True
        show_plan(describe_plan(show))
        sys.exit(AGREEMENT)
    if plan is not None and (subscriptions or models or codes):
        raise click.UsageError("--plan is sent as it is: leave out --subscription, --model and --code")
    only = {"subscriptions": subscriptions, "models": models, "codes": codes}
    announcement.command = "backfill --apply" if apply else "backfill"
    _backfill(start, end, config_file, options, announcement, apply=apply, plan=plan, only=only)


def _backfill(
    start: str | None,
    end: str | None,
    config_file: Path | None,
    options: dict[str, str | None],
    announcement: Announcement,
    *,
    apply: bool,
    plan: Path | None = None,
    only: dict[str, tuple[str, ...]] | None = None,
) -> NoReturn:
    from dataclasses import replace

    from jobs.backfill import backfill
    from jobs.core.caps import PlanFilter
    from jobs.settings import backfill_settings, load_settings, reconcile_settings
    from jobs.steps.backfill_values import Hooks
    from jobs.telling.console import show_backfill
    from jobs.telling.progress import console_progress
    from jobs.telling.verdict import verdict_line

    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file, texts(options))
    request = replace(reconcile_settings(settings, start, end, now), only=PlanFilter(**(only or {})))
    hooks = Hooks(now=lambda: datetime.now(UTC), stop=stop_on_signals())
    code, done = AGREEMENT, announcement.backfills
    with console_progress() as progress:
        for note in settings.notes:
            progress.note(note)
        result = backfill(
            backfill_settings(settings, request, apply=apply),
            progress,
            hooks,
            run_id=new_run_id(now),
            command=announcement.command,
            plan=plan,
        )
        done.append(result)
        show_backfill(result)
        code = result.exit_code
    if hooks.stop.is_set():
        click.echo("stopped as asked; run the same command again to go on", err=True)
        code = FAILED
    say_verdict(config_file, verdict_line(code, done, stopped=hooks.stop.is_set()))
    sys.exit(code)
