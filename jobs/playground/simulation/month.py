"""The simulated month: its spend logs, its events, the daily table, and the truth about all of them."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from jobs.playground.simulation import losses, traffic
from jobs.playground.simulation.losses import CLASSES, CODE, NOBODY, Fates
from jobs.playground.simulation.model import LossClass, Side, SimulationSettings, StoredEvent, TruthRow, TruthTotal
from jobs.playground.simulation.requests import Incidents, Integers, Requests
from jobs.playground.simulation.rows import (
    EMPTY_JSON,
    FAILED,
    RANDOM_BYTES,
    KeyTexts,
    Value,
    cached_tokens,
    chunks,
    costs,
    instant,
    metadata,
    properties,
    request_id,
    timestamps,
    uuid4_text,
)
from jobs.playground.simulation.truth import WITHOUT_END_USER, Events, event_truth, spend_log_truth
from jobs.playground.simulation.world import (
    ALL_SUBSCRIPTIONS,
    DEPLOYMENTS,
    HEALTH_CHECK_KEY,
    INTERNAL_JOBS_KEY,
    STARCODER,
    SUBSCRIPTIONS,
    Subscription,
)

_SYSTEM_KEYS = {LossClass.HEALTH_CHECK: HEALTH_CHECK_KEY, LossClass.INTERNAL_JOB: INTERNAL_JOBS_KEY}
_FALLBACK_OF_1000 = 10


@dataclass(frozen=True, slots=True)
class _SpendLogs:
    """What only the spend logs need, as columns aligned with the calls."""

    keys: Integers
    """Index of the virtual key."""
    costs: NDArray[np.float64]
    """Cost in USD."""
    cached: Integers
    """Cached prompt tokens."""
    written_ms: Integers
    """When the row was written, milliseconds since 1970 UTC."""
    small: Integers
    """A number below 1000 for the small choices that need no column of their own."""
    random: bytes
    """`RANDOM_BYTES` bytes for each call."""


class Simulation:
    """One drawn month; every iterator starts from the beginning and yields the same rows again."""

    def __init__(
        self,
        settings: SimulationSettings,
        requests: Requests,
        fates: Fates,
        incidents: Incidents,
        spend_logs: _SpendLogs,
        events: Events,
    ) -> None:
        """Take the drawn columns; use `simulate` to draw them."""
        self.settings = settings
        self._requests = requests
        self._fates = fates
        self._incidents = incidents
        self._spend_logs = spend_logs
        self._events = events
        without = [CODE[loss] for loss in losses.WITHOUT_SPEND_LOG]
        self._stored = np.flatnonzero(~np.isin(fates.loss, without))

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Every subscription that a spend log or event names, unknown ones included."""
        return ALL_SUBSCRIPTIONS

    @property
    def outage(self) -> tuple[datetime, datetime]:
        """From when until before when Lago answered nothing but 503."""
        start, end = self._incidents.outage
        return instant(start * 1000), instant(end * 1000)

    @property
    def spend_log_count(self) -> int:
        """Number of rows that `spend_logs` yields."""
        return len(self._stored)

    @property
    def event_count(self) -> int:
        """Number of events that `events` yields."""
        return len(self._events.call)

    def spend_logs(self) -> Iterator[tuple[Value, ...]]:
        """Yield rows of "LiteLLM_SpendLogs" in the order of `SPEND_LOG_COLUMNS`, JSON and times as text."""
        texts = KeyTexts()
        for part in chunks(len(self._stored)):
            yield from self._spend_log_chunk(self._stored[part], texts)

    def _spend_log_chunk(self, calls: Integers, texts: KeyTexts) -> Iterator[tuple[Value, ...]]:
        requests, extra = self._requests, self._spend_logs
        ends, durations = requests.end_ms[calls], requests.duration_ms[calls]
        first_tokens = ends - durations * 4 // 5
        columns = zip(
            calls.tolist(),
            self._fates.loss[calls].tolist(),
            self._fates.logged_subscription[calls].tolist(),
            requests.deployment[calls].tolist(),
            requests.prompt[calls].tolist(),
            requests.completion[calls].tolist(),
            extra.cached[calls].tolist(),
            extra.costs[calls].tolist(),
            extra.keys[calls].tolist(),
            extra.small[calls].tolist(),
            durations.tolist(),
            ends.tolist(),
            timestamps(ends - durations),
            timestamps(ends),
            timestamps(first_tokens),
            timestamps(extra.written_ms[calls]),
            strict=True,
        )
        for (
            call,
            code,
            subscription,
            model,
            prompt,
            completion,
            cached,
            cost,
            key,
            small,
            duration,
            end_ms,
            started,
            ended,
            first_token,
            written,
        ) in columns:
            loss, deployment = CLASSES[code], DEPLOYMENTS[model]
            digits = extra.random[call * RANDOM_BYTES : (call + 1) * RANDOM_BYTES].hex()
            call_id = uuid4_text(digits[:32])
            unrouted = loss is LossClass.UNKNOWN_MODEL
            group = "" if unrouted else deployment.model_group
            fallback = model == STARCODER and small >= 1000 - _FALLBACK_OF_1000
            system_key = _SYSTEM_KEYS.get(loss)
            end_user: str | None = ALL_SUBSCRIPTIONS[subscription].external_id
            if loss in WITHOUT_END_USER:
                end_user = "" if small < 900 else None
            yield (
                request_id(deployment, loss, digits[32:64], call_id, end_ms),
                deployment.call_type,
                system_key or texts.hashes[key],
                cost,
                prompt + completion,
                prompt,
                completion,
                started,
                ended,
                first_token,
                "unknown-model" if unrouted else deployment.model,
                "" if unrouted else f"dep-{model:02d}",
                group,
                "" if unrouted else deployment.provider,
                "",
                "" if system_key else texts.users[key],
                metadata(
                    texts.metadata[key],
                    "fallback-primary" if fallback else group,
                    loss,
                    (prompt, completion, cached),
                    fallback,
                ),
                "True" if loss is LossClass.CACHE_HIT else ("False" if small % 3 == 0 else "None"),
                digits[64:] * 2,
                _tags(end_user, subscription),
                system_key or texts.teams[key],
                end_user,
                texts.addresses[key],
                EMPTY_JSON,
                EMPTY_JSON,
                EMPTY_JSON,
                uuid4_text(digits[64:]),
                "failure" if loss in FAILED else "success",
                None,
                "",
                None,
                duration,
                written,
                written,
                call_id,
                None,
            )

    def events(self) -> Iterator[StoredEvent]:
        """Yield the events that Lago holds, by time."""
        events, requests, fates = self._events, self._requests, self._fates
        for part in chunks(len(events.call)):
            calls = events.call[part]
            columns = zip(
                range(part.start, part.stop),
                fates.event_subscription[calls].tolist(),
                requests.deployment[calls].tolist(),
                requests.prompt[calls].tolist(),
                requests.completion[calls].tolist(),
                self._spend_logs.costs[calls].tolist(),
                events.at_us[part].tolist(),
                strict=True,
            )
            for number, subscription, model, prompt, completion, cost, at_us in columns:
                at = instant(at_us)
                yield StoredEvent(
                    self._events.transaction_id(number),
                    None if subscription == NOBODY else ALL_SUBSCRIPTIONS[subscription].external_id,
                    self.settings.code,
                    at,
                    properties(DEPLOYMENTS[model], cost, prompt, completion),
                    at,
                )

    def daily_end_user_spend(self) -> Iterator[tuple[Value, ...]]:
        """Yield rows of "LiteLLM_DailyEndUserSpend" in the order of `DAILY_END_USER_SPEND_COLUMNS`.

        The gateway counted calls whose spend log fell to a repeated id, but not those that a killed pod took
        along.
        """
        uncounted = [CODE[LossClass.POD_RESTART], *(CODE[loss] for loss in WITHOUT_END_USER)]
        calls = np.flatnonzero(~np.isin(self._fates.loss, uncounted))
        requests, extra = self._requests, self._spend_logs
        unrouted = self._fates.loss[calls] == CODE[LossClass.UNKNOWN_MODEL]
        failed = unrouted | (self._fates.loss[calls] == CODE[LossClass.FAILURE])
        days = (requests.end_ms[calls] - requests.duration_ms[calls]) // (24 * traffic.HOUR_MS)
        cells = np.stack(
            [
                days,
                self._fates.logged_subscription[calls],
                extra.keys[calls],
                np.where(unrouted, len(DEPLOYMENTS), requests.deployment[calls]),
            ]
        )
        groups, inverse = np.unique(cells, axis=1, return_inverse=True)
        texts = KeyTexts()

        def sums(column: NDArray[np.int64] | NDArray[np.float64]) -> list[float]:
            totals: list[float] = np.bincount(inverse, weights=column, minlength=groups.shape[1]).tolist()
            return totals

        figures = zip(
            groups.T.tolist(),
            sums(requests.prompt[calls]),
            sums(requests.completion[calls]),
            sums(extra.cached[calls]),
            sums(extra.costs[calls]),
            sums(np.ones(len(calls))),
            sums(failed.astype(np.int64)),
            strict=True,
        )
        for number, (cell, prompt, completion, cached, cost, count, failures) in enumerate(figures):
            day, subscription, key, model = cell
            deployment = DEPLOYMENTS[model] if model < len(DEPLOYMENTS) else None
            written = timestamps(np.array([(day + 1) * 24 * traffic.HOUR_MS], dtype=np.int64))[0]
            yield (
                f"daily-{self.settings.seed}-{number:06d}",
                ALL_SUBSCRIPTIONS[subscription].external_id,
                _date(day),
                texts.hashes[key],
                deployment.model if deployment else "unknown-model",
                deployment.model_group if deployment else "",
                deployment.provider if deployment else "",
                "",
                deployment.endpoint if deployment else "/chat/completions",
                int(prompt),
                int(completion),
                int(cached),
                cost,
                int(count),
                int(count - failures),
                int(failures),
                written,
                written,
            )

    def truth(self) -> Iterator[TruthRow]:
        """Yield what a perfect reconciliation says: first of every spend log, then of every event.

        Identical requests cannot be told apart: compare counts and sums (`totals`), not identifiers.
        """
        yield from spend_log_truth(self._requests, self._fates, self._spend_logs.random, self._stored)
        yield from event_truth(self._requests, self._fates, self._events)

    def totals(self, start: datetime | None = None, end: datetime | None = None) -> tuple[TruthTotal, ...]:
        """Return the truth of `[start, end)`, counted; see `TruthTotal` for what is told apart."""
        counted: dict[tuple[Side, str, str, LossClass, str, str], list[int]] = defaultdict(lambda: [0, 0])
        for row in self.truth():
            if (start is None or row.at >= start) and (end is None or row.at < end):
                cell = counted[row.side, row.kind, row.reason, row.loss_class, row.subscription, row.model]
                cell[0] += 1
                cell[1] += row.total_tokens
        return tuple(TruthTotal(*key, *figures) for key, figures in sorted(counted.items()))


