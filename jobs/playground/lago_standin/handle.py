"""Start the stand-in as a process of its own, and control it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import psycopg
from psycopg.rows import dict_row

import jobs
from jobs.errors import LagoError
from jobs.playground.lago_standin.bulk import EventRow, load
from jobs.playground.lago_standin.faults import Fault
from jobs.playground.lago_standin.queries import query

_ARGUMENTS = ("--database-url", "-", "--until-stdin-closes")
_START_SECONDS = 30.0
_POLL_SECONDS = 0.01
_STOP_SECONDS = 5.0
_REPORT = "Try again, and report it if it happens again"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event as the stand-in stores it, whatever the API shows of it."""

    transaction_id: str
    """The idempotency key."""
    external_subscription_id: str | None
    """The subscription's external id."""
    code: str
    """The billable metric's code."""
    timestamp: str | None
    """UTC with microseconds, ISO 8601 with Z; text because a year may have five digits."""
    properties: dict[str, Any]
    """As stored: strings only in ClickHouse organisations."""
    precise_total_amount_cents: Decimal | None
    """Cents."""
    created_at: str
    """When it arrived, like `timestamp`."""
    deleted: bool
    """Soft-deleted: invisible to the API, still blocking its key."""


@dataclass(frozen=True, slots=True)
class Billed:
    """What Lago bills for one subscription and code over a time range."""

    units: Decimal
    """The metric's quantity."""
    events_count: int
    """Events that count towards it."""


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One authenticated request that reached the stand-in."""

    at: float
    """When it arrived, Unix seconds."""
    method: str
    """The HTTP method."""
    path: str
    """The decoded path."""
    query: str
    """The decoded query string."""
    endpoint: str
    """The endpoint's name, as faults use it."""
    events: int
    """How many events it carried."""
    status: int | None
    """The status it was answered with; None where the connection was cut."""
    faults: tuple[str, ...]
    """The faults it met."""


