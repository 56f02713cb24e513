"""The command line: arguments to settings, one use case, an exit code. It prints and never decides."""

from __future__ import annotations

import functools
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs import __version__
from jobs.errors import ReconcileError
from jobs.signals import ending_at_signals, stop_on_signals

if TYPE_CHECKING:
    from jobs.telling.announcing import Announcement

AGREEMENT, FAILED, SETTING_WRONG, DISCREPANCIES_REMAIN = 0, 1, 2, 3

_EXIT_CODES = """
\b
Exit codes:
  0  agreement, or everything planned was applied and verified
  1  the run failed, or not everything planned could be applied and verified
  2  a setting or option is wrong
  3  discrepancies remain
  4  the plan or run was refused
"""

Command = Callable[..., None]


class _Commands(click.Group):
    def invoke(self, context: click.Context) -> Any:
        with ending_at_signals():
            return super().invoke(context)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXIT_CODES)
@click.version_option(__version__)
def cli() -> None:
    """Compare LiteLLM's spend logs with the usage events that Lago bills, and send what is missing, once."""


_OPTIONS: dict[str, tuple[str, str, str]] = {
    "output": ("output", "FOLDER", "Folder that the run's folder is put into."),
    "meter": ("meter", "NAME", "callback, input-output, agent-sdk or custom."),
    "charge-by": ("lago.charge_by", "SOURCE", "Whose id is the subscription: end_user_id, user_id, team_id …"),
}
_BACKFILL_OPTIONS: dict[str, tuple[str, str, str]] = {
    "ledger-url": (
        "ledger_url",
        "URL",
        "Ledger: sqlite:///FILE or postgresql://…; default a file in the output folder.",
    ),
    "top-up": ("top_up", "true|false", "Also complete events that billed too little."),
    "most-events": ("most_events", "N", "Cap on the events of a plan."),
    "most-quantity": ("most_quantity", "N", "Cap on the quantity of one code in a plan."),
    "most-share": ("most_share", "N", "Cap on the share of a subscription's usage, from 0 to 1."),
    "slice-length": ("slice_length", "DURATION", "Length of the slices in which a long window is sent."),
}
_SHARD_OPTIONS: dict[str, tuple[str, str, str]] = {
    "shard": ("shard", "I/N", "Work on part I, from 0, of N parts of the subscriptions, for `merge` to judge."),
}


_USAGE_OPTIONS: dict[str, tuple[str, str, str]] = {
    "output": _OPTIONS["output"],
    "charge-by": _OPTIONS["charge-by"],
    "time-zone": ("report_time_zone", "ZONE", "Zone of the days and months, such as Asia/Seoul."),
}


def _window_options(command: Command) -> Command:
    config = click.Path(path_type=Path)
    for option in (
        click.option("--config", "config_file", metavar="FILE", type=config, help="Configuration file (TOML)."),
        click.option("--to", "end", metavar="INSTANT", help="End of the window, excluded."),
        click.option(
            "--from",
            "start",
            metavar="INSTANT",
            help="Start of the window, included: 2026-11-01 or with time and zone.",
        ),
    ):
        command = option(command)
    return command


