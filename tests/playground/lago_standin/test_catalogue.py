"""Keys, permissions and the catalogue of the stand-in."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx

from tests.playground.lago_standin.helpers import START, Api, a_event, invalid, refused


def test_keys(api: Api) -> None:
    expired = api.organization.add_key(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {expired}"}, {"Authorization": "a b"}):
        answer = httpx.get(f"{api.organization.api_base}/api/v1/events", headers=headers)
        refused(answer, 401, '{"status":401,"error":"Unauthorized"}')
    other_scheme = {"Authorization": f"Token {api.organization.api_key} ignored"}
    assert httpx.get(f"{api.organization.api_base}/api/v1/events", headers=other_scheme).status_code == 200


def test_what_changes_is_seen_at_once(api: Api) -> None:
    expiring = api.client(api.organization.add_key(expires_at=datetime.now(UTC) + timedelta(seconds=0.4)))
    assert expiring.get("events").status_code == 200
    assert api.batch(a_event()).json()["events"][0]["properties"] == {"total_tokens": "3"}
    api.organization.add_metric("tokens", field_name="total_tokens", expression="event.properties.total_tokens * 2")
    assert api.batch(a_event(transaction_id="t2")).json()["events"][0]["properties"] == {"total_tokens": "6.0"}
    api.organization.destroy_metric("tokens")
    assert api.batch(a_event(transaction_id="t3")).json()["events"][0]["properties"] == {"total_tokens": "3"}
    api.organization.configure(events_batch_max_length=1)
    invalid(api.batch(a_event(), a_event()), '{"events":["too_many_events"]}')
    time.sleep(0.4)
    assert expiring.get("events").status_code == 401


def test_organisations_see_only_their_own(make_api: Callable[..., Api]) -> None:
    one, other = make_api(), make_api()
    one.create()
    assert other.ids() == []
    assert other.create().status_code == 200


def test_permissions(make_api: Callable[..., Api]) -> None:
    api = make_api(api_permissions={"event": ["read"]})
    body = '{"status":403,"error":"Forbidden","code":"%s"}'
    refused(api.create(), 403, body % "write_action_not_allowed_for_event")
    refused(api.batch(a_event()), 403, body % "write_action_not_allowed_for_event")
    assert api.http.get("events").status_code == 200
    for path, resource in (
        ("subscriptions", "subscription"),
        ("billable_metrics", "billable_metric"),
        ("plans", "plan"),
        ("organizations", "organization"),
        ("customers/acme/current_usage", "customer_usage"),
    ):
        refused(api.http.get(path), 403, body % f"read_action_not_allowed_for_{resource}")
    writer = api.client(api.organization.add_key(api_permissions={"event": ["write"]}))
    refused(writer.get("events"), 403, body % "read_action_not_allowed_for_event")


def test_the_event_store_is_told_since_1_47(make_api: Callable[..., Api]) -> None:
    assert make_api().http.get("organizations").json()["organization"]["events_store"] == "postgres"
    assert make_api(event_store="clickhouse").http.get("organizations").json()["organization"]["events_store"] == (
        "clickhouse"
    )
    assert "events_store" not in make_api(version="1.46.9").http.get("organizations").json()["organization"]


def test_enriched_events_belong_to_clickhouse(make_api: Callable[..., Api]) -> None:
    refused(
        make_api().http.get("events_enriched"),
        403,
        '{"status":403,"error":"Forbidden","code":"endpoint_not_available"}',
    )
    answer = make_api(version="1.35.0").http.get("events_enriched")
    refused(answer, 404, '{"status":404,"error":"Not Found","code":"resource_not_found"}')


def test_subscriptions_are_active_ones_unless_told_otherwise(api: Api) -> None:
    api.organization.add_plan("plan")
    api.organization.add_customer("acme")
    for status in ("terminated", "terminated", "canceled", "pending", "active"):
        api.organization.add_subscription("s", customer="acme", plan="plan", started_at=START, status=status)

    def statuses(query: str) -> list[str]:
        return sorted(row["status"] for row in api.http.get(f"subscriptions{query}").json()["subscriptions"])

    assert statuses("") == statuses("?status=terminated") == ["active"]
    assert statuses("?status[]=terminated&status[]=pending") == ["pending", "terminated", "terminated"]
    assert statuses("?external_id=nobody") == []
    shown = api.http.get("subscriptions/s").json()["subscription"]
    assert (shown["status"], shown["started_at"], shown["plan"]["code"]) == (
        "active",
        "2026-11-01T00:00:00.000Z",
        "plan",
    )
    assert shown["current_billing_period_ending_at"] == "2026-11-30T23:59:59Z"
    assert api.http.get("subscriptions/s?status=canceled").json()["subscription"]["status"] == "canceled"
    refused(
        api.http.get("subscriptions/none"), 404, '{"status":404,"error":"Not Found","code":"subscription_not_found"}'
    )


def test_metrics_and_plans(api: Api) -> None:
    api.organization.add_metric("tokens", filters=[{"key": "model", "values": ["a"]}], rounding=("ceil", 2))
    api.organization.add_metric("calls", aggregation_type="count_agg")
    api.organization.add_plan("plan", charges=[("calls", {"pay_in_advance": True}), ("tokens", {})])
    metrics = api.http.get("billable_metrics").json()["billable_metrics"]
    assert [(one["code"], one["aggregation_type"], one["field_name"]) for one in metrics] == [
        ("calls", "count_agg", None),
        ("tokens", "sum_agg", "total_tokens"),
    ]
    counters = {"active_subscriptions_count": 0, "draft_invoices_count": 0, "plans_count": 0}
    assert api.http.get("billable_metrics/tokens").json()["billable_metric"] | counters == metrics[1]
    plan = api.http.get("plans/plan").json()["plan"]
    assert [(one["billable_metric_code"], one["pay_in_advance"]) for one in plan["charges"]] == [
        ("calls", True),
        ("tokens", False),
    ]
    assert api.http.get("plans").json()["plans"] == [plan]
    for path, code in (("billable_metrics/none", "billable_metric_not_found"), ("plans/none", "plan_not_found")):
        refused(api.http.get(path), 404, f'{{"status":404,"error":"Not Found","code":"{code}"}}')
