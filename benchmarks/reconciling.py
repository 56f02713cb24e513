"""`make bench`: how long it takes to tell what two million-row tables disagree about, beside what else could.

LiteLLM's and Lago's tables lie in one embedded PostgreSQL, filled set-wise with the same traffic for everyone. Every
contender runs in a process of its own, in turn, and round after round.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import orjson
import psycopg
from psycopg import sql

from benchmarks.measuring import MEGABYTE, machine, peak_bytes
from benchmarks.traffic import CODE, HERE, Target, make_data

if TYPE_CHECKING:
    from jobs.steps.reconcile_values import ReconcileSettings, Run

NOW = datetime(2026, 12, 10, tzinfo=UTC)
STORE = {"RECONCILE_EVENTS_FROM": "postgres"}
ONE_THREAD = {"RECONCILE_THREADS": "1"}
OTHERS = HERE.parent / ".venv" / "bench" / "bin" / "python"
"""Has the packages that others.py needs, in the versions that they need."""

# What the matching needs of either table, as it lies there.
SPEND_LOGS_TO_NOWHERE = b"""
    COPY (
        SELECT request_id, "startTime", "endTime", call_type, api_key, "user", team_id, organization_id, end_user,
            model, model_group, custom_llm_provider, prompt_tokens, completion_tokens, total_tokens, spend, cache_hit,
            status
        FROM "LiteLLM_SpendLogs"
    ) TO STDOUT
"""
EVENTS_TO_NOWHERE = b"""
    COPY (SELECT transaction_id, external_subscription_id, code, "timestamp", properties FROM events) TO STDOUT
"""
ROWS_READ = """
    SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint
    FROM pg_stat_user_tables
    WHERE relname IN ('LiteLLM_SpendLogs', 'events')
"""
_COUNTERS_LAG_SECONDS = 2  # a session tells its counts when it ends, at the latest
FLOOR_JOIN = """
    SELECT count(*) FROM "LiteLLM_SpendLogs"
    JOIN events ON external_subscription_id = end_user AND "timestamp" = "endTime"
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contender's run."""

    seconds: float
    """Wall-clock seconds of the whole process, its start and imports included."""
    cpu_seconds: float
    """Processor seconds of the process, without PostgreSQL's."""
    peak_bytes: int
    """Highest resident memory of the process; it starts no others."""
    found: dict[str, int]
    """What it found."""
    files: str = ""
    """SHA-256 over the files that a run of ours leaves, without `run.json`, which tells times."""
    moved_bytes: int = 0
    """What its workers sent to each other, if it has any."""
    rows_read: int = 0
    """Rows of both tables that PostgreSQL fetched for it, by its own counters."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a contender has to say in the end."""

    found: dict[str, int]
    """What it found."""
    files: str = ""
    """As in `Measurement`."""
    cpu_seconds: float = 0.0
    """Processor seconds of the processes that it started, if any."""
    peak_bytes: int = 0
    """Highest resident memory of one of these."""
    moved_bytes: int = 0
    """What these sent to each other."""


def run_ours(target: Target) -> Outcome:
    """Reconcile the month from Lago's store, to finished reports."""
    return _reconcile(target, STORE)


def run_ours_by_api(target: Target) -> Outcome:
    """Reconcile the month with events from Lago's API."""
    return _reconcile(target, {})


def run_ours_on_one_core(target: Target) -> Outcome:
    """Reconcile the month from Lago's store on one core."""
    _pin(0)
    return _reconcile(target, STORE | ONE_THREAD)


def run_ours_on_a_worker(target: Target) -> Outcome:
    """Reconcile the month over a Dask cluster of one worker, on one core."""
    return _over_workers(target, 1)


def run_ours_on_two_workers(target: Target) -> Outcome:
    """Reconcile the month over a Dask cluster of two workers, one thread on one core each."""
    return _over_workers(target, 2)


def _over_workers(target: Target, workers: int) -> Outcome:
    from distributed import Client, LocalCluster  # noqa: PLC0415 - what a run imports belongs to what it costs

    for name, text in _environment(target, STORE | ONE_THREAD).items():
        os.environ[name] = text  # which the workers are started with
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", memory_limit="4GB") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        for core, worker in enumerate(client.nthreads()):
            client.run(_pin, core, workers=[worker])
        # The caller asks, and takes up what is left, while its workers have nothing to do.
        outcome = _reconcile(target, STORE | ONE_THREAD | {"RECONCILE_CLUSTER": cluster.scheduler_address})
        told = client.run(_worker_cost).values()
    apart = ", ".join(f"{cpu_seconds:.1f}" for cpu_seconds, _, _ in told)
    click.echo(f"CPU s: the run {time.process_time():.1f}, its workers {apart}", err=True)
    return Outcome(
        outcome.found,
        outcome.files,
        sum(cpu_seconds for cpu_seconds, _, _ in told),
        max(peak for _, peak, _ in told),
        sum(moved for _, _, moved in told),
    )


