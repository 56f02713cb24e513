"""Decides what goes wrong with each call, and only where a perfect reconciliation can tell.

Identical requests are told apart by nobody, so a loss is placed where counts decide it. Two left-over rows
that belong to different incidents never share a subscription and a quantity, nor a subscription or a model
within the tolerance: otherwise the same data would have two right answers.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from jobs.playground.simulation.model import LossClass, SimulationSettings
from jobs.playground.simulation.requests import Incidents, Integers, Origin, Requests
from jobs.playground.simulation.traffic import HOUR_MS, MINUTE_MS
from jobs.playground.simulation.world import (
    CLAUDE,
    DEPLOYMENTS,
    INTERACTIVE,
    KEYS_PER_SUBSCRIPTION,
    PASS_THROUGH,
    PINNED_CUSTOMER,
    SHARED_KEY,
    SHARING_CUSTOMERS,
    SPEECH,
    STARCODER,
    SUBSCRIPTIONS,
    Sends,
)

CLASSES = tuple(LossClass)
CODE = {loss: number for number, loss in enumerate(CLASSES)}
NOBODY = -1

# Rows of these classes have no event, although they are billable: what the reconciliation exists for.
LOST = (
    LossClass.USER_IN_HEADER,
    LossClass.USER_IN_METADATA,
    LossClass.LAGO_OUTAGE,
    LossClass.CALLBACK_TIMEOUT,
)
# These have an event, but no spend log.
WITHOUT_SPEND_LOG = (LossClass.POD_RESTART, LossClass.REPEATED_ID, LossClass.REPEATED_ID_OTHER_CONTENT)
WITHOUT_EVENT = (
    *LOST,
    LossClass.SPEECH,
    LossClass.FAILURE,
    LossClass.UNKNOWN_MODEL,
    LossClass.HEALTH_CHECK,
    LossClass.INTERNAL_JOB,
    LossClass.NOT_INFERENCE,
    LossClass.PASS_THROUGH,
    LossClass.NO_USER,
    LossClass.INTERNAL_CALL,
    LossClass.LEAKED_LOST,
    LossClass.UNPROVEN_KEY,
)

# Whose applications name the user where the callback does not look.
_HEADER_CUSTOMERS, _METADATA_CUSTOMERS = (2, 5), (1, 3)
_RESTARTS = 6
_TELLING = 100
_QUEUE_MS = 30_000


@dataclass(frozen=True, slots=True)
class Fates:
    """What happened to each call, as columns aligned with its requests."""

    loss: Integers
    """Index into `CLASSES`."""
    event_delay_us: Integers
    """From the end of the call to the event in Lago, in microseconds."""
    event_subscription: Integers
    """Index of the subscription the event is recorded under, or `NOBODY`."""
    second_delay_us: Integers
    """From the first event to its double, in microseconds; 0 where there is none."""
    logged_subscription: Integers
    """Index of the subscription that the spend log names, which is the caller's unless LiteLLM pinned the key."""
    key: Integers
    """Index of the virtual key, or `NOBODY` where the customer uses any of its own."""


def without_undecidable(requests: Requests, incidents: Incidents, settings: SimulationSettings) -> Requests:
    """Leave out calls at the edges of the outage whose token-less events fit several calls."""
    guard = _guard_ms(settings)
    bare = _sends(requests) == int(Sends.NO_TOKENS)
    near = np.zeros(len(requests.end_ms), dtype=bool)
    for edge in incidents.outage:
        near |= np.abs(requests.end_ms - edge) <= guard
    return requests.take(~(bare & (requests.total > 0) & near))