class LagoStandIn:
    """A running stand-in: `api_base` is what a Lago client is pointed at."""

    def __init__(self, api_base: str, control_token: str, database_url: str) -> None:
        """Reach a stand-in that runs already; use `start` for one of your own."""
        self.api_base = api_base
        self.control_token = control_token
        self.database_url = database_url
        self._control = httpx.Client(base_url=api_base, headers={"X-Standin-Token": control_token}, timeout=60)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, database_url: str) -> Self:
        """Start a stand-in over this database, on a free loopback port; it ends with this process.

        Raises `LagoError` where it does not come up, with the last line it wrote.
        """
        with tempfile.TemporaryDirectory(prefix="lago-standin-") as folder:
            port_file, log_file = Path(folder) / "port", Path(folder) / "log"
            with log_file.open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", __package__, *_ARGUMENTS, "--port-file", str(port_file)],
                    cwd=Path(jobs.__file__).parent.parent,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                )
            if process.stdin is None:
                raise LagoError("the Lago stand-in has no standard input", _REPORT)
            process.stdin.write(f"{database_url}\n".encode())
            process.stdin.flush()
            try:
                port, control_token = _wait_for_port(process, port_file, log_file)
            except LagoError:
                _end(process)
                raise
        standin = cls(f"http://127.0.0.1:{port}", control_token, database_url)
        standin._process = process
        return standin

    def stop(self) -> None:
        """End the stand-in where this object started it; its tables stay."""
        self._control.close()
        if self._process is not None:
            _end(self._process)
            self._process = None

    def __enter__(self) -> Self:
        """Return the running stand-in."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def create_organization(
        self,
        name: str,
        *,
        event_store: Literal["postgres", "clickhouse"] = "postgres",
        version: str = "1.51.0",
        api_permissions: Mapping[str, Sequence[str]] | None = None,
        currency: str = "EUR",
    ) -> Organization:
        """Make an organisation with its own key, events and faults; `api_permissions` None permits everything.

        `currency` is that of plans which name none.
        """
        document = {
            "name": name,
            "event_store": event_store,
            "version": version,
            "api_permissions": api_permissions,
            "currency": currency,
        }
        created = self.request("POST", "/standin/organizations", document)
        return Organization(self, created["id"], created["api_key"], event_store)

    def request(self, method: str, path: str, document: object = None) -> Any:
        """Send one control request and return the parsed answer; raise `LagoError` where it is refused."""
        answer = self._control.request(method, path, json=document)
        if answer.status_code != 200:
            raise LagoError(f"the Lago stand-in refused {method} {path}: {answer.text}", "Correct the request")
        return answer.json()


class Organization:
    """One organisation of a stand-in, apart from all others."""

    def __init__(self, standin: LagoStandIn, organization_id: str, api_key: str, event_store: str) -> None:
        """Wrap an organisation that exists."""
        self.id = organization_id
        self.api_key = api_key
        self.api_base = standin.api_base
        self.event_store = event_store
        self._standin = standin

    def configure(self, **knobs: object) -> None:
        """Turn knobs.

        `version`; `deduplication` (ClickHouse: collapse physical duplicates when billing);
        `visibility_delay_seconds` (ClickHouse); `usage_cache_lag_seconds` (how long after an event current usage stays
        stale; None, the default, is always fresh); `events_batch_max_length`; `now` (an aware datetime at which the
        organisation's clock stands still for events without a timestamp and for the current period; None lets it go).
        """
        now = knobs.get("now")
        self._post("", knobs | ({"now": _text(now)} if isinstance(now, datetime) else {}), method="PATCH")

    def add_key(
        self, *, api_permissions: Mapping[str, Sequence[str]] | None = None, expires_at: datetime | None = None
    ) -> str:
        """Return another API key, perhaps with fewer permissions, perhaps expired."""
        document = {"api_permissions": api_permissions, "expires_at": _text(expires_at)}
        return str(self._post("keys", document)["api_key"])

    def add_metric(
        self,
        code: str,
        *,
        aggregation_type: str = "sum_agg",
        field_name: str | None = "total_tokens",
        filters: Sequence[Mapping[str, Any]] = (),
        expression: str | None = None,
        recurring: bool = False,
        rounding: tuple[str, int] | None = None,
    ) -> str:
        """Add a billable metric and return its id; `filters` are `{"key": ..., "values": [...]}`."""
        document = {
            "code": code,
            "aggregation_type": aggregation_type,
            "field_name": field_name,
            "filters": list(filters),
            "expression": expression,
            "recurring": recurring,
            "rounding_function": rounding[0] if rounding else None,
            "rounding_precision": rounding[1] if rounding else None,
        }
        return str(self._post("metrics", document)["id"])

    def destroy_metric(self, code: str) -> None:
        """Destroy a metric: its events vanish from the API, and on PostgreSQL still block their keys."""
        self._standin.request("DELETE", f"/standin/organizations/{self.id}/metrics/{code}")

    def add_plan(
        self,
        code: str,
        *,
        charges: Sequence[tuple[str, Mapping[str, Any]]] = (),
        interval: str = "monthly",
        currency: str | None = None,
    ) -> str:
        """Add a plan and return its id; each charge is a metric code and fields of the charge.

        Known fields: `code`, `charge_model`, `pay_in_advance`, `prorated`, `invoiceable`, `invoice_display_name`,
        `properties` (`amount`, `pricing_group_keys`), `filters` (`values`, `properties`, `invoice_display_name`).
        """
        listed = [list(charge) for charge in charges]
        document = {"code": code, "interval": interval, "amount_currency": currency, "charges": listed}
        return str(self._post("plans", document)["id"])

    def add_customer(self, external_id: str, *, timezone: str = "UTC", grace_days: int | None = None) -> str:
        """Add a customer and return its id."""
        document = {
            "external_id": external_id,
            "timezone": timezone,
            "billing_configuration": {"invoice_grace_period": grace_days},
        }
        return str(self._post("customers", document)["id"])

    def add_subscription(  # noqa: PLR0913  (one argument per column)
        self,
        external_id: str,
        *,
        customer: str,
        plan: str,
        started_at: datetime,
        terminated_at: datetime | None = None,
        status: str = "active",
        ending_at: datetime | None = None,
        current_period_started_at: datetime | None = None,
        current_period_ending_at: datetime | None = None,
        billing_time: Literal["calendar", "anniversary"] = "calendar",
        created_at: datetime | None = None,
        on_termination_invoice: Literal["generate", "skip"] = "generate",
    ) -> str:
        """Add a subscription row and return its id; where no current period is given, it follows `billing_time`.

        It was made (`created_at`) when it began unless told. `status` is one of active, pending, terminated, canceled
        and incomplete (it waits for its first payment).
        """
        document = {
            "external_id": external_id,
            "customer": customer,
            "plan": plan,
            "status": status,
            "started_at": _text(started_at),
            "terminated_at": _text(terminated_at),
            "ending_at": _text(ending_at),
            "current_period_started_at": _text(current_period_started_at),
            "current_period_ending_at": _text(current_period_ending_at),
            "billing_time": billing_time,
            "created_at": _text(created_at),
            "on_termination_invoice": on_termination_invoice,
        }
        return str(self._post("subscriptions", document)["id"])

    def terminate_subscription(self, external_id: str, terminated_at: datetime) -> None:
        """Terminate the active subscription of an external id."""
        self._post("terminations", {"external_id": external_id, "terminated_at": _text(terminated_at)})

    def finalize_period(
        self, external_id: str, start: datetime, end: datetime, *, at: datetime | None = None
    ) -> dict[str, Any]:
        """Bill `[start, end)` of a subscription and return the frozen usage; later events in it are never billed.

        Later than `at`, where that is given, and else than now.
        """
        document = {"external_id": external_id, "from": _text(start), "to": _text(end), "at": _text(at)}
        usage: dict[str, Any] = self._post("finalizations", document)
        return usage

    def finalize_period_holding(self, external_id: str, moment: datetime) -> dict[str, Any]:
        """Bill the whole billing period that holds a moment, as Lago would on its billing day."""
        usage: dict[str, Any] = self._post("finalizations", {"external_id": external_id, "inside": _text(moment)})
        return usage

    def soft_delete_events(self, transaction_ids: Iterable[str]) -> None:
        """Make events invisible that still block their keys (PostgreSQL)."""
        self._post("deletions", {"transaction_ids": list(transaction_ids)})

    def insert_events(self, rows: Iterable[EventRow]) -> int:
        """Load events past the API, fast and without its checks, and return how many; see `EventRow`.

        Raises `LagoError` where the unique key refuses one of them; then none is stored.
        """
        with psycopg.connect(self._standin.database_url, options="-c timezone=UTC") as connection:
            try:
                count = load(connection, self.id, self.event_store, rows)
            except psycopg.Error as error:
                raise LagoError(
                    f"the Lago stand-in's events cannot be loaded: {error}", "Give every event an id of its own"
                ) from error
            connection.commit()
            connection.autocommit = True
            connection.execute(query("standin_analyze_events"))
        return count

    def events(self) -> list[StoredEvent]:
        """Return everything stored, in the order it arrived: deleted and still invisible events too."""
        with psycopg.connect(self._standin.database_url, row_factory=dict_row) as connection:
            rows = connection.execute(query("standin_stored_events"), {"organization_id": self.id}).fetchall()
        return [StoredEvent(**{name: row[name] for name in row if name != "seq"}) for row in rows]

    def billed(self, external_id: str, code: str, start: datetime, end: datetime) -> Billed:
        """Return what Lago bills for `[start, end)`, by the query behind current usage.

        Nothing where no plan of the subscription charges the metric, or outside the subscription's life.
        """
        document = {"external_id": external_id, "code": code, "from": _text(start), "to": _text(end)}
        answer = self._post("billed", document)
        return Billed(Decimal(answer["units"]), answer["events_count"])

    def set_faults(self, *faults: Fault) -> None:
        """Put these faults to work in place of all before; see `FAULT_NAMES`."""
        self._post("faults", [fault.document() for fault in faults], method="PUT")

    def clear_faults(self) -> None:
        """End all faults."""
        self.set_faults()

    def requests(self) -> list[SeenRequest]:
        """Return the requests made with this organisation's keys, oldest first."""
        listed = self._standin.request("GET", f"/standin/organizations/{self.id}/requests")
        return [SeenRequest(**{**one, "faults": tuple(one["faults"])}) for one in listed]

    def clear_requests(self) -> None:
        """Forget the requests seen so far."""
        self._standin.request("DELETE", f"/standin/organizations/{self.id}/requests")

    def _post(self, what: str, document: object, *, method: str = "POST") -> Any:
        path = f"/standin/organizations/{self.id}" + (f"/{what}" if what else "")
        return self._standin.request(method, path, document)


def _wait_for_port(process: subprocess.Popen[bytes], port_file: Path, log_file: Path) -> tuple[int, str]:
    deadline = time.monotonic() + _START_SECONDS
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it wrote nothing"]
            raise LagoError(f"the Lago stand-in did not start: {lines[-1]}", _REPORT)
        time.sleep(_POLL_SECONDS)
    port, control_token = port_file.read_text(encoding="ascii").split()
    return int(port), control_token


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close its standard input, which ends it; kill it where it lingers."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
