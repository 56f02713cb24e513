"""One line that says how a command ended: what an orchestrator shows beside the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jobs.core.plan import Outcome
from jobs.core.text import visible
from jobs.steps.backfill_values import Backfill

# Kubernetes keeps 4,096 bytes of it.
_MOST_BYTES = 4000


def verdict_line(exit_code: int, backfills: Sequence[Backfill], *, stopped: bool = False) -> str:
    """Return the verdict over the slices that were done: certified or why not, what was sent, where the report is."""
    parts = [f"exit code {exit_code}"]
    if stopped:
        parts.append("stopped as asked")
    if backfills:
        runs = [result.left for result in backfills]
        parts.append(f"{runs[0].window.start:%Y-%m-%d %H:%M} to {runs[-1].window.end:%Y-%m-%d %H:%M} UTC")
        reasons = dict.fromkeys(reason.text for run in runs for reason in run.reasons)
        parts.append(f"not certified: {'; '.join(reasons)}" if reasons else "certified")
        before = dict.fromkeys(reason.text for result in backfills if result.settled for reason in result.run.reasons)
        parts += [f"before it sent: {'; '.join(before)}"] if before else []
        parts.append(_sent(backfills))
        parts.append(f"report in {runs[-1].folder}")
    return visible(". ".join(parts))


def error_line(exit_code: int, error: str) -> str:
    """Return the verdict of a command that ended in an error."""
    return visible(f"exit code {exit_code}. {error}")


def leave_verdict(path: Path | None, line: str) -> str:
    """Write the line where the orchestrator looks for it, if that is set; return why it could not be, or nothing.

    Written in place: in a container the path is a mount, which cannot be replaced.
    """
    if path is None:
        return ""
    try:
        path.write_bytes(line.encode("utf-8", "backslashreplace")[:_MOST_BYTES].decode("utf-8", "ignore").encode())
    except OSError as error:
        return f"cannot write the verdict to {str(path)!r}: {error.strerror}"
    return ""


def _sent(backfills: Sequence[Backfill]) -> str:
    planned = sum(result.run.plan.events for result in backfills)
    applied = [result.applied for result in backfills if result.applied is not None]
    if not applied:
        return f"{planned} events could be sent"
    outcomes = sum((one.outcomes for one in applied), Counter[Outcome]())
    named = [f"{outcomes[outcome]} {outcome.value.replace('_', ' ')}" for outcome in Outcome if outcomes[outcome]]
    unsent = sum(one.unsent for one in applied)
    named += [f"{unsent} not sent"] if unsent else []
    named.append(f"{sum(one.verified for one in applied)} verified")
    return f"{planned} events planned, {', '.join(named)}"
