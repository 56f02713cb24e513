"""The commands that only look: usage, runs, explain, doctor, config."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import click

from jobs.cli.group import AGREEMENT, FAILED, SETTING_WRONG, cli, new_run_id
from jobs.cli.options import USAGE_OPTIONS, config_option, setting_options, texts


@cli.command()
@click.option("--from", "start", metavar="DAY", help="First day: 2026-11-01.")
@click.option("--to", "end", metavar="DAY", help="The day after the last one.")
@click.option("--month", metavar="MONTH", help="One month, 2026-11; of the current one, the days that are over.")
@click.option(
    "--by", type=click.Choice(["day", "month"]), default="day", show_default=True, help="Add up over days or months."
)
@click.option("--compare", is_flag=True, help="Compare with the same days of an earlier month.")
@click.option("--revenue", is_flag=True, help="Also report what Lago bills for it, and the margin.")
@config_option
@setting_options(USAGE_OPTIONS)
def usage(
    start: str | None,
    end: str | None,
    month: str | None,
    by: str,
    compare: bool,
    revenue: bool,
    config_file: Path | None,
    **options: str | None,
) -> None:
    """Report requests, tokens and spend per subscription, model and day or month; needs no Lago without --revenue.

    Without --from, --to and --month it is the last full month, in the time zone RECONCILE_REPORT_TIME_ZONE.
    """
    from jobs import usage as use_case
    from jobs.core.periods import PeriodLength
    from jobs.settings import load_settings, usage_settings
    from jobs.telling.console import show_usage
    from jobs.telling.progress import console_progress

    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file, texts(options))
    request = usage_settings(settings, start, end, month, now, by=PeriodLength(by), compare=compare, revenue=revenue)
    with console_progress() as progress:
        report = use_case.usage(request, progress, now=now, run_id=new_run_id(now))
    show_usage(report)


@cli.group(invoke_without_command=True)
@config_option
@click.option("--limit", default=20, show_default=True, help="How many runs to list.")
@click.pass_context
def runs(context: click.Context, config_file: Path | None, limit: int) -> None:
    """List the runs in the ledger, newest first."""
    context.obj = config_file
    if context.invoked_subcommand is None:
        from jobs.telling.console import show_runs

        with _ledger(config_file, must_exist=True) as ledger:
            show_runs(ledger.runs(limit))


@runs.command("show")
@click.argument("run_id")
@click.pass_obj
def show_one_run(config_file: Path | None, run_id: str) -> None:
    """Show one run: its plans, its events, and what Lago did with them."""
    from jobs.errors import SettingError
    from jobs.telling.console import show_run_detail

    with _ledger(config_file, must_exist=True) as ledger:
        detail = ledger.run(run_id)
        if detail is None:
            raise SettingError(f"the ledger has no run {run_id!r}", "`litellm-lago runs` lists those it has")
        show_run_detail(detail, ledger.run_events(run_id))


@cli.command()
@click.argument("request_id")
@click.option("--from", "start", metavar="INSTANT", help="Start of the window to judge; default the scheduled one.")
@click.option("--to", "end", metavar="INSTANT", help="End of the window to judge.")
@config_option
def explain(request_id: str, start: str | None, end: str | None, config_file: Path | None) -> None:
    """Tell one request's whole story: spend log, match or discrepancy, plan, attempts, what Lago has now."""
    from jobs.errors import SettingError
    from jobs.explain import explain as use_case
    from jobs.settings import load_settings, reconcile_settings
    from jobs.telling.console import show_story
    from jobs.telling.progress import console_progress

    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file)
    request = reconcile_settings(settings, start, end, now)
    with _ledger(config_file) as ledger, console_progress() as progress:
        story = use_case(request, ledger, progress, request_id=request_id, now=now)
    show_story(story)
    if not story.is_known:
        raise SettingError(
            f"neither LiteLLM nor the ledger knows a request {request_id!r}",
            "Give the request id as the spend logs or discrepancies.csv have it",
        )


@cli.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
def doctor(config_file: Path | None, as_json: bool) -> None:
    """Check everything before the first run and after an incident, and say what to do; only reads.

    Ends with 0 if nothing failed, 1 if something did, 2 if it is a setting.
    """
    from jobs.core.doctor.checks import Status
    from jobs.doctor import doctor as use_case
    from jobs.settings import doctor_settings, survey_settings
    from jobs.telling.console import show_diagnosis
    from jobs.telling.progress import console_progress

    settings = doctor_settings(survey_settings(os.environ, config_file), datetime.now(UTC))
    with console_progress() as progress:
        diagnosis = use_case(settings, progress, now=lambda: datetime.now(UTC))
    if as_json:
        _print_json(diagnosis.document())
    else:
        show_diagnosis(diagnosis)
    if diagnosis.settings_are_wrong:
        sys.exit(SETTING_WRONG)
    sys.exit(FAILED if diagnosis.count(Status.FAIL) else AGREEMENT)


@cli.group()
def config() -> None:
    """Show the settings, or an example of a configuration file."""


@config.command("show")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
def show_config(config_file: Path | None, as_json: bool) -> None:
    """Print every setting with its value, secrets hidden, and where it comes from; ends with 2 if one is wrong."""
    from jobs.configuration import show
    from jobs.settings import doctor_settings, survey_settings
    from jobs.telling.console import show_configuration

    settings = survey_settings(os.environ, config_file)
    problems = doctor_settings(settings, datetime.now(UTC)).problems
    configuration = show(settings, chain.from_iterable(problems.values()))
    if as_json:
        _print_json(configuration.document())
    else:
        show_configuration(configuration)
    sys.exit(SETTING_WRONG if configuration.problems else AGREEMENT)


@config.command("example")
def example_config() -> None:
    """Print a configuration file (TOML) with every setting, its default and its meaning."""
    from jobs.configuration import example

    click.echo(example(), nl=False)


def _print_json(document: dict[str, object]) -> None:
    import orjson

    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


@contextmanager
def _ledger(config_file: Path | None, *, must_exist: bool = False) -> Iterator[Any]:
    """Open the ledger without making one: where there is none it is empty, or an error if it `must_exist`."""
    from jobs.adapters.ledger import Ledger, ledger_file
    from jobs.errors import SettingError
    from jobs.settings import ledger_url, load_settings

    url = ledger_url(load_settings(os.environ, config_file))
    file = ledger_file(url)
    with ExitStack() as stack:
        if file is not None and not file.exists():
            if must_exist:
                raise SettingError(
                    f"there is no ledger at {str(file)!r}",
                    "Set RECONCILE_OUTPUT or RECONCILE_LEDGER_URL as the runs have it, or change to their folder; "
                    "`backfill` and `reconcile --apply` make it",
                )
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory(prefix='litellm-lago-'))}/none"
        yield stack.enter_context(Ledger.open(url, now=lambda: datetime.now(UTC)))
