"""What the stand-in counts, charges and bills is what a real Lago counted, charged and billed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from jobs.adapters.lago_recording import LagoRecording, lago_recording
from jobs.playground.lago_standin import LagoStandIn, Organization
from tests.support.twins import deep_after

Json = dict[str, Any]

USAGE = lago_recording(LagoRecording.USAGE)
PRICING = lago_recording(LagoRecording.PRICING)["vectors"]
BILLED = lago_recording(LagoRecording.BILLED)
BILLED_VECTORS = {vector["name"]: vector for vector in BILLED["vectors"]}
ASKED_AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
OCTOBER = datetime(2026, 10, 20, tzinfo=UTC)
METRICS: dict[str, Json] = {
    "y_s": {"aggregation_type": "sum_agg", "field_name": "q"},
    "y_rec": {"aggregation_type": "sum_agg", "field_name": "q", "recurring": True},
}


class Api:
    """An organisation that is filled through the API alone."""

    def __init__(self, organization: Organization) -> None:
        """Authenticate as the organisation."""
        self.organization = organization
        self._http = httpx.Client(
            base_url=f"{organization.api_base}/api/v1/",
            headers={"Authorization": f"Bearer {organization.api_key}"},
            timeout=20,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Json:
        """Read."""
        answer = self._http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, path: str, document: Json) -> Json:
        """Make something."""
        answer = self.try_to_post(path, document)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def try_to_post(self, path: str, document: Json) -> httpx.Response:
        """Make something that may be refused."""
        return self._http.post(path, json=document)

    def delete(self, path: str, **params: Any) -> httpx.Response:
        """Delete."""
        return self._http.delete(path, params=params)

    def metric(self, code: str, **fields: Any) -> None:
        """Make a billable metric."""
        self.post("billable_metrics", {"billable_metric": {"name": code, "code": code, **fields}})

    def plan(self, code: str, charges: list[Json], **fields: Any) -> None:
        """Make a plan, monthly and in USD unless told otherwise."""
        document = {"name": code, "code": code, "interval": "monthly", "amount_cents": 0, "amount_currency": "USD"}
        self.post("plans", {"plan": document | {"pay_in_advance": False, "charges": charges} | fields})

    def subscribe(self, external_id: str, plan: str, since: str, **fields: Any) -> Json:
        """Subscribe a customer of the same name."""
        document = {"external_customer_id": external_id, "external_id": external_id, "plan_code": plan}
        times = {"subscription_at": since, "billing_time": "calendar"}
        made: Json = self.post("subscriptions", {"subscription": document | times | fields})["subscription"]
        return made

    def send(self, subscription: str, events: list[Json]) -> None:
        """Send events, each with an id of its own."""
        for position in range(0, len(events), 100):
            batch = [
                event
                | {
                    "transaction_id": f"{subscription}-{event.get('id', position + number)}",
                    "external_subscription_id": subscription,
                }
                for number, event in enumerate(events[position : position + 100])
            ]
            self.post("events/batch", {"events": batch})

    def charges(self, subscription: str) -> list[Json]:
        """Return what current usage tells of each charge."""
        usage = self.get(f"customers/{subscription}/current_usage", external_subscription_id=subscription)
        charges: list[Json] = usage["customer_usage"]["charges_usage"]
        return charges


@pytest.fixture
def api(standin: LagoStandIn, request: pytest.FixtureRequest) -> Iterator[Api]:
    opened = Api(standin.create_organization(request.node.name, currency="USD", version="1.51.129"))
    opened.organization.configure(now=ASKED_AT)
    yield opened
    opened.close()


def told(level: Json, like: Json) -> Json:
    """Return of one level of usage what was recorded of it, with its own levels in one order."""
    shown: Json = {}
    for name, recorded in like.items():
        value = level[name]
        if isinstance(recorded, list) and recorded:
            pairs = zip(by_name(value), by_name(recorded), strict=True)
            value = [told(one, other) for one, other in pairs]
        shown[name] = value
    return shown


def by_name(levels: list[Json]) -> list[Json]:
    """Sort filters and groups, whose order is the database's."""
    return sorted(levels, key=lambda one: json.dumps([one.get("values"), one.get("grouped_by")], sort_keys=True))


def in_order(level: Json) -> Json:
    """Return a recorded level with its own levels in one order."""
    return {
        name: [in_order(one) for one in by_name(value)] if isinstance(value, list) else value
        for name, value in level.items()
    }


