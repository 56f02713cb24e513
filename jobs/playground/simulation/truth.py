"""What a perfect reconciliation says of each spend log and each event of the simulated month."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.core.kinds import Exclusion, HoldReason, Kind
from jobs.playground.simulation import losses
from jobs.playground.simulation.losses import CLASSES, NOBODY, Fates
from jobs.playground.simulation.model import LossClass, Side, TruthRow
from jobs.playground.simulation.requests import Integers, Requests
from jobs.playground.simulation.rows import (
    RANDOM_BYTES,
    chunks,
    instant,
    request_id,
    uuid4_text,
)
from jobs.playground.simulation.world import (
    ALL_SUBSCRIPTIONS,
    DEPLOYMENTS,
    Sends,
    Subscription,
)

_EVENT_KINDS = {
    LossClass.EVENT_WITHOUT_TOKENS: Kind.MISMATCHED,
    LossClass.OTHER_SUBSCRIPTION: Kind.MISATTRIBUTED,
    LossClass.NULL_SUBSCRIPTION: Kind.MISATTRIBUTED,
    LossClass.REPEATED_ID: Kind.DUPLICATED,
    LossClass.REPEATED_ID_OTHER_CONTENT: Kind.ORPHANED,
    LossClass.POD_RESTART: Kind.ORPHANED,
    LossClass.LEAKED: Kind.MISATTRIBUTED,
}

_SPEND_LOG_KINDS = {
    LossClass.EVENT_WITHOUT_TOKENS: Kind.MISMATCHED,
    LossClass.OTHER_SUBSCRIPTION: Kind.MISATTRIBUTED,
    LossClass.NULL_SUBSCRIPTION: Kind.MISATTRIBUTED,
    LossClass.NO_USER: Kind.UNATTRIBUTED,
    LossClass.LEAKED: Kind.MISATTRIBUTED,
}

_EXCLUSIONS = {
    LossClass.FAILURE: Exclusion.FAILED,
    LossClass.UNKNOWN_MODEL: Exclusion.FAILED,
    LossClass.HEALTH_CHECK: Exclusion.HEALTH_CHECK,
    LossClass.INTERNAL_JOB: Exclusion.INTERNAL_JOB,
    LossClass.INTERNAL_CALL: Exclusion.INTERNAL_CALL,
    LossClass.NOT_INFERENCE: Exclusion.NOT_INFERENCE,
}

# Nobody can tell whose call it was: LiteLLM logs a key's first user, and no event says otherwise.
_HELD = (LossClass.LEAKED_LOST, LossClass.UNPROVEN_KEY)
KEYLESS = (LossClass.HEALTH_CHECK, LossClass.INTERNAL_JOB)
WITHOUT_END_USER = (LossClass.NO_USER, *KEYLESS)


@dataclass(frozen=True, slots=True)
class Events:
    """The events of the month as columns, ordered by time."""

    call: Integers
    """Index of the call that the event is for."""
    at_us: Integers
    """Timestamp, microseconds since 1970 UTC."""
    second: NDArray[np.bool_]
    """Whether it is the double of an earlier event of the same call."""
    random: bytes
    """Sixteen bytes for each transaction id."""

    def transaction_id(self, number: int) -> str:
        """Return the id of the event at this place."""
        return uuid4_text(self.random[number * 16 : (number + 1) * 16].hex())


def spend_log_truth(requests: Requests, fates: Fates, random: bytes, stored: Integers) -> Iterator[TruthRow]:
    """Yield what is true of each spend log; `stored` are the calls that have one, `random` as `month` drew it."""
    for part in chunks(len(stored)):
        calls = stored[part]
        for call, code, subscription, model, total, end_ms in zip(
            calls.tolist(),
            fates.loss[calls].tolist(),
            fates.logged_subscription[calls].tolist(),
            requests.deployment[calls].tolist(),
            requests.total[calls].tolist(),
            requests.end_ms[calls].tolist(),
            strict=True,
        ):
            loss, deployment = CLASSES[code], DEPLOYMENTS[model]
            kind, reason = _spend_log_kind(loss, ALL_SUBSCRIPTIONS[subscription], total)
            digits = random[call * RANDOM_BYTES : (call + 1) * RANDOM_BYTES].hex()
            unrouted = loss is LossClass.UNKNOWN_MODEL
            yield TruthRow(
                Side.SPEND_LOG,
                kind,
                reason,
                loss,
                request_id(deployment, loss, digits[32:64], uuid4_text(digits[:32]), end_ms),
                "" if loss in WITHOUT_END_USER else ALL_SUBSCRIPTIONS[subscription].external_id,
                "unknown-model" if unrouted else deployment.event_model,
                total,
                instant(end_ms * 1000),
            )


def event_truth(requests: Requests, fates: Fates, events: Events) -> Iterator[TruthRow]:
    """Yield what is true of each event."""
    for part in chunks(len(events.call)):
        calls = events.call[part]
        for number, code, second, subscription, model, total, at_us in zip(
            range(part.start, part.stop),
            fates.loss[calls].tolist(),
            events.second[part].tolist(),
            fates.event_subscription[calls].tolist(),
            requests.deployment[calls].tolist(),
            requests.total[calls].tolist(),
            events.at_us[part].tolist(),
            strict=True,
        ):
            loss, deployment = CLASSES[code], DEPLOYMENTS[model]
            yield TruthRow(
                Side.EVENT,
                Kind.DUPLICATED if second else _EVENT_KINDS.get(loss, "matched"),
                "",
                loss,
                events.transaction_id(number),
                "" if subscription == NOBODY else ALL_SUBSCRIPTIONS[subscription].external_id,
                deployment.event_model,
                total if deployment.sends is Sends.TOKENS else 0,
                instant(at_us),
            )


def _spend_log_kind(loss: LossClass, subscription: Subscription, total_tokens: int) -> tuple[str, str]:
    """Return the kind and the reason that docs/matching.md assigns to a spend log."""
    if loss in _EXCLUSIONS:
        return "excluded", _EXCLUSIONS[loss]
    if loss in _HELD:
        return Kind.HELD, HoldReason.SOURCE_INCOMPLETE
    if loss not in losses.WITHOUT_EVENT or loss in _SPEND_LOG_KINDS:
        return _SPEND_LOG_KINDS.get(loss, "matched"), ""
    if total_tokens == 0:
        return Kind.HELD, HoldReason.ZERO_QUANTITY
    if not subscription.known_to_lago:
        return Kind.HELD, HoldReason.NO_SUBSCRIPTION
    return Kind.MISSING, ""
