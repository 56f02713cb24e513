"""Metrics: shaped, as text, at a Pushgateway, and told however a command ends; tests/commands/cli/ has real runs'."""

from __future__ import annotations

import socket
from base64 import b64decode
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from jobs.adapters.metrics import metrics_text, push
from jobs.core.kinds import HoldReason, Kind
from jobs.core.lago.billing_rules import Unbilled
from jobs.core.plan import Outcome
from jobs.core.telling.metrics import (
    GAUGES,
    Gauge,
    Measured,
    SubscriptionTotal,
    bounded,
    findings_gauges,
    last_run_gauges,
    merged,
    of_command,
    success_gauge,
)
from jobs.core.window import Window
from jobs.errors import LagoError, NotAnnouncedError, ReconcileError, StoppedError
from jobs.settings import publication, survey_settings
from jobs.steps.report import subscription_totals
from jobs.telling.announcing import Announcement, Ended, announcing
from tests.deploy.test_monitoring import METRICS
from tests.support.judging import CODE, Event, SpendLog, judged_workspace
from tests.support.scripted_server import Received, Scripted, scripted_server

HOSTILE = (
    "",
    "other",
    'a"} 1\nlitellm_lago_certified 1',
    "back\\slash",
    "\x1b[31mred\x00",
    "\u202eevil",
    "x" * 400,
    "한",
)
START = datetime(2026, 11, 10, tzinfo=UTC)
PATIENCE = timedelta(seconds=5)


def total(subscription: str | None, at_stake: int = 0, expected: int = 1, code: str = CODE) -> SubscriptionTotal:
    """Return a total of which all but what is given is 1."""
    return SubscriptionTotal(
        subscription, code, Decimal(expected), Decimal(1), Decimal(1), Decimal(1), Decimal(at_stake)
    )


def measured(day: int = 0, **changed: object) -> Measured:
    """Return what a certified day found: one missing event of alice."""
    values = {
        "window": Window(START + timedelta(days=day), START + timedelta(days=day + 1)),
        "certified": True,
        "kinds": {Kind.MISSING: 1},
        "held": {HoldReason.ZERO_QUANTITY: 2},
        "unbilled": {Unbilled.NO_CHARGE: 3},
        "totals": (total("alice"),),
        "planned": 1,
    }
    return Measured(**(values | changed))  # type: ignore[arg-type]


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Return the samples by name without prefix and label values; both formats' parsers agree on them."""
    read = [
        {
            (sample.name.removeprefix("litellm_lago_"), *sample.labels.values()): sample.value
            for family in parser(text.decode())
            for sample in family.samples
        }
        for parser in (parse, parse_openmetrics)
    ]
    assert read[0] == read[1]
    return read[0]


def labels_of(totals: tuple[SubscriptionTotal, ...]) -> list[str | None]:
    """Return whom they name."""
    return [one.subscription for one in totals]


def test_the_first_are_named_and_the_rest_is_added_up() -> None:
    found = bounded([total("a", 1), total("b", 3), total("c", 2), total(None, 9), total("d", 1, expected=5)], 2)
    assert labels_of(found) == ["b", "c", None]
    assert found[-1] == SubscriptionTotal(None, CODE, *(Decimal(n) for n in (7, 3, 3, 3, 11)))
    by_use = bounded([total("a", expected=1), total("c", expected=2), total("b", expected=2)], 1)
    assert labels_of(by_use) == ["b", None], "then the most usage, then the name"
    codes = bounded([total("a", code="y"), total("a", code="x")], 1)
    assert [(one.subscription, one.code) for one in codes] == [("a", "x"), ("a", "y")]


def test_one_that_is_called_other_is_one_of_the_others() -> None:
    (rest,) = bounded([total("other", 5), total(None, 1)], 20)
    assert rest == SubscriptionTotal(None, CODE, *(Decimal(n) for n in (2, 2, 2, 2, 6)))


def test_labels_that_become_equal_are_added_up() -> None:
    found = bounded([total("x" * 200 + "1"), total("x" * 200 + "2"), total("x" * 199)], 20)
    assert [(one.subscription, int(one.expected)) for one in found] == [("x" * 199, 1), ("x" * 200, 2)]


def test_slices_are_merged() -> None:
    found = merged(
        [
            measured(totals=(total("alice", 2), total(None))),
            measured(2, certified=False, outcomes={Outcome.SENT: 1}, verified=1),
            measured(1, outcomes={Outcome.SENT: 1, Outcome.REJECTED: 3}, verified=0, totals=(total("bob", 9),)),
        ],
        1,
    )
    assert found.window == Window(START, START + timedelta(days=3))
    assert found.certified is False
    assert set(found.held.values()) == {0, 6}
    assert (found.kinds[Kind.MISSING], found.kinds[Kind.ORPHANED], found.held[HoldReason.ZERO_QUANTITY]) == (3, 0, 6)
    assert found.unbilled[Unbilled.NO_CHARGE] == 9
    assert (found.planned, found.verified) == (3, 1)
    assert found.outcomes == {**dict.fromkeys(Outcome, 0), Outcome.SENT: 2, Outcome.REJECTED: 3}
    assert [(one.subscription, int(one.expected)) for one in found.totals] == [("bob", 1), (None, 3)]
    alone = merged([measured()], 1)
    assert (alone.certified, alone.outcomes, alone.verified) == (True, None, None)