def decide(
    requests: Requests, incidents: Incidents, settings: SimulationSettings, rng: np.random.Generator
) -> tuple[Requests, Fates]:
    """Return the calls with the usage that failures and read-backs have, and what happened to each."""
    count = len(requests.end_ms)
    delays = rng.integers(20_000, 800_000, count)
    # Around the restart nothing else goes missing, so that what it leaves over has one explanation.
    quiet = np.abs(requests.end_ms - incidents.rush) <= 2 * _guard_ms(settings)
    loss = _ordinary_classes(requests, quiet, settings, rng)
    requests = _with_failed_usage(requests, loss, rng)
    received = requests.end_ms + delays // 1000
    sendable = np.isin(loss, [CODE[LossClass.NONE], CODE[LossClass.CACHE_HIT], CODE[LossClass.EVENT_WITHOUT_TOKENS]])
    in_outage = sendable & (received >= incidents.outage[0]) & (received < incidents.outage[1])
    loss[in_outage] = CODE[LossClass.LAGO_OUTAGE]
    timed_out = (loss == CODE[LossClass.NONE]) & (requests.origin == int(Origin.OVERLOAD)) & (rng.random(count) < 0.03)
    loss[timed_out] = CODE[LossClass.CALLBACK_TIMEOUT]
    named, logged = requests.subscription.copy(), requests.subscription.copy()
    fates = Fates(loss, delays, named, np.zeros(count, dtype=np.int64), logged, np.full(count, NOBODY))
    placement = _Placement(requests, fates, settings, rng)
    if settings.pins_keys:
        placement.pin_keys()
    placement.place_all(incidents, names_others=not settings.pins_keys)
    if settings.hides_losses:
        placement.hide_losses(incidents)
    return requests, fates


def _guard_ms(settings: SimulationSettings) -> int:
    return int(settings.tolerance.total_seconds() * 1000) + MINUTE_MS


def _sends(requests: Requests) -> Integers:
    return np.array([int(d.sends) for d in DEPLOYMENTS], dtype=np.int64)[requests.deployment]


def _ordinary_classes(
    requests: Requests, quiet: NDArray[np.bool_], settings: SimulationSettings, rng: np.random.Generator
) -> Integers:
    count = len(requests.end_ms)
    loss = np.full(count, CODE[LossClass.NONE], dtype=np.int64)
    bare = (_sends(requests) == int(Sends.NO_TOKENS)) & (requests.total > 0)
    loss[bare] = CODE[LossClass.EVENT_WITHOUT_TOKENS]
    loss[requests.deployment == SPEECH] = CODE[LossClass.SPEECH]
    loss[requests.deployment == PASS_THROUGH] = CODE[LossClass.PASS_THROUGH]
    person = np.isin(requests.origin, (int(Origin.INTERACTIVE), int(Origin.TEMPLATE)))
    program = person | np.isin(requests.origin, (int(Origin.BATCH), int(Origin.OVERLOAD)))
    chat = person & np.isin(requests.deployment, INTERACTIVE)

    def mark(rows: NDArray[np.bool_], share: float, what: LossClass) -> None:
        loss[rows & (rng.random(count) < share)] = CODE[what]

    template = requests.origin == int(Origin.TEMPLATE)
    mark(template & (requests.deployment == STARCODER), 0.35, LossClass.CACHE_HIT)
    mark(chat & ~quiet & np.isin(requests.subscription, _HEADER_CUSTOMERS), 0.05, LossClass.USER_IN_HEADER)
    claude = person & (requests.deployment == CLAUDE)
    mark(
        claude & ~quiet & np.isin(requests.subscription, _METADATA_CUSTOMERS),
        0.15,
        LossClass.USER_IN_METADATA,
    )
    mark((requests.origin == int(Origin.HOSTILE)) & ~quiet, 0.5, LossClass.USER_IN_HEADER)
    # Where keys are pinned, the spend log of a call that names nobody would name the key's first user.
    mark(person, 0.0 if settings.pins_keys else 0.025, LossClass.NO_USER)
    mark(program, 0.018, LossClass.FAILURE)
    mark(program, 0.001, LossClass.UNKNOWN_MODEL)
    loss[requests.origin == int(Origin.HEALTH_CHECK)] = CODE[LossClass.HEALTH_CHECK]
    loss[requests.origin == int(Origin.INTERNAL_JOB)] = CODE[LossClass.INTERNAL_JOB]
    loss[requests.origin == int(Origin.READ_BACK)] = CODE[LossClass.NOT_INFERENCE]
    loss[requests.origin == int(Origin.INTERNAL_CALL)] = CODE[LossClass.INTERNAL_CALL]
    return loss


