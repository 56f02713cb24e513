"""Events that carry an amount for a dynamic charge: what is sent, kept, verified and billed."""

from __future__ import annotations

import threading
from dataclasses import replace
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from jobs.adapters.ledger import Ledger
from jobs.backfill import backfill
from jobs.core.kinds import HoldReason
from jobs.core.ledger_values import IntentEntry
from jobs.core.meters import Amount, with_amounts
from jobs.core.plan import Outcome
from jobs.steps.plan_files import describe_plan, read_events
from jobs.telling.plans import show_plan
from tests.support.backfilling import (
    CAPS,
    CODE,
    NOW,
    PERIOD_START,
    RULES,
    Notes,
    Store,
    fill_litellm,
    hooks,
    run_one,
    settings_for,
    some_calls,
)
from tests.support.twins import deep_after

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn, Organization
    from jobs.steps.backfill_values import BackfillSettings
    from tests.support.backfilling import Call

_MARKED_UP = replace(RULES, parts=with_amounts(RULES.parts, Amount(Decimal("1.25"), "USD")))
# Each call costs 0.001 USD.
_AMOUNT = "0.125"
_CALLS = some_calls(12, lost=(1, 4, 7))
_LOST = [call for call in _CALLS if call.lost]


def _organization(standin: LagoStandIn, store: Store, name: str) -> Organization:
    """Make an organization whose plan has nothing but a dynamic charge; its events carry what their calls cost."""
    organization = standin.create_organization(name, event_store=store)
    organization.configure(now=NOW)
    organization.add_metric(CODE)
    organization.add_plan("tokens", charges=[(CODE, {"charge_model": "dynamic"})], currency="USD")
    organization.add_customer("customer")
    for subscription in ("alice", "bob"):
        organization.add_subscription(
            subscription,
            customer="customer",
            plan="tokens",
            started_at=PERIOD_START,
            current_period_started_at=PERIOD_START,
        )
    organization.insert_events(
        call.original() | {"precise_total_amount_cents": Decimal(_AMOUNT)} for call in _CALLS if not call.lost
    )
    return organization


def _cents(organization: Organization, subscription: str) -> int:
    answer = httpx.get(
        f"{organization.api_base}/api/v1/customers/customer/current_usage",
        params={"external_subscription_id": subscription},
        headers={"Authorization": f"Bearer {organization.api_key}"},
    )
    return int(answer.json()["customer_usage"]["amount_cents"])


def _due(calls: list[Call], subscription: str) -> int:
    return round(sum(Decimal(_AMOUNT) for call in calls if call.subscription == subscription))


@pytest.mark.parametrize("store", deep_after(1, ["postgres", "clickhouse"]))
def test_an_amount_is_sent_kept_verified_and_billed(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, store: Store
) -> None:
    organization = _organization(standin, store, f"amounts in {store}")
    fill_litellm(litellm_database, _CALLS)
    settings = settings_for(litellm_database, organization, tmp_path, rules=_MARKED_UP)
    done = run_one(settings, "amounts")
    assert done.applied is not None
    assert (done.applied.outcomes, done.applied.verified) == ({Outcome.SENT: 3}, 3)
    assert (done.applied.on_record_only, done.exit_code) == (0, 0)
    # On record, in the plan and in the ledger stands what was sent.
    ours = {call.transaction_id for call in _LOST}
    amounts = [one.precise_total_amount_cents for one in organization.events() if one.transaction_id in ours]
    assert [Decimal(str(amount)) for amount in amounts] == [Decimal(_AMOUNT)] * 3
    assert [event.amount for event in read_events(done.run.folder / "plan.jsonl")] == [_AMOUNT] * 3
    with Ledger.open(settings.ledger_url, now=lambda: NOW) as ledger:
        story = ledger.story(_LOST[0].request_id)
        assert [entry.event.amount for entry in story if isinstance(entry, IntentEntry)] == [_AMOUNT]
        assert [record.event.amount for record in ledger.run_events("amounts")] == [_AMOUNT] * 3
    for subscription in ("alice", "bob"):
        assert _cents(organization, subscription) == _due(list(_CALLS), subscription)
    again = run_one(settings, "again")
    assert again.run.certified
    assert again.run.plan.events == 0


