"""Sends planned events so that Lago bills each of them once, whatever happens on the way.

Every request may be repeated, because the bytes of an event never change: a PostgreSQL organization refuses the id it
has, a ClickHouse organization bills equal events once. What an answer does not prove is settled by asking Lago.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice, repeat
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any

from jobs.adapters.lago.failures import (
    CHECK_BASE,
    Failure,
    LagoUnansweredError,
    RetryPolicy,
    any_failure,
    surely_not_done,
)
from jobs.adapters.lago.http import LagoClient, Reply
from jobs.adapters.lago.read_back import Sighting, look_up
from jobs.core.lago.answers import as_text, read_batch_refusal, read_single_refusal
from jobs.core.plan import EventOutcome, Outcome, PlannedLine
from jobs.errors import LagoError

LARGEST_BATCH = 100
STEPS = ("send: request", "send: answer", "send: outcomes", "send: reported")
"""Points at which `step` is called, the first two in the thread that sends: before a request leaves, when it was
answered or given up, before a batch's outcomes are reported, and after."""

_FAILURES_BEFORE_HALVING = 2
_HOPELESS_BATCHES = 3
_RETRIES_OF_A_LOOK_UP = 3
_LONGEST_BACK_OFF_SECONDS = 30.0
_FIRST_BACK_OFF_SECONDS = 0.5
_READ_BACK = "read back from Lago after an unclear answer"
_OTHER_CONTENT = "same transaction id, other content in Lago"
_SOFT_DELETED = "soft_deleted: Lago says it has this transaction id and does not show it, so it can never be sent"


@dataclass(frozen=True, slots=True)
class SendAttempt:
    """One request that carried events to Lago."""

    transaction_ids: tuple[str, ...]
    """The events it carried, in order."""
    http_status: int | None
    """Lago's answer; None where no usable one came."""
    failure: str
    """What went wrong; empty where nothing did."""


@dataclass(frozen=True, slots=True)
class SentBatch:
    """What became of one batch of a plan."""

    number: int
    """Its place in the plan, from 1."""
    attempts: tuple[SendAttempt, ...]
    """The requests made for it, in order; a throttled request that was let in later counts once."""
    outcomes: tuple[EventOutcome, ...]
    """One per event, in the plan's order; events that surely never left are absent where the run was stopped."""