def _setting_options(options: dict[str, tuple[str, str, str]]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for name, (_, metavar, text) in reversed(options.items()):
            command = click.option(f"--{name}", metavar=metavar, help=text)(command)
        return command

    return decorate


def _leaving_its_verdict(command: Command) -> Command:
    """Let an error and a signal end as a verdict too, where `RECONCILE_TERMINATION_LOG` says, and announce any end."""

    @functools.wraps(command)
    def wrapped(*, config_file: Path | None, **options: Any) -> None:
        try:
            with _announcing(command.__name__, config_file) as announcement, ending_at_signals(), _one_line_for_disks():
                announcement.manual = command.__name__ == "reconcile" and _is_manual(options, config_file)
                command(config_file=config_file, announcement=announcement, **options)
        except ReconcileError as error:
            from jobs.telling.verdict import error_line

            _leave_verdict(config_file, error_line(error.exit_code, str(error)))
            raise

    return wrapped


def _announcing(command: str, config_file: Path | None) -> AbstractContextManager[Announcement]:
    """Tell those whom the settings name how the command ends, even where other settings are wrong."""
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
    """Tell whether a person asked for this run, whose metrics must not stand for the schedule's."""
    from jobs.settings import is_manual, survey_settings

    return is_manual(survey_settings(os.environ, config_file), options.get("start"), datetime.now(UTC))


@contextmanager
def _one_line_for_disks() -> Iterator[None]:
    """Let a full disk end in one line wherever it strikes."""
    try:
        yield
    except Exception as error:
        from jobs.steps.room import disk_trouble

        trouble = disk_trouble(error)
        if trouble is None:
            raise
        raise trouble from error


def _leave_verdict(config_file: Path | None, line: str) -> None:
    from jobs.settings import termination_log
    from jobs.telling.verdict import leave_verdict

    failed = leave_verdict(termination_log(os.environ, config_file), line)
    if failed:
        click.echo(failed, err=True)


@cli.command()
@_window_options
@_setting_options({**_OPTIONS, **_SHARD_OPTIONS, **_BACKFILL_OPTIONS})
@click.option("--apply", is_flag=True, help="Send what the plan holds; without it nothing is written to Lago.")
@_leaving_its_verdict
def reconcile(
    start: str | None,
    end: str | None,
    config_file: Path | None,
    announcement: Announcement,
    apply: bool,
    **options: str | None,
) -> None:
    """Judge a window and write the discrepancy report; with --apply, send what is missing in the same go.

    Without --from and --to the window is the last settled days (RECONCILE_WINDOW_LENGTH), ending on a full hour.
    """
    if apply:
        announcement.command = "reconcile --apply"
        _backfill(start, end, config_file, options, announcement, apply=True)
    # Imported here, so that --help does not wait for pandas and DuckDB.
    from jobs import reconcile as use_case
    from jobs.core.shard import WHOLE
    from jobs.settings import load_settings, reconcile_settings
    from jobs.sharding import reconcile_shard
    from jobs.steps.backfill_values import Backfill
    from jobs.telling.console import console_progress, show_run
    from jobs.telling.verdict import verdict_line

    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file, _texts(options))
    request = reconcile_settings(settings, start, end, now)
    with console_progress() as progress:
        for note in settings.notes:
            progress.note(note)
        if request.shard != WHOLE:
            announcement.command = f"reconcile --shard {request.shard.index}/{request.shard.count}"
            folder = reconcile_shard(request, progress, now=now, run_id=new_run_id(now))
            click.echo(f"Shard       {folder}")
            sys.exit(AGREEMENT)
        run = use_case.reconcile(request, progress, now=now, run_id=new_run_id(now))
    announcement.worked.append(Backfill(run, None))
    show_run(run)
    code = DISCREPANCIES_REMAIN if run.billing_discrepancies else AGREEMENT
    _leave_verdict(config_file, verdict_line(code, announcement.worked))
    sys.exit(code)


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file.")
@_setting_options({**_OPTIONS, **_BACKFILL_OPTIONS})
@_leaving_its_verdict
def merge(
    folders: tuple[Path, ...], config_file: Path | None, announcement: Announcement, **options: str | None
) -> None:
    """Judge what the shards in FOLDERS left, and write the report of the whole run.

    Each folder is one that `reconcile --shard` made; the settings must be those of the shards.
    """
    from jobs.settings import load_settings, reconcile_settings
    from jobs.sharding import merge as use_case
    from jobs.steps.backfill_values import Backfill
    from jobs.telling.console import console_progress, show_run
    from jobs.telling.verdict import verdict_line

    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file, _texts(options))
    with console_progress() as progress:
        for note in settings.notes:
            progress.note(note)
        request = reconcile_settings(settings, None, None, now)
        run = use_case(request, folders, progress, run_id=new_run_id(now))
    announcement.worked.append(Backfill(run, None))
    show_run(run)
    code = DISCREPANCIES_REMAIN if run.billing_discrepancies else AGREEMENT
    _leave_verdict(config_file, verdict_line(code, announcement.worked))
    sys.exit(code)


