"""Draws the calls of a dense world: who calls with which key, when, and what goes wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tests.truth.dense_world import (
    CHARGES,
    END_USERS,
    HOUR,
    LATE,
    MINUTE,
    MS,
    SECOND,
    START,
    TEAMS,
    Arrival,
    Call,
    Combination,
    Fate,
    Kind,
    World,
    generator,
    kind_of,
)

# What becomes of a call on a key of one user, in a thousand.
_FATES = {
    Fate.DELIVERED: 820,
    Fate.TIMEOUT: 50,
    Fate.LATE: 30,
    Fate.LATE_BESIDE: 20,
    Fate.BARE: 30,
    Fate.DIFFERS: 4,
    Fate.TWICE: 10,
    Fate.FIRST_OF_ID: 10,
    Fate.INTERNAL: 20,
    Fate.FAILED: 10,
}
# The same on the key of a client that sends some of its events under a wrong subscription itself.
_FATES_ELSEWHERE = _FATES | {Fate.ELSEWHERE: 50, Fate.NULL: 15}
# Where a setting is wrong, next to nothing is lost besides.
_QUIET = {Fate.DELIVERED: 985, Fate.TIMEOUT: 10, Fate.LATE: 5}
_LATE = (Fate.LATE, Fate.LATE_BESIDE)
_LEAVES_AN_EVENT = (*_LATE, Fate.TWICE, Fate.FIRST_OF_ID, Fate.ELSEWHERE, Fate.NULL, Fate.DIFFERS)
_WITHOUT_EVENT = (Fate.HEADER, Fate.NO_USER, Fate.FAILED, Fate.INTERNAL)
_CHAT = ("gpt-4o", "starcoder")
# Call types whose events carry no tokens, and the models they are of; responses share theirs with chats.
_BARE = (
    ("atext_completion", "gpt-3.5-turbo-instruct"),
    ("aimage_generation", "gpt-image-1"),
    ("atranscription", "gpt-4o-transcribe"),
    ("aresponses", "gpt-4o"),
)


@dataclass(frozen=True, slots=True)
class _Key:
    """A virtual key: its team, its first end user, and who calls with it."""

    name: str
    team: str
    first: str
    users: tuple[str, ...] = ()
    """End users that requests name in their body."""
    headers: tuple[str, ...] = ()
    """End users that requests name in a header, where the callback does not look."""
    anonymous: bool = False
    """Whether some requests name nobody."""
    per_hour: int = 40


_KEYS = (
    _Key("key-alice-1", "team-red", "alice", ("alice",)),
    _Key("key-alice-2", "team-red", "alice", ("alice",)),
    _Key("key-bob", "team-red", "bob", ("bob",)),
    _Key("key-carol", "team-blue", "carol", ("carol",)),
    _Key("key-dave", "team-green", "dave", ("dave",)),
    # One application for several customers; some of its requests name the user elsewhere, or not at all.
    _Key("key-shared", "team-blue", "carol", ("carol", "dave", "bob"), ("erin",), anonymous=True, per_hour=30),
    # All its requests name the user in a header, so that by end user none of them has an event.
    _Key("key-header", "team-green", "frank", (), ("erin", "alice"), per_hour=4),
)


def draw(combination: Combination, seed: int, kind: Kind | None = None) -> World:
    """Return the world of this combination and seed; `kind` overrides what the seed is about."""
    rng = generator(combination, seed)
    chosen = kind or kind_of(combination, seed)
    charge_by = combination.charge_by
    zone = rng.choice(("UTC", "Asia/Seoul", "America/New_York")) if combination.era == "1.53" else "UTC"
    if chosen is Kind.WRONG_ZONE:
        zone = rng.choice(("Asia/Seoul", "America/New_York", "Asia/Kolkata", "Europe/Berlin"))
    hours = rng.choice((2, 3, 4))
    if chosen is Kind.CUTS:
        hours = rng.choice((4, 80))
    window = START - 10 * MINUTE, START + hours * HOUR + 10 * MINUTE
    if chosen is Kind.WRONG_ZONE:
        # Long enough for calls that are off by hours to lie beside other calls' events.
        hours, window = 16, (START - 13 * HOUR, START + 29 * HOUR)
    if chosen is Kind.PLAIN and rng.random() < 0.3:
        window = START + 0.2 * hours * HOUR, START + 0.8 * hours * HOUR
    world = World(
        combination=combination,
        seed=seed,
        kind=chosen,
        zone=zone,
        told_zone="UTC" if chosen is Kind.WRONG_ZONE else zone,
        gateway_charge_by=next(by for by in CHARGES if (by == charge_by) != (chosen is Kind.WRONG_CHARGE_BY)),
        pins_every_call=combination.era == "1.79" and rng.random() < 0.5,
        pins={key.name: key.first for key in _KEYS},
        top_up=rng.random() < 0.3,
        slice_hours=hours // 4 if chosen is Kind.CUTS else rng.choice((hours // 2, 24 * 7)),
        window=(window[0].replace(microsecond=0), window[1].replace(microsecond=0)),
        calls=(),
    )
    return replace(world, calls=_Traffic(world, rng, hours).drawn())


class _Traffic:
    def __init__(self, world: World, rng: random.Random, hours: int) -> None:
        self.world = world
        self.rng = rng
        self.hours = hours
        self.by_user = world.gateway_charge_by == "end_user_id"
        self.quiet = world.kind in {Kind.WRONG_ZONE, Kind.WRONG_CHARGE_BY}
        self.sparse = world.kind is Kind.CUTS
        self.outage = START + rng.uniform(0.2, 0.8) * hours * HOUR
        self.outage_ends = self.outage + (timedelta(0) if self.quiet or self.sparse else rng.uniform(3, 12) * MINUTE)
        self.restart = START + rng.uniform(0.2, 0.8) * hours * HOUR
        self.templates = {key.name: [self._tokens() for _ in range(4)] for key in _KEYS}
        self.made = 0

    def drawn(self) -> tuple[Call, ...]:
        calls = [call for key in _KEYS for call in self._of_key(key)]
        if not self.quiet and not self.sparse:
            calls += self._rush()
        calls.sort(key=lambda call: (call.end, call.request_id))
        lost = [call for call in calls if call.lost_parts and call.owner is not None]
        return tuple(self._arrived(call, lost) for call in calls)

    def _tokens(self) -> tuple[int, int]:
        return self.rng.randint(1, 3000), self.rng.randint(1, 500)

    def _of_key(self, key: _Key) -> Iterator[Call]:
        rng = self.rng
        count = max(2, key.per_hour // 8) if self.sparse else key.per_hour * min(self.hours, 4)
        left = rng.randint(count * 8 // 10, count)
        while left > 0:
            at = START + rng.random() * self.hours * HOUR
            size = rng.choice((1, 1, 1, 1, 2, 4, 8)) if not self.sparse else rng.choice((1, 1, 2))
            repeats = rng.random() < 0.5
            tokens, model = rng.choice(self.templates[key.name]), rng.choice(_CHAT)
            for _ in range(min(size, left)):
                if not repeats:
                    tokens = self._tokens() if rng.random() < 0.8 else rng.choice(self.templates[key.name])
                yield from self._call(key, model, tokens, at)
                at += rng.choice((0.002, 0.4, 3, 12, 40)) * SECOND
            left -= size

    def _rush(self) -> Iterator[Call]:
        """Yield the calls right before the restart, whose spend logs never came."""
        for _ in range(self.rng.randint(4, 14)):
            key = self.rng.choice(_KEYS[:5])
            at = self.restart - self.rng.uniform(0.2, 20) * SECOND
            yield self._made(key, self.rng.choice(_CHAT), self._tokens(), at, Fate.RESTART, key.users[0])

    def _call(self, key: _Key, model: str, tokens: tuple[int, int], at: datetime) -> Iterator[Call]:
        rng = self.rng
        fates = _QUIET if self.quiet else _FATES_ELSEWHERE if key.name == "key-dave" else _FATES
        fate = rng.choices(tuple(fates), tuple(fates.values()))[0]
        named, header = self._caller(key)
        if self.by_user and named is None:
            fate = Fate.HEADER if header else Fate.NO_USER
        era = self.world.combination.era
        if (fate is Fate.INTERNAL and era != "1.109") or (fate is Fate.FAILED and era in {"1.53", "1.65"}):
            fate = Fate.DELIVERED
        if self.outage <= at < self.outage_ends and fate not in _WITHOUT_EVENT:
            fate = Fate.OUTAGE
        call_type = "acompletion"
        if fate in _LEAVES_AN_EVENT and rng.random() < 0.8:
            # A template's content stands many times, so that nobody could tell which of its calls was lost.
            tokens = self._tokens()
        if fate is Fate.BARE:
            call_type, model = rng.choice(_BARE if era != "1.53" else _BARE[:3])
        if fate is Fate.TWICE:
            call_type, model = self._sent_twice(model)
        if fate is Fate.INTERNAL:
            asked = at + rng.uniform(1, 3) * SECOND
            became = Fate.OUTAGE if self.outage <= asked < self.outage_ends else Fate.DELIVERED
            yield self._made(key, model, tokens, asked, became, named, header)
            model, tokens = "gpt-4o-mini", (rng.randint(50, 400), rng.randint(1, 20))
        made = self._made(key, model, tokens, at, fate, named, header, call_type)
        yield made
        if fate is Fate.FIRST_OF_ID:
            later = at + rng.choice((0.5, 5, 30, 300)) * SECOND
            same = tokens if rng.random() < 0.4 else self._tokens()
            second = self._made(key, model, same, later, Fate.SECOND_OF_ID, named, header, call_type)
            yield replace(second, request_id=made.request_id)

    def _sent_twice(self, model: str) -> tuple[str, str]:
        """Return what this era's gateway sends twice; the newest sends nothing twice, but a second sender may."""
        era = self.world.combination.era
        if era == "1.109" or self.rng.random() < 0.2:
            return "acompletion", model
        images = ("aimage_generation", "gpt-image-1"), ("atranscription", "gpt-4o-transcribe")
        return self.rng.choice((*images, ("anthropic_messages", "claude")) if era == "1.79" else images)

    def _caller(self, key: _Key) -> tuple[str | None, str | None]:
        """Return whom the request's body names, and whom its header."""
        if key.users and not (key.headers and self.rng.random() < 0.3):
            return self.rng.choice(key.users), None
        if key.anonymous and self.rng.random() < 0.5:
            return None, None
        return None, self.rng.choice(key.headers)

    def _made(
        self,
        key: _Key,
        model: str,
        tokens: tuple[int, int],
        at: datetime,
        fate: Fate,
        named: str | None,
        header: str | None = None,
        call_type: str = "acompletion",
    ) -> Call:
        self.made += 1
        owner = (named or header) if self.by_user else key.team
        if fate in {Fate.FAILED, Fate.INTERNAL} and self.by_user:
            owner = None
        lost: tuple[str, ...] = ()
        if fate in {Fate.OUTAGE, Fate.TIMEOUT, Fate.HEADER}:
            parts = self.world.parts
            lost = (self.rng.choice(parts),) if self.rng.random() < 0.3 and fate is Fate.TIMEOUT else parts
        return Call(
            request_id=f"chatcmpl-{self.world.seed}-{self.made:04d}",
            owner=owner,
            row_end_user=self._row_end_user(key, named, header),
            team=key.team,
            api_key=key.name,
            model=model,
            call_type=call_type,
            tokens=tokens,
            end=at - timedelta(microseconds=at.microsecond % 1000),
            lasted=self.rng.randint(100, 40_000) * MS,
            fate=fate,
            lost_parts=lost,
        )

    def _row_end_user(self, key: _Key, named: str | None, header: str | None) -> str:
        era = self.world.combination.era
        if era == "1.53":
            return named or ""
        if era == "1.109":
            return named or header or ""
        return key.first if self.world.pins_every_call else named or key.first

    def _arrived(self, call: Call, lost: list[Call]) -> Call:
        silent = {Fate.FAILED, Fate.NO_USER} | ({Fate.INTERNAL} if self.by_user else set())
        if call.fate in silent:
            return call
        subscription = self._recorded_under(call)
        delay = self._delay(call, lost)
        if call.fate is not Fate.OUTAGE and self.outage <= call.end + delay < self.outage_ends:
            # Nothing arrives in an outage.
            delay = self.outage_ends - call.end + SECOND if call.fate in _LATE else 20 * MS
        arrivals = []
        for part in self.world.parts:
            if part in call.lost_parts:
                continue
            at = call.end + delay + self.rng.randint(0, 20) * MS
            identity = f"{part}-{self.rng.getrandbits(64):016x}"
            tokens = None if call.call_type in {kind for kind, _ in _BARE} else call.tokens
            if call.fate is Fate.DIFFERS:
                tokens = call.tokens[0] // 2 + 1, call.tokens[1] // 2 + 1
            arrivals.append(Arrival(identity, at, subscription, part, tokens))
            if call.fate is Fate.TWICE:
                later = at + self.rng.uniform(0.05, 15) * SECOND
                arrivals.append(Arrival(f"second-{identity}", later, subscription, part, tokens))
        return replace(call, arrivals=tuple(arrivals))

    def _recorded_under(self, call: Call) -> str | None:
        if call.fate is Fate.NULL:
            return None
        if call.fate is Fate.ELSEWHERE:
            names = END_USERS if self.by_user else TEAMS
            return self.rng.choice([name for name in names if name != call.owner])
        return call.owner

    def _delay(self, call: Call, lost: list[Call]) -> timedelta:
        if call.fate is Fate.LATE_BESIDE:
            room = [
                other
                for other in lost
                if other.owner == call.owner and 2 * LATE < other.end - call.end < 8 * HOUR and other.end < self._last
            ]
            if room:
                beside = self.rng.choice([other for other in room if other.model == call.model] or room)
                return beside.end - call.end + self.rng.uniform(0.05, 40) * SECOND
        if call.fate in _LATE:
            return self.rng.choice((self.rng.uniform(2, 90) * MINUTE, self.rng.uniform(1.5, 8) * HOUR))
        return self.rng.uniform(20, 50) * SECOND if self.rng.random() < 0.05 else self.rng.uniform(0.02, 0.8) * SECOND

    @property
    def _last(self) -> datetime:
        return START + self.hours * HOUR
