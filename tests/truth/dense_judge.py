"""Compares what the job sent, held and advised in a dense world with what is true of each call.

Wrong is what was billed already, belongs to someone else or to nobody, or lies at another time. Calls of equal content
and owner are told apart by nobody, so they are judged together. What can be decided is decided here, from the truth: a
lost event is decidable where nothing that both sides show has another explanation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from tests.truth.dense_causes import advice
from tests.truth.dense_play import Played, Sent
from tests.truth.dense_world import EARLY, LATE, SECOND, Arrival, Call, Fate, Kind, World

Content = tuple[str | None, str, str, tuple[int, ...]]
# Farther than the tolerance reaches, on either side.
_NEAR = 130 * SECOND
# So many matched calls show that a key's spend logs name the right user.
_SPOKEN_FOR = 10
_LOST = frozenset({Fate.OUTAGE, Fate.TIMEOUT, Fate.HEADER})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one world; events are parts of calls."""

    world: World
    calls: int
    sent: int
    twice: int
    """Sent events that were billed already."""
    astray: int
    """Sent events that someone else owes, or nobody."""
    at_another_time: int
    """Sent events that do not lie at their call's end."""
    cut: int
    """Events that a window in pieces sends and the whole holds, or of slices also the other way round."""
    decidable: int
    """Lost events that have one explanation."""
    found: int
    """Of these, how many were sent."""
    beyond: int
    """Rightly sent events that this test does not call decidable."""
    refused: str | None
    missed: Counter[str] = field(default_factory=Counter)
    """Decidable events that were not sent, by what the report says of them."""
    unsent: tuple[str, ...] = ()
    """The same, a line each."""
    advice: Counter[tuple[str, bool | None]] = field(default_factory=Counter)
    """Discrepancies by the cause that was told and whether it is true; None where this test does not know the cause."""
    untrue: tuple[str, ...] = ()
    """Causes that were told and are not true, a line each."""
    problems: tuple[str, ...] = ()
    """What must not be, a few lines each."""
    seconds: float = 0
    """How long it took to play."""

    @property
    def wrong(self) -> int:
        """Return how many sent events are wrong."""
        return self.twice + self.astray + self.at_another_time

    def told(self, cause: str) -> int:
        """Return of how many discrepancies this cause was told."""
        return sum(count for (name, _), count in self.advice.items() if name == cause)


def judge(played: Played) -> Verdict:
    """Return what became of a world."""
    return _Judge(played).verdict()