@pytest.mark.parametrize("most", [1, 3, 20])
def test_hostile_names_stay_labels(most: int) -> None:
    rows = tuple(total(name, number) for number, name in enumerate(HOSTILE))
    text = metrics_text(findings_gauges(measured(totals=bounded(rows, most), certified=False)))
    found = samples(text)
    assert found["certified",] == 0, "no name brings a line of its own"
    named = [key[-1] for key in found if key[0] == "expected_quantity"]
    assert len(named) <= most + 1
    assert sum(value for key, value in found.items() if key[0] == "expected_quantity") == len(HOSTILE)
    assert all(name.isprintable() and len(name) <= 200 for name in named)


def test_the_query_bounds_what_it_returns() -> None:
    names = [*(name for name in HOSTILE if name and "\x00" not in name), *(f"user-{n}" for n in range(5))]
    logs = [SpendLog(f"r{n}", 3_600_000 * n, end_user=name, tokens=(n, 1)) for n, name in enumerate(names, start=1)]
    events = [Event("matched", 3_600_000 * len(names), names[-1]), Event("orphan", 80_000_000, "stray")]
    with judged_workspace(logs, events) as workspace:
        some, every = (subscription_totals(workspace, most) for most in (3, 1000))
    assert len(some) == 4
    assert some[-1].subscription is None
    for part in ("expected", "recorded", "missing", "surplus", "at_stake"):
        assert sum(getattr(one, part) for one in some) == sum(getattr(one, part) for one in every)
    assert sum(one.expected for one in every) == sum(n + 1 for n in range(1, len(names) + 1))
    assert {one.subscription: one.surplus for one in every}["stray"] == 140
    rest = {one.subscription: one.expected for one in every}[None]
    assert rest == names.index("other") + 2, "the one that is called other, alone"
    assert {one.subscription for one in some[:-1]} == {
        one.subscription for one in sorted(every, key=lambda one: -one.at_stake)[:3]
    }


def test_the_gauges_tell_what_was_found_and_how_a_command_ended() -> None:
    found = measured(outcomes={Outcome.SENT: 3}, verified=2)
    ended = (*last_run_gauges(START, 3, timedelta(seconds=5)), success_gauge(START + timedelta(seconds=1)))
    gauges = of_command((*findings_gauges(found), *ended), "backfill")
    assert {gauge.name: gauge.meaning for gauge in gauges} == {f"litellm_lago_{name}": GAUGES[name] for name in GAUGES}
    told = {
        gauge.name.removeprefix("litellm_lago_"): {sample.labels: sample.value for sample in gauge.samples}
        for gauge in gauges
    }
    assert told["discrepancies"] == {("backfill", kind): int(kind is Kind.MISSING) for kind in Kind}
    assert told["held"] == {("backfill", reason): 2 * (reason is HoldReason.ZERO_QUANTITY) for reason in HoldReason}
    assert told["unbilled"] == {("backfill", reason): 3 * (reason is Unbilled.NO_CHARGE) for reason in Unbilled}
    assert told["outcome_events"] == {("backfill", outcome): 3 * (outcome is Outcome.SENT) for outcome in Outcome}
    assert told["missing_quantity"] == {("backfill", "alice", CODE): Decimal(1)}
    assert {name: values[("backfill",)] for name, values in told.items() if ("backfill",) in values} == {
        "window_start_seconds": START.timestamp(),
        "window_end_seconds": START.timestamp() + 86_400,
        "certified": 1,
        "planned_events": 1,
        "verified_events": 2,
        "last_run_timestamp_seconds": START.timestamp(),
        "last_run_exit_code": 3,
        "last_run_duration_seconds": 5,
        "last_success_timestamp_seconds": START.timestamp() + 1,
    }


def test_the_gauges_are_those_that_alerts_and_dashboard_may_ask_for() -> None:
    found = findings_gauges(measured(outcomes={}, verified=0))
    told = of_command((*found, success_gauge(START), *last_run_gauges(START, 0, PATIENCE)), "reconcile")
    assert {gauge.name: frozenset(gauge.labels) for gauge in told} == METRICS
    assert [gauge.name.removeprefix("litellm_lago_") for gauge in told] == list(GAUGES)


# A Pushgateway.

GAUGE = (Gauge("litellm_lago_certified", GAUGES["certified"], (), ()),)