@pytest.mark.parametrize("vector", USAGE["vectors"], ids=[one["name"] for one in USAGE["vectors"]])
def test_usage_is_what_lago_told(api: Api, vector: Json) -> None:
    for code in {charge["billable_metric_code"] for charge in vector["charges"]}:
        api.metric(code, **USAGE["metrics"][code])
    api.plan("plan", vector["charges"])
    api.subscribe("sub", "plan", "2026-10-01T00:00:00Z")
    api.send("sub", vector["events"])
    answered = api.charges("sub")
    assert [told(one, like) for one, like in zip(answered, vector["charges_usage"], strict=True)] == [
        in_order(like) for like in vector["charges_usage"]
    ]


@pytest.mark.parametrize("currency", deep_after(1, ["USD", "JPY", "KWD"]))
def test_prices_are_what_lago_told(api: Api, currency: str) -> None:
    api.metric("p", aggregation_type="sum_agg", field_name="q")
    vectors = [vector for vector in PRICING if vector["currency"] == currency]
    assert len(vectors) == 16
    for vector in vectors:
        name, properties = vector["name"], vector["properties"] | {"pricing_group_keys": ["bucket"]}
        charge = {"billable_metric_code": "p", "charge_model": vector["charge_model"], "properties": properties}
        api.plan(name, [charge], amount_currency=currency)
        api.subscribe(name, name, "2026-10-01T00:00:00Z")
        events = [
            {name: text for name, text in event.items() if name != "q"}
            | {
                "code": "p",
                "timestamp": f"{1795000000 + at}",
                "properties": {"q": event["q"], "bucket": f"{number:02d}"},
            }
            for number, bucket in enumerate(vector["buckets"])
            for at, event in enumerate(bucket["events"])
        ]
        api.send(name, events)
        (usage,) = api.charges(name)
        assert usage["amount_cents"] == vector["amount_cents"], name
        assert [
            (one["units"], one["events_count"], one["amount_cents"])
            for one in sorted(usage["grouped_usage"], key=lambda one: str(one["grouped_by"]["bucket"]))
        ] == [(one["units"], one["events_count"], one["amount_cents"]) for one in vector["buckets"]], name


@pytest.mark.parametrize(
    "name",
    [
        "October's edges",
        "the same on a recurring metric",
        "the start within a day",
        "a customer in Seoul",
        "late, after October's invoice",
        "late, after October's invoice, recurring metric",
    ],
)
def test_an_invoice_bills_what_lago_billed(api: Api, name: str) -> None:
    vector = BILLED_VECTORS[name]
    code = vector["events"][0].get("code", "y_s")
    api.metric(code, **METRICS[code])
    api.plan("plan", [{"billable_metric_code": code, "charge_model": "standard", "properties": {"amount": "1"}}])
    api.post("customers", {"customer": {"external_id": "sub", "timezone": vector["subscription"].get("timezone")}})
    api.subscribe("sub", "plan", vector["subscription"]["started_at"])
    send_arrived(api, vector, code, "before")
    usage = api.organization.finalize_period_holding("sub", OCTOBER)
    send_arrived(api, vector, code, "after")
    (fee,) = api.get("fees", external_subscription_id="sub")["fees"]
    (invoice,) = api.get("invoices", external_customer_id="sub")["invoices"]
    assert fee["units"] == vector["invoice"]["units"]
    assert fee["amount_cents"] == invoice["total_amount_cents"] == int(float(fee["units"])) * 100
    assert usage["lago_invoice_id"] == invoice["lago_id"] == fee["lago_invoice_id"]
    if "from" in vector["invoice"]:
        assert (usage["from_datetime"], usage["to_datetime"]) == tuple(
            f"{vector['invoice'][end][:19]}Z" for end in ("from", "to")
        )
    if "current_usage_november" in vector:
        assert api.charges("sub")[0]["units"] == vector["current_usage_november"]
        assert api.get("events", external_subscription_id="sub")["meta"]["total_count"] == len(vector["events"])
    past = api.get("customers/sub/past_usage", external_subscription_id="sub")["usage_periods"]
    assert [one["charges_usage"][0]["units"] for one in past] == [vector["invoice"]["units"]]
    assert api.get("invoices", external_customer_id="another")["invoices"] == []


def send_arrived(api: Api, vector: Json, code: str, when: str) -> None:
    """Send those events of a vector that arrived before, or after, what its name tells."""
    events = [
        {"id": number, "code": code, "timestamp": unix(event["timestamp"]), "properties": {"q": event["q"]}}
        for number, event in enumerate(vector["events"])
        if event.get("arrived", "before").split()[0] == when
    ]
    if events:
        api.send("sub", events)


def unix(text: str) -> str:
    """Return an instant as an event carries it."""
    moment = datetime.fromisoformat(text)
    return f"{int(moment.timestamp())}.{moment.microsecond // 1000:03d}"


