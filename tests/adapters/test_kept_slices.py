"""What a reading that ended early has read is not read again, and never believed without asking Lago."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from jobs.adapters.lago import events as reader
from jobs.adapters.lago import kept_slices
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient, Reply
from jobs.adapters.lago.kept_slices import KeptSlices
from jobs.core.lago.values import LagoConnection
from jobs.playground.lago_standin import LagoStandIn, Organization
from tests.adapters.lago_events.helpers import MILLISECOND, START, WINDOW, event, ids, loaded, spread
from tests.support.twins import deep_after

NOW = WINDOW.end + timedelta(days=1)
QUESTION = {"api_base": "a", "window": [WINDOW.start, WINDOW.end]}
ROWS = 3_000
NAMES = ("model", "total_tokens")


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 500)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 400)
    monkeypatch.setattr(reader, "_CHUNK_BYTES", 1)


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    organization = standin.create_organization("kept")
    organization.insert_events(spread(ROWS))
    return organization


class _EndedEarlyError(Exception):
    pass


class Counting(LagoClient):
    """Counts what is asked, whatever still arrives of another reading."""

    asked = 0
    answer: Callable[[Reply], Reply] = staticmethod(lambda reply: reply)

    def request(self, method: str, path: str, **given: Any) -> Reply:
        self.asked += 1
        reply = super().request(method, path, **given)
        return type(self).answer(reply) if given["params"]["per_page"] == 1 else reply


def read(
    organization: Organization,
    folder: Path,
    *,
    chunks: int | None = None,
    fails: bool = False,
    question: Any = QUESTION,
    now: datetime = NOW,
) -> tuple[list[dict[str, Any]], int, int]:
    """Read the window, or so many chunks of it; return the rows, how many were taken up, and the requests made."""
    connection = LagoConnection(
        organization.api_base, organization.api_key, requests_per_second=10_000.0, page_size=100
    )
    rows: list[dict[str, Any]] = []
    with (
        suppress(_EndedEarlyError),
        KeptSlices(folder, question, now=now) as kept,
        Counting(connection, sleep=lambda _seconds: None) as client,
    ):
        listed = read_events(
            client, codes=["tokens"], window=WINDOW, property_names=NAMES, progress=lambda _r, _a: None, kept=kept
        )
        rows = loaded(islice(listed, chunks), folder)
        if fails:
            raise _EndedEarlyError
    return rows, kept.taken_up, client.asked


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob(".events-read-*"))


def test_a_reading_that_ended_early_is_taken_up(organization: Organization, tmp_path: Path) -> None:
    _, taken_up, _ = read(organization, tmp_path, chunks=4, fails=True)
    assert taken_up == 0
    (folder,) = left(tmp_path)
    kept = len(list(folder.iterdir()))
    assert 0 < kept < 8
    rows, taken_up, requests = read(organization, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(ROWS))
    assert taken_up == kept * 375, "eight slices of as many"
    assert requests == 1 + kept + (8 - kept) * 4
    assert left(tmp_path) == [], "a reading that has ended well leaves nothing"


def test_a_slice_that_has_changed_is_read_again(organization: Organization, tmp_path: Path) -> None:
    read(organization, tmp_path, fails=True)
    organization.insert_events([event(ROWS, START)])
    rows, taken_up, _ = read(organization, tmp_path, fails=True)
    assert len(rows) == ROWS + 1
    assert taken_up == 7 * 375
    # As many as before, but the newest is another one.
    newest = f"t{ROWS - 1}"
    organization.soft_delete_events([newest])
    organization.insert_events([event(ROWS + 1, WINDOW.end - MILLISECOND)])
    rows, taken_up, _ = read(organization, tmp_path)
    assert newest not in ids(rows)
    assert f"t{ROWS + 1}" in ids(rows)
    assert taken_up == 376 + 6 * 375


@pytest.mark.deep
def test_a_count_without_the_newest_row_proves_nothing(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(organization, tmp_path, fails=True)
    monkeypatch.setattr(
        Counting, "answer", staticmethod(lambda reply: replace(reply, payload=reply.payload | {"events": []}))
    )
    rows, taken_up, _ = read(organization, tmp_path)
    assert (len(rows), taken_up) == (ROWS, 0)


@pytest.mark.parametrize(
    "damage",
    deep_after(1, [lambda text: text.replace(b"gpt-4o", b"gpt-5o", 1), lambda text: text[:-10], lambda _: b""]),
)
def test_a_damaged_slice_is_read_again(organization: Organization, tmp_path: Path, damage: Any) -> None:
    read(organization, tmp_path, fails=True)
    (folder,) = left(tmp_path)
    damaged = min(folder.iterdir())
    damaged.write_bytes(damage(damaged.read_bytes()))
    rows, taken_up, _ = read(organization, tmp_path)
    assert {row["properties"][0] for row in rows} == {"gpt-4o"}
    assert len(rows) == ROWS
    assert taken_up == 7 * 375


@pytest.mark.parametrize("age", deep_after(1, [timedelta(days=1, seconds=1), timedelta(seconds=-1)]))
def test_slices_older_than_a_day_are_not_taken_up(organization: Organization, tmp_path: Path, age: timedelta) -> None:
    read(organization, tmp_path, fails=True)
    rows, taken_up, _ = read(organization, tmp_path, now=NOW + age)
    assert len(rows) == ROWS
    assert taken_up == 0


def test_another_question_takes_up_nothing_and_removes_what_is_old(organization: Organization, tmp_path: Path) -> None:
    read(organization, tmp_path, fails=True)
    (folder,) = left(tmp_path)
    other = QUESTION | {"api_base": "b"}
    in_time = folder.stat().st_mtime
    assert read(organization, tmp_path, question=other)[1] == 0
    assert left(tmp_path) == [folder], "it may still be taken up"
    later = START.fromtimestamp(in_time, START.tzinfo) + timedelta(days=1, seconds=1)
    with KeptSlices(tmp_path, other, now=later):
        assert left(tmp_path) == []


@pytest.mark.deep
def test_of_two_runs_at_one_time_one_keeps(organization: Organization, tmp_path: Path) -> None:
    read(organization, tmp_path, fails=True)
    (folder,) = left(tmp_path)
    with KeptSlices(tmp_path, QUESTION, now=NOW):
        rows, taken_up, _ = read(organization, tmp_path)
        assert (len(rows), taken_up) == (ROWS, 0)
        assert folder.exists()
        later = START.fromtimestamp(folder.stat().st_mtime, START.tzinfo) + timedelta(days=2)
        with KeptSlices(tmp_path, QUESTION | {"api_base": "b"}, now=later):
            assert folder.exists(), "a live run holds it"
    assert left(tmp_path) == []


@pytest.mark.deep
def test_without_a_place_to_keep_them_reading_goes_on(organization: Organization, tmp_path: Path) -> None:
    read(organization, tmp_path, fails=True)
    (folder,) = left(tmp_path)
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    rows, taken_up, _ = read(organization, tmp_path)
    assert (len(rows), taken_up) == (ROWS, 0)


@pytest.mark.deep
def test_they_take_a_tenth_of_the_free_room(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1_000_000
    monkeypatch.setattr(kept_slices.shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(0, 0, free))  # type: ignore[attr-defined]
    read(organization, tmp_path, fails=True)
    (folder,) = left(tmp_path)
    size = max(path.stat().st_size for path in folder.iterdir())
    kept = len(list(folder.iterdir()))
    assert 0 < kept < 8
    assert free / 10 - 2 * size < kept * size <= free / 10 + kept * 500, "the headings are not counted"
    rows, taken_up, _ = read(organization, tmp_path)
    assert (len(rows), taken_up) == (ROWS, kept * 375)


def test_a_disk_that_is_full_ends_no_reading(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.replace

    def full(path: Path, target: Path) -> Path:
        if path.suffix == ".partial" and path.parent in left(tmp_path):
            raise OSError(28, "No space left on device")
        return plain(path, target)

    monkeypatch.setattr(Path, "replace", full)
    rows, _, _ = read(organization, tmp_path, fails=True)
    assert len(rows) == ROWS
    (folder,) = left(tmp_path)
    assert list(folder.iterdir()) == []
