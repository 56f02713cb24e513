"""LiteLLM's real `lago` callback works against the stand-in, unchanged."""

from __future__ import annotations

import time

import pytest

from jobs.playground.lago_standin import Fault, LagoStandIn, Organization, StoredEvent


@pytest.fixture
def organization(standin: LagoStandIn, monkeypatch: pytest.MonkeyPatch) -> Organization:
    organization = standin.create_organization("litellm")
    organization.add_metric("litellm_tokens")
    monkeypatch.setenv("LAGO_API_BASE", organization.api_base)
    monkeypatch.setenv("LAGO_API_KEY", organization.api_key)
    monkeypatch.setenv("LAGO_API_EVENT_CODE", "litellm_tokens")
    monkeypatch.setenv("LAGO_API_CHARGE_BY", "user_id")
    return organization


def register_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set `success_callback: ["lago"]`, as if LiteLLM had just been started: it looks at that list once a process."""
    import litellm  # noqa: PLC0415 - slow to import, and the environment has to be set before

    monkeypatch.setattr(litellm.utils, "callback_list", [])
    monkeypatch.setattr(litellm, "_async_success_callback", [])
    monkeypatch.setattr(litellm, "success_callback", ["lago"])


def stored(organization: Organization, count: int) -> list[StoredEvent]:
    """Wait for events: LiteLLM's callbacks run in a thread of their own."""
    deadline = time.monotonic() + 20
    while len(events := organization.events()) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return events


def complete(user_id: str) -> None:
    """Call a model that answers at once, as the gateway would for a key of this user."""
    import litellm  # noqa: PLC0415 - slow to import, and the environment has to be set before

    litellm.completion(
        model="gpt-3.5-turbo",
        messages=[{"role": "user", "content": "Hello"}],
        mock_response="Hi there",
        metadata={"user_api_key_user_id": user_id},
    )


@pytest.mark.filterwarnings("ignore")  # LiteLLM's own warnings are none of ours
def test_the_callback_sends_one_event_per_call(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    register_callback(monkeypatch)
    complete("sub_1")
    complete("sub_1")
    events = stored(organization, 2)
    assert len(events) == 2
    assert len({event.transaction_id for event in events}) == 2
    for event in events:
        assert (event.external_subscription_id, event.code) == ("sub_1", "litellm_tokens")
        assert set(event.properties) == {
            "model",
            "response_cost",
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
        }
        assert event.properties["total_tokens"] == (
            event.properties["prompt_tokens"] + event.properties["completion_tokens"]
        )
    organization.set_faults(Fault("server_error"))
    complete("sub_1")
    deadline = time.monotonic() + 20
    while len(organization.requests()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [seen.status for seen in organization.requests()] == [200, 200, 500]
    assert len(organization.events()) == 2, "the callback tries once and the event is lost"
