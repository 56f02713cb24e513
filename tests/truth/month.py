"""Plays many simulated worlds and tells what the job found of each class of loss: `make truth SEEDS=1000`."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from jobs.errors import ReconcileError
from jobs.playground.embedded_postgres import EmbeddedPostgres
from jobs.playground.lago_standin import LagoStandIn
from tests.support.databases import Eras, create_database
from tests.truth.month_drive import Drive, impatient
from tests.truth.month_judge import Verdict, judge_world
from tests.truth.month_world import ERAS, LOST, Fate, draw

_ABOUT = """
Each world is some days of a gateway: LiteLLM of one era, one of Lago's event stores, a time zone, subscriptions in
every state, a Lago that makes invoices of them, and calls with the fates below. The real job runs over it once a day,
is killed in between, meets failures of Lago, and is run by hand. `decidable`: no left-over event could be the call's,
its time has one reading, and a run that ended well saw it while its billing period was open, or its invoice a draft.
What is not decidable has to be reported and not sent.
""".strip().splitlines()


@dataclass
class Stage:
    """Where worlds are played: a LiteLLM database per era, and one stand-in for Lago."""

    databases: dict[str, str]
    standin: LagoStandIn
    _connections: dict[str, psycopg.Connection] = field(default_factory=dict)

    def play(self, seed: int, folder: Path) -> Verdict:
        """Let one world go by, and judge it."""
        world = draw(seed)
        if world.era not in self._connections:
            self._connections[world.era] = psycopg.connect(self.databases[world.era], autocommit=True)
        drive = Drive(world, self.databases[world.era], self._connections[world.era], self.standin)
        drive.through(folder)
        return judge_world(drive, folder)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()


@contextmanager
def stage(server_url: str, eras: tuple[str, ...] = ERAS) -> Iterator[Stage]:
    """Make the databases on this server and run the stand-in."""
    with ExitStack() as stack:
        built = Eras(server_url)
        databases = {era: built.database(era) for era in eras}
        standin = stack.enter_context(LagoStandIn.start(create_database(server_url)))
        made = Stage(databases, standin)
        stack.callback(made.close)
        yield made


def table(verdicts: list[Verdict], commit: str, command: str, seconds: float) -> str:
    """Return what was found, as Markdown."""
    total = {name: Counter[Fate]() for name in ("calls", "sent", "due", "due_sent")}
    for verdict in verdicts:
        for name, counter in total.items():
            counter.update(getattr(verdict, name))
    calls, sent, due, due_sent = (total[name] for name in ("calls", "sent", "due", "due_sent"))
    unbilled, told = Counter[str](), Counter[str]()
    for verdict in verdicts:
        unbilled.update(verdict.unbilled)
        told.update(verdict.unbilled_told)
    problems = sum(len(verdict.problems) for verdict in verdicts)
    # A bare event bills nothing. One that was taken for the event of a lost call beside it leaves its own call missing.
    bare = sent[Fate.BARE]
    wrong = sum(count for fate, count in sent.items() if fate not in (*LOST, Fate.BARE))
    lines = [
        "# Truth test",
        "",
        f"`{command}`: {len(verdicts):,} simulated worlds, {sum(calls.values()):,} calls, {seconds:,.0f} seconds, "
        f"by the code of commit {commit}.",
        "",
        *_ABOUT,
        "",
        "| fate | calls | sent | decidable | of these sent | recall |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for fate in Fate:
        recall = f"{due_sent[fate] / due[fate]:.2%}" if due[fate] else ""
        cells = (
            (calls[fate], sent[fate], due[fate], due_sent[fate]) if fate in LOST else (calls[fate], sent[fate], "", "")
        )
        lines.append(
            f"| {fate} | " + " | ".join(f"{cell:,}" if cell != "" else "" for cell in cells) + f" | {recall} |"
        )
    lines += [
        "",
        f"Precision of `missing`: {1 - wrong / max(1, sum(sent.values())):.2%} ({wrong:,} of {sum(sent.values()):,} "
        f"sent events belong to no call that was not billed; {bare:,} to calls whose own event bills nothing). "
        f"Top-ups of events without tokens: {sum(verdict.topped_up for verdict in verdicts):,}.",
        "Broken laws (billed twice, invented, at another time, decidable and not sent, neither sent nor reported): "
        f"{problems:,}.",
        "",
        f"Final invoices, each with exactly what had come by then: {sum(one.invoices for one in verdicts):,}. "
        "Recorded events that Lago does not bill, which every run that saw them has to tell, and no other event:",
        "",
        "| not billed | events | told by every run |",
        "| --- | ---: | ---: |",
        *(f"| `{why}` | {count:,} | {told[why]:,} |" for why, count in sorted(unbilled.items())),
        "",
    ]
    return "\n".join(lines)


def played(seeds: Iterable[int]) -> Iterator[Verdict]:
    """Play one world after another, and tell at once of a law that was broken."""
    with TemporaryDirectory() as scratch, EmbeddedPostgres.start(Path(scratch)) as server:
        impatient(scratch)
        with stage(server.url) as scene:
            for seed in seeds:
                with TemporaryDirectory(dir=scratch) as folder:
                    try:
                        verdict = scene.play(seed, Path(folder))
                    except ReconcileError as error:
                        verdict = Verdict(problems=(f"a run that nothing disturbed failed: {error}",))
                for problem in verdict.problems:
                    sys.stderr.write(f"seed {seed}: {problem}\n")
                    sys.stderr.flush()
                yield verdict


def _play_into(seeds: range, verdicts: multiprocessing.Queue[Verdict | None]) -> None:
    """Play these worlds, and put None behind the last verdict, also where one could not be played."""
    try:
        for verdict in played(seeds):
            verdicts.put(verdict)
    finally:
        verdicts.put(None)


def played_by(processes: int, seeds: range) -> Iterator[Verdict]:
    """Play the worlds in so many processes, each with databases and a stand-in of its own, in the order they end."""
    context = multiprocessing.get_context("spawn")
    verdicts: multiprocessing.Queue[Verdict | None] = context.Queue()
    playing = [
        context.Process(target=_play_into, args=(seeds[number::processes], verdicts)) for number in range(processes)
    ]
    for process in playing:
        process.start()
    for _ in playing:
        yield from iter(verdicts.get, None)
    for process in playing:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process that played worlds ended with {process.exitcode}")


def main() -> None:
    """Play the worlds of seeds 1 to SEEDS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    began = time.monotonic()
    verdicts: list[Verdict] = []
    text = ""
    for verdict in played_by(asked.processes, range(asked.first, asked.first + asked.seeds)):
        verdicts.append(verdict)
        text = table(verdicts, asked.commit, f"make truth SEEDS={len(verdicts)}", time.monotonic() - began)
        # Written after each world, so that whoever stops it early has the table of those that were played.
        if asked.output:
            asked.output.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.exit(any(verdict.problems for verdict in verdicts))


if __name__ == "__main__":
    main()