def test_a_code_without_a_charge_and_an_unknown_subscription_are_listed_and_not_billed(api: Api) -> None:
    api.metric("y_s", **METRICS["y_s"])
    api.plan("plan", [])
    api.subscribe("sub", "plan", "2026-09-10T08:00:00Z")
    for name in ("the plan has no charge for the code", "no such subscription"):
        assert BILLED_VECTORS[name]["listed"]
    event = {"code": "y_s", "timestamp": unix("2026-10-10T00:00:00Z"), "properties": {"q": 1}}
    api.send("sub", [event])
    api.send("nobody", [event])
    api.organization.finalize_period_holding("sub", OCTOBER)
    assert api.get("fees")["fees"] == []
    assert api.get("events")["meta"]["total_count"] == 2


def test_an_event_may_come_before_its_subscription(api: Api) -> None:
    vector = BILLED_VECTORS["posted before the subscription was made, its time after the start"]
    api.metric("y_s", **METRICS["y_s"])
    api.plan("plan", [{"billable_metric_code": "y_s", "charge_model": "standard", "properties": {"amount": "1"}}])
    send_arrived(api, vector, "y_s", "before")
    api.subscribe("sub", "plan", vector["subscription"]["started_at"])
    assert api.charges("sub")[0]["units"] == vector["current_usage"]


def test_an_upgrade_ends_a_row_and_bills_it_at_once(api: Api) -> None:
    vector = BILLED_VECTORS["an upgrade on 2026-11-28T06:47:09Z within the period"]
    active, terminated = vector["rows"]
    charges = [{"billable_metric_code": "y_s", "charge_model": "standard", "properties": {"amount": "1"}}]
    api.metric("y_s", **METRICS["y_s"])
    api.plan("small", charges)
    api.plan("large", charges, amount_cents=1000)
    api.subscribe("sub", "small", "2026-10-01T00:00:00Z")
    send_arrived(api, vector, "y_s", "before")
    api.organization.configure(now=datetime.fromisoformat(active["started_at"]))
    made = api.subscribe("sub", "large", "2026-10-01T00:00:00Z")
    assert (made["previous_plan_code"], made["plan_code"]) == ("small", "large")
    api.organization.configure(now=ASKED_AT)
    send_arrived(api, vector, "y_s", "after")
    for row in (active, terminated):
        listed = api.get("subscriptions", **{"status[]": row["status"], "external_id": "sub"})["subscriptions"]
        assert [{name: one[name] for name in row} for one in listed] == [row]
    (fee,) = api.get("fees", external_subscription_id="sub")["fees"]
    assert fee["units"] == vector["fee_of_the_old_row"]
    assert api.charges("sub")[0]["units"] == vector["current_usage_of_the_new_row"]


PERIODS = BILLED_VECTORS["billing periods"]["periods"]


@pytest.mark.parametrize("name", PERIODS)
def test_billing_periods_are_those_of_lago(api: Api, name: str) -> None:
    since = "2025-08-17T09:30:00Z"
    if "since " in name:
        since = name.split("since ")[1].rstrip(")").replace("Z", ":00Z")
    api.metric("y_s", **METRICS["y_s"])
    charges = [{"billable_metric_code": "y_s", "charge_model": "standard", "properties": {"amount": "1"}}]
    interval, monthly = re.findall(r"\w+", name)[0], "bill_charges_monthly" in name
    api.plan("plan", charges, interval=interval, bill_charges_monthly=monthly or None)
    api.post("customers", {"customer": {"external_id": "sub", "timezone": "Asia/Seoul" if "Seoul" in name else "UTC"}})
    kind = "anniversary" if "anniversary" in name else "calendar"
    shown = api.subscribe("sub", "plan", since, billing_time=kind)
    assert [shown["current_billing_period_started_at"], shown["current_billing_period_ending_at"]] == PERIODS[name]
    usage = api.get("customers/sub/current_usage", external_subscription_id="sub")["customer_usage"]
    assert [usage["from_datetime"], usage["to_datetime"]] == PERIODS[name]


def test_a_one_off_invoice_corrects(api: Api) -> None:
    correction = BILLED["corrections"]["one_off_invoice"]
    sent = correction["request"]["invoice"] | {"external_customer_id": "sub"}
    api.post("customers", {"customer": {"external_id": "sub"}})
    add_on = {"name": "Correction", "code": "correction", "amount_cents": 100, "amount_currency": "USD"}
    refused = api.try_to_post("add_ons", {"add_on": add_on | {"amount_cents": 0}})
    assert refused.json()["error_details"] == {"amount_cents": ["value_is_out_of_range"]}
    unknown = api.try_to_post("invoices", {"invoice": sent})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "add_on_not_found")
    api.post("add_ons", {"add_on": add_on})
    fraction = api.try_to_post(
        "invoices", {"invoice": sent | {"fees": [sent["fees"][0] | {"unit_amount_cents": "1.5"}]}}
    )
    assert fraction.status_code == 500
    invoice = api.post("invoices", {"invoice": sent})["invoice"]
    assert {name: invoice[name] for name in correction["invoice"]} == correction["invoice"]
    assert [{name: fee[name] for name in correction["fee"]} for fee in invoice["fees"]] == [correction["fee"]]
    assert api.get(f"invoices/{invoice['lago_id']}")["invoice"] == invoice
    assert api.post(f"invoices/{invoice['lago_id']}/void", {})["invoice"]["status"] == "voided"


