"""Events are read through faults, and while their window moves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from jobs.adapters.lago import events as reader
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient, Reply
from jobs.core.lago.values import LagoConnection
from jobs.errors import LagoError
from jobs.playground.lago_standin.faults import Fault
from jobs.playground.lago_standin.handle import Organization
from tests.adapters.lago_events.helpers import WINDOW, event, ids, read, spread, talking_to
from tests.support.twins import deep_after


@pytest.mark.parametrize(
    "fault",
    deep_after(
        3, ["rate_limited", "cut_during", "truncated", "server_error", "bad_gateway", "cut_before", "cut_after"]
    ),
)
def test_faults_on_the_way_lose_and_double_nothing(organization: Organization, tmp_path: Path, fault: str) -> None:
    organization.insert_events(spread(1500))
    organization.set_faults(Fault(name=fault, endpoint="list", probability=0.3, seed=7))
    with talking_to(organization, page_size=100, attempts=20) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(1500))
    assert any(request.faults for request in organization.requests())


def test_an_error_in_one_slice_ends_the_reading(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(500))
    organization.set_faults(Fault(schedule=("none", "none", "server_error", "server_error", "server_error")))
    limits = {"page_size": 100, "attempts": 3, "concurrency": 1}
    with talking_to(organization, **limits) as client, pytest.raises(LagoError, match="HTTP 500"):
        read(client, tmp_path)


def test_a_reading_given_up_half_way_leaves_nothing_running(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_CHUNK_BYTES", 1)
    organization.insert_events(spread(500))
    with talking_to(organization, page_size=100) as client:
        chunks = cast(
            "Any",
            read_events(client, codes=["tokens"], window=WINDOW, property_names=[], progress=lambda _read, _all: None),
        )
        assert next(chunks)
        chunks.close()


class BusyLago(LagoClient):
    """A client of the real stand-in, during whose requests something happens there."""

    def __init__(self, organization: Organization, happening: Callable[[int], None], **limits: Any) -> None:
        given = {"requests_per_second": 10_000.0, "page_size": 100, "concurrency": 1} | limits
        super().__init__(
            LagoConnection(organization.api_base, organization.api_key, **given), sleep=lambda _seconds: None
        )
        self.asked = 0
        self._happening = happening

    def request(self, method: str, path: str, **options: Any) -> Reply:
        reply = super().request(method, path, **options)
        self.asked += 1
        self._happening(self.asked)
        return reply


def test_a_row_that_arrives_in_mid_reading_is_read(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(450))

    def arrive(asked: int) -> None:
        if asked == 2:
            organization.insert_events([event(9999, WINDOW.end - timedelta(minutes=1))])

    with BusyLago(organization, arrive) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted([*(f"t{number}" for number in range(450)), "t9999"])


def test_a_row_that_vanishes_in_mid_reading_takes_no_other_with_it(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(450))

    def vanish(asked: int) -> None:
        if asked == 1:
            organization.soft_delete_events(["t449"])

    with BusyLago(organization, vanish) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(449))


def test_one_row_for_another_keeps_the_count_and_is_noticed(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(450))

    def swap(asked: int) -> None:
        if asked == 2:  # an old row goes, a new one comes: the count stays, the pages shift by one
            organization.soft_delete_events(["t0"])
            organization.insert_events([event(9999, WINDOW.end - timedelta(minutes=1))])

    with BusyLago(organization, swap) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted([*(f"t{number}" for number in range(1, 450)), "t9999"])


@pytest.mark.deep
def test_an_instant_that_never_rests_is_refused(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(event(number, WINDOW.start) for number in range(101))
    # Without single large pages, and with nothing to cut, there is no reading that a new row cannot fall into.
    organization.set_faults(Fault(name="per_page_refused", endpoint="list", cap=100))

    def arrive(asked: int) -> None:
        organization.insert_events([event(10_000 + asked, WINDOW.start)])

    with BusyLago(organization, arrive) as client, pytest.raises(LagoError, match="still changing") as caught:
        read(client, tmp_path)
    assert "settlement lag" in caught.value.remedy


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 100)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 80)


@pytest.mark.usefixtures("small_slices")
def test_a_row_that_arrives_in_a_slice_that_was_read_costs_that_slice_again(
    organization: Organization, tmp_path: Path
) -> None:
    organization.insert_events(spread(150))

    def change(asked: int) -> None:
        if asked == 2:  # after the whole and the earlier half
            organization.insert_events([event(9999, WINDOW.start + timedelta(minutes=1))])
            organization.soft_delete_events(["t149", "t148"])

    with BusyLago(organization, change) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted([*(f"t{number}" for number in range(148)), "t9999"])


@pytest.mark.deep
@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("cap", [None, 100])
def test_a_window_that_goes_on_receiving_events_is_read(
    organization: Organization, tmp_path: Path, cap: int | None
) -> None:
    organization.insert_events(spread(1500))
    if cap is not None:
        organization.set_faults(Fault(name="per_page_refused", endpoint="list", cap=cap))
    length, arrived = WINDOW.end - WINDOW.start, list[str]()

    def arrive(asked: int) -> None:
        arrived.append(f"t{10_000 + asked}")
        organization.insert_events([event(10_000 + asked, WINDOW.start + length * ((asked * 7919) % 1000) / 1000)])

    with BusyLago(organization, arrive) as client:
        rows = read(client, tmp_path)
    read_ids = ids(rows)
    assert len(set(read_ids)) == len(read_ids)
    assert {f"t{number}" for number in range(1500)} <= set(read_ids)
    # What came before the slices were counted once more is among them.
    assert set(arrived[:20]) <= set(read_ids)
    assert client.asked < 250


@pytest.mark.usefixtures("small_slices")
def test_slices_that_do_not_add_up_to_the_window_are_refused(
    organization: Organization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization.insert_events(spread(300))
    whole = reader.cut
    monkeypatch.setattr(reader, "cut", lambda *asked, **options: whole(*asked, **options)[:-1])
    with (
        talking_to(organization) as client,
        pytest.raises(LagoError, match=r"counts 300 events .* and 225 in its parts: the window is still changing"),
    ):
        read(client, tmp_path)


@pytest.mark.usefixtures("small_slices")
def test_a_row_that_arrives_in_a_slice_not_yet_read_is_read(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(150))

    def arrive(asked: int) -> None:
        if asked == 2:
            organization.insert_events([event(9999, WINDOW.end - timedelta(minutes=1))])

    with BusyLago(organization, arrive) as client:
        assert len(ids(read(client, tmp_path))) == 151
