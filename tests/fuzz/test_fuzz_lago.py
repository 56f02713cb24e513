"""Whatever Lago, or what stands before it, answers: a `LagoError` in one line, or values; never a hang."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.event_counts import count_listed_events, list_few_events
from jobs.adapters.lago.events import read_events
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.lago.read_back import look_up
from jobs.adapters.lago.sending import SentBatch, send_events
from jobs.adapters.lago.usage import read_current_usage
from jobs.adapters.lago.usage_periods import UsageAsked, read_usage_periods
from jobs.adapters.workspace import Workspace
from jobs.core.lago.values import LagoConnection
from jobs.core.layout import lay_out
from jobs.core.meters import bind
from jobs.errors import LagoError, SettingError
from jobs.steps.references import load_references
from tests.support.fuzzing import NASTY, fuzzed, in_depth, scalars, values
from tests.support.judging import CODE, RULES, WINDOW, catalogue
from tests.support.planned import EVENT
from tests.support.scripted_server import Scripted, scripted_server

# No reading of one page, with the retries of one failure, needs more requests than this.
pytestmark = pytest.mark.usefixtures("no_certificates")
MOST_REQUESTS = 300
AT = "2026-11-10T12:00:00.250Z"
META: dict[str, Any] = {"current_page": 1, "next_page": None, "prev_page": None, "total_pages": 1, "total_count": 1}
METRIC = {
    "lago_id": "1a901a90-1a90-1a90-1a90-1a901a901a90",
    "name": "tokens",
    "code": CODE,
    "aggregation_type": "sum_agg",
    "field_name": "total_tokens",
    "recurring": False,
    "created_at": AT,
    "filters": [{"key": "model", "values": ["gpt-4o"]}],
}
CHARGE = {
    "lago_id": "2a901a90-1a90-1a90-1a90-1a901a901a90",
    "lago_billable_metric_id": METRIC["lago_id"],
    "billable_metric_code": CODE,
    "created_at": AT,
    "charge_model": "standard",
    "pay_in_advance": False,
    "invoiceable": True,
    "prorated": False,
    "properties": {"amount": "1", "pricing_group_keys": ["model"]},
    "filters": [],
    "taxes": [],
}
PLAN = {
    "lago_id": "3a901a90-1a90-1a90-1a90-1a901a901a90",
    "name": "standard",
    "code": "standard",
    "created_at": AT,
    "interval": "monthly",
    "amount_cents": 0,
    "amount_currency": "USD",
    "pay_in_advance": False,
    "charges": [CHARGE],
    "taxes": [],
}
SUBSCRIPTION = {
    "lago_id": "4a901a90-1a90-1a90-1a90-1a901a901a90",
    "external_id": "alice",
    "external_customer_id": "customer",
    "lago_customer_id": "5a901a90-1a90-1a90-1a90-1a901a901a90",
    "plan_code": "standard",
    "status": "active",
    "billing_time": "calendar",
    "created_at": AT,
    "started_at": AT,
    "subscription_at": AT,
    "current_billing_period_started_at": AT,
    "current_billing_period_ending_at": AT,
}
STORED = {
    "lago_id": "6a901a90-1a90-1a90-1a90-1a901a901a90",
    "transaction_id": EVENT.transaction_id,
    "external_subscription_id": "alice",
    "code": CODE,
    "timestamp": AT,
    "created_at": AT,
    "properties": {"model": "gpt-4o", "prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140},
}
CHARGE_USAGE = {
    "units": "140",
    "events_count": 1,
    "amount_cents": 140,
    "billable_metric": {"code": CODE},
    "charge": {"lago_id": "4a"},
    "filters": [{"values": {"model": ["gpt-4o"]}, "units": "140", "events_count": 1, "amount_cents": 140}],
    "grouped_usage": [],
}
USAGE = {
    "from_datetime": "2026-11-01T00:00:00Z",
    "to_datetime": "2026-11-30T23:59:59Z",
    "currency": "EUR",
    "charges_usage": [CHARGE_USAGE],
}
REFUSED = {
    "status": 422,
    "error": "Unprocessable Entity",
    "code": "validation_errors",
    "error_details": {"transaction_id": ["value_already_exist"]},
}

CUSTOMER = {
    "lago_id": "5a",
    "external_id": "customer",
    "timezone": "Asia/Seoul",
    "billing_entity_code": "eu",
    "billing_configuration": {"invoice_grace_period": 2},
}

Answers = dict[str, Any]
ANSWERS: Answers = {
    "organizations": {"organization": {"lago_id": "7a", "name": "acme", "events_store": "postgres"}},
    "billable_metrics": {"billable_metrics": [METRIC], "meta": META},
    "plans": {"plans": [PLAN], "meta": META},
    "subscriptions": {"subscriptions": [SUBSCRIPTION], "meta": META},
    "events": {"events": [STORED], "meta": META},
    "one event": {"event": STORED},
    "customers": {"customers": [CUSTOMER], "meta": META},
    "billing_entities": {"billing_entities": [{"code": "eu", "billing_configuration": {"invoice_grace_period": 3}}]},
    "current_usage": {"customer_usage": USAGE},
    "past_usage": {"usage_periods": [USAGE], "meta": META},
    "batch": {"events": [STORED, STORED]},
    "refusal": REFUSED,
}


def paths(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value in a JSON value."""
    yield above
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from paths(below, (*above, key))


def changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """Return the JSON value with what stands at this path changed."""
    if not path:
        return new
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


class Lago:
    """Answers every request from one table, and counts them."""

    def __init__(self) -> None:
        self.answers: dict[str, Scripted] = {}
        self.requests = 0
        self._turn = threading.Lock()

    def play(self, answers: Mapping[str, Scripted]) -> None:
        """Answer like this from now on."""
        self.answers, self.requests = dict(answers), 0

    def answer(self, path: str, parameters: Mapping[str, str]) -> Scripted:
        """Answer one request; after too many of them, refuse in a way that ends every reading."""
        with self._turn:
            self.requests += 1
            if self.requests > MOST_REQUESTS:
                return Scripted(b'{"status":403,"error":"Forbidden","code":"too many requests"}', 403)
        names = {"/api/v1/events": "events", "/api/v1/events/batch": "batch"}
        end = path.rsplit("/", 1)[-1]
        if path not in names and path.startswith("/api/v1/events/"):
            end = "one event"
        return self.answers[names.get(path, end)]


@pytest.fixture(scope="module")
def lago() -> Iterator[tuple[Lago, str]]:
    """Serve answers that each example sets."""
    playing = Lago()
    with scripted_server(playing.answer) as base:
        yield playing, base


def scripted(value: Any, status: int = 200) -> Scripted:
    """Return a JSON answer; lone surrogates travel as escapes."""
    return Scripted(json.dumps(value).encode(), status)


def client_of(base: str) -> LagoClient:
    """Return a client that waits for nothing."""
    connection = LagoConnection(base, "key", requests_per_second=1e6, concurrency=2, attempts=2, timeout_seconds=5)
    return LagoClient(connection, sleep=lambda seconds: None)


def use(lago: Lago, base: str, answers: Mapping[str, Scripted], folder: Path) -> None:
    """Talk to this Lago in every way the product does."""
    with client_of(base) as client:
        lago.play(answers)
        with suppress(LagoError, SettingError), new_workspace(folder) as workspace:
            found = read_catalogue(client)
            bound = bind(RULES.parts, {metric.code: metric for metric in found.metrics})
            load_references(workspace, RULES, lay_out(bound, None, None), found)
        assert lago.requests <= MOST_REQUESTS, "reading the catalogue does not end"
        lago.play(answers)
        with suppress(LagoError), new_workspace(folder) as workspace:
            names = ("model", "prompt_tokens", "completion_tokens", "total_tokens")
            rows = read_events(
                client, codes=(CODE,), window=WINDOW, property_names=names, progress=lambda done, total: None
            )
            workspace.load("load_listed_events", rows, properties=len(names))
            (counted,) = workspace._database.execute("SELECT count(*) FROM scratch.listed_event").fetchall()
            assert counted[0] == len(json.loads(answers["events"].body)["events"]), "an event was dropped silently"
        assert lago.requests <= MOST_REQUESTS, "reading events does not end"
        lago.play(answers)
        with suppress(LagoError):
            read_current_usage(client, [("customer", "alice")], {CODE})
        with suppress(LagoError):
            read_usage_periods(client, [UsageAsked("customer", "alice", WINDOW.start)])
        with suppress(LagoError):
            count_listed_events(client, "alice", CODE, WINDOW)
        with suppress(LagoError):
            list_few_events(client, "alice", CODE, WINDOW, ("model", "total_tokens"), 100)
        with suppress(LagoError):
            look_up(client, [EVENT], by_id=True, computed={})
        assert lago.requests <= MOST_REQUESTS, "looking up does not end"
        for events, name in (([EVENT], "events"), ([EVENT, EVENT2], "batch")):
            for answer in (answers["one event"], answers["batch"], answers["refusal"]):
                lago.play({**answers, name: answer})
                batches: list[SentBatch] = []
                with suppress(LagoError):
                    send_events(
                        client, (event.line for event in events), on_batch=batches.append, stop=threading.Event()
                    )
                assert lago.requests <= MOST_REQUESTS, "sending does not end"


