"""Writes drawn calls out as the rows that PostgreSQL and Lago would hold, a chunk at a time."""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.playground.simulation.model import LossClass
from jobs.playground.simulation.requests import Integers
from jobs.playground.simulation.world import (
    ALL_SUBSCRIPTIONS,
    DEPLOYMENTS,
    KEYS_PER_SUBSCRIPTION,
    SUBSCRIPTIONS,
    Deployment,
    Sends,
)

CHUNK_ROWS = 8_192
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
# Three UUID-sized draws for each call: LiteLLM's call id, the session, and the provider's own id.
RANDOM_BYTES = 48
EMPTY_JSON = "{}"
FAILED = (LossClass.FAILURE, LossClass.UNKNOWN_MODEL)

Value = str | int | float | None


def chunks(count: int) -> Iterator[slice]:
    """Return slices that cover `count` rows in order."""
    for start in range(0, count, CHUNK_ROWS):
        yield slice(start, min(start + CHUNK_ROWS, count))


def uuid4_text(digits: str) -> str:
    """Return 32 hexadecimal digits as a version 4 UUID."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def timestamps(milliseconds: Integers) -> list[str]:
    """Return milliseconds since 1970 UTC as `timestamp(3)` texts in UTC."""
    texts: list[str] = np.datetime_as_string(milliseconds.astype("datetime64[ms]")).tolist()
    return texts


def instant(microseconds: int) -> datetime:
    """Return microseconds since 1970 UTC as an aware datetime."""
    return EPOCH + timedelta(microseconds=microseconds)


def key_hash(key: int) -> str:
    """Return what the gateway stores in place of a virtual key."""
    return hashlib.sha256(f"simulated key {key}".encode()).hexdigest()


def costs(deployment: Integers, prompt: Integers, completion: Integers, free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the cost of each call in USD, as the double that LiteLLM computes."""
    prompt_price = np.array([d.prompt_price for d in DEPLOYMENTS])[deployment]
    completion_price = np.array([d.completion_price for d in DEPLOYMENTS])[deployment]
    speech = np.array([7.5e-05 if d.call_type == "aspeech" else 0.0 for d in DEPLOYMENTS])[deployment]
    return np.where(free, 0.0, prompt * prompt_price + completion * completion_price + speech)


def cached_tokens(deployment: Integers, prompt: Integers) -> Integers:
    """Return the part of the prompt that the provider had cached; it is contained in the prompt."""
    caches = np.array([d.model_group in {"gpt-4o-pub", "claude"} for d in DEPLOYMENTS])[deployment]
    return np.where(caches & (prompt >= 1_024), prompt // 2 // 128 * 128, 0)


def request_id(deployment: Deployment, loss: LossClass, digits: str, call_id: str, end_ms: int) -> str:
    """Return a request id of the shape that this kind of call gets."""
    if loss in FAILED or deployment.id_style == "call":
        return call_id
    if deployment.id_style == "resp_":
        inner = f"litellm:custom_llm_provider:openai;model_id:{digits * 7};response_id:resp_{digits}"
        return "resp_" + base64.b64encode(inner.encode()).decode()
    stem = f"{deployment.id_style}{digits[:26]}"
    if loss is LossClass.CACHE_HIT:
        return f"{stem}_cache_hit{end_ms // 1000}.{end_ms % 1000:03d}{int(digits[26:30], 16) % 10_000:04d}"
    return stem


def properties(deployment: Deployment, cost: float, prompt: int, completion: int) -> dict[str, Any]:
    """Return the properties of the callback's event, numbers as numbers."""
    sent: dict[str, Any] = {"model": deployment.event_model, "response_cost": cost}
    if deployment.sends is Sends.TOKENS:
        sent["prompt_tokens"] = prompt
        sent["completion_tokens"] = completion
        sent["total_tokens"] = prompt + completion
    return sent


class KeyTexts:
    """The texts that depend on a virtual key alone, built once."""

    def __init__(self) -> None:
        count = len(ALL_SUBSCRIPTIONS) * KEYS_PER_SUBSCRIPTION
        # Hostile end users share the key of an ordinary customer: the text came in their request.
        owners = [min(key // KEYS_PER_SUBSCRIPTION, len(SUBSCRIPTIONS) - 1) for key in range(count)]
        slots = [owner * KEYS_PER_SUBSCRIPTION + key % KEYS_PER_SUBSCRIPTION for key, owner in enumerate(owners)]
        self.hashes = [key_hash(slot) for slot in slots]
        self.teams = [f"team-{owner:02d}" for owner in owners]
        self.users = [f"service-{slot:02d}" for slot in slots]
        self.addresses = [f"10.{owner}.0.{10 + slot}" for owner, slot in zip(owners, slots, strict=True)]
        self.metadata = [
            json.dumps(
                {
                    "user_api_key_alias": f"key-{slot:02d}",
                    "user_api_key_team_id": team,
                    "user_api_key_user_id": user,
                }
            )[1:-1]
            for slot, team, user in zip(slots, self.teams, self.users, strict=True)
        ]


def metadata(key_part: str, group: str, loss: LossClass, usage: tuple[int, int, int], fallback: bool) -> str:
    """Return the parts of a spend log's metadata that somebody may read; usage ends in cached tokens."""
    prompt, completion, cached = usage
    status = "failure" if loss in FAILED else "success"
    origin = ', "internal_call_origin": "auto_router_classifier"' if loss is LossClass.INTERNAL_CALL else ""
    error = ', "error_information": {"error_code": "503", "error_class": "ServiceUnavailableError"}'
    return (
        f'{{{key_part}, "status": "{status}", "original_model_group": {json.dumps(group)}, '
        f'"attempted_fallbacks": {int(fallback)}, "usage_object": {{"prompt_tokens": {prompt}, '
        f'"completion_tokens": {completion}, "total_tokens": {prompt + completion}, '
        f'"prompt_tokens_details": {{"cached_tokens": {cached}}}}}{error if status == "failure" else ""}{origin}}}'
    )