def simulate(settings: SimulationSettings) -> Simulation:
    """Draw a month; raise `SettingError` from the settings themselves, nothing here can fail."""
    rng = np.random.default_rng(settings.seed)
    requests, incidents = traffic.draw(settings, rng)
    requests = losses.without_undecidable(requests, incidents, settings)
    requests, fates = losses.decide(requests, incidents, settings, rng)
    count = len(requests.end_ms)
    loss = fates.loss
    free = np.isin(
        loss, [CODE[LossClass.CACHE_HIT], CODE[LossClass.NOT_INFERENCE], *(CODE[failed] for failed in FAILED)]
    )
    keys = traffic.keys(requests, rng)
    spend_logs = _SpendLogs(
        keys=np.where(fates.key == NOBODY, keys, fates.key),
        costs=costs(requests.deployment, requests.prompt, requests.completion, free),
        cached=cached_tokens(requests.deployment, requests.prompt),
        written_ms=requests.end_ms + rng.integers(1_400, 30_000, count),
        small=rng.integers(0, 1000, count),
        random=rng.bytes(count * RANDOM_BYTES),
    )
    return Simulation(settings, requests, fates, incidents, spend_logs, _events(requests, fates, rng))


def _events(requests: Requests, fates: Fates, rng: np.random.Generator) -> Events:
    sent = np.flatnonzero(~np.isin(fates.loss, [CODE[loss] for loss in losses.WITHOUT_EVENT]))
    first_us = requests.end_ms[sent] * 1000 + fates.event_delay_us[sent]
    doubled = fates.second_delay_us[sent] > 0
    call = np.concatenate([sent, sent[doubled]])
    at_us = np.concatenate([first_us, first_us[doubled] + fates.second_delay_us[sent[doubled]]])
    second = np.repeat([False, True], [len(sent), int(doubled.sum())])
    order = np.argsort(at_us, kind="stable")
    return Events(call[order], at_us[order], second[order], rng.bytes(len(order) * 16))


def _tags(end_user: str | None, subscription: int) -> str:
    """Return the request's tags; a stranger's text also comes as a tag."""
    if end_user and subscription >= len(SUBSCRIPTIONS):
        return json.dumps([end_user])
    return "[]"


def _date(day: int) -> str:
    return instant(day * 86_400_000_000).date().isoformat()
