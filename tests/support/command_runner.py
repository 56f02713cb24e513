"""Runs the command line in a process of its own that has imported everything already: as a user would, but fast."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest  # noqa: F401 - what a child's main module imports, so that it need not

from jobs import backfill, cli, explain, settings  # noqa: F401 - what every command needs
from jobs.steps import backfill_values
from jobs.telling import console  # noqa: F401
from tests.support.children import CHILDREN

_DEADLINE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Commanded:
    """How a command ended, and what it said."""

    code: int
    """Its exit code."""
    output: str
    """Standard output."""
    errors: str
    """Standard error, with the trace of an error that nobody foresaw."""


def run_command(
    environment: Mapping[str, str],
    arguments: Sequence[str],
    folder: Path,
    *,
    breaks_at: str | None = None,
    killed_at: str | None = None,
    largest_file: int | None = None,
) -> Commanded:
    """Run `litellm-lago` with these arguments and no other environment.

    It breaks, or is killed (exit code -9), where a backfill takes a step of this name; `largest_file` is how many
    bytes a file may have before writing to it fails, as on a full disk.
    """
    streams = folder / "stdout", folder / "stderr"
    given = dict(environment), list(arguments), streams, breaks_at, killed_at, largest_file
    process = CHILDREN.Process(target=_work, args=given)
    process.start()
    process.join(_DEADLINE_SECONDS)
    code = process.exitcode
    if code is None:
        process.kill()
        raise AssertionError(f"{' '.join(arguments)} did not end")
    output, errors = (path.read_text(encoding="utf-8", errors="replace") for path in streams)
    return Commanded(code, output, errors)


def _work(
    environment: dict[str, str],
    arguments: list[str],
    streams: tuple[Path, Path],
    breaks_at: str | None,
    killed_at: str | None,
    largest_file: int | None,
) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["litellm-lago", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if largest_file is not None:
        sys.dont_write_bytecode = True  # what Python compiles would be cut short too, and stay so
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if breaks_at is not None or killed_at is not None:
        plain = backfill_values.Hooks

        def broken(name: str) -> None:
            if name == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == breaks_at:
                raise RuntimeError(f"broken at {name}")

        backfill_values.Hooks = lambda **given: plain(**given, step=broken)  # type: ignore[assignment,misc]
    cli.main()