def _with_failed_usage(requests: Requests, loss: Integers, rng: np.random.Generator) -> Requests:
    """Return the calls as logged: a failed one has an estimate of its prompt, or nothing, and no answer."""
    estimate = np.maximum(1, (requests.prompt * rng.uniform(0.7, 1.1, len(loss))).astype(np.int64))
    estimate = np.where(requests.prompt > 0, estimate, 0)
    failed, unrouted = loss == CODE[LossClass.FAILURE], loss == CODE[LossClass.UNKNOWN_MODEL]
    prompt = np.where(failed, estimate, np.where(unrouted, 0, requests.prompt))
    completion = np.where(failed | unrouted, 0, requests.completion)
    return replace(requests, prompt=prompt, completion=completion)


@dataclass(slots=True)
class _LeftOver:
    """Rows of one side that no ordinary match takes, so that the other side's keep away from them."""

    times: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    quantities: set[tuple[int, int]] = field(default_factory=set)
    contents: set[tuple[int, int, int]] = field(default_factory=set)
    counts: set[tuple[int, int, int]] = field(default_factory=set)
    """Subscription, prompt and completion tokens of calls whose event has none: an event of these could be theirs."""

    def add(self, subscription: int, content: tuple[int, int, int], at_ms: int) -> None:
        for group in (("subscription", subscription), ("deployment", content[0])):
            insort(self.times.setdefault(group, []), at_ms)
        self.quantities.add((subscription, content[1] + content[2]))
        self.contents.add(content)

    def clashes(self, subscription: int, content: tuple[int, int, int], at_ms: int, guard_ms: int) -> bool:
        if content in self.contents or (subscription, content[1] + content[2]) in self.quantities:
            return True
        if (subscription, content[1], content[2]) in self.counts:
            return True
        for group in (("subscription", subscription), ("deployment", content[0])):
            times = self.times.get(group, [])
            at = bisect_left(times, at_ms - guard_ms)
            if at < len(times) and times[at] <= at_ms + guard_ms:
                return True
        return False