class _Judge:
    def __init__(self, played: Played) -> None:
        self.played = played
        self.world = played.world
        self.setting_is_wrong = self.world.kind in {Kind.WRONG_ZONE, Kind.WRONG_CHARGE_BY}
        self.known: dict[str, tuple[Call, str]] = {}
        for call in self.world.calls:
            for part in self.world.parts if call.has_row else ():
                self.known[self.world.identity(call, part)] = call, part
                self.known[self.world.identity(call, part, "/top-up")] = call, part
        self.problems: list[str] = []
        self.unsent: list[str] = []
        self.counts = Counter[str]()
        self.left_over = list(self._left_over())
        self.alike = Counter((each.subscription, each.part, each.quantities) for _, each in self.left_over)
        self.lost = {(call.owner, part, call.quantities(part)) for call in self.world.calls for part in call.lost_parts}
        self.spoken_for = Counter(
            call.api_key for call in self.world.calls for arrival in call.arrivals if self._is_plain(call, arrival)
        )
        self.shared = self._shared_keys()

    def verdict(self) -> Verdict:
        mine = self._judge_owners()
        groups: dict[Content, list[Call]] = defaultdict(list)
        for call in self.world.calls:
            for part in self.world.parts:
                groups[self._content(call, part)].append(call)
        missed: Counter[str] = Counter()
        for content, calls in groups.items():
            missed += self._judge_group(content, calls, mine)
        self._judge_runs()
        told, untrue = Counter[tuple[str, bool | None]](), []
        for each in advice(self.played):
            told[each.cause, each.is_true] += 1
            if each.is_true is False:
                untrue.append(f"{each.cause} is told of {each.text}")
        return Verdict(
            world=self.world,
            calls=len(self.world.calls),
            sent=len(self.played.sent),
            twice=self.counts["twice"],
            astray=self.counts["astray"],
            at_another_time=self.counts["time"],
            cut=self.counts["cut"],
            decidable=self.counts["decidable"],
            found=self.counts["found"],
            beyond=self.counts["beyond"],
            refused=self.played.refused,
            missed=missed,
            advice=told,
            unsent=tuple(self.unsent),
            untrue=tuple(untrue),
            problems=tuple(self.problems),
        )

    def _content(self, call: Call, part: str) -> Content:
        return call.owner, part, call.model, call.quantities(part)

    def _judge_owners(self) -> dict[tuple[Content, str], list[Sent]]:
        """Return what was sent to whom it belongs, by content and request id; tell of everything else."""
        right: dict[tuple[Content, str], list[Sent]] = defaultdict(list)
        for event in self.played.sent:
            if event.identity not in self.known:
                self.counts["astray"] += 1
                self.problems.append(f"{event.identity} under {event.subscription!r} comes from no spend log")
                continue
            call, part = self.known[event.identity]
            if event.subscription != call.owner:
                self.counts["astray"] += 1
                owes = f"{call.owner!r} owes it" if call.owner else "nobody owes it"
                self._tell(f"sent to {event.subscription!r}, though {owes}", call, part)
                continue
            if event.timestamp is None or datetime.fromisoformat(event.timestamp) != call.end:
                self.counts["time"] += 1
                self._tell(f"sent at {event.timestamp}", call, part)
                continue
            right[self._content(call, part), call.request_id].append(event)
        return right

    def _judge_group(
        self, content: Content, calls: list[Call], sent: dict[tuple[Content, str], list[Sent]]
    ) -> Counter[str]:
        _, part, _, quantities = content
        ours = {call.request_id: events for call in calls if (events := sent.get((content, call.request_id)))}
        unbilled = [call for call in calls if self._unbilled(call, part) == quantities[-1]]
        billable = sum(self._unbilled(call, part) for call in calls)
        billed = sum(self._billed(event, quantities[-1]) for events in ours.values() for event in events)
        if billed > billable:
            excess = -(-(billed - billable) // quantities[-1])
            self.counts["twice"] += excess
            for call in [call for call in calls if call.request_id in ours and call not in unbilled][:excess]:
                self._tell("sent, though billed already", call, part)
            if not any(call.request_id in ours and call not in unbilled for call in calls):
                self._tell(f"{billed} sent of {billable}", calls[0], part)
        # Identical calls stand for each other.
        spare = sum(request_id not in {call.request_id for call in unbilled} for request_id in ours)
        missed = Counter[str]()
        decidable = [call for call in unbilled if part in call.lost_parts and self._is_decidable(call, part)]
        for call in sorted(decidable, key=lambda call: call.request_id not in ours):
            self.counts["decidable"] += 1
            if call.request_id in ours:
                self.counts["found"] += 1
            elif spare > 0:
                spare -= 1
                self.counts["found"] += 1
            else:
                said = self._said_of(call, calls, part)
                missed[said] += 1
                self.unsent.append(self._scene_of(f"decidable and not sent, but {said}", call, part))
        for call in unbilled:
            self.counts["beyond"] += call.request_id in ours and call not in decidable
        return missed

    @staticmethod
    def _billed(event: Sent, whole: int) -> int:
        for name in ("total_tokens", "tokens"):
            if name in event.properties:
                return int(str(event.properties[name]))
        return whole

    @staticmethod
    def _unbilled(call: Call, part: str) -> int:
        """Return what no event of this call bills, under whatever subscription; nothing where it has no spend log."""
        if call.owner is None or not call.has_row:
            return 0
        billed = (arrival.quantities[-1] for arrival in call.arrivals if arrival.part == part and arrival.tokens)
        return max(0, call.quantity(part) - sum(billed))

    def _judge_runs(self) -> None:
        played = self.played
        if played.refused and not self.setting_is_wrong:
            self.problems.append(f"refused, though every setting is right: {played.refused}")
        if played.refused and self.setting_is_wrong:
            setting = {Kind.WRONG_ZONE: "RECONCILE_SOURCE_TIME_ZONE", Kind.WRONG_CHARGE_BY: "LAGO_API_CHARGE_BY"}
            if setting[self.world.kind] not in played.refused:
                self.problems.append(f"refused without naming {setting[self.world.kind]}: {played.refused}")
        if played.failed:
            self.problems.append(f"a run that nothing disturbed failed: {played.failed}")
        if played.sent_again:
            self.problems.append(f"a second run sent {played.sent_again} events more")
        for cut in played.cuts:
            self.counts["cut"] += len(cut.too_many) + len(cut.too_few)
            for identity in cut.too_many:
                self._tell(f"{cut.how}: sent, though reconcile over the whole holds it", *self.known[identity])
            for identity in cut.too_few:
                self._tell(f"{cut.how}: held, though reconcile over the whole plans it", *self.known[identity])

    def _is_plain(self, call: Call, arrival: Arrival) -> bool:
        """Tell whether this event lies where its call's event belongs, beside its spend log."""
        own = arrival.subscription == call.owner == self.world.logged(call)
        visible = call.has_row and call.fate is not Fate.INTERNAL
        first = arrival.tokens == call.tokens and not arrival.identity.startswith("second-")
        return visible and own and first and self._fits(call, arrival)

    def _left_over(self) -> Iterator[tuple[Call, Arrival]]:
        """Yield the events that lie beside no call of theirs, and those that nothing tells from such a one.

        Where an event of equal content lies beside the same call, nobody can tell which of the two is left over.
        """
        alike: dict[Content, list[tuple[Call, Arrival]]] = defaultdict(list)
        for call in self.world.calls:
            for arrival in call.arrivals:
                alike[arrival.subscription, arrival.part, call.model, arrival.quantities].append((call, arrival))
        for events in alike.values():
            plain = [each for each in events if self._is_plain(*each)]
            left_over = [each for each in events if not self._is_plain(*each)]
            while plain and left_over:
                of_them = [each for each in plain if any(self._fits(each[0], other) for _, other in left_over)]
                yield from left_over
                plain, left_over = [each for each in plain if each not in of_them], of_them
            yield from left_over

    @staticmethod
    def _fits(call: Call, arrival: Arrival) -> bool:
        """Tell whether this event lies where an event of the call belongs."""
        return call.end - EARLY <= arrival.at <= call.end + LATE

    def _shared_keys(self) -> set[str]:
        """Return the keys of which both sides show that several users share them."""
        names: dict[str, set[str | None]] = defaultdict(set)
        for call in self.world.calls:
            if call.has_row:
                names[call.api_key].add(call.row_end_user)
            names[call.api_key].update(arrival.subscription for arrival in call.arrivals if arrival.subscription)
        return {key for key, users in names.items() if len(users) > 1}

    def _is_decidable(self, call: Call, part: str) -> bool:
        start, end = self.world.window
        if self.setting_is_wrong or not start <= call.end < end or self.world.logged(call) != call.owner:
            return False
        unclear = call.api_key in self.shared or self.spoken_for[call.api_key] < _SPOKEN_FOR
        if self.world.combination.may_pin and unclear:
            return False
        for other, arrival in self.left_over:
            near = abs(arrival.at - call.end) <= _NEAR
            like = arrival.part == part and arrival.quantities == call.quantities(part)
            if like and (near or arrival.subscription == call.owner):
                return False
            # What no spend log explains may be this call's, counted otherwise, and a doubt about one of its events is
            # one about all that it lost: they are counted together. A late event is its own call's.
            beside = call.end - EARLY <= arrival.at <= call.end + LATE and arrival.subscription == call.owner
            may_be_its = arrival.part in call.lost_parts and beside and other.model == call.model
            if may_be_its and not self._is_told_by_content(other, arrival):
                return False
        return True

    def _is_told_by_content(self, call: Call, arrival: Arrival) -> bool:
        """Tell whether this event's content alone says whose it is: the only left-over one like it, on both sides."""
        if not call.has_row or arrival.tokens != call.tokens or arrival.identity.startswith("second-"):
            return False
        if self.world.logged(call) != arrival.subscription:
            return False
        content = call.owner, arrival.part, arrival.quantities
        return arrival.subscription == call.owner and self.alike[content] == 1 and content not in self.lost

    def _said_of(self, call: Call, alike: list[Call], part: str) -> str:
        """Return what the report says of it, or of a call that nothing tells from it."""
        ids = [other.request_id for other in sorted(alike, key=lambda other: abs(other.end - call.end))]
        rows = [row for name in ids for row in self.played.rows if (row["request_id"], row["part"]) == (name, part)]
        if not rows:
            return "nothing: taken for matched"
        return " / ".join(filter(None, (rows[0][name] for name in ("kind", "reason", "detail", "cause"))))

    def _tell(self, what: str, call: Call, part: str) -> None:
        """Add a problem with the call, its events, and what lies beside it or looks like it."""
        self.problems.append(self._scene_of(what, call, part))

    def _scene_of(self, what: str, call: Call, part: str) -> str:
        """Return what there is to say of a call, with its events and those that lie beside it or look like it."""
        lines = [f"{what}: {_line(call)}, part {part}"]
        own = {call.owner, self.world.logged(call)}
        for other in self.world.calls:
            is_alike = other.request_id == call.request_id or other.quantities(part) == call.quantities(part)
            for arrival in other.arrivals:
                is_beside = abs(arrival.at - call.end) <= LATE and arrival.subscription in own
                if arrival.part == part and (is_alike or is_beside):
                    bills = arrival.quantities or "nothing"
                    lines.append(
                        f"    event at {arrival.at:%d %H:%M:%S.%f} under {arrival.subscription!r} bills {bills}, of "
                        f"{other.request_id} ({other.fate}, {other.model}, ended {other.end:%d %H:%M:%S})"
                    )
        return "\n".join(lines[:12])


def _line(call: Call) -> str:
    """Return what there is to know about a call, on one line."""
    row = f"row says {call.row_end_user!r}/{call.team}" if call.has_row else "no row"
    return (
        f"{call.request_id} of {call.owner!r} by {call.api_key}, {row}, {call.call_type} {call.model} {call.tokens}, "
        f"ended {call.end:%d %H:%M:%S.%f}, {call.fate}"
    )