@pytest.mark.parametrize("path", ["credit_notes", "credit_notes/estimate", "invoices/preview"])
def test_what_needs_a_licence_is_refused(api: Api, path: str) -> None:
    answer = api.try_to_post(path, {})
    assert (answer.status_code, answer.json()["code"]) == (403, "feature_unavailable")


@pytest.mark.parametrize(
    ("model", "reason"),
    [("graduated_percentage", "graduated_percentage_requires_premium_license"), ("custom", "value_is_invalid")],
)
def test_a_charge_that_cannot_be_priced_is_refused(api: Api, model: str, reason: str) -> None:
    api.metric("y_s", **METRICS["y_s"])
    charge = {"billable_metric_code": "y_s", "charge_model": model}
    answer = api.try_to_post("plans", {"plan": {"name": "p", "code": "p", "interval": "monthly", "charges": [charge]}})
    assert (answer.status_code, answer.json()["error_details"]) == (422, {"charge_model": [reason]})


def test_of_two_filters_that_are_the_same_the_first_counts_and_a_part_of_the_values_goes_before_all(api: Api) -> None:
    api.metric("f", **METRICS["y_s"], filters=[{"key": "model", "values": ["a", "b", "c"]}])
    filters: list[Json] = [
        {"values": {"model": list(values)}, "properties": {"amount": "1"}} for values in ("ab", "ab", "a", "bc")
    ]
    charge = {
        "billable_metric_code": "f",
        "charge_model": "standard",
        "properties": {"amount": "1"},
        "filters": filters,
    }
    api.plan("plan", [charge])
    api.subscribe("sub", "plan", "2026-10-01T00:00:00Z")
    events = [
        {"code": "f", "timestamp": f"{1795000000 + place}", "properties": {"q": str(10**place), "model": model}}
        for place, model in enumerate("abcd")
    ]
    api.send("sub", events)
    (usage,) = api.charges("sub")
    # a: the filter of a alone; b: the first of the two equal ones, and bc, which merely overlaps; c: bc; d: none
    assert [one["units"] for one in usage["filters"]] == ["10.0", "0.0", "1.0", "110.0", "1000.0"]


def test_what_was_made_can_be_deleted_and_made_again(api: Api) -> None:
    for _ in range(2):
        api.metric("y_s", **METRICS["y_s"])
        api.plan("plan", [{"billable_metric_code": "y_s", "charge_model": "standard", "properties": {"amount": "1"}}])
        api.post("customers", {"customer": {"external_id": "sub"}})
        api.subscribe("sub", "plan", "2026-10-01T00:00:00Z")
        assert api.try_to_post("plans", {"plan": {"name": "plan", "code": "plan", "interval": "monthly"}}).json()[
            "error_details"
        ] == {"code": ["value_already_exist"]}
        for path in ("plans/plan", "customers/sub", "billable_metrics/y_s"):
            assert api.delete(path).status_code == 200
            assert api.delete(path).status_code == 404
        assert api.delete("subscriptions/sub").status_code == 404
    statuses = api.get("subscriptions", **{"status[]": "terminated"})["subscriptions"]
    assert [one["external_id"] for one in statuses] == ["sub", "sub"]


def test_a_minimum_is_a_fee_of_the_invoice_and_no_usage(api: Api) -> None:
    api.metric("y_s", **METRICS["y_s"])
    charge = {"billable_metric_code": "y_s", "charge_model": "standard", "properties": {"amount": "1"}}
    api.plan("plan", [charge | {"min_amount_cents": 1000}])
    api.subscribe("sub", "plan", "2026-09-10T08:00:00Z")
    api.send("sub", [{"code": "y_s", "timestamp": unix("2026-10-10T00:00:00Z"), "properties": {"q": 3}}])
    assert api.organization.finalize_period_holding("sub", OCTOBER)["amount_cents"] == 300
    fees = api.get("fees", external_subscription_id="sub")["fees"]
    assert [(fee["units"], fee["amount_cents"]) for fee in fees] == [("3.0", 300), ("1.0", 700)]
    assert fees[1]["lago_true_up_parent_fee_id"] == fees[0]["lago_id"]
