"""Settings that the run's own findings speak against: nothing is sent that they could touch, unless told by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.core.kinds import Cause
from jobs.errors import RefusedError
from tests.commands.backfill.helpers import CALLS, LOST, World
from tests.support.backfilling import CODE, Call, fill_litellm, new_organization, run_one, some_calls
from tests.support.twins import deep_after

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

_STRANGERS = [
    replace(call, at=call.at + timedelta(seconds=200), tokens=(900 + number, 70))
    for number, call in enumerate(some_calls(18, lost=(), seed=7))
]


def _under(name: Callable[[str], str]) -> list[dict[str, Any]]:
    """Return the events of the calls that were not lost, each under the name that the gateway gives its payer."""
    events = (call.original() for call in CALLS if not call.lost)
    return [{**event, "external_subscription_id": name(event["external_subscription_id"])} for event in events]


@pytest.fixture
def filled(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> Callable[[list[dict[str, Any]]], World]:
    """Return a maker of worlds whose spend logs are those of `CALLS`, and whose events are these."""

    def make(events: list[dict[str, Any]]) -> World:
        fill_litellm(litellm_database, CALLS)
        organization = new_organization(standin, [replace(call, lost=True) for call in CALLS])
        organization.add_metric("other_tokens")
        names = {event["external_subscription_id"] for event in events} - {"alice", "bob"}
        for name in sorted(names):
            organization.add_subscription(name, customer="customer", plan="tokens", started_at=CALLS[0].at)
        organization.insert_events(events)
        return World(CALLS, organization, litellm_database, tmp_path)

    return make


def _refusal(world: World) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        run_one(world.settings())
    assert (caught.value.exit_code, world.sent()) == (4, set())
    return caught.value


@pytest.mark.parametrize(
    ("name", "told"),
    deep_after(
        1,
        [
            (
                lambda payer: f"org-{payer}",
                "12 events stand under other subscriptions than it names, and 0 under those",
            ),
            (lambda _: "acme", "12 events stand under other subscriptions than it names, and 0 under those"),
            (
                lambda payer: {"bob": "robert"}.get(payer, payer),
                "events of 'bob' stand under other subscriptions, and 0",
            ),
        ],
    ),
    ids=["other names", "one name", "one renamed"],
)
def test_calls_whose_events_stand_under_names_that_no_column_holds(
    name: Callable[[str], str], told: str, filled: Callable[[list[dict[str, Any]]], World]
) -> None:
    world = filled(_under(name))
    refused = _refusal(world)
    assert refused.what.startswith("LAGO_API_CHARGE_BY is probably wrong")
    assert told in refused.what
    assert "RECONCILE_MAPPING_FILE" in refused.remedy
    done = run_one(replace(world.settings(), send_despite=frozenset({Cause.WRONG_CHARGE_BY})))
    assert done.applied is not None
    assert world.sent() == {call.request_id for call in LOST}


@pytest.mark.deep
def test_one_renamed_does_not_keep_others_from_being_billed(
    filled: Callable[[list[dict[str, Any]]], World],
) -> None:
    world = filled(
        [event for call in CALLS if call in LOST and call.subscription == "bob" for event in [call.original()]]
        + _under(lambda payer: {"bob": "robert"}.get(payer, payer))
    )
    run_one(world.settings())
    assert world.sent() == {call.request_id for call in LOST if call.subscription == "alice"}


def test_events_of_another_organization(filled: Callable[[list[dict[str, Any]]], World]) -> None:
    world = filled([call.original() for call in _STRANGERS])
    refused = _refusal(world)
    assert refused.what.startswith("LAGO_API_KEY is probably wrong: 18 expected events are not there, and 18 events")
    assert "DATABASE_URL" in refused.remedy
    assert "RECONCILE_SEND_DESPITE=nothing_in_common" in refused.remedy


@pytest.mark.deep
def test_strangers_beside_calls_that_have_their_events_are_no_other_organization(
    filled: Callable[[list[dict[str, Any]]], World],
) -> None:
    world = filled([*(call.original() for call in _STRANGERS), *_under(lambda payer: payer)])
    run_one(world.settings())
    assert world.sent() == {call.request_id for call in LOST}


def _other_code(calls: list[Call], code: str = "other_tokens") -> list[dict[str, Any]]:
    return [{**call.original(), "code": code} for call in calls]


def test_events_under_another_code(filled: Callable[[list[dict[str, Any]]], World]) -> None:
    world = filled(_other_code([call for call in CALLS if not call.lost]))
    refused = _refusal(world)
    assert refused.what.startswith("LAGO_API_EVENT_CODE is probably wrong: Lago has no event of the code 'llm_tokens'")
    assert "under 'other_tokens' it has those of" in refused.what
    assert "RECONCILE_SEND_DESPITE=nothing_arrived" in refused.remedy


def test_one_payers_events_under_another_code(filled: Callable[[list[dict[str, Any]]], World]) -> None:
    arrived = [call for call in CALLS if not call.lost]
    others = _other_code([call for call in CALLS if call.subscription == "bob"])
    world = filled([call.original() for call in arrived if call.subscription == "alice"] + others)
    refused = _refusal(world)
    assert refused.what.startswith(
        "LAGO_API_EVENT_CODE is probably wrong: Lago has no event of the code 'llm_tokens' of 'bob'"
    )
    assert "under 'other_tokens' it has those of 3 of 3 calls" in refused.what


def test_of_codes_that_have_as_many_events_the_first_is_named(filled: Callable[[list[dict[str, Any]]], World]) -> None:
    codes = [f"code_{number}" for number in range(9)]
    arrived = [call for call in CALLS if not call.lost]
    events = [
        {**event, "transaction_id": f"{event['transaction_id']}-{code}"}
        for code in codes
        for event in _other_code(arrived, code)
    ]
    # What a set of texts begins with is chance, so nine of them would hardly begin with the first.
    assert "under 'code_0' it has those of" in _refusal(filled(events)).what


@pytest.mark.deep
def test_an_outage_is_no_wrong_code(filled: Callable[[list[dict[str, Any]]], World]) -> None:
    others = [replace(call, tokens=(900 + number, 70)) for number, call in enumerate(CALLS)]
    world = filled(_other_code(others))
    run_one(world.settings())
    assert world.sent() == {call.request_id for call in CALLS}
    assert {event.code for event in world.organization.events()} == {CODE, "other_tokens"}


@pytest.mark.deep
def test_one_event_that_names_another_column_where_nothing_speaks_for_this_one(
    filled: Callable[[list[dict[str, Any]]], World],
) -> None:
    (first, *_) = [call for call in CALLS if not call.lost]
    named = {**first.original(), "external_subscription_id": "user-1"}
    refused = _refusal(filled([named]))
    assert refused.what.startswith("LAGO_API_CHARGE_BY is probably wrong: 1 event names the spend log's user_id")
