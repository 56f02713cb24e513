"""An operator's week with a fixed seed: firings, a kill, a full disk, an outage, a missed firing, a run by hand.

After each of them: the exit code, the termination message, the console, the page and the metrics.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.backfilling import SUBSCRIPTIONS, Call, assert_billed_once, fill_litellm, new_organization
from tests.support.command_runner import Commanded, run_command

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

BEGIN = datetime(2025, 11, 7, 20, tzinfo=UTC)
SETTLED = timedelta(hours=2, minutes=17)
FIRINGS = [datetime(2025, 11, day, 4, 17, tzinfo=UTC) for day in range(11, 18)]
"""Each judges the three days until 02:00."""


def calls_of_the_week(seed: int) -> tuple[Call, ...]:
    """Return a call every two hours or so until the last firing's window ends; a fifth of their events is lost."""
    rng = random.Random(seed)
    found: list[Call] = []
    first, last = FIRINGS[0] - SETTLED - timedelta(days=3), FIRINGS[-1] - SETTLED
    at = BEGIN
    while (at := at + timedelta(minutes=rng.randint(60, 180), milliseconds=rng.randrange(1000))) < last:
        tokens = (rng.randint(50, 5000), rng.randint(5, 500))
        lost = rng.random() < 0.2 and at >= first
        found.append(Call(f"chatcmpl-{len(found)}", rng.choice(SUBSCRIPTIONS), at, tokens, lost))
    return tuple(found)


@dataclass
class Week:
    """The operator's deployment, and how each run is looked at."""

    folder: Path
    environment: dict[str, str]
    codes: list[int] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The termination message of the last run; empty where it left none."""
        path = self.folder / "verdict"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def fires(self, at: datetime, *arguments: str, changed: dict[str, str] | None = None, **around: Any) -> Commanded:
        """Run what the CronJob would at this time, or the Job that a person makes with arguments."""
        (self.folder / "verdict").unlink(missing_ok=True)
        environment = {**self.environment, "RECONCILE_SCHEDULED_AT": f"{at:%Y-%m-%dT%H:%M:%SZ}", **(changed or {})}
        ended = run_command(environment, ("reconcile", "--apply", *arguments), self.folder, **around)
        assert "Traceback" not in ended.output + ended.errors
        self.codes.append(ended.code)
        return ended

    def page(self) -> str:
        """Return the page of the newest run's folder."""
        newest = max((self.folder / "runs").glob("*/report.html"), key=lambda path: path.parent.name.split("Z-")[2])
        return newest.read_text(encoding="utf-8")

    def metric(self, group: str, name: str, command: str = "reconcile-apply") -> float:
        """Return the value of a gauge without labels but the command, as the collector's file has it."""
        text = (self.folder / "metrics" / f"litellm-lago-{command}-{group}.prom").read_text(encoding="utf-8")
        (line,) = [line for line in text.splitlines() if line.startswith(f"litellm_lago_{name}{{")]
        return float(line.rpartition(" ")[2])

    def is_healed(self, ended: Commanded, before: int) -> None:
        """Assert that everything says that the window was not, and is now, as it should be."""
        assert ended.code == 0, ended.errors
        missing = f"{before} missing event{'' if before == 1 else 's'}"
        assert "\nCERTIFIED\n" in ended.output
        assert f"Before      NOT CERTIFIED: {missing}\n" in ended.output
        assert f". certified. before it sent: {missing}. " in self.verdict
        assert '<span class="badge">Certified</span>' in self.page()
        assert f"Before the plan was applied: {missing}. Then {before} sent; " in self.page()
        assert self.metric("findings", "certified") == 1
        assert self.metric("last-run", "last_run_exit_code") == 0

    def has_failed(self, ended: Commanded, says: str) -> None:
        """Assert that the run ended with one line, and that a verdict and the metrics say so."""
        assert ended.code == 1
        (line,) = [line for line in ended.errors.splitlines() if line.startswith("error: ")]
        assert says in line
        assert self.verdict == f"exit code 1. {line.removeprefix('error: ')}"
        assert self.metric("last-run", "last_run_exit_code") == 1


