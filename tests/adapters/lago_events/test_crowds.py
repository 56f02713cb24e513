"""How much is asked of Lago, and crowds of events at one instant."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from jobs.adapters.lago import events as reader
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient
from jobs.core.lago.values import LagoConnection
from jobs.errors import LagoError
from jobs.playground.lago_standin import LagoStandIn
from jobs.playground.lago_standin.faults import Fault
from jobs.playground.lago_standin.handle import Organization
from tests.adapters.lago_events.helpers import MILLISECOND, START, WINDOW, event, ids, loaded, read, spread, talking_to
from tests.support.twins import deep_after


def test_few_requests_read_many_rows(organization: Organization, tmp_path: Path) -> None:
    organization.insert_events(spread(25_000))
    seen: list[tuple[int, int | None]] = []
    with talking_to(organization) as client:
        chunks = list(
            read_events(
                client,
                codes=["tokens"],
                window=WINDOW,
                property_names=["model"],
                progress=lambda read, to_read: seen.append((read, to_read)),
            )
        )
    assert len(loaded(chunks, tmp_path)) == 25_000
    assert len(organization.requests()) <= 25 + 1 + 4  # the pages, the first look, a last page not full per slice
    assert seen[-1] == (25_000, 25_000)
    assert sorted(seen) == seen


def test_pages_read_at_one_time_begin_no_faster_than_the_rate(organization: Organization) -> None:
    organization.insert_events(spread(1500))
    began: list[float] = []

    class Watched(LagoClient):
        def _answer(self, request: httpx.Request) -> httpx.Response:
            began.append(time.monotonic())
            return super()._answer(request)

    connection = LagoConnection(
        organization.api_base, organization.api_key, requests_per_second=50.0, page_size=100, concurrency=8
    )
    with Watched(connection) as client:
        list(read_events(client, codes=["tokens"], window=WINDOW, property_names=[], progress=lambda _read, _all: None))
    assert len(began) == 15
    assert began[-1] - began[0] >= 14 / 50


def test_chunks_are_cut_at_row_borders(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_CHUNK_BYTES", 20_000)
    organization.insert_events(spread(1000))
    with talking_to(organization, page_size=100) as client:
        chunks = list(
            read_events(client, codes=["tokens"], window=WINDOW, property_names=[], progress=lambda _read, _all: None)
        )
    assert len(chunks) > 3
    assert all(chunk.endswith(b'"[]"\n') for chunk in chunks)
    assert max(map(len, chunks)) < 2 * 20_000


def test_each_code_is_listed_and_others_are_not(organization: Organization, tmp_path: Path) -> None:
    codes = ["a", "b c&d=e", "ünï", "a"]
    organization.insert_events(event(number, START, code=code) for number, code in enumerate([*codes[:3], "other"]))
    with talking_to(organization) as client:
        rows = read(client, tmp_path, codes=codes)
        assert read(client, tmp_path, codes=[]) == []
    assert sorted((row["transaction_id"], row["code"]) for row in rows) == [
        ("t0", "a"),
        ("t1", "b c&d=e"),
        ("t2", "ünï"),
    ]


@pytest.mark.parametrize("version", ["1.51.0", "1.47.0"])
def test_thousands_at_one_instant(standin: LagoStandIn, tmp_path: Path, version: str) -> None:
    organization = standin.create_organization("crowd", version=version)
    organization.insert_events(event(number, START + timedelta(hours=5)) for number in range(3000))
    with talking_to(organization) as client:
        rows = read(client, tmp_path)
    assert ids(rows) == sorted(f"t{number}" for number in range(3000))
    assert len(organization.requests()) <= 5


@pytest.mark.parametrize("version", ["1.51.0", "1.47.0"])
def test_a_crowd_that_no_cut_can_part_is_found_and_paged(
    standin: LagoStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(reader, "ROWS_PER_SLICE", 400)
    monkeypatch.setattr(reader, "_ROWS_AIMED_AT", 300)
    organization = standin.create_organization("crowd", version=version)
    crowd = [event(number, START + timedelta(hours=5)) for number in range(900)]
    organization.insert_events([*crowd, *(event(1000 + number, START + number * MILLISECOND) for number in range(50))])
    with talking_to(organization, page_size=100) as client:
        rows = read(client, tmp_path)
    assert len(ids(rows)) == 950
    assert len(set(ids(rows))) == 950
    assert len(organization.requests()) < 40


def test_unstable_pages_are_noticed_by_their_ids(standin: LagoStandIn, tmp_path: Path) -> None:
    organization = standin.create_organization("unstable", version="1.47.0")
    organization.insert_events(event(number, START) for number in range(350))
    with talking_to(organization, page_size=100) as client:
        rows = read(client, tmp_path)
        pages = [client.get("events", {"page": page, "per_page": 100})["events"] for page in (1, 2, 3, 4)]
    assert len(set(ids(rows))) == 350
    # The stand-in does what Lago did: read naively, pages repeat some rows and skip others.
    assert len({listed["lago_id"] for page in pages for listed in page}) < 350


def test_unstable_pages_that_no_single_page_can_replace_are_refused(standin: LagoStandIn, tmp_path: Path) -> None:
    organization = standin.create_organization("unstable", version="1.47.0")
    organization.insert_events(event(number, START) for number in range(350))
    organization.set_faults(Fault(name="per_page_refused", endpoint="list", cap=100))
    # Every reading repeats the same rows and skips the same others, with the right count: only ids tell.
    with talking_to(organization) as client, pytest.raises(LagoError, match="still changing"):
        read(client, tmp_path)


@pytest.mark.parametrize("fault", ["per_page_refused", "per_page_capped"])
@pytest.mark.parametrize("count", deep_after(1, [750, 0, 100, 101]))
def test_a_cap_on_the_page_size_loses_nothing(
    organization: Organization, tmp_path: Path, fault: str, count: int
) -> None:
    organization.insert_events(spread(count))
    organization.set_faults(Fault(name=fault, endpoint="list", cap=100))
    with talking_to(organization) as client:
        rows = read(client, tmp_path, codes=["tokens", "other"])
    assert ids(rows) == sorted(f"t{number}" for number in range(count))
    assert len(organization.requests()) <= 2 + 2 + count // 100 + 1
