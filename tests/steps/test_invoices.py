"""A period whose invoice was voided is not certified: nothing of it is billed, whatever Lago still tells of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from jobs.core.money.usage import PeriodUsage
from jobs.steps.counts import voided_periods
from tests.support.backfilling import (
    CODE,
    PERIOD_START,
    START,
    SUBSCRIPTIONS,
    fill_litellm,
    run_one,
    settings_for,
    some_calls,
)

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

pytestmark = pytest.mark.usefixtures("impatient")
_CALLS = some_calls(6, lost=())
_PERIOD_END = START + timedelta(days=1)


def test_a_voided_invoice_stands_against_the_window(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    lago = standin.create_organization("voided")
    lago.add_metric(CODE)
    lago.add_plan("tokens", charges=[(CODE, {})])
    lago.add_customer("customer")
    for name in SUBSCRIPTIONS:
        lago.add_subscription(
            name,
            customer="customer",
            plan="tokens",
            started_at=PERIOD_START,
            current_period_started_at=_PERIOD_END,
        )
    fill_litellm(litellm_database, _CALLS)
    lago.insert_events(call.original() | {"created_at": call.at} for call in _CALLS)
    invoices = [
        str(lago.finalize_period(name, PERIOD_START, _PERIOD_END, at=_PERIOD_END)["lago_invoice_id"])
        for name in SUBSCRIPTIONS
    ]
    settings = replace(settings_for(litellm_database, lago, tmp_path), apply=False)
    assert run_one(settings, "invoiced").run.certified

    headers = {"Authorization": f"Bearer {lago.api_key}"}
    httpx.post(f"{lago.api_base}/api/v1/invoices/{invoices[0]}/void", headers=headers).raise_for_status()
    run = run_one(settings, "undone").run
    assert [reason.code for reason in run.reasons] == ["invoice_voided"]
    assert repr(SUBSCRIPTIONS[0]) in run.reasons[0].text
    assert [one["subscription"] for one in run.counts["voided"]] == [SUBSCRIPTIONS[0]]

    # Made anew, it is billed.
    lago.finalize_period(SUBSCRIPTIONS[0], PERIOD_START, _PERIOD_END, at=_PERIOD_END)
    again = run_one(settings, "made-anew").run
    assert again.reasons == ()


@pytest.mark.deep
def test_a_key_that_may_not_read_customers_is_told_of(
    litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """Their time zones and grace periods decide what came too late."""
    lago = standin.create_organization("without customers")
    lago.add_metric(CODE)
    lago.add_plan("tokens", charges=[(CODE, {})])
    lago.add_customer("customer", timezone="Asia/Seoul")
    for name in SUBSCRIPTIONS:
        lago.add_subscription(name, customer="customer", plan="tokens", started_at=PERIOD_START)
    fill_litellm(litellm_database, _CALLS)
    lago.insert_events(call.original() | {"created_at": call.at} for call in _CALLS)
    settings = replace(settings_for(litellm_database, lago, tmp_path), apply=False)
    assert not any("customers" in text for text in run_one(settings, "allowed").run.warnings)
    may = ("event", "billable_metric", "plan", "subscription", "organization", "customer_usage", "invoice")
    lago.api_key = lago.add_key(api_permissions={resource: ["read"] for resource in may})
    narrow = settings_for(litellm_database, lago, tmp_path)
    (warning,) = run_one(replace(narrow, apply=False), "narrow").run.warnings
    assert warning.startswith("The key may not read customers")


def test_a_period_is_voided_where_no_other_invoice_is_left() -> None:
    period = PeriodUsage("alice", PERIOD_START, _PERIOD_END, False, "USD", (), "one", "voided")
    other = replace(period, subscription="bob", invoice_id="two")
    open_one = replace(period, start=_PERIOD_END, is_open=True, invoice_id="", invoice_status="")
    assert voided_periods([other, open_one, period, period]) == (period, other)
    assert voided_periods([period, replace(period, invoice_id="three", invoice_status="finalized")]) == ()
    # A key that may not read invoices tells nothing of them.
    assert voided_periods([replace(period, invoice_status="")]) == ()
