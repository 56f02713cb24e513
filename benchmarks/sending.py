"""`make bench`: how fast a plan is sent, beside what else could send it.

Three servers answer. The stand-in for Lago stores events in PostgreSQL and shares the machine's cores, so it limits the
fast contenders; with a wait before each answer it is like a Lago that runs elsewhere; the null server answers at once,
and shows what the senders themselves cost. Every contender runs in
a process of its own, on a fresh organization, in turn, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import click
import orjson
from aiohttp import web

from benchmarks.measuring import MEGABYTE, machine, peak_bytes
from benchmarks.senders import (
    BODIES_FILE,
    CODE,
    CONTENDERS,
    CREATE,
    MONTH_END,
    MONTH_START,
    OURS,
    OURS_SHORT,
    PLAN_FILE,
    SERVERS,
    SINGLE,
    SUBSCRIPTIONS,
    Contender,
    Measurement,
    Server,
    Target,
    planned_events,
    read_plan,
    write_bodies,
    write_plan,
)
from jobs.adapters.lago.sending import LARGEST_BATCH
from jobs.playground.embedded_postgres import EmbeddedPostgres
from jobs.playground.lago_standin import Fault, LagoStandIn, Organization


@click.group()
def main() -> None:
    """Measure how fast a plan is sent."""


@main.command()
@click.argument("name", type=click.Choice([contender.name for contender in CONTENDERS]))
@click.option("--api-base", required=True)
@click.option("--folder", type=click.Path(path_type=Path), required=True)
@click.option("--concurrency", default=4)
def contend(name: str, api_base: str, folder: Path, concurrency: int) -> None:
    """Run one contender, the API key on standard input, and print its measurement as JSON."""
    contender = next(contender for contender in CONTENDERS if contender.name == name)
    target = Target(
        api_base, sys.stdin.readline().strip(), _plan_folder(folder, contender), contender.events, concurrency
    )
    started, cpu_started = time.perf_counter(), time.process_time()
    sent = contender.send(target)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    click.echo(orjson.dumps(asdict(Measurement(sent, seconds, cpu_seconds, peak_bytes()))))


def _plan_folder(folder: Path, contender: Contender) -> Path:
    """Return where this contender's plan lies: ours gets plans of two sizes, all others begin the large one."""
    return folder / ("short" if contender is OURS_SHORT else "whole")


@main.command()
def null_server() -> None:
    """Answer every event at once; print the port, and end when standard input closes."""
    asyncio.run(_serve_nothing())


async def _serve_nothing() -> None:
    event = {
        "lago_id": "1a901a90-1a90-1a90-1a90-1a901a901a90",
        "transaction_id": f"litellm-lago:1:{'0' * 64}",
        "lago_customer_id": None,
        "code": CODE,
        "timestamp": "2026-11-01T00:00:00.000Z",
        "precise_total_amount_cents": None,
        "properties": dict(next(planned_events(1)).properties),
        "lago_subscription_id": None,
        "external_subscription_id": "sub_000",
        "created_at": "2026-11-23T00:00:00Z",
    }
    batch = orjson.dumps({"events": [event] * LARGEST_BATCH})
    single = orjson.dumps({"event": event})

    def answering(body: bytes) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(body=body, content_type="application/json")

        return answer

    app = web.Application()
    app.router.add_post("/api/v1/events/batch", answering(batch))
    app.router.add_post("/api/v1/events", answering(single))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    click.echo(runner.addresses[0][1])
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


