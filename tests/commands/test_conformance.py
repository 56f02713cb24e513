"""`conformance` plays the recording on a running Lago: here the stand-in, as it is and as another release."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.conformance import SETTLE_SECONDS, Conformance, conformance
from jobs.errors import LagoError, RefusedError, SettingError
from jobs.playground.lago_standin import LagoStandIn, Organization
from tests.support.scripted_server import Scripted, scripted_server

RECORDED_AT = datetime(2026, 11, 28, 6, 33, tzinfo=UTC)


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    made = standin.create_organization("conformance", currency="USD", version="1.51.129")
    made.configure(now=RECORDED_AT)
    return made


def play(organization: Organization, now: datetime = RECORDED_AT) -> tuple[Conformance, list[str], list[float]]:
    """Play the recording, and return what it showed, what it told and how long it waited."""
    told: list[str] = []
    waited: list[float] = []
    shown = conformance(organization.api_base, organization.api_key, told.append, now=lambda: now, wait=waited.append)
    return shown, told, waited


def test_an_organization_of_its_own_is_played(organization: Organization) -> None:
    shown, told, waited = play(organization)
    # Events without a timestamp all came at the instant at which the clock stands.
    assert {one.name for one in shown.differences} == {"organizations", "trailing slash"}
    assert shown.compared == 494
    assert told == ["Seeding 44 metrics, plans, customers and subscriptions", "Playing 494 requests"]
    assert set(waited) == {SETTLE_SECONDS}
    with pytest.raises(RefusedError, match=r"holds \d+ billable_metrics already"):
        play(organization)


@pytest.mark.deep
def test_a_difference_is_printed_with_its_place(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.conformance.SETTLE_SECONDS", 0.0)
    organization.configure(events_batch_max_length=50)
    arguments = ["conformance", "--api-base", organization.api_base, "--api-key", "-"]
    done = CliRunner().invoke(cli, arguments, input=f"{organization.api_key}\n")
    assert done.exit_code == 3
    assert "status: 200 recorded, 422 answered" in done.output
    assert "answers are those of v1.51.0 + 129 commits (postgres store), 2026-11-28" in done.output
    assert "never removes them" in done.output


@pytest.mark.deep
def test_another_month_is_not_compared(organization: Organization) -> None:
    then = datetime(2027, 2, 3, tzinfo=UTC)
    organization.configure(now=then)
    shown, _, _ = play(organization, then)
    assert shown.not_compared == 52
    assert {one.name for one in shown.differences} == {"organizations", "trailing slash"}


def test_a_wrong_key_and_a_wrong_address_are_one_line(organization: Organization) -> None:
    for base, key, error in (
        (organization.api_base, "wrong", r"Lago answered 401 to a list of billable_metrics"),
        ("http://127.0.0.1:9", "key", "no answer to GET billable_metrics"),
    ):
        with pytest.raises(LagoError, match=error):
            conformance(base, key, print, now=lambda: RECORDED_AT, wait=print)
    with pytest.raises(SettingError, match="does not start with http"):
        conformance("ftp://x", "key", print, now=lambda: RECORDED_AT, wait=print)


def test_a_server_that_is_no_lago_is_told() -> None:
    with (
        scripted_server(lambda _path, _parameters: Scripted(json.dumps([]).encode())) as base,
        pytest.raises(LagoError, match="not Lago's list of billable_metrics"),
    ):
        conformance(base, "key", print, now=lambda: RECORDED_AT, wait=print)