def _worker_cost(dask_worker: Any) -> tuple[float, int, int]:
    """Return a worker's processor seconds, highest resident memory and what it has sent, in bytes."""
    return time.process_time(), peak_bytes(), dask_worker.transfer_outgoing_bytes_total


def _reconcile(target: Target, environment: Mapping[str, str]) -> Outcome:
    from jobs.reconcile import reconcile  # noqa: PLC0415 - what a run imports belongs to what it costs

    with tempfile.TemporaryDirectory(prefix="bench-runs-") as output:
        run = reconcile(_request(target, environment, output), _Silence(), now=NOW, run_id="bench")
        return Outcome(_kinds(run), _digest(run.folder))


def _request(target: Target, environment: Mapping[str, str], output: str) -> ReconcileSettings:
    from jobs.settings import load_settings, reconcile_settings  # noqa: PLC0415 - as above

    settings = load_settings({**_environment(target, environment), "RECONCILE_OUTPUT": output}, None)
    return reconcile_settings(settings, "2026-11-01", "2026-12-01", NOW)


def _environment(target: Target, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "DATABASE_URL": target.database_url,
        "LAGO_API_BASE": target.api_base,
        "LAGO_API_KEY": target.api_key,
        "LAGO_API_EVENT_CODE": CODE,
        "RECONCILE_LAGO_ORGANIZATION_ID": target.organization_id,
        "RECONCILE_LAGO_STORE_URL": target.database_url,
        "RECONCILE_LAGO_RATE": "10000",
        # The stand-in adds current usage up in the PostgreSQL that is measured here, all rows for each answer.
        "RECONCILE_USAGE_SUBSCRIPTIONS": "0",
        "RECONCILE_MEMORY_LIMIT": target.memory_limit,
        **more,
    }


def _kinds(run: Run) -> dict[str, int]:
    return {kind.value: count for kind, count in run.kinds.items() if count}


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.name != "run.json")
    return sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def _pin(core: int) -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


class _Silence:
    def step(self, name: str) -> None: ...

    def note(self, text: str) -> None: ...

    def count(self, done: int, total: int | None) -> None: ...


def run_floor(target: Target) -> Outcome:
    """Copy the columns of both tables to nowhere, and let PostgreSQL join them by hash."""
    with psycopg.connect(target.database_url) as connection:
        connection.execute("SET work_mem = '1GB'")
        connection.execute("SET enable_mergejoin = off")
        connection.execute("SET enable_nestloop = off")
        octets = 0
        for statement in (SPEND_LOGS_TO_NOWHERE, EVENTS_TO_NOWHERE):
            with connection.cursor().copy(statement) as rows:
                octets += sum(len(row) for row in rows)
        (joined,) = connection.execute(FLOOR_JOIN).fetchone() or (0,)
    return Outcome({"bytes": octets, "joined": joined})


CONTENDERS: dict[str, Callable[[Target], Outcome]] = {
    "ours": run_ours,
    "floor": run_floor,
    "ours-one-core": run_ours_on_one_core,
    "ours-one-worker": run_ours_on_a_worker,
    "ours-two-workers": run_ours_on_two_workers,
    "ours-api": run_ours_by_api,
}
TITLES = {
    "ours": "ours, both from PostgreSQL, to finished reports",
    "floor": "(a) the floor: `COPY` to nowhere and a bare hash join",
    "pandas": "(b) pandas: `read_sql` and merge",
    "datacompy": "(c) datacompy",
    "reladiff": "(d) reladiff, on shared ids",
    "ours-one-core": "ours in one process, one thread on one core",
    "ours-one-worker": "ours over a Dask cluster of one worker, on one core",
    "ours-two-workers": "ours over a Dask cluster of two workers, one thread on one core each",
    "ours-api": "ours, events from the stand-in's API",
}
ALIKE = ("ours", "ours-one-core", "ours-one-worker", "ours-two-workers")
"""These leave the same files, or something is wrong."""
SHAPES = ("usual", "repeated", "island", "users")


@click.group()
def main() -> None:
    """Measure how fast two tables are reconciled."""


@main.command()
@click.argument("name", type=click.Choice(list(CONTENDERS)))
def contend(name: str) -> None:
    """Run one contender on the target that standard input gives as JSON, and print what it found and needed."""
    target = Target(**orjson.loads(sys.stdin.buffer.read()))
    outcome = CONTENDERS[name](target)
    cpu_seconds, peak = time.process_time() + outcome.cpu_seconds, max(peak_bytes(), outcome.peak_bytes)
    told = Measurement(0, cpu_seconds, peak, outcome.found, outcome.files, outcome.moved_bytes)
    click.echo(orjson.dumps(asdict(told)))