@cli.command()
@_window_options
@_setting_options({**_OPTIONS, **_BACKFILL_OPTIONS})
@click.option(
    "--subscription", "subscriptions", multiple=True, metavar="ID", help="Only this subscription; repeatable."
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model, as the report names it.")
@click.option("--code", "codes", multiple=True, metavar="CODE", help="Only this billable metric.")
@click.option("--plan", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Work this plan file.")
@click.option("--show", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Print what a plan holds.")
@click.option("--apply", is_flag=True, help="Send the plan; without it nothing is written to Lago.")
@_leaving_its_verdict
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
        from jobs.telling.console import show_plan

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
) -> None:
    from dataclasses import replace

    from jobs.backfill import backfill
    from jobs.core.caps import PlanFilter
    from jobs.settings import backfill_settings, load_settings, reconcile_settings
    from jobs.steps.backfill_values import Hooks
    from jobs.telling.console import console_progress, show_backfill
    from jobs.telling.verdict import verdict_line

    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file, _texts(options))
    request = replace(reconcile_settings(settings, start, end, now), only=PlanFilter(**(only or {})))
    hooks = Hooks(now=lambda: datetime.now(UTC), stop=stop_on_signals())
    code, done = AGREEMENT, announcement.worked
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
    _leave_verdict(config_file, verdict_line(code, done, stopped=hooks.stop.is_set()))
    sys.exit(code)


@cli.command()
@click.option("--from", "start", metavar="DAY", help="First day: 2026-11-01.")
@click.option("--to", "end", metavar="DAY", help="The day after the last one.")
@click.option("--month", metavar="MONTH", help="One month, 2026-11; of the current one, the days that are over.")
@click.option(
    "--by", type=click.Choice(["day", "month"]), default="day", show_default=True, help="What to add up over."
)
@click.option("--compare", is_flag=True, help="Compare with the same days of an earlier month.")
@click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file.")
@_setting_options(_USAGE_OPTIONS)
def usage(
    start: str | None,
    end: str | None,
    month: str | None,
    by: str,
    compare: bool,
    config_file: Path | None,
    **options: str | None,
) -> None:
    """Report requests, tokens and spend per subscription, model and day or month; needs no Lago.

    Without --from, --to and --month it is the last full month, in the time zone RECONCILE_REPORT_TIME_ZONE.
    """
    from jobs import usage as use_case
    from jobs.core.periods import PeriodLength
    from jobs.settings import load_settings, usage_settings
    from jobs.telling.console import console_progress, show_usage

    now = datetime.now(UTC)
    settings = load_settings(os.environ, config_file, _texts(options))
    request = usage_settings(settings, start, end, month, now, by=PeriodLength(by), compare=compare)
    with console_progress() as progress:
        told = use_case.usage(request, progress, now=now, run_id=new_run_id(now))
    show_usage(told)


@cli.group(invoke_without_command=True)
@click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file.")
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
@click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file.")
def explain(request_id: str, start: str | None, end: str | None, config_file: Path | None) -> None:
    """Tell one request's whole story: spend log, match or discrepancy, plan, attempts, what Lago has now."""
    from jobs.errors import SettingError
    from jobs.explain import explain as use_case
    from jobs.settings import load_settings, reconcile_settings
    from jobs.telling.console import console_progress, show_story

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
@click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
def doctor(config_file: Path | None, as_json: bool) -> None:
    """Check everything before the first run and after an incident, and say what to do; only reads.

    Ends with 0 if nothing failed, 1 if something did, 2 if it is a setting.
    """
    from jobs.core.doctor.checks import Status
    from jobs.doctor import doctor as use_case
    from jobs.settings import doctor_settings, survey_settings
    from jobs.telling.console import console_progress, show_diagnosis

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
@click.option("--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file.")
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
    """Give the ledger; one that is not there is made nowhere: it is empty, or an error where it `must_exist`."""
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


@cli.command()
@click.option("--api-base", metavar="URL", required=True, help="Address of the Lago that is tried.")
@click.option(
    "--api-key",
    metavar="KEY",
    required=True,
    help="Key of an organization made for this alone, which stays filled; - reads it from standard input.",
)
def conformance(api_base: str, api_key: str) -> None:
    """Play recorded requests on a running Lago, in an organization of its own, and print what it answers otherwise.

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
    from jobs.telling.console import console_progress, show_demo

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


def _texts(options: dict[str, str | None]) -> dict[str, str]:
    known = {**_OPTIONS, **_SHARD_OPTIONS, **_BACKFILL_OPTIONS, **_USAGE_OPTIONS}
    return {known[name.replace("_", "-")][0]: text for name, text in options.items() if text is not None}


def new_run_id(now: datetime) -> str:
    """Return a name for one execution: when it began, and enough chance to tell two apart."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def main() -> None:
    """Run the command line; every error ends in one line that says what to change, and its exit code."""
    try:
        with _one_line_for_disks():
            cli()
    except ReconcileError as error:
        from jobs.core.text import visible

        click.echo(f"error: {visible(str(error))}", err=True)
        sys.exit(error.exit_code)