class _Placement:
    """Places the rare incidents one by one, each where it is decidable."""

    def __init__(
        self, requests: Requests, fates: Fates, settings: SimulationSettings, rng: np.random.Generator
    ) -> None:
        self._requests = requests
        self._fates = fates
        self._rng = rng
        self._guard_ms = _guard_ms(settings)
        self._expected = _LeftOver()
        self._recorded = _LeftOver()
        start, end = requests.end_ms[0], requests.end_ms[-1]
        self._inner = (requests.end_ms > start + 3 * HOUR_MS) & (requests.end_ms < end - 3 * HOUR_MS)
        plain = np.array([int(d.sends) for d in DEPLOYMENTS])[requests.deployment] == int(Sends.TOKENS)
        plain &= np.isin(requests.origin, (int(Origin.INTERACTIVE), int(Origin.BATCH), int(Origin.RUSH)))
        self._plain = plain & self._inner & (requests.subscription < len(SUBSCRIPTIONS))
        content = (requests.deployment << 40) + (requests.prompt << 20) + requests.completion
        _, inverse, counts = np.unique(content, return_inverse=True, return_counts=True)
        self._unique = counts[inverse] == 1
        self._lost = np.isin(fates.loss, [CODE[lost] for lost in LOST])
        for row in np.flatnonzero(self._lost).tolist():
            self._expected.add(*self._seat(row))
        for row in np.flatnonzero(fates.loss == CODE[LossClass.EVENT_WITHOUT_TOKENS]).tolist():
            subscription, (_, prompt, completion), _ = self._seat(row)
            self._expected.counts.add((subscription, prompt, completion))

    def place_all(self, incidents: Incidents, *, names_others: bool) -> None:
        """Change the fates of a few calls in place, the scarcest opportunities first.

        `names_others` lets clients name another customer; where LiteLLM pins keys, one such event makes a key look
        shared.
        """
        size = len(self._requests.end_ms)
        self._restarts(incidents)
        self._surplus(LossClass.REPEATED_ID, max(size // 3_000, 3), self._plain & self._from(Origin.BATCH))
        self._surplus(LossClass.REPEATED_ID_OTHER_CONTENT, max(size // 8_000, 2), self._plain & self._unique)
        self._surplus(LossClass.SENT_TWICE, max(size // 1_200, 5), self._plain)
        self._late(max(size // 5_000, 3))
        if names_others:
            self._elsewhere(LossClass.OTHER_SUBSCRIPTION, max(size // 3_500, 3))
        self._elsewhere(LossClass.NULL_SUBSCRIPTION, max(size // 5_000, 3))

    def _from(self, origin: Origin) -> NDArray[np.bool_]:
        chosen: NDArray[np.bool_] = self._requests.origin == int(origin)
        return chosen

    def _seat(self, row: int) -> tuple[int, tuple[int, int, int], int]:
        requests = self._requests
        content = (int(requests.deployment[row]), int(requests.prompt[row]), int(requests.completion[row]))
        return int(requests.subscription[row]), content, int(requests.end_ms[row])

    def _candidates(self, mask: NDArray[np.bool_]) -> list[int]:
        untouched = mask & (self._fates.loss == CODE[LossClass.NONE])
        rows: list[int] = self._rng.permutation(np.flatnonzero(untouched)).tolist()
        return rows

    def _surplus(self, what: LossClass, wanted: int, mask: NDArray[np.bool_]) -> None:
        self._surplus_among(what, wanted, self._candidates(mask))

    def _surplus_among(self, what: LossClass, wanted: int, rows: Iterable[int]) -> None:
        for row in rows:
            if wanted == 0:
                return
            subscription, content, at_ms = self._seat(row)
            if self._expected.clashes(subscription, content, at_ms, self._guard_ms):
                continue
            self._recorded.add(subscription, content, at_ms)
            self._fates.loss[row] = CODE[what]
            if what is LossClass.SENT_TWICE:
                self._fates.second_delay_us[row] = int(self._rng.integers(100_000, 2_000_000))
            wanted -= 1

    def _restarts(self, incidents: Incidents) -> None:
        """A killed pod loses the spend logs of the last seconds that it had not yet written."""
        ends = self._requests.end_ms
        crashes = [incidents.rush + 2 * MINUTE_MS]
        crashes += [int(ends[row]) + 1 for row in self._candidates(self._plain & self._unique)[: _RESTARTS - 1]]
        for crash in crashes:
            queue_ms = _QUEUE_MS // 2 if crash == crashes[0] else _QUEUE_MS
            queued = self._plain & self._unique & (ends > crash - queue_ms) & (ends <= crash - 1)
            self._surplus_among(LossClass.POD_RESTART, 100, self._candidates(queued))

    def _late(self, wanted: int) -> None:
        # Smaller numbers are shared by many calls, so that nobody could tell whose late event it is.
        telling = np.maximum(self._requests.prompt, self._requests.completion) >= _TELLING
        for row in self._candidates(self._plain & self._unique & telling):
            if wanted == 0:
                return
            subscription, content, at_ms = self._seat(row)
            delay_ms = self._guard_ms + int(self._rng.integers(5 * MINUTE_MS, 40 * MINUTE_MS))
            arrival_ms = at_ms + delay_ms
            if self._recorded.clashes(subscription, content, at_ms, self._guard_ms) or self._expected.clashes(
                subscription, content, arrival_ms, self._guard_ms
            ):
                continue
            self._expected.add(subscription, content, at_ms)
            self._recorded.add(subscription, content, arrival_ms)
            self._fates.event_delay_us[row] += delay_ms * 1000
            self._fates.loss[row] = CODE[LossClass.LATE_EVENT]
            wanted -= 1

    def pin_keys(self) -> None:
        """Let some customers call with a key that LiteLLM has pinned to another one, and some with keys that lose all.

        Who called is known where the event says so; the lost calls of these keys may be anybody's.
        """
        requests, fates = self._requests, self._fates
        fates.key[:] = requests.subscription * KEYS_PER_SUBSCRIPTION
        half = self._rng.random(len(fates.key)) < 0.5
        customers = requests.subscription
        sharing = half & np.isin(customers, SHARING_CUSTOMERS)
        owned = half & (customers == PINNED_CUSTOMER)
        for row in self._candidates(self._plain & self._unique & sharing):
            _, content, at_ms = self._seat(row)
            if self._expected.clashes(int(customers[row]), content, at_ms, 0):
                continue
            if self._expected.clashes(PINNED_CUSTOMER, content, at_ms, 0):
                continue
            fates.loss[row] = CODE[LossClass.LEAKED]
            fates.logged_subscription[row], fates.key[row] = PINNED_CUSTOMER, SHARED_KEY
        lost = self._lost & (sharing | owned)
        fates.loss[lost] = CODE[LossClass.LEAKED_LOST]
        fates.logged_subscription[lost], fates.key[lost] = PINNED_CUSTOMER, SHARED_KEY
        for row in np.flatnonzero(lost & sharing).tolist():
            self._expected.add(PINNED_CUSTOMER, *self._seat(row)[1:])
        fates.key[owned & (fates.loss == CODE[LossClass.NONE])] = SHARED_KEY
        header = fates.loss == CODE[LossClass.USER_IN_HEADER]
        fates.loss[header] = CODE[LossClass.UNPROVEN_KEY]
        fates.key[header] += 1

    def hide_losses(self, incidents: Incidents) -> None:
        """Let events come late, each right after a call that lost its own, of the same customer and model."""
        requests = self._requests
        telling = np.maximum(requests.prompt, requests.completion) >= _TELLING
        by_place: dict[tuple[int, int], list[int]] = {}
        for row in self._candidates(self._plain & self._unique & telling):
            by_place.setdefault((int(requests.subscription[row]), int(requests.deployment[row])), []).append(row)
        classes = [LossClass.USER_IN_HEADER, LossClass.USER_IN_METADATA, LossClass.CALLBACK_TIMEOUT]
        lost = np.isin(self._fates.loss, [CODE[each] for each in classes])
        for beside in self._rng.permutation(np.flatnonzero(lost)).tolist():
            subscription, content, at_ms = self._seat(beside)
            arrival_ms = at_ms + int(self._rng.integers(50, 20_000))
            in_outage = incidents.outage[0] <= arrival_ms < incidents.outage[1]
            found = (
                None if in_outage else self._earlier(by_place.get((subscription, content[0]), []), beside, arrival_ms)
            )
            if found is not None:
                late = self._seat(found)
                self._expected.add(*late)
                self._recorded.add(late[0], late[1], arrival_ms)
                self._fates.event_delay_us[found] = (arrival_ms - late[2]) * 1000
                self._fates.loss[found] = CODE[LossClass.LATE_BESIDE_LOST]

    def _earlier(self, rows: Iterable[int], beside: int, arrival_ms: int) -> int | None:
        """Return one of these calls whose event could come as late as this, and would still be known for its own."""
        subscription, (_, prompt, completion), _ = self._seat(beside)
        if self._recorded.clashes(subscription, (NOBODY, 0, 0), arrival_ms, self._guard_ms):
            return None
        for row in rows:
            _, content, at_ms = self._seat(row)
            near = not self._guard_ms + 5 * MINUTE_MS <= arrival_ms - at_ms <= self._guard_ms + HOUR_MS
            alike = {prompt, completion, prompt + completion} & {*content[1:], sum(content[1:])}
            if near or alike or self._fates.loss[row] != CODE[LossClass.NONE]:
                continue
            shared = (subscription, content[1] + content[2]) in self._expected.quantities
            if not shared and not self._recorded.clashes(subscription, content, at_ms, self._guard_ms):
                return row
        return None

    def _elsewhere(self, what: LossClass, wanted: int) -> None:
        for row in self._candidates(self._plain & self._unique):
            if wanted == 0:
                return
            subscription, content, at_ms = self._seat(row)
            other = NOBODY
            if what is LossClass.OTHER_SUBSCRIPTION:
                other = (subscription + int(self._rng.integers(1, len(SUBSCRIPTIONS)))) % len(SUBSCRIPTIONS)
            if self._recorded.clashes(subscription, content, at_ms, self._guard_ms) or self._expected.clashes(
                other, content, at_ms, self._guard_ms
            ):
                continue
            self._expected.add(subscription, content, at_ms)
            self._recorded.add(other, content, at_ms)
            self._fates.event_subscription[row] = other
            self._fates.loss[row] = CODE[what]
            wanted -= 1
