"""Draws the calls of a month: who called which model when, for how long, and with how many tokens."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from jobs.playground.simulation.model import SimulationSettings
from jobs.playground.simulation.requests import Incidents, Integers, Origin, Requests
from jobs.playground.simulation.world import (
    ALL_SUBSCRIPTIONS,
    CLAUDE,
    DEPLOYMENTS,
    EMBEDDING,
    GET_RESPONSES,
    GPT_4O,
    HOSTILE_DEPLOYMENTS,
    HOSTILE_SUBSCRIPTIONS,
    INTERACTIVE,
    KEYS_PER_SUBSCRIPTION,
    LLAMA,
    RESPONSES,
    STARCODER,
    SUBSCRIPTIONS,
)

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
# Calls that end in the last two seconds of the month would have their event in the next one.
EDGE_MS = 2_000

_HOURS_OF_DAY = np.array(
    [4, 3, 2, 2, 2, 3, 6, 12, 22, 30, 33, 31, 26, 30, 34, 33, 29, 22, 15, 12, 10, 9, 7, 5], dtype=np.float64
)
_DAYS_OF_WEEK = np.array([1.0, 1.1, 1.12, 1.08, 0.95, 0.35, 0.3])


def draw(settings: SimulationSettings, rng: np.random.Generator) -> tuple[Requests, Incidents]:
    """Return the month's calls ordered by end, and the incidents they ran into."""
    start_ms, end_ms = _milliseconds(settings.month_start), _milliseconds(settings.month_end)
    clock = _Clock(start_ms, end_ms, rng)
    incidents = _incidents(clock, rng)
    count = settings.requests
    parts = [
        _monitors(clock, count * 9 // 100, rng),
        _batches(clock, count * 14 // 100, rng),
        _embedding_jobs(clock, count * 10 // 100, rng),
        *(_burst(start, count // 200, Origin.OVERLOAD, rng) for start in incidents.overloads),
        _burst(incidents.rush, count // 200, Origin.RUSH, rng),
        _health_checks(clock, count // 80, rng),
        _read_backs(clock, incidents, count // 500, rng),
        _hostile(clock, rng),
    ]
    parts.append(_interactive(clock, count - sum(len(part.end_ms) for part in parts), rng))
    if settings.hides_losses:
        parts.append(_internal_calls(clock, parts[-1], count // 400, rng))
    requests = _join(parts)
    if settings.pins_keys:
        # Strangers' texts came with the key of an ordinary customer, which would make it a shared one.
        requests = requests.take(requests.origin != int(Origin.HOSTILE))
    requests = requests.take(np.argsort(requests.end_ms, kind="stable"))
    return requests, incidents


class _Clock:
    """Draws instants of the month with its daily and weekly rhythm."""

    def __init__(self, start_ms: int, end_ms: int, rng: np.random.Generator) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        hours = np.arange(start_ms, end_ms, HOUR_MS, dtype=np.int64)
        day = hours // (24 * HOUR_MS)
        # 1970 began on a Thursday.
        weights = _HOURS_OF_DAY[hours // HOUR_MS % 24] * _DAYS_OF_WEEK[(day + 3) % 7]
        weights = weights * rng.lognormal(0.0, 0.15, len(hours))
        self._hours = hours
        self._weights = weights / weights.sum()

    def busy(self, count: int, rng: np.random.Generator) -> Integers:
        """Return `count` instants, most of them in working hours."""
        hours = rng.choice(self._hours, size=count, p=self._weights)
        return self.clip(hours + rng.integers(0, HOUR_MS, count))

    def even(self, count: int, rng: np.random.Generator) -> Integers:
        """Return `count` instants at equal distance with a little jitter."""
        step = (self.end_ms - self.start_ms) // max(count, 1)
        instants = self.start_ms + step // 2 + step * np.arange(count, dtype=np.int64)
        return self.clip(instants + rng.integers(-step // 50 - 1, step // 50 + 1, count))

    def clip(self, instants: Integers) -> Integers:
        """Keep instants inside the month."""
        return np.clip(instants, self.start_ms, self.end_ms - EDGE_MS)

    def working_hour(self, share_of_month: float, rng: np.random.Generator) -> int:
        """Return an instant in the busy hours of the first weekday at or after that share of the month."""
        days = (self.end_ms - self.start_ms) // (24 * HOUR_MS)
        day = int(self.start_ms // (24 * HOUR_MS) + int(days * share_of_month))
        while (day + 3) % 7 >= 5:
            day += 1
        return day * 24 * HOUR_MS + int(rng.integers(9 * HOUR_MS, 16 * HOUR_MS))


def _milliseconds(instant: datetime) -> int:
    return round(instant.astimezone(UTC).timestamp()) * 1000


def _incidents(clock: _Clock, rng: np.random.Generator) -> Incidents:
    outage = clock.working_hour(0.40, rng)
    return Incidents(
        outage=(outage, outage + 40 * MINUTE_MS + int(rng.integers(0, 3 * MINUTE_MS))),
        overloads=tuple(clock.working_hour(share, rng) for share in (0.10, 0.28, 0.62)),
        rush=clock.working_hour(0.82, rng),
    )


def _column(count: int, value: int) -> Integers:
    return np.full(count, value, dtype=np.int64)


def _tokens(medians: Sequence[int], spreads: Integers | NDArray[np.float64], rng: np.random.Generator) -> Integers:
    median = np.asarray(medians, dtype=np.float64)
    drawn = np.rint(median * np.exp(rng.standard_normal(len(median)) * spreads)).astype(np.int64)
    return np.where(median > 0, np.clip(drawn, 1, 120_000), 0)


def _durations(deployment: Integers, rng: np.random.Generator) -> Integers:
    median = np.array([d.duration_median_ms for d in DEPLOYMENTS], dtype=np.float64)[deployment]
    durations = (median * np.exp(rng.standard_normal(len(median)) * 0.6)).astype(np.int64)
    # Agents and long generations: a call of up to 95 minutes starts long before the window that judges it.
    agent = np.isin(deployment, (GPT_4O, CLAUDE)) & (rng.random(len(median)) < 0.004)
    return np.where(agent, rng.integers(5 * MINUTE_MS, 95 * MINUTE_MS, len(median)), np.maximum(durations, 1))


def _drawn_contents(deployment: Integers, rng: np.random.Generator) -> tuple[Integers, Integers]:
    spread = np.array([d.spread for d in DEPLOYMENTS])[deployment]
    prompt = _tokens([DEPLOYMENTS[d].prompt_median for d in deployment], spread, rng)
    completion = _tokens([DEPLOYMENTS[d].completion_median for d in deployment], spread, rng)
    return prompt, completion


def _requests(
    ends: Integers, subscription: Integers, deployment: Integers, origin: Origin, rng: np.random.Generator
) -> Requests:
    prompt, completion = _drawn_contents(deployment, rng)
    durations = _durations(deployment, rng)
    return Requests(ends, durations, subscription, deployment, prompt, completion, _column(len(ends), int(origin)))


def _fixed(
    ends: Integers,
    subscription: int,
    deployment: int,
    tokens: tuple[int, int],
    origin: Origin,
    rng: np.random.Generator,
) -> Requests:
    """Return identical requests: one prompt, one answer, again and again."""
    count = len(ends)
    deployments = _column(count, deployment)
    durations = np.minimum(_durations(deployments, rng), MINUTE_MS)
    return Requests(
        ends,
        durations,
        _column(count, subscription),
        deployments,
        _column(count, tokens[0]),
        _column(count, tokens[1]),
        _column(count, int(origin)),
    )


def _join(parts: list[Requests]) -> Requests:
    return Requests(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Requests)))


def _monitors(clock: _Clock, count: int, rng: np.random.Generator) -> Requests:
    """Return synthetic monitoring: the same prompt all month long, and every five seconds during watches."""
    steady, embedding = count * 6 // 10, count * 2 // 10
    watched = count - steady - embedding
    spells = np.array_split(np.arange(watched, dtype=np.int64), 6)
    starts = clock.busy(6, rng)
    watches = [clock.clip(start + (spell - spell[:1]) * 5_000) for start, spell in zip(starts, spells, strict=True)]
    return _join(
        [
            _fixed(clock.even(steady, rng), 0, STARCODER, (24, 1), Origin.MONITOR, rng),
            _fixed(clock.even(embedding, rng), 4, EMBEDDING, (2, 0), Origin.MONITOR, rng),
            _fixed(np.concatenate(watches), 1, GPT_4O, (9, 1), Origin.MONITOR, rng),
        ]
    )


def _jobs(
    clock: _Clock, count: int, shapes: Sequence[tuple[int, int, tuple[int, int]]], rng: np.random.Generator
) -> Requests:
    """Return batch jobs of some hundred identical requests, a few each second."""
    parts: list[Requests] = []
    left = count
    while left > 0:
        size = min(left, int(rng.integers(200, 900)))
        left -= size
        subscription, deployment, tokens = shapes[int(rng.integers(len(shapes)))]
        gaps = rng.exponential(1000 / float(rng.uniform(1.5, 6.0)), size)
        ends = clock.clip(clock.busy(1, rng) + np.cumsum(gaps).astype(np.int64))
        parts.append(_fixed(ends, subscription, deployment, tokens, Origin.BATCH, rng))
    return _join(parts)


def _batches(clock: _Clock, count: int, rng: np.random.Generator) -> Requests:
    """Return classification jobs: equal prompts, a one-word answer."""
    shapes = [
        (0, LLAMA, (412, 3)),
        (0, LLAMA, (388, 2)),
        (2, LLAMA, (640, 4)),
        (3, LLAMA, (1_024, 1)),
        (6, STARCODER, (256, 8)),
        (1, LLAMA, (205, 2)),
    ]
    return _jobs(clock, count, shapes, rng)


def _embedding_jobs(clock: _Clock, count: int, rng: np.random.Generator) -> Requests:
    """Return document indexing: chunks of one fixed size."""
    shapes = [
        (0, EMBEDDING, (512, 0)),
        (4, EMBEDDING, (512, 0)),
        (4, EMBEDDING, (256, 0)),
        (3, EMBEDDING, (1_024, 0)),
    ]
    return _jobs(clock, count, shapes, rng)


def _burst(start: int, count: int, origin: Origin, rng: np.random.Generator) -> Requests:
    """Return three minutes of heavy load from the largest customer."""
    ends = start + rng.integers(0, 3 * MINUTE_MS, count)
    deployment = rng.choice(np.array([STARCODER, GPT_4O], dtype=np.int64), count, p=[0.7, 0.3])
    return _requests(ends, _column(count, 0), deployment, origin, rng)


def _health_checks(clock: _Clock, count: int, rng: np.random.Generator) -> Requests:
    deployment = np.arange(count, dtype=np.int64) % len(INTERACTIVE)
    checks = _requests(
        clock.even(count, rng), _column(count, 0), np.array(INTERACTIVE)[deployment], Origin.HEALTH_CHECK, rng
    )
    fixed = Requests(
        checks.end_ms,
        np.minimum(checks.duration_ms, MINUTE_MS),
        checks.subscription,
        checks.deployment,
        _column(count, 11),
        _column(count, 5),
        checks.origin,
    )
    jobs = count // 20
    origin = fixed.origin.copy()
    origin[:: max(count // max(jobs, 1), 1)] = int(Origin.INTERNAL_JOB)
    return Requests(
        fixed.end_ms,
        fixed.duration_ms,
        fixed.subscription,
        fixed.deployment,
        fixed.prompt,
        fixed.completion,
        origin,
    )


def _internal_calls(clock: _Clock, callers: Requests, count: int, rng: np.random.Generator) -> Requests:
    """Return calls that the gateway makes for itself under its callers' names, right before it answers them."""
    chosen = callers.take(rng.choice(len(callers.end_ms), count, replace=False))
    return Requests(
        clock.clip(chosen.end_ms - rng.integers(1_000, 3_000, count)),
        rng.integers(100, 900, count),
        chosen.subscription,
        _column(count, GPT_4O),
        rng.integers(50, 400, count),
        rng.integers(1, 20, count),
        _column(count, int(Origin.INTERNAL_CALL)),
    )


def _read_backs(clock: _Clock, incidents: Incidents, count: int, rng: np.random.Generator) -> Requests:
    """Return responses and, minutes later, a read of each: LiteLLM logs it with the usage of what is read.

    None is made near an edge of the outage, where it might be left out (`without_undecidable`), and its read not.
    """
    ends = clock.busy(count, rng)
    edges = np.array(incidents.outage, dtype=np.int64)
    ends = ends[np.abs(ends[:, None] - edges).min(axis=1) > HOUR_MS]
    count = len(ends)
    made = _requests(ends, _column(count, 1), _column(count, RESPONSES), Origin.READ_LATER, rng)
    read = Requests(
        clock.clip(made.end_ms + rng.integers(2_000, 10 * MINUTE_MS, count)),
        rng.integers(40, 300, count),
        made.subscription,
        _column(count, GET_RESPONSES),
        made.prompt,
        made.completion,
        _column(count, int(Origin.READ_BACK)),
    )
    return _join([made, read])


def _hostile(clock: _Clock, rng: np.random.Generator) -> Requests:
    """Return a few calls whose user or model is a text that attacks whoever opens the report."""
    known = len(SUBSCRIPTIONS)
    users = np.repeat(np.arange(known, known + len(HOSTILE_SUBSCRIPTIONS), dtype=np.int64), 6)
    models = np.repeat(np.array(HOSTILE_DEPLOYMENTS, dtype=np.int64), 8)
    by_user = _requests(
        clock.busy(len(users), rng),
        users,
        rng.choice(np.array(INTERACTIVE, dtype=np.int64), len(users)),
        Origin.HOSTILE,
        rng,
    )
    by_model = _requests(clock.busy(len(models), rng), _column(len(models), 5), models, Origin.HOSTILE, rng)
    return _join([by_user, by_model])


def _interactive(clock: _Clock, count: int, rng: np.random.Generator) -> Requests:
    """Return ordinary use: each customer has its own habits, and a fifth of the chats repeats a template."""
    shares = np.array([s.share for s in SUBSCRIPTIONS])
    subscription = rng.choice(len(shares), size=count, p=shares / shares.sum()).astype(np.int64)
    deployment = np.zeros(count, dtype=np.int64)
    weights = np.array([d.share for d in DEPLOYMENTS])
    for index in range(len(shares)):
        mine = subscription == index
        habit = weights * rng.lognormal(0.0, 0.5, len(weights))
        deployment[mine] = rng.choice(len(weights), size=int(mine.sum()), p=habit / habit.sum())
    ends = clock.busy(count, rng)
    drawn = _requests(ends, subscription, deployment, Origin.INTERACTIVE, rng)
    return _with_templates(drawn, rng)


def _with_templates(drawn: Requests, rng: np.random.Generator) -> Requests:
    templates = 12
    is_template = np.isin(drawn.deployment, INTERACTIVE) & (rng.random(len(drawn.end_ms)) < 0.2)
    choice = rng.integers(0, templates, len(drawn.end_ms))
    cell = (drawn.subscription * len(DEPLOYMENTS) + drawn.deployment) * templates + choice
    cells = len(ALL_SUBSCRIPTIONS) * len(DEPLOYMENTS) * templates
    prompts, completions = rng.integers(60, 900, cells), rng.integers(5, 300, cells)
    return Requests(
        drawn.end_ms,
        drawn.duration_ms,
        drawn.subscription,
        drawn.deployment,
        np.where(is_template, prompts[cell], drawn.prompt),
        np.where(is_template, completions[cell], drawn.completion),
        np.where(is_template, int(Origin.TEMPLATE), drawn.origin),
    )


def keys(requests: Requests, rng: np.random.Generator) -> Integers:
    """Return the virtual key of every call: an index that tells subscription and key apart, in this order."""
    drawn = rng.choice(KEYS_PER_SUBSCRIPTION, size=len(requests.end_ms), p=[0.6, 0.3, 0.1])
    return requests.subscription * KEYS_PER_SUBSCRIPTION + drawn.astype(np.int64)