@main.command()
@click.option("--rows", default=100_000, show_default=True, help="spend logs of the month; as many events")
@click.option("--rounds", default=5, show_default=True, help="how often each contender runs; the table shows medians")
@click.option(
    "--shape", "shapes", multiple=True, default=["usual"], type=click.Choice(SHAPES), help="but `usual` for ours only"
)
@click.option("--memory-limit", default="500MB", show_default=True, help="of the matching")
@click.option("--only", multiple=True, type=click.Choice(list(TITLES)), help="these contenders; all but ours-api else")
def run(rows: int, rounds: int, shapes: tuple[str, ...], memory_limit: str, only: tuple[str, ...]) -> None:
    """Make the data, run every contender in turn, and print a table."""
    from jobs.playground.embedded_postgres import EmbeddedPostgres  # noqa: PLC0415 - no contender imports it

    names = only or tuple(name for name in TITLES if name != "ours-api")
    turns = [(shape, name) for shape in shapes for name in (names if shape == "usual" else ("ours",))]
    measured: defaultdict[tuple[str, str], list[Measurement]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        EmbeddedPostgres.start(Path(folder)) as postgres,
        ExitStack() as made,
    ):
        targets = {
            shape: made.enter_context(
                _made(postgres.url, rows, shape, memory_limit, with_shared_ids=(shape, "reladiff") in turns)
            )
            for shape in shapes
        }
        for number in range(1, rounds + 1):
            for shape, name in turns:
                click.echo(f"round {number} of {rounds}: {name}, {shape}", err=True)
                measured[shape, name].append(_measure(name, targets[shape]))
    click.echo(f"{machine()}\n\n### {rows:,} spend logs and their events, median of {rounds}\n")
    click.echo(_table(measured))
    _check_alike(measured)


@contextmanager
def _made(server_url: str, rows: int, shape: str, memory_limit: str, *, with_shared_ids: bool) -> Iterator[Target]:
    """Make the data in a database of its own, with a stand-in for Lago on it."""
    from jobs.playground.lago_standin import LagoStandIn  # noqa: PLC0415 - as above

    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"bench_{shape}")))
    database_url = urlsplit(server_url)._replace(path=f"/bench_{shape}").geturl()
    with LagoStandIn.start(database_url) as standin:
        yield make_data(database_url, standin, rows, shape, memory_limit, with_shared_ids=with_shared_ids)


def _check_alike(measured: Mapping[tuple[str, str], list[Measurement]]) -> None:
    """Raise `ClickException` unless all ways of ours left the same files in all rounds."""
    for shape in SHAPES:
        files = {run.files for name in ALIKE for run in measured.get((shape, name), ())}
        if len(files) > 1:
            raise click.ClickException(f"{', '.join(ALIKE)} did not leave the same files for {shape}")


def _measure(name: str, target: Target) -> Measurement:
    before, began = _rows_read(target), time.perf_counter()
    # What is installed is compiled once, and not anew at each start.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    given = orjson.dumps(asdict(target))
    done = subprocess.run(_command(name), input=given, stdout=subprocess.PIPE, check=True, env=environment)
    seconds = time.perf_counter() - began
    told = orjson.loads(done.stdout)
    return Measurement(**{**told, "seconds": seconds, "rows_read": _rows_read(target) - before})


def _rows_read(target: Target) -> int:
    """Return how many rows of both tables PostgreSQL has fetched so far, by scans and by indexes."""
    with psycopg.connect(target.database_url) as connection:
        time.sleep(_COUNTERS_LAG_SECONDS)
        (rows,) = connection.execute(ROWS_READ).fetchone() or (0,)
    return int(rows)


def _command(name: str) -> list[str]:
    if name in CONTENDERS:
        return [sys.executable, "-m", "benchmarks.reconciling", "contend", name]
    return [str(OTHERS), "-m", "benchmarks.others", name]


def _table(measured: Mapping[tuple[str, str], list[Measurement]]) -> str:
    """Return a Markdown table; ratios are to ours on usual traffic, and of two workers to one."""
    lines = [
        "| contender | traffic | seconds (lowest to highest) | to ours | CPU s | peak memory | rows read | moved"
        " | found | command |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    medians = {turn: statistics.median(run.seconds for run in runs) for turn, runs in measured.items()}
    ours = medians.get(("usual", "ours"))
    for (shape, name), runs in measured.items():
        seconds = medians[shape, name]
        spread = f"{min(run.seconds for run in runs):.1f} to {max(run.seconds for run in runs):.1f}"
        lines.append(
            f"| {TITLES[name]} | {shape} | {seconds:.1f} ({spread}) | {f'{seconds / ours:.2f}' if ours else ''}"
            f" | {statistics.median(run.cpu_seconds for run in runs):.1f}"
            f" | {statistics.median(run.peak_bytes for run in runs) / MEGABYTE:,.0f} MB"
            f" | {statistics.median(run.rows_read for run in runs):,.0f}"
            f" | {statistics.median(run.moved_bytes for run in runs) / MEGABYTE:,.0f} MB"
            f" | {', '.join(f'{key} {count:,}' for key, count in runs[0].found.items())}"
            f" | `python {' '.join(_command(name)[1:])}` |"
        )
    if {("usual", "ours-one-worker"), ("usual", "ours-two-workers")} <= medians.keys():
        share = medians["usual", "ours-two-workers"] / medians["usual", "ours-one-worker"]
        lines.append(f"\nTwo workers need {share:.2f} of the time of one.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