@main.command()
@click.option("--rounds", default=3, show_default=True, help="how often each contender runs; the tables show medians")
def run(rounds: int) -> None:
    """Run every contender against every server in turn, and print the tables."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, EmbeddedPostgres.start(Path(name)) as postgres:
        folder = Path(name)
        for plan_name, contender in (("short", OURS_SHORT), ("whole", OURS)):
            (folder / plan_name).mkdir()
            write_plan(folder / plan_name / PLAN_FILE, contender.events)
        write_bodies(folder / "whole" / PLAN_FILE, folder / "whole" / BODIES_FILE)
        with LagoStandIn.start(postgres.url) as standin, _null_server() as null_base:
            measured: defaultdict[Server, defaultdict[Contender, list[Measurement]]]
            measured = defaultdict(lambda: defaultdict(list))
            for number in range(1, rounds + 1):
                for contender in CONTENDERS:
                    click.echo(f"round {number} of {rounds}: {contender.name}", err=True)
                    for server in SERVERS:
                        if contender in (SINGLE, CREATE) and not server.one_event_a_request:
                            continue
                        if server.delay_seconds is None:
                            measurement = _measure(contender, null_base, "none", folder, server)
                        else:
                            measurement = _on_standin(standin, contender, folder, server)
                        measured[server][contender].append(measurement)
    click.echo(machine())
    for server in SERVERS:
        click.echo(f"\n### {server.title}, median of {rounds}\n")
        click.echo(_table(measured[server]))


def _on_standin(standin: LagoStandIn, contender: Contender, folder: Path, server: Server) -> Measurement:
    organization = standin.create_organization(f"bench {contender.name}")
    organization.add_metric(CODE, field_name="total_tokens")
    organization.add_plan("tokens", charges=[(CODE, {"pay_in_advance": False})])
    organization.add_customer("customer")
    for number in range(SUBSCRIPTIONS):
        organization.add_subscription(
            f"sub_{number:03d}", customer="customer", plan="tokens", started_at=MONTH_START - timedelta(days=90)
        )
    if server.delay_seconds:
        organization.set_faults(Fault("slow", delay_seconds=server.delay_seconds))
    measurement = _measure(contender, standin.api_base, organization.api_key, folder, server)
    _check_billed(organization, _plan_folder(folder, contender) / PLAN_FILE, contender.events)
    return measurement


def _check_billed(organization: Organization, plan: Path, events: int) -> None:
    """Raise `ClickException` unless Lago would bill each event sent exactly once."""
    count: Counter[str] = Counter()
    quantity: defaultdict[str, Decimal] = defaultdict(Decimal)
    for event in islice(read_plan(plan), events):
        count[event.subscription] += 1
        quantity[event.subscription] += Decimal(event.quantity)
    for subscription in count:
        billed = organization.billed(subscription, CODE, MONTH_START, MONTH_END)
        if (billed.events_count, billed.units) != (count[subscription], quantity[subscription]):
            raise click.ClickException(f"{subscription} is billed {billed}, not {count[subscription]} events")


def _measure(contender: Contender, api_base: str, api_key: str, folder: Path, server: Server) -> Measurement:
    done = subprocess.run(
        [
            *_command(contender.name),
            *("--api-base", api_base, "--folder", str(folder), "--concurrency", str(server.concurrency)),
        ],
        input=api_key.encode() + b"\n",
        stdout=subprocess.PIPE,
        check=True,
    )
    measurement = Measurement(**orjson.loads(done.stdout))
    if measurement.events != contender.events:
        raise click.ClickException(f"{contender.name} sent {measurement.events} of {contender.events} events")
    return measurement


def _command(name: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", "benchmarks.sending", "contend", name]


@contextmanager
def _null_server() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sending", "null-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise click.ClickException("the null server has no standard input or output")
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


def _table(measured: Mapping[Contender, list[Measurement]]) -> str:
    """Return a Markdown table; a rate is the median of the rounds' rates, so no two rounds are mixed."""
    rates = {contender: statistics.median(_rates(runs)) for contender, runs in measured.items()}
    lines = [
        "| sender | events | events/s (lowest to highest) | ours to this | CPU µs per event | peak memory | command |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for contender, runs in measured.items():
        cpu = statistics.median(run.cpu_seconds / run.events * 1e6 for run in runs)
        peak = statistics.median(run.peak_bytes for run in runs) / MEGABYTE
        spread = f"{min(_rates(runs)):,.0f} to {max(_rates(runs)):,.0f}"
        lines.append(
            f"| {contender.title} | {contender.events:,} | {rates[contender]:,.0f} ({spread})"
            f" | {rates[OURS] / rates[contender]:.2f} | {cpu:,.0f} | {peak:.1f} MB"
            f" | `{' '.join(_command(contender.name, 'python'))}` |"
        )
    return "\n".join(lines)


def _rates(runs: list[Measurement]) -> list[float]:
    return [run.events / run.seconds for run in runs]


if __name__ == "__main__":
    main()
