"""Which window a scheduled run judges: that of its firing, whenever the run begins and however often it is tried."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from jobs.core.window import Window, scheduled_time
from jobs.errors import SettingError
from jobs.settings import load_settings, reconcile_settings

DUE = datetime(2026, 11, 24, 4, 17, tzinfo=UTC)
JOB = f"litellm-lago-{int(DUE.timestamp()) // 60}"
WINDOW = Window(datetime(2026, 11, 21, 2, tzinfo=UTC), datetime(2026, 11, 24, 2, tzinfo=UTC))
_ENVIRONMENT = {
    "DATABASE_URL": "postgresql://reader:secret@db/litellm",
    "LAGO_API_BASE": "http://lago:3000",
    "LAGO_API_KEY": "key",
    "LAGO_API_EVENT_CODE": "llm_tokens",
}


def window(now: datetime, more: Mapping[str, str]) -> Window:
    """Return what a run without --from and --to judges at this time."""
    return reconcile_settings(load_settings({**_ENVIRONMENT, **more}), None, None, now).window


@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=50), timedelta(hours=6), timedelta(days=2)], ids=str)
def test_a_late_firing_and_each_retry_judge_the_window_of_the_schedule(late: timedelta) -> None:
    assert window(DUE + late, {"RECONCILE_JOB_NAME": JOB}) == WINDOW


def test_without_the_jobs_name_a_late_firing_would_judge_another() -> None:
    assert window(DUE, {}) == WINDOW
    assert window(DUE + timedelta(hours=6), {}) != WINDOW


def test_two_jobs_of_one_firing_judge_one_window() -> None:
    again = JOB.replace("litellm-lago", "litellm-lago-again")
    assert window(DUE + timedelta(hours=9), {"RECONCILE_JOB_NAME": again}) == WINDOW


def test_consecutive_firings_leave_no_gap() -> None:
    windows = []
    for day in range(4):
        due = DUE + timedelta(days=day)
        name = f"litellm-lago-{int(due.timestamp()) // 60}"
        windows.append(window(due + timedelta(hours=5 * day), {"RECONCILE_JOB_NAME": name}))
    assert all(later.start < earlier.end for earlier, later in pairwise(windows))


@pytest.mark.parametrize(
    "name",
    [
        "litellm-lago-by-hand",
        "litellm-lago-20261124",  # a date, and no minute of this week
        f"litellm-lago-{int(DUE.timestamp()) // 60 - 8 * 24 * 60}",
        f"litellm-lago-{int(DUE.timestamp()) // 60 + 2 * 60}",
        f"litellm-lago-{int(DUE.timestamp())}",
        f"{JOB}0",
        f"{JOB}-0-x7k2p",
        JOB.rsplit("-", maxsplit=1)[1],
        "litellm-lago-٢٩٧٧٧٤٥٧",
        "",
    ],
)
def test_a_job_that_a_person_named_was_due_when_it_began(name: str) -> None:
    assert scheduled_time(name, DUE) is None
    if name:
        assert window(DUE, {"RECONCILE_JOB_NAME": name}) == WINDOW


@pytest.mark.parametrize(
    "began", [DUE + timedelta(days=7), DUE - timedelta(hours=1)], ids=["a week later", "an hour early"]
)
def test_a_firing_counts_up_to_its_last_moment(began: datetime) -> None:
    """A clock may be a little behind, and a Job may begin late."""
    assert scheduled_time(JOB, began) == DUE


def test_a_time_that_is_given_beats_the_name() -> None:
    given = {"RECONCILE_JOB_NAME": JOB, "RECONCILE_SCHEDULED_AT": "2026-11-10T04:17:00+00:00"}
    assert window(DUE, given).end == datetime(2026, 11, 10, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-24T04:17:00", "29777457"])
def test_a_time_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="RECONCILE_SCHEDULED_AT"):
        window(DUE, {"RECONCILE_SCHEDULED_AT": text})


def test_the_command_lines_window_beats_both() -> None:
    settings = load_settings(_ENVIRONMENT | {"RECONCILE_JOB_NAME": JOB, "RECONCILE_SCHEDULED_AT": "2026-11-10"})
    asked = reconcile_settings(settings, "2026-11-01", "2026-11-02", DUE).window
    assert asked.start == datetime(2026, 11, 1, tzinfo=UTC)