def test_a_push_replaces_its_group_and_shows_the_password_to_the_gateway_alone() -> None:
    received: list[Received] = []
    with scripted_server(lambda path, query: Scripted(b""), received) as url:
        address = url.replace("http://", "http://me:se%2Fcret@")
        push(f"{address}/prefix/", "reconcile-success", findings_gauges(measured()), PATIENCE)
    (one,) = received
    assert (one.method, one.path) == ("PUT", "/prefix/metrics/job/litellm_lago/group/reconcile-success")
    assert b64decode(one.headers["Authorization"].removeprefix("Basic ")) == b"me:se/cret"
    assert b"litellm_lago_certified 1.0\n" in one.body
    assert [*parse(one.body.decode())]


def test_a_gateway_that_refuses_is_told_without_the_password() -> None:
    with scripted_server(lambda path, query: Scripted(b"no", status=401)) as url:
        address = url.replace("http://", "http://me:secret@")
        with pytest.raises(NotAnnouncedError, match=r"127\.0\.0\.1.*401") as caught:
            push(address, "g", GAUGE, PATIENCE)
    assert "secret" not in str(caught.value)


def test_a_gateway_that_is_silent_is_waited_for_no_longer_than_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NotAnnouncedError, match="timed out"):
            push(url, "g", GAUGE, timedelta(seconds=0.2))


def test_a_gateway_that_is_none_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NotAnnouncedError, match=f"127.0.0.1:{port}"):
        push(f"http://127.0.0.1:{port}", "g", GAUGE, PATIENCE)


@pytest.mark.parametrize(
    "text",
    ["gateway:9091", "ftp://g", "http://", "http://g:x", "http://g/?a=1", "http://[g", "http://g/a b", "gateway"],
)
def test_what_is_no_gateway_is_a_wrong_setting_that_is_not_shown(text: str) -> None:
    (problem,) = survey_settings({"RECONCILE_PUSHGATEWAY_URL": text}).problems
    assert "RECONCILE_PUSHGATEWAY_URL" in str(problem)
    assert "its value cannot be used" in str(problem)


def test_where_nothing_is_set_nothing_is_published() -> None:
    assert publication(survey_settings({})) is None


# Announcing.


_NOBODY = NotAnnouncedError("nobody is there", "Go on")


def ended_by(
    ending: BaseException | None,
    failure: BaseException = _NOBODY,
    note: str = "nobody is there. Go on",
    **said: object,
) -> list[Ended]:
    """Return what listeners were told of a command that ended so; the first of them fails."""
    told: list[Ended] = []
    notes: list[str] = []
    clock: Iterator[float] = iter([1.0, 3.5])

    def failing(ended: Ended) -> None:
        raise failure

    def work(announcement: Announcement) -> None:
        for name, value in said.items():
            setattr(announcement, name, value)
        if ending is not None:
            raise ending

    telling = announcing("x", [failing, told.append], notes.append, now=lambda: START, monotonic=lambda: next(clock))
    with nullcontext() if ending is None else pytest.raises(type(ending)), telling as announcement:
        work(announcement)
    assert notes == ([] if said.get("silent") else [note])
    return told


@pytest.mark.parametrize(
    ("ending", "code", "error", "did_its_work"),
    [
        (SystemExit(0), 0, False, True),
        (SystemExit(3), 3, False, True),
        (SystemExit(1), 1, False, False),
        (SystemExit("no"), 1, False, False),
        (LagoError("a", "b"), 1, True, False),
        (KeyboardInterrupt(), 1, False, False),
        (ZeroDivisionError(), 1, False, False),
        (None, 0, False, True),
    ],
)
def test_everybody_is_told_how_a_command_ended(
    ending: BaseException | None, code: int, error: bool, did_its_work: bool
) -> None:
    (told,) = ended_by(ending, command="y", backfills=["a slice"])
    assert (told.command, told.exit_code, told.at, told.duration) == ("y", code, START, timedelta(seconds=2.5))
    assert isinstance(told.error, ReconcileError) == error
    assert told.did_its_work == did_its_work
    assert told.finished == (ending is None or isinstance(ending, SystemExit))


def test_a_fault_in_telling_is_said_and_the_next_one_is_told() -> None:
    (told,) = ended_by(
        SystemExit(3), ValueError("no number"), "could not tell how the run ended: ValueError: no number"
    )
    assert told.exit_code == 3


def test_a_signal_while_telling_ends_the_telling_and_changes_no_exit_code() -> None:
    note = "the run was stopped by SIGTERM while it announced how it ended: not everybody was told"
    assert ended_by(SystemExit(3), StoppedError("SIGTERM"), note) == []


def test_a_run_that_left_nothing_is_no_success() -> None:
    (told,) = ended_by(SystemExit(0))
    assert not told.did_its_work


def test_of_a_silent_command_nobody_is_told() -> None:
    assert ended_by(SystemExit(0), silent=True) == []