@pytest.mark.deep
def test_a_plan_tells_what_its_events_carry_and_the_most_that_it_bills(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """Each of three events carries 0.125 cents: two of alice bill one cent at most, and so does the one of bob."""
    organization = _organization(standin, "postgres", "amounts told")
    fill_litellm(litellm_database, _CALLS)
    settings = settings_for(litellm_database, organization, tmp_path, rules=_MARKED_UP)
    settings = replace(settings, apply=False)
    before = {name: _cents(organization, name) for name in ("alice", "bob")}
    planned = run_one(settings, "planned").run
    most = Decimal("0.02")
    header = orjson.loads((planned.folder / "plan.jsonl").read_bytes().splitlines()[0])
    assert header["worth"] == {
        "amounts": {},
        "unpriced_buckets": {},
        "carried": {"USD": "0.00375"},
        "at_most": {"USD": f"{most}"},
    }
    told = "USD 0.02 at most by the events' own amounts, USD 0.00375"
    assert planned.plan.worth.forecast == describe_plan(planned.folder / "plan.jsonl").worth == told
    shown = StringIO()
    show_plan(describe_plan(planned.folder / "plan.jsonl"), shown)
    assert told in shown.getvalue()
    assert shown.getvalue().count("0.00125") >= 3
    for call in _LOST:
        assert call.request_id in shown.getvalue()
    # A cap is held to the most that it can be, and what is billed in the end is no more.
    for cap, exceeded in ((most, False), (most - Decimal("0.01"), True)):
        capped = run_one(_capped(settings, cap), f"capped-{cap}").run.plan.exceeded
        assert bool(capped) is exceeded
        assert all("USD 0.02 would be billed at most" in text for text in capped)
    assert run_one(replace(_capped(settings, most), apply=True), "applied").exit_code == 0
    assert sum(_cents(organization, name) - cents for name, cents in before.items()) <= most * 100


def _capped(settings: BackfillSettings, amount: Decimal) -> BackfillSettings:
    return replace(settings, reconcile=replace(settings.reconcile, caps=replace(CAPS, amount=amount)))


def test_without_a_markup_nothing_is_sent(litellm_database: str, standin: LagoStandIn, tmp_path: Path) -> None:
    organization = _organization(standin, "postgres", "no markup")
    fill_litellm(litellm_database, _CALLS)
    done = run_one(settings_for(litellm_database, organization, tmp_path))
    assert (done.run.held, done.run.plan.events) == ({HoldReason.AMOUNT_MISSING: 3}, 0)


@pytest.mark.deep
def test_a_sent_event_that_lago_shows_with_another_amount_is_not_verified(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where something on the way to Lago leaves out what it does not know."""
    organization = _organization(standin, "postgres", "amount lost on the way")
    fill_litellm(litellm_database, _CALLS)
    settings = settings_for(litellm_database, organization, tmp_path, rules=_MARKED_UP)
    send = httpx.Client.send

    def without_amount(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        if request.method == "POST" and request.url.path.endswith("/events/batch"):
            document = orjson.loads(request.content)
            for event in document["events"]:
                event.pop("precise_total_amount_cents")
            request = httpx.Request("POST", request.url, json=document, headers=_without_length(request.headers))
        return send(self, request, **options)

    monkeypatch.setattr(httpx.Client, "send", without_amount)
    done = backfill(settings, Notes(), hooks(stop=threading.Event()), run_id="cut", command="test")
    assert done.applied is not None
    assert (done.applied.verified, done.applied.not_verified, done.exit_code) == (0, 3, 1)


def _without_length(headers: httpx.Headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "content-length"}
