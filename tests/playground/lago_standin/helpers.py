"""The Lago stand-in keeps the contract of Lago's API: bodies to the byte, both event stores, faults, permissions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx

from jobs.playground.lago_standin import Organization

START = datetime(2026, 11, 1, tzinfo=UTC)


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


AT = 1795000000  # 2026-11-18T11:06:40Z

Json = dict[str, Any]


class Api:
    """An organisation with a client that speaks plain HTTP to it."""

    def __init__(self, organization: Organization) -> None:
        """Authenticate as the organisation."""
        self.organization = organization
        self._opened: list[httpx.Client] = []
        self.http = self.client(organization.api_key)

    def client(self, api_key: str) -> httpx.Client:
        """Return a client with another key."""
        opened = httpx.Client(
            base_url=f"{self.organization.api_base}/api/v1/",
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=20,
        )
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        """Close all clients."""
        for opened in self._opened:
            opened.close()

    def create(self, **event: object) -> httpx.Response:
        """Send one event, complete unless told otherwise."""
        return self.http.post("events", json={"event": a_event(**event)})

    def batch(self, *events: Json) -> httpx.Response:
        """Send a batch."""
        return self.http.post("events/batch", json={"events": list(events)})

    def listed(self, **params: object) -> Json:
        """List events."""
        answer = self.http.get("events", params={name: str(value) for name, value in params.items()})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ids(self, **params: object) -> list[str]:
        """List transaction ids."""
        return [event["transaction_id"] for event in self.listed(**params)["events"]]

    def usage(self, subscription: str = "sub", **params: str) -> Json:
        """Return the only charge's current usage."""
        answer = self.http.get(
            "customers/acme/current_usage", params={"external_subscription_id": subscription, **params}
        )
        assert answer.status_code == 200, answer.text
        (charge,) = answer.json()["customer_usage"]["charges_usage"]
        return dict(charge)


def a_event(**event: object) -> Json:
    """Return an event with every parameter; None leaves one out."""
    complete = {
        "transaction_id": "t1",
        "external_subscription_id": "sub",
        "code": "tokens",
        "timestamp": f"{AT}.123",
        "properties": {"total_tokens": "3"},
    }
    return {name: value for name, value in (complete | event).items() if value is not None}


def subscribe(api: Api, *charges: tuple[str, Json], subscription: str = "sub") -> None:
    """Give the organisation a customer with one subscription since the start of the month."""
    api.organization.add_plan("plan", charges=charges)
    api.organization.add_customer("acme")
    api.organization.add_subscription(subscription, customer="acme", plan="plan", started_at=START)


def refused(answer: httpx.Response, status: int, body: str) -> None:
    """Expect an error to the byte."""
    assert (answer.status_code, answer.text) == (status, body)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"


def invalid(answer: httpx.Response, details: str) -> None:
    """Expect validation errors to the byte."""
    refused(
        answer,
        422,
        '{"status":422,"error":"Unprocessable Entity","code":"validation_errors","error_details":' + details + "}",
    )


def load(api: Api, *rows: Json) -> None:
    """Store events past the API."""
    api.organization.insert_events({**a_event(timestamp=START), **row} for row in rows)