@contextmanager
def new_workspace(folder: Path) -> Iterator[Workspace]:
    """Open a workspace that is gone afterwards."""
    with (
        TemporaryDirectory(dir=folder) as own,
        Workspace(Path(own), memory_limit="500MB", threads=1) as workspace,
    ):
        yield workspace


EVENT2 = type(EVENT)(**{name: getattr(EVENT, name) for name in EVENT.__struct_fields__} | {"transaction_id": "other"})


def all_of(name: str, changed_answer: Scripted) -> dict[str, Scripted]:
    """Return all answers, this one changed."""
    return {key: scripted(value, 422 if key == "refusal" else 200) for key, value in ANSWERS.items()} | {
        name: changed_answer
    }


places = st.sampled_from([(name, path) for name, answer in ANSWERS.items() for path in paths(answer)])


def test_the_answers_are_good_as_they_are(lago: tuple[Lago, str]) -> None:
    playing, base = lago
    playing.play(all_of("events", scripted(ANSWERS["events"])))
    with client_of(base) as client:
        found = read_catalogue(client)
        assert (found.metrics[0].code, found.subscriptions[0].external_id) == (CODE, "alice")
        assert read_current_usage(client, [("customer", "alice")], {CODE})
        (period,) = read_usage_periods(client, [UsageAsked("customer", "alice", datetime(2026, 11, 1, tzinfo=UTC))])
        assert period.units(CODE) == {"4a": 140}
        assert count_listed_events(client, "alice", CODE, WINDOW) == 1
        (listed,) = list_few_events(client, "alice", CODE, WINDOW, ("model", "total_tokens"), 100).events or ()
        assert listed.texts == {"model": "gpt-4o", "total_tokens": "140"}
    assert catalogue().metrics[0].code == RULES.parts[0].code


@in_depth(5, 40)
def test_an_answer_with_wrong_values(lago: tuple[Lago, str], tmp_path: Path, examples: int) -> None:
    @fuzzed(examples)
    @given(changes=st.lists(st.tuples(places, scalars | values), min_size=1, max_size=2))
    @example(changes=[(("billable_metrics", ("meta", "next_page")), 1)])
    @example(changes=[(("billable_metrics", ("meta", "total_count")), None)])
    @example(changes=[(("billable_metrics", ("billable_metrics", 0, "filters")), None)])
    @example(changes=[(("events", ("meta", "next_page")), 2)])
    @example(changes=[(("events", ("events", 0, "properties", "total_tokens")), -(10**40))])
    @example(changes=[(("events", ("events", 0, "timestamp")), "+54295-01-01T00:00:00Z")])
    @example(changes=[(("plans", ("plans", 0, "charges", 0, "properties")), [])])
    @example(
        changes=[(("events", ("meta", "total_count")), 20_000), (("events", ("events", 0, "timestamp")), ["2026"])]
    )
    @example(changes=[(("events", ("meta", "total_count")), 99_999), (("events", ("events",)), [])])
    @example(changes=[(("subscriptions", ("subscriptions", 0, "external_id")), "\ud800")])
    def check(changes: list[tuple[tuple[str, tuple[str | int, ...]], Any]]) -> None:
        answers = copy.deepcopy(ANSWERS)
        for (name, path), new in changes:
            with suppress(KeyError, IndexError, TypeError):  # the first change took away what the second would change
                answers[name] = changed(answers[name], path, new)
        replies = {name: scripted(value, 422 if name == "refusal" else 200) for name, value in answers.items()}
        use(*lago, replies, tmp_path)

    check()


@in_depth(12, 30)
def test_an_answer_cut_short(lago: tuple[Lago, str], tmp_path: Path, examples: int) -> None:
    @fuzzed(examples)
    @given(
        name=st.sampled_from(list(ANSWERS)),
        cut=st.integers(0, 400),
        rest=st.binary(max_size=6) | st.sampled_from(NASTY).map(lambda text: text.encode("utf-8", "surrogatepass")),
        status=st.sampled_from([200, 200, 201, 204, 400, 401, 403, 404, 405, 413, 422, 451, 520]),
        kind=st.sampled_from(["application/json", "text/html", ""]),
    )
    def check(name: str, cut: int, rest: bytes, status: int, kind: str) -> None:
        body = b"" if status == 204 else json.dumps(ANSWERS[name]).encode()[:cut] + rest
        use(*lago, all_of(name, Scripted(body, status, {"Content-Type": kind})), tmp_path)

    check()
