"""The command line as a user types it: a process of its own, an environment, an exit code, two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.command_runner import run_command

_CHECKOUT = Path(__file__).parents[3]


_WINDOW = ("--from", "2026-11-10T12:00:00Z", "--to", "2026-11-10T13:00:00Z")


_SECRET = "planted-secret"


# Enough to get past every setting, and to nowhere.
_NOWHERE = {
    "DATABASE_HOST": "127.0.0.1:1",
    "DATABASE_NAME": "litellm",
    "DATABASE_USERNAME": "litellm",
    "DATABASE_PASSWORD": _SECRET,
    "LAGO_API_BASE": "http://127.0.0.1:1",
    "LAGO_API_KEY": _SECRET,
    "LAGO_API_EVENT_CODE": "llm_tokens",
}


def command(environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start the command line with this environment and no other."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=_CHECKOUT,
        env=_whole(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error; no output of ours ever shows a secret or a trace."""
    return _checked(*process.communicate(timeout=120), process.returncode)


def run(environment: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line to its end, without the time that its imports take."""
    with TemporaryDirectory() as folder:
        done = run_command(_whole(environment), arguments, Path(folder))
    return _checked(done.output, done.errors, done.code)


def _whole(environment: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "RECONCILE_CONNECT_ATTEMPTS": "1", **environment}


def _checked(output: str, errors: str, code: int) -> tuple[int, str, str]:
    assert _SECRET not in output + errors
    assert "Traceback" not in output + errors, output + errors
    return code, output, errors


def refused(environment: Mapping[str, str], output: Path, *arguments: str) -> tuple[int, str]:
    """Run into an error; return the exit code and the one line, after checking that nothing else is left or said."""
    code, said, errors = run(environment, "reconcile", *arguments)
    assert said == ""
    lines = [line for line in errors.splitlines() if "level=info" not in line]
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    assert not output.exists() or not list(output.iterdir())
    return code, lines[0]
