"""Reading the catalogue: every page, every status, from either event store, through lago-python-client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import certifi
import pytest

from jobs.adapters.lago.catalogue import _Pages, read_catalogue
from jobs.adapters.lago.failures import LagoUnansweredError
from jobs.adapters.lago.http import LagoClient, Reply
from jobs.adapters.lago.page_size import PageSize
from jobs.core.lago.values import BillableMetric, Charge, LagoConnection, Plan, Subscription
from jobs.errors import LagoError
from jobs.playground.lago_standin import LagoStandIn
from jobs.playground.lago_standin.faults import Fault
from jobs.playground.lago_standin.handle import Organization
from tests.support.scripted_server import Scripted, scripted_server

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 15, 12, 30, 15, 250_000, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
LISTS = {"billable_metrics", "plans", "subscriptions"}


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    return standin.create_organization("catalogue")


@contextmanager
def talking_to(organization: Organization, **limits: Any) -> Iterator[LagoClient]:
    given = {"requests_per_second": 10_000.0, "timeout_seconds": 10.0} | limits
    with LagoClient(
        LagoConnection(organization.api_base, organization.api_key, **given), sleep=lambda _seconds: None
    ) as client:
        yield client


def fill(organization: Organization) -> None:
    organization.add_metric("tokens", filters=[{"key": "model", "values": ["a", "b"]}])
    organization.add_metric("calls", aggregation_type="count_agg", field_name=None)
    organization.add_metric("cost", field_name="cents", expression="event.properties.euros * 100")
    organization.add_plan(
        "pro",
        charges=[
            ("tokens", {"pay_in_advance": True, "charge_model": "graduated"}),
            ("calls", {"pay_in_advance": False}),
        ],
    )
    organization.add_plan("flat")
    organization.add_customer("acme")


def test_an_empty_organization(organization: Organization) -> None:
    with talking_to(organization) as client:
        catalogue = read_catalogue(client)
    assert (catalogue.metrics, catalogue.plans, catalogue.subscriptions) == ((), (), ())
    assert (catalogue.organization.lago_id, catalogue.organization.name) == (organization.id, "catalogue")


@pytest.mark.parametrize("ca_file", [None, certifi.where()], ids=["lago-python-client", "own transport"])
def test_metrics_and_plans(organization: Organization, ca_file: str | None) -> None:
    fill(organization)
    with talking_to(organization, ca_file=ca_file) as client:
        catalogue = read_catalogue(client)
    assert catalogue.metrics == (
        BillableMetric("calls", "count_agg", None, None, ()),
        BillableMetric("cost", "sum_agg", "cents", "event.properties.euros * 100", ()),
        BillableMetric("tokens", "sum_agg", "total_tokens", None, (("model", ("a", "b")),)),
    )
    flat, pro = catalogue.plans
    assert flat == Plan("flat", (), currency="EUR")
    assert (pro.code, pro.interval, pro.bill_charges_monthly) == ("pro", "monthly", False)
    assert [
        (charge.metric_code, charge.charge_model, charge.pay_in_advance)
        for charge in sorted(pro.charges, key=lambda charge: charge.metric_code)
    ] == [("calls", "standard", False), ("tokens", "graduated", True)]


def test_every_row_of_every_subscription_in_every_status(organization: Organization) -> None:
    fill(organization)
    wanted = {}
    for external_id, plan, status, started_at, terminated_at in (
        ("up", "flat", "terminated", JANUARY, JUNE),
        ("up", "pro", "active", JUNE, None),
        ("later", "pro", "pending", NOVEMBER, None),
        ("not", "pro", "canceled", JUNE, None),
    ):
        lago_id = organization.add_subscription(
            external_id,
            customer="acme",
            plan=plan,
            status=status,
            started_at=started_at,
            terminated_at=terminated_at,
        )
        begun = None if status in ("pending", "canceled") else started_at
        ended = None if terminated_at is None else terminated_at.replace(microsecond=0)
        wanted[lago_id] = (external_id, plan, status, begun, ended)
    with talking_to(organization) as client:
        found = read_catalogue(client).subscriptions
    assert [subscription.external_id for subscription in found] == ["later", "not", "up", "up"]
    assert {subscription.lago_id: _told(subscription) for subscription in found} == wanted
    assert {subscription.external_customer_id for subscription in found} == {"acme"}


def _told(row: Subscription) -> tuple[object, ...]:
    return (row.external_id, row.plan_code, row.status, row.started_at, row.terminated_at)


def test_the_current_period(organization: Organization) -> None:
    fill(organization)
    organization.add_subscription("s", customer="acme", plan="pro", started_at=JANUARY, current_period_started_at=JUNE)
    with talking_to(organization) as client:
        (found,) = read_catalogue(client).subscriptions
    assert found.current_period_started_at == JUNE.replace(microsecond=0)


def test_what_the_rules_of_billing_need(organization: Organization) -> None:
    filters = [{"key": "model", "values": ["a", "b"]}]
    organization.add_metric("kept", recurring=True, rounding=("ceil", 0), filters=filters)
    organization.add_metric("plain")
    prices = {"amount": "1", "pricing_group_keys": ["team"]}
    narrow = {"values": {"model": ["a"]}, "properties": {"amount": "2"}}
    priced = {"properties": prices, "filters": [narrow], "prorated": True}
    organization.add_plan("pro", charges=[("kept", priced)])
    organization.add_plan("weeks", charges=[("kept", {"charge_model": "dynamic"})], interval="weekly")
    organization.add_customer("acme", timezone="Asia/Seoul")
    organization.add_customer("utc")
    organization.add_subscription("s", customer="acme", plan="pro", started_at=JANUARY, billing_time="anniversary")
    organization.add_subscription("u", customer="utc", plan="weeks", started_at=JANUARY)
    with talking_to(organization) as client:
        catalogue = read_catalogue(client)
    metric, plain = catalogue.metrics
    pro, weeks = catalogue.plans
    (charge,) = pro.charges
    assert metric.recurring
    assert (metric.rounds, plain.rounds) == (True, False)
    assert (charge.prorated, charge.min_amount, weeks.charges[0].prorated) == (True, 0, False)
    assert (weeks.interval, weeks.charges[0].charge_model) == ("weekly", "dynamic")
    assert charge.properties["pricing_group_keys"] == ["team"]
    assert [(one.values, one.properties["amount"]) for one in charge.filters] == [({"model": ("a",)}, "2")]
    assert [(row.time_zone, row.billing_time, row.subscription_at) for row in catalogue.subscriptions] == [
        ("Asia/Seoul", "anniversary", JANUARY),
        ("UTC", "calendar", JANUARY),
    ]


@pytest.mark.parametrize("fault", [None, "per_page_refused", "per_page_capped"])
@pytest.mark.parametrize("ca_file", [None, certifi.where()], ids=["lago-python-client", "own transport"])
def test_all_pages_are_read(organization: Organization, fault: str | None, ca_file: str | None) -> None:
    fill(organization)
    for number in range(7):
        organization.add_metric(f"m{number}")
        organization.add_plan(f"p{number}", charges=[(f"m{number}", {})])
        organization.add_subscription(f"s{number}", customer="acme", plan="pro", started_at=JANUARY)
    page_size = 3
    if fault is not None:
        organization.set_faults(Fault(name=fault, cap=100))
        page_size = 1000
    with talking_to(organization, page_size=page_size, ca_file=ca_file) as client:
        catalogue = read_catalogue(client)
        assert client.page_size.now == (100 if fault == "per_page_refused" else page_size)
    assert len(catalogue.metrics) == 10
    assert len(catalogue.plans) == 9
    assert [subscription.external_id for subscription in catalogue.subscriptions] == [f"s{n}" for n in range(7)]


@pytest.mark.parametrize(
    "fault", ["rate_limited", "server_error", "bad_gateway", "cut_before", "cut_during", "truncated"]
)
def test_passing_faults_are_survived_through_lago_python_client_too(organization: Organization, fault: str) -> None:
    fill(organization)
    organization.set_faults(*(Fault(name=fault, endpoint=resource, times=2) for resource in LISTS))
    with talking_to(organization) as client:
        assert len(read_catalogue(client).metrics) == 3
    struck = [request.endpoint for request in organization.requests() if request.faults]
    assert sorted(struck) == sorted([*LISTS, *LISTS])


@pytest.mark.parametrize("fault", ["server_error", "bad_gateway", "cut_before"])
def test_a_lasting_fault_is_one_line(organization: Organization, fault: str) -> None:
    organization.set_faults(Fault(name=fault, endpoint="plans"))
    with (
        talking_to(organization, attempts=3) as client,
        pytest.raises(LagoUnansweredError, match=r"last of 3 attempts") as caught,
    ):
        read_catalogue(client)
    assert "\n" not in str(caught.value)
    assert organization.api_key not in str(caught.value)


def test_the_rate_covers_lago_python_client(organization: Organization) -> None:
    for number in range(12):
        organization.add_metric(f"m{number}")
    connection = LagoConnection(
        organization.api_base, organization.api_key, requests_per_second=20.0, page_size=1, concurrency=1
    )
    with LagoClient(connection) as client:
        read_catalogue(client)
    arrivals = [request.at for request in organization.requests()]
    assert len(arrivals) >= 16
    assert max(sum(start <= other < start + 0.5 for other in arrivals) for start in arrivals) <= 11


def test_a_missing_permission_is_named_through_lago_python_client(standin: LagoStandIn) -> None:
    permissions = {"event": ["read"], "billable_metric": ["read"], "plan": ["read"]}
    organization = standin.create_organization("narrow", api_permissions=permissions)
    with talking_to(organization) as client, pytest.raises(LagoError) as caught:
        read_catalogue(client)
    assert "to read the resource 'subscription' (403)" in caught.value.what
    # The organization itself was forbidden too, which is not worth a failed run.
    assert {request.endpoint for request in organization.requests()} >= {"organizations", "enriched"}


def test_a_wrong_key_is_told_before_anything_else(standin: LagoStandIn) -> None:
    with (
        LagoClient(LagoConnection(standin.api_base, "wrong")) as client,
        pytest.raises(LagoError, match=r"refused the API key \(401\)"),
    ):
        read_catalogue(client)


@pytest.mark.parametrize(
    ("event_store", "version", "expected"),
    [
        ("postgres", "1.51.0", "postgres"),
        ("clickhouse", "1.51.0", "clickhouse"),
        ("postgres", "1.46.0", "postgres"),
        ("clickhouse", "1.46.0", "clickhouse"),
        ("postgres", "1.35.0", "unknown"),
    ],
)
def test_the_event_store_is_told_or_probed(standin: LagoStandIn, event_store: Any, version: str, expected: str) -> None:
    organization = standin.create_organization("store", event_store=event_store, version=version)
    with talking_to(organization) as client:
        assert read_catalogue(client).organization.event_store == expected
    probed = any(request.endpoint == "enriched" for request in organization.requests())
    assert probed == (version != "1.51.0")


class ScriptedLago:
    """A Lago whose lists a test writes itself."""

    def __init__(self, **lists: list[dict[str, Any]]) -> None:
        self.lists = lists
        self.asked: list[str] = []

    def __call__(self, path: str, _params: Mapping[str, str]) -> Scripted:
        resource = path.removeprefix("/api/v1/")
        self.asked.append(resource)
        if resource.startswith("plans/"):
            (plan,) = (plan for plan in self.lists["whole_plans"] if resource == f"plans/{plan['code']}")
            return Scripted(json.dumps({"plan": plan}).encode())
        rows = self.lists.get(resource, [])
        meta = {"total_count": len(rows or ()), "next_page": None}
        return Scripted(json.dumps({resource: rows, "meta": meta}).encode())


def read_scripted(lago: ScriptedLago, **limits: Any) -> Any:
    with (
        scripted_server(lago) as base,
        LagoClient(LagoConnection(f"{base}", "k", attempts=2, **limits), sleep=lambda _seconds: None) as client,
    ):
        return read_catalogue(client)


def test_a_plan_listed_without_charges_is_asked_for_by_its_code() -> None:
    plan = {"lago_id": "1", "name": "Pro", "code": "pro", "created_at": "2026-01-01T00:00:00Z"}
    charge = {"lago_id": "2", "lago_billable_metric_id": "3", "pay_in_advance": True, "charge_model": "standard"}
    metric = {"lago_id": "3", "name": "T", "code": "tokens", "created_at": "2026-01-01T00:00:00Z", "filters": []}
    lago = ScriptedLago(plans=[plan], whole_plans=[plan | {"charges": [charge]}], billable_metrics=[metric])
    catalogue = read_scripted(lago)
    assert "plans/pro" in lago.asked
    # Below the version that tells it, the metric's code comes from the metric's id.
    assert catalogue.plans == (Plan("pro", (Charge("tokens", pay_in_advance=True),)),)


def test_odd_times_of_subscriptions_are_none() -> None:
    row = {"lago_id": "1", "external_id": "s", "status": "active", "started_at": "soon", "terminated_at": "54295-01-01"}
    (found,) = read_scripted(ScriptedLago(subscriptions=[row])).subscriptions
    assert (found.started_at, found.terminated_at) == (None, None)


@pytest.mark.parametrize("ca_file", [None, certifi.where()], ids=["lago-python-client", "own transport"])
def test_fields_that_are_absent_null_or_new_fail_nothing(ca_file: str | None) -> None:
    fixed = {"lago_id": "4", "add_on_code": "seats", "charge_model": "standard", "properties": {"amount": "1"}}
    charge = {"billable_metric_code": "tokens", "new": {"a": [1]}}
    plan = {"lago_id": "1", "code": "pro", "charges": [charge, {"pay_in_advance": True}], "fixed_charges": [fixed]}
    catalogue = read_scripted(
        ScriptedLago(
            billable_metrics=[
                {"code": "no name"},
                {"code": "tokens", "filters": None, "aggregation_type": None, "lago_id": None, "field_name": None},
                {"code": "filtered", "filters": [{"key": "model"}, {"key": None, "values": ["a", None]}]},
            ],
            plans=[plan, {"lago_id": "2", "code": "flat", "charges": []}],
            subscriptions=[{"status": "incomplete"}, {"external_id": None, "status": "hibernating", "plan_code": None}],
        ),
        ca_file=ca_file,
    )
    assert [(one.code, one.aggregation_type, one.filters) for one in catalogue.metrics] == [
        ("filtered", "", (("model", ()), ("", ("a",)))),
        ("no name", "", ()),
        ("tokens", "", ()),
    ]
    assert catalogue.plans == (
        Plan("flat", ()),
        Plan("pro", (Charge("tokens", pay_in_advance=False), Charge("", pay_in_advance=True))),
    )
    assert [(one.external_id, one.status) for one in catalogue.subscriptions] == [
        ("", "incomplete"),
        ("", "hibernating"),
    ]


@pytest.mark.parametrize("ca_file", [None, certifi.where()], ids=["lago-python-client", "own transport"])
@pytest.mark.parametrize("rows", [["text"], {"a": 1}, None])
def test_a_list_of_something_else_is_an_error(ca_file: str | None, rows: Any) -> None:
    with pytest.raises(LagoError, match=r"billable_metrics"):
        read_scripted(ScriptedLago(billable_metrics=rows), ca_file=ca_file)


@pytest.mark.parametrize("ca_file", [None, certifi.where()], ids=["lago-python-client", "own transport"])
@pytest.mark.parametrize(
    "lists",
    [
        {"billable_metrics": [{"code": ["a"]}]},
        {"plans": [{"code": {"a": 1}, "charges": []}]},
        {"plans": [{"code": "a", "charges": "b"}]},
        {"subscriptions": [{"lago_id": ["a"], "external_id": "s"}]},
    ],
)
def test_a_field_of_another_type_is_an_error(ca_file: str | None, lists: dict[str, Any]) -> None:
    with pytest.raises(LagoError, match="holds something that cannot be used"):
        read_scripted(ScriptedLago(**lists), ca_file=ca_file)


@pytest.mark.parametrize("ca_file", [None, certifi.where()], ids=["lago-python-client", "own transport"])
def test_a_subscription_that_waits_for_its_payment_is_read(standin: LagoStandIn, ca_file: str | None) -> None:
    organization = standin.create_organization("waiting")
    fill(organization)
    organization.add_subscription("s", customer="acme", plan="pro", started_at=JUNE, status="incomplete")
    with talking_to(organization, ca_file=ca_file) as client:
        (found,) = read_catalogue(client).subscriptions
    assert (found.external_id, found.status, found.started_at) == ("s", "incomplete", None)


def test_a_list_that_never_rests_is_an_error(tmp_path: Path) -> None:
    row = {"lago_id": "1", "external_id": "s", "status": "active"}
    with pytest.raises(LagoError, match="list of subscriptions changed"):
        read_scripted(ScriptedLago(subscriptions=[row, row]))


def test_a_grace_period_is_the_customers_else_the_entitys_else_the_organizations() -> None:
    """Only the customer's own 0 is none; what is no number of days is none either."""
    customers = [
        {"external_id": "own", "billing_configuration": {"invoice_grace_period": 3}, "billing_entity_code": "eu"},
        {"external_id": "zero", "billing_configuration": {"invoice_grace_period": 0}, "billing_entity_code": "eu"},
        {"external_id": "entitys", "billing_configuration": {}, "billing_entity_code": "eu"},
        {"external_id": "others", "billing_configuration": None, "billing_entity_code": "unknown"},
        {"external_id": "odd", "billing_configuration": {"invoice_grace_period": "soon"}},
    ]
    told: dict[str, dict[str, Any]] = {
        "customers": {"customers": customers, "meta": {"next_page": None, "total_count": len(customers)}},
        "organizations": {"organization": {"billing_configuration": {"invoice_grace_period": 7}}},
        "billing_entities": {
            "billing_entities": [{"code": "eu", "billing_configuration": {"invoice_grace_period": 5}}, 5]
        },
    }

    class Answering:
        connection = LagoConnection("http://lago", "key")
        page_size = PageSize(100)

        def request(self, _method: str, path: str, **_options: Any) -> Reply:
            return Reply(200, told[path])

    payers = _Pages(cast("LagoClient", Answering())).payers()
    assert payers is not None
    assert {name: payer.grace_days for name, payer in payers.items()} == {
        "own": 3,
        "zero": 0,
        "entitys": 5,
        "others": 7,
        "odd": 7,
    }
