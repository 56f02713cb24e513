"""Plays dense worlds of known truth over all eras, stores, meters and payers: `make dense SEEDS=50`.

One seed of everything: `python -m tests.truth.dense 1 --first 7`; of one combination, or of a part of the combinations:
`--only 1.53/postgres/callback/end_user_id`. Each problem begins with the arguments that play its world alone. Ctrl-C or
SIGTERM ends it after the worlds that are being played, with the table of those that were.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory
from types import FrameType

from jobs.playground.embedded_postgres import EmbeddedPostgres
from tests.truth.dense_judge import Verdict, judge
from tests.truth.dense_play import scene
from tests.truth.dense_traffic import draw
from tests.truth.dense_world import COMBINATIONS, Combination, Kind, kind_of
from tests.truth.month_drive import impatient

Task = tuple[Combination, int]
# By column of the table, the field of a verdict that it adds up.
_SUMS = {
    "calls": "calls",
    "sent": "sent",
    "wrong": "wrong",
    "twice": "twice",
    "others'": "astray",
    "time": "at_another_time",
    "cut": "cut",
    "decidable": "decidable",
    "found": "found",
    "beyond": "beyond",
}


def tasks(only: str, kind: str, seeds: Sequence[int]) -> list[Task]:
    """Return the worlds of these seeds and this kind in the combinations whose name holds this text; '' is any."""
    chosen = [combination for combination in COMBINATIONS if only in str(combination)]
    drawn = [(combination, seed) for seed in seeds for combination in chosen]
    return [(combination, seed) for combination, seed in drawn if kind in {"", kind_of(combination, seed)}]


def played(worlds: Sequence[Task]) -> Iterator[Verdict]:
    """Play one world after another."""
    with TemporaryDirectory() as scratch, EmbeddedPostgres.start(Path(scratch)) as server:
        impatient(scratch)
        with scene(server.url, tuple({combination.era: None for combination, _ in worlds})) as place:
            for combination, seed in worlds:
                began = time.monotonic()
                with TemporaryDirectory(dir=scratch) as folder:
                    verdict = judge(place.play(draw(combination, seed), Path(folder)))
                yield replace(verdict, seconds=time.monotonic() - began)


def _stop_when_asked() -> Callable[[], bool]:
    """Take SIGINT and SIGTERM as the wish to stop, and return whether one came."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return lambda: bool(came)


def _play_into(worlds: list[Task], verdicts: multiprocessing.Queue[Verdict | None]) -> None:
    is_stopped = _stop_when_asked()
    try:
        for verdict in played(worlds):
            verdicts.put(verdict)
            if is_stopped():
                break
    finally:
        verdicts.put(None)


def played_by(processes: int, worlds: list[Task]) -> Iterator[Verdict]:
    """Play the worlds in so many processes, in the order they end, until all are played or a signal comes."""
    is_stopped = _stop_when_asked()
    context = multiprocessing.get_context("spawn")
    verdicts: multiprocessing.Queue[Verdict | None] = context.Queue()
    playing = [
        context.Process(target=_play_into, args=(worlds[turn::processes], verdicts)) for turn in range(processes)
    ]
    for process in playing:
        process.start()
    ended = 0
    while ended < processes:
        try:
            verdict = verdicts.get(timeout=1)
        except Empty:
            for process in playing if is_stopped() else ():
                process.terminate()
            continue
        if verdict is None:
            ended += 1
        else:
            yield verdict
    for process in playing:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a process that played worlds ended with {process.exitcode}")


def table(verdicts: Sequence[Verdict]) -> str:
    """Return what was found, as Markdown: by combination, what was missed, and how true the causes are."""
    ordered = sorted(verdicts, key=lambda verdict: verdict.world.combination)
    columns = ("worlds", *_SUMS, "refused", "recall", "seconds each")
    lines = ["| combination | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for combination, group in groupby(ordered, key=lambda verdict: verdict.world.combination):
        lines.append(_row(str(combination), list(group)))
    lines.append(_row("all", ordered))
    for kind in Kind:
        lines.append(_row(f"all {kind}", [verdict for verdict in ordered if verdict.world.kind is kind]))
    missed = sum((verdict.missed for verdict in ordered), Counter[str]())
    if missed:
        lines += ["", "Decidable and not sent, by what the report says of them:", ""]
        lines += [f"- {count:,} {said}" for said, count in missed.most_common()]
    told = sum((verdict.advice for verdict in ordered), Counter[tuple[str, bool | None]]())
    lines += ["", "| cause | told | true | precision |", "| --- | ---: | ---: | ---: |"]
    for cause in sorted({cause for cause, _ in told}):
        count = {truth: told[cause, truth] for truth in (True, False, None)}
        judged = count[True] + count[False]
        precision = f"{count[True] / judged:.2%}" if judged else "not known here"
        lines.append(f"| {cause} | {sum(count.values()):,} | {count[True]:,} | {precision} |")
    return "\n".join(lines) + "\n"


def _row(name: str, verdicts: Sequence[Verdict]) -> str:
    sums = [sum(getattr(verdict, field) for verdict in verdicts) for field in _SUMS.values()]
    total = dict(zip(_SUMS, sums, strict=True))
    recall = f"{total['found'] / total['decidable']:.2%}" if total["decidable"] else ""
    refused = sum(verdict.refused is not None for verdict in verdicts)
    seconds = f"{sum(verdict.seconds for verdict in verdicts) / len(verdicts):.1f}" if verdicts else ""
    counts = " | ".join(f"{number:,}" for number in (len(verdicts), *sums, refused))
    return f"| {name} | {counts} | {recall} | {seconds} |"


def main() -> None:
    """Play the worlds, tell of each problem as it is found, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--only", default="", help="a part of the names of the combinations to play")
    parser.add_argument(
        "--kind", default="", choices=[kind.value for kind in Kind], help="the only kind of world to play"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--problems", type=int, default=3, help="how many problems to tell of each world")
    parser.add_argument("--unsent", type=int, default=0, help="how many decidable events that were not sent")
    parser.add_argument("--untrue", type=int, default=0, help="how many untrue causes to tell of each world")
    parser.add_argument("--output", type=Path, help="a file for the table, written after each world")
    asked = parser.parse_args()
    began = time.monotonic()
    verdicts: list[Verdict] = []
    said = "no worlds\n"
    seeds = range(asked.first, asked.first + asked.seeds)
    for verdict in played_by(asked.processes, tasks(asked.only, asked.kind, seeds)):
        verdicts.append(verdict)
        for problem in verdict.problems[: asked.problems]:
            sys.stderr.write(f"{verdict.world.name} ({verdict.world.kind}): {problem}\n")
        for text in (*verdict.unsent[: asked.unsent], *verdict.untrue[: asked.untrue]):
            sys.stderr.write(f"{verdict.world.name} ({verdict.world.kind}): {text}\n")
        sys.stderr.flush()
        said = f"{len(verdicts):,} worlds, {time.monotonic() - began:,.0f} seconds\n\n{table(verdicts)}"
        if asked.output:
            asked.output.write_text(said, encoding="utf-8")
    sys.stdout.write(said)
    sys.exit(any(verdict.wrong or verdict.problems for verdict in verdicts))


if __name__ == "__main__":
    main()