def send_events(
    client: LagoClient,
    events: Iterable[PlannedLine],
    *,
    on_batch: Callable[[SentBatch], None],
    stop: threading.Event,
    step: Callable[[str], None] = lambda name: None,
    batch_size: int = LARGEST_BATCH,
    computed: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Send the events, and report each batch as soon as the outcome of all its events is known.

    Batches are made in the events' order and run at once up to the client's concurrency; no more than two per thread
    are held in memory. `on_batch` is called in the caller's thread. `computed` tells by code the property that the
    metric's expression fills, which Lago may hold with another value than was sent.

    When `stop` is set, no further request begins: requests under way are waited for and their batches reported; what
    has no outcome then surely never left. A client whose `sleep` is `stop.wait` also ends its waits early.

    Raise `LagoError` as soon as Lago refuses to be talked to (key, permission, address), or when several batches in a
    row got no usable answer; outcomes known by then are reported first.
    """
    _Sender(client, on_batch, stop, step, min(batch_size, LARGEST_BATCH), computed).send(iter(events))


class _Sender:
    """One call of `send_events`; its methods run in the caller's thread unless they say otherwise."""

    def __init__(
        self,
        client: LagoClient,
        on_batch: Callable[[SentBatch], None],
        stop: threading.Event,
        step: Callable[[str], None],
        batch_size: int,
        computed: Mapping[str, str],
    ) -> None:
        self.client = client
        self.step = step
        self.computed = computed
        self._on_batch = on_batch
        self._stop = stop
        self._batch_size = max(1, batch_size)
        self._halt = threading.Event()
        self._hopeless = 0
        self._error: LagoError | None = None

    def send(self, events: Iterator[PlannedLine]) -> None:
        threads = self.client.connection.concurrency
        batches = enumerate(self._batches(events), start=1)
        running: set[Future[_Batch]] = set()
        done: SimpleQueue[Future[_Batch]] = SimpleQueue()
        with ThreadPoolExecutor(threads, thread_name_prefix="lago-send") as pool:
            try:
                while True:
                    while len(running) < 2 * threads and not self.over():
                        numbered = next(batches, None)
                        if numbered is None:
                            break
                        future = pool.submit(_Batch(self, *numbered).send)
                        running.add(future)
                        future.add_done_callback(done.put)
                    if not running:
                        break
                    self._report(done.get(), running)
            finally:
                # Whatever ended the loop, Ctrl-C included: what is under way still has an outcome to tell.
                self._halt.set()
                wait(running)
                for future in list(running):
                    self._report(future, running)
        if self._error is not None:
            raise self._error

    def over(self) -> bool:
        """Return whether no further request may begin; from any thread."""
        return self._halt.is_set() or self._stop.is_set()

    def shrink(self, size: int) -> None:
        """Make the batches to come no larger than this; from any thread."""
        self._batch_size = max(1, min(self._batch_size, size))

    def _batches(self, events: Iterator[PlannedLine]) -> Iterator[list[PlannedLine]]:
        left: list[PlannedLine] = []
        while batch := left + list(islice(events, max(0, self._batch_size - len(left)))):
            # Lago mixes up events of one batch that share an id, even under two subscriptions.
            size = min(_distinct_from_start(batch), self._batch_size)
            batch, left = batch[:size], batch[size:]
            yield batch

    def _report(self, future: Future[_Batch], running: set[Future[_Batch]]) -> None:
        running.discard(future)
        batch = future.result()
        if batch.attempts:
            self.step("send: outcomes")
            self._on_batch(batch.result())
            self.step("send: reported")
        self._judge(batch)

    def _judge(self, batch: _Batch) -> None:
        """Stop everything once Lago cannot be talked to."""
        if batch.attempts:
            self._hopeless = self._hopeless + 1 if batch.gave_up else 0
        error = batch.refused or (batch.gave_up if self._hopeless >= _HOPELESS_BATCHES else None)
        if error is not None:
            self._error = self._error or error
            self._halt.set()


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Events of a batch that travel in one request."""

    positions: tuple[int, ...]
    """Their places in the batch."""
    failures: int = 0
    """How often a request with them led nowhere."""

    def again(self, positions: Sequence[int]) -> list[_Chunk]:
        """Return what to send next after one more failure: these positions, in halves if it was not the first."""
        failures = self.failures + 1
        if failures < _FAILURES_BEFORE_HALVING or len(positions) < 2:
            return [_Chunk(tuple(positions), failures)]
        return [_Chunk(tuple(half), _FAILURES_BEFORE_HALVING - 1) for half in _halves(positions)]


class _Batch:
    """One batch on its way to its outcomes, in one thread."""

    def __init__(self, sender: _Sender, number: int, events: list[PlannedLine]) -> None:
        self._sender = sender
        self._client = sender.client
        self._number = number
        self._events = events
        self._outcomes: dict[int, EventOutcome] = {}
        self._chunks = [_Chunk(tuple(range(len(events))))]
        self._maybe_stored: set[int] = set()
        """Positions of events that an earlier request of this batch may have stored."""
        self._failures_in_a_row = 0
        self._most_failures_in_a_row = self._client.connection.attempts + len(events).bit_length() + 1
        self.attempts: list[SendAttempt] = []
        self.gave_up: LagoUnansweredError | None = None
        self.refused: LagoError | None = None

    def send(self) -> _Batch:
        """Send until every event has its outcome, or nothing may be sent any more."""
        try:
            while self._chunks and not self._sender.over():
                self._send_chunk(self._chunks.pop())
        except LagoError as error:
            self.refused = error
        if len(self._outcomes) < len(self._events):
            why = self.refused.what if self.refused else "the run was stopped"
            for position in sorted(self._maybe_stored - self._outcomes.keys()):
                self._conclude(position, Outcome.UNKNOWN, f"not established before {why}")
        return self

    def result(self) -> SentBatch:
        outcomes = tuple(self._outcomes[position] for position in sorted(self._outcomes))
        return SentBatch(self._number, tuple(self.attempts), outcomes)

    def _send_chunk(self, chunk: _Chunk) -> None:
        try:
            reply = self._post(chunk)
        except LagoUnansweredError as error:
            self._unanswered(chunk, error)
            return
        if reply.status == 422:
            self._refusal(chunk, reply.payload)
        else:
            sent = map(self._events.__getitem__, chunk.positions)
            self._outcomes.update(
                zip(chunk.positions, map(EventOutcome, sent, repeat(Outcome.SENT), repeat("")), strict=True)
            )
            self._failures_in_a_row = 0

    def _post(self, chunk: _Chunk) -> Reply:
        """Make one request; a throttled or unconnected one is repeated by the client, anything else is told."""
        payloads = [self._events[position].payload for position in chunk.positions]
        alone = len(payloads) == 1
        body = b'{"event":%b}' % payloads[0] if alone else b'{"events":[%b]}' % b",".join(payloads)
        status: int | None = None
        failure = ""
        self._sender.step("send: request")
        try:
            reply = self._client.post_events(
                "events" if alone else "events/batch",
                body,
                retry=lambda problem: surely_not_done(problem) and not self._sender.over(),
            )
            if not _is_about(reply, len(payloads)):
                what = f"HTTP {reply.status} with a body that is not Lago's answer to events"
                raise LagoUnansweredError(what, CHECK_BASE, may_have_acted=True)
            status = reply.status
            failure = as_text(reply.payload.get("error_details")) if status == 422 else ""
            return reply
        except LagoError as error:
            failure = error.what
            raise
        finally:
            self._sender.step("send: answer")
            ids = tuple(self._events[position].transaction_id for position in chunk.positions)
            self.attempts.append(SendAttempt(ids, status, failure))

    def _unanswered(self, chunk: _Chunk, error: LagoUnansweredError) -> None:
        """Settle an unknown outcome by asking Lago, and plan to send again what it does not show."""
        self._failures_in_a_row += 1
        if not error.may_have_acted:
            self._give_up(chunk, error)
            return
        self._maybe_stored.update(chunk.positions)
        absent: list[int] = []
        for position, sighting in self._look_up(chunk.positions, by_id=False):
            if sighting is Sighting.SAME:
                self._conclude(position, Outcome.SENT, _READ_BACK)
            elif sighting is Sighting.OTHER:
                self._conclude(position, Outcome.UNKNOWN, f"{_OTHER_CONTENT}; it may hold ours as well")
            else:
                absent.append(position)
        if not absent:
            return
        if self._failures_in_a_row >= self._most_failures_in_a_row:
            self._give_up(_Chunk(tuple(absent)), error)
        elif len(absent) == 1 and chunk.failures + 1 >= self._client.connection.attempts:
            self._conclude(absent[0], Outcome.UNKNOWN, f"not visible in Lago, and {error.what}")
        else:
            self._chunks.extend(chunk.again(absent))
            self._back_off(chunk.failures)

    def _refusal(self, chunk: _Chunk, payload: Mapping[str, Any]) -> None:
        """Conclude what a 422 proves, and plan to send the rest again."""
        size = len(chunk.positions)
        refusal = read_single_refusal(payload) if size == 1 else read_batch_refusal(payload, size)
        if refusal.too_many or refusal.unread:
            if refusal.too_many:
                self._sender.shrink(size // 2)
            else:
                self._maybe_stored.update(chunk.positions)
            self._chunks.extend(_Chunk(tuple(half)) for half in _halves(chunk.positions))
            return
        rejected = {chunk.positions[index]: reason for index, reason in (refusal.rejected or {}).items()}
        for position, reason in rejected.items():
            self._conclude(position, Outcome.REJECTED, reason)
        claimed = [chunk.positions[index] for index in sorted(refusal.claimed)]
        rest = tuple(position for position in chunk.positions if position not in {*claimed, *rejected})
        if rest:
            self._chunks.append(_Chunk(rest))
        if claimed:
            self._verify_claims(chunk, claimed)
        # Below Lago 1.39 a refused batch may have stored the others all the same.
        self._maybe_stored.update(rest)

    def _verify_claims(self, chunk: _Chunk, claimed: Sequence[int]) -> None:
        """Look at the events that Lago says it has already: its word proves neither that nor what they hold."""
        alone = len(chunk.positions) == 1
        failures = chunk.failures + 1 if alone else 0
        unread = False
        for position, sighting in self._look_up(claimed, by_id=True):
            if sighting is Sighting.SAME and position in self._maybe_stored:
                self._conclude(position, Outcome.SENT, _READ_BACK)
            elif sighting is Sighting.SAME:
                self._conclude(position, Outcome.ALREADY_PRESENT)
            elif sighting is Sighting.OTHER:
                self._conclude(position, Outcome.REJECTED, _OTHER_CONTENT)
            elif sighting is Sighting.ABSENT and failures >= _FAILURES_BEFORE_HALVING:
                self._conclude(position, Outcome.REJECTED, _SOFT_DELETED)
            elif sighting is Sighting.UNREAD and failures >= self._client.connection.attempts:
                self._conclude(position, Outcome.UNKNOWN, "Lago says it has this event, but it cannot be read back")
            else:
                self._chunks.append(_Chunk((position,), failures))
                unread = unread or sighting is Sighting.UNREAD
        if unread:
            self._failures_in_a_row += 1
        if alone and self._chunks and self._chunks[-1].positions == chunk.positions:
            self._back_off(chunk.failures)

    def _look_up(self, positions: Sequence[int], *, by_id: bool) -> Iterable[tuple[int, Sighting]]:
        events = [self._events[position].event for position in positions]
        retry = self._retries(_RETRIES_OF_A_LOOK_UP)
        sightings = look_up(self._client, events, by_id=by_id, computed=self._sender.computed, retry=retry)
        return zip(positions, sightings, strict=True)

    def _retries(self, most: int) -> RetryPolicy:
        """Return a policy for reading that allows so many retries in all; what is unread is asked again later."""
        left = iter(range(most))

        def retry(failure: Failure) -> bool:
            return any_failure(failure) and not self._sender.over() and next(left, None) is not None

        return retry

    def _give_up(self, chunk: _Chunk, error: LagoUnansweredError) -> None:
        """End the batch without having established what became of the rest of it."""
        self.gave_up = error
        for position in (*chunk.positions, *(position for other in self._chunks for position in other.positions)):
            state = "not visible in Lago" if position in self._maybe_stored else "not sent"
            self._conclude(position, Outcome.UNKNOWN, f"{state}: {error.what}")
        self._chunks.clear()

    def _conclude(self, position: int, outcome: Outcome, reason: str = "") -> None:
        self._outcomes[position] = EventOutcome(self._events[position], outcome, reason)
        if outcome is not Outcome.UNKNOWN:
            self._failures_in_a_row = 0

    def _back_off(self, failures: int) -> None:
        ceiling = min(_LONGEST_BACK_OFF_SECONDS, _FIRST_BACK_OFF_SECONDS * 2.0**failures)
        self._client.wait(random.uniform(0.0, ceiling))  # noqa: S311 - jitter, not a secret


def _distinct_from_start(batch: Sequence[PlannedLine]) -> int:
    """Return how many events from the first on have ids of their own."""
    ids = [event.transaction_id for event in batch]
    if len(set(ids)) == len(ids):
        return len(ids)
    return next(index for index, id_ in enumerate(ids) if id_ in ids[:index])


def _is_about(reply: Reply, size: int) -> bool:
    """Return whether this is an answer to so many events: a proxy's page and a torn body prove nothing."""
    if reply.status == 422:
        return "error_details" in reply.payload
    if size == 1:
        return isinstance(reply.payload.get("event"), Mapping)
    listed = reply.payload.get("events")
    return isinstance(listed, list) and len(listed) == size


def _halves(positions: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    return positions[: len(positions) // 2], positions[len(positions) // 2 :]