@pytest.mark.deep
def test_a_week(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    calls = calls_of_the_week(seed=21)
    fill_litellm(litellm_database, calls)
    organization = new_organization(standin, calls)
    (tmp_path / "metrics").mkdir()
    week = Week(
        tmp_path,
        {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": litellm_database,
            "LAGO_API_BASE": organization.api_base,
            "LAGO_API_KEY": organization.api_key,
            "LAGO_API_EVENT_CODE": "llm_tokens",
            "RECONCILE_OUTPUT": str(tmp_path / "runs"),
            "RECONCILE_METRICS_FOLDER": str(tmp_path / "metrics"),
            "RECONCILE_TERMINATION_LOG": str(tmp_path / "verdict"),
            "RECONCILE_LAGO_ATTEMPTS": "2",
            "RECONCILE_LAGO_RATE": "1000",
            "RECONCILE_VERIFY_WITHIN": "10s",
            # One window, one verdict, also where it spans a Thursday.
            "RECONCILE_SLICE_LENGTH": "3650d",
        },
    )

    def lost(number: int, since: int = 0) -> int:
        """Count the lost events between the ends of two firings' windows; from the beginning where `since` is 0."""
        end = FIRINGS[number - 1] - SETTLED
        start = FIRINGS[since - 1] - SETTLED if since else BEGIN
        return sum(call.lost and start <= call.at < end for call in calls)

    # Tuesday: the first firing.
    week.is_healed(week.fires(FIRINGS[0]), lost(1))

    # Wednesday: killed after the events were sent. It leaves no verdict; its page says that it did not end.
    ended = week.fires(FIRINGS[1], killed_at="verify: begin")
    assert (ended.code, week.verdict) == (-9, "")
    assert "This run began to send its plan and has not told how that ended" in week.page()
    killed = max((tmp_path / "runs").glob("*/.applying.json")).parent
    # Kubernetes tries again: nothing is missing any more, and what became of the first try is completed.
    ended = week.fires(FIRINGS[1])
    assert ended.code == 0, ended.errors
    assert "completing what became of the events of run" in ended.errors
    assert (killed / "outcomes.csv").read_text(encoding="utf-8").count(",sent,,true,") == lost(2, since=1)
    assert "This run was killed while it sent its plan." in (killed / "report.html").read_text(encoding="utf-8")
    assert ". certified. 0 events could be sent" in week.verdict

    # Thursday: the volume is full, then there is room again.
    success = week.metric("success", "last_success_timestamp_seconds")
    week.has_failed(week.fires(FIRINGS[2], largest_file=40 * 1024), "Make room")
    assert week.metric("success", "last_success_timestamp_seconds") == success
    assert not list((tmp_path / "runs").glob(".*.partial"))
    week.is_healed(week.fires(FIRINGS[2]), lost(3, since=2))

    # Friday: Lago is down. The next firing sees the same days.
    week.has_failed(week.fires(FIRINGS[3], changed={"LAGO_API_BASE": "http://127.0.0.1:1"}), "Lago")

    # Saturday's firing heals Friday's day too; Sunday's is missed.
    week.is_healed(week.fires(FIRINGS[4]), lost(5, since=3))

    # On Sunday a person judges two days by hand: the schedule's metrics stay as they are.
    before = week.metric("last-run", "last_run_timestamp_seconds")
    ended = week.fires(FIRINGS[5], "--from", "2025-11-12", "--to", "2025-11-14")
    assert ended.code == 0, ended.errors
    assert "\nCERTIFIED\n" in ended.output
    assert week.metric("last-run", "last_run_timestamp_seconds") == before
    assert week.metric("findings", "certified", "reconcile-apply-manual") == 1

    # Monday.
    week.is_healed(week.fires(FIRINGS[6]), lost(7, since=5))
    assert week.codes == [0, -9, 0, 1, 0, 1, 0, 0, 0]
    assert_billed_once(organization, calls)
