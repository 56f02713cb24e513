"""Compares what Lago has after a simulated world has gone by with what is true of each call."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jobs.core.transaction_ids import transaction_id
from tests.truth.month_bills import Bill
from tests.truth.month_drive import LAG, Drive, Fired, reported
from tests.truth.month_world import CODE, DAY, DYNAMIC, FLAT, HOUR, LOST, SECOND, Arrival, Call, Fate, World

Content = tuple[str, str, tuple[int, int]]
# Farther than the tolerance reaches, on either side.
_NEAR = 130 * SECOND
# Fates that leave one event where it belongs, and from how many such calls a key is believed.
_PLAIN = (Fate.DELIVERED, Fate.SLOW, Fate.CACHE_HIT)
_PROVEN_FROM = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one world."""

    calls: Counter[Fate] = field(default_factory=Counter)
    sent: Counter[Fate] = field(default_factory=Counter)
    """Calls whose event the job sent, or one of equal content in its place."""
    due: Counter[Fate] = field(default_factory=Counter)
    """Lost calls that can be decided and that a run saw while it could send them."""
    due_sent: Counter[Fate] = field(default_factory=Counter)
    topped_up: int = 0
    """Events without tokens that the job completed."""
    unbilled: Counter[str] = field(default_factory=Counter)
    """Events that a run saw and Lago does not bill, by reason."""
    unbilled_told: Counter[str] = field(default_factory=Counter)
    """Those of them of which each such run told this reason."""
    invoices: int = 0
    """Invoices that became final and bill exactly what was there."""
    problems: tuple[str, ...] = ()
    """Broken laws, a sentence each."""


def judge_world(drive: Drive, folder: Path) -> Verdict:
    """Return what became of every call of a world that has gone by."""
    return _Judge(drive, reported(folder)).verdict()


class _Judge:
    def __init__(self, drive: Drive, rows: list[dict[str, Any]]) -> None:
        self.drive = drive
        self.world: World = drive.world
        self.calls = [call for call in self.world.calls if call.row_at is not None]
        self.rows = rows
        self.told = {row["request_id"] for row in rows if row["kind"] not in {"duplicated", "orphaned"}}
        self.problems: list[str] = []
        self.full: dict[str, Call] = {}
        self.top_up: dict[str, Call] = {}
        for call in self.calls:
            for part, known in (("total", self.full), ("total/top-up", self.top_up)):
                known[transaction_id(call.logged, CODE, part, call.request_id)] = call
        self.surplus = list(self._surplus())
        self.wrong_keys = {call.api_key for call in self.calls if call.fate in (Fate.PINNED, Fate.ELSEWHERE)}

    def verdict(self) -> Verdict:
        sent, completed = self._ours()
        groups: dict[Content, list[Call]] = defaultdict(list)
        for call in self.calls:
            groups[call.content].append(call)
        counts = {name: Counter[Fate]() for name in ("calls", "sent", "due", "due_sent")}
        counts["calls"].update(call.fate for call in self.world.calls)
        for calls in groups.values():
            self._judge_group(calls, sent, completed, counts)
        self._judge_bill(sent, completed)
        self._judge_invoices()
        unbilled, told = self._judge_unbilled()
        return Verdict(
            **counts,
            topped_up=len(completed),
            unbilled=unbilled,
            unbilled_told=told,
            invoices=len(self.drive.invoiced),
            problems=tuple(self.problems),
        )

    def _ours(self) -> tuple[set[str], set[str]]:
        """Return the request ids of what the job sent whole, and of what it completed."""
        times: dict[tuple[str | None, str], set[str | None]] = defaultdict(set)
        for event in self.drive.organization.events():
            if event.transaction_id.startswith("litellm-lago:"):
                times[event.external_subscription_id, event.transaction_id].add(event.timestamp)
        sent: set[str] = set()
        completed: set[str] = set()
        for (subscription, identity), moments in times.items():
            call = self.full.get(identity) or self.top_up.get(identity)
            if call is None or call.logged != subscription:
                self.problems.append(f"{identity} under {subscription!r} comes from no spend log")
                continue
            if len(moments) > 1:
                self.problems.append(f"{call.request_id} was sent with several times: {sorted(map(str, moments))}")
            if {datetime.fromisoformat(str(moment)) for moment in moments} != {call.end}:
                self.problems.append(f"{call.request_id} was sent with {moments}, and it ended {call.end}")
            (sent if identity in self.full else completed).add(call.request_id)
        for both in sent & completed:
            self.problems.append(f"{both} was sent whole and completed too")
        return sent, completed

    def _judge_group(
        self, calls: list[Call], sent: set[str], completed: set[str], counts: dict[str, Counter[Fate]]
    ) -> None:
        """Judge calls of equal content together: nobody can tell which of them was lost."""
        lost = [call for call in calls if call.fate in LOST]
        bare = [call for call in calls if call.fate is Fate.BARE]
        whole = [call for call in calls if call.request_id in sent]
        topped = [call for call in calls if call.request_id in completed]
        if len(whole) + len(topped) > len(lost) + len(bare):
            self.problems.append(
                f"billed twice: {len(whole)} sent and {len(topped)} completed of {calls[0].content}, of which "
                f"{len(lost)} were lost and {len(bare)} had no tokens: "
                f"{[(call.request_id, str(call.fate)) for call in calls]}"
            )
        # Events of others of this content stand for those that were lost.
        spare = len(whole) - sum(call.request_id in sent for call in lost)
        reached = [call for call in lost if call.request_id in sent]
        due = [call for call in lost if self._is_due(call)]
        for call in sorted(lost, key=lambda call: call not in due):
            if call not in reached and spare > 0:
                reached.append(call)
                spare -= 1
        for call in whole:
            if call.fate not in LOST and not lost:
                # Its own event was taken for that of an identical call whose event bills nothing.
                reached.append(bare[0] if bare else call)
        counts["sent"].update(call.fate for call in reached)
        counts["due"].update(call.fate for call in due)
        counts["due_sent"].update(call.fate for call in due if call in reached)
        for call in due:
            if call not in reached:
                self.problems.append(
                    f"never sent, though it could be decided: {call.request_id}, {call.fate}, {call.end}"
                )
        unsent = [call for call in lost if call not in reached and self._was_looked_at(call)]
        # A surplus event that bills the same stands for a lost call: it is paired with it by content, or near, and what
        # Lago bills is right.
        subscription, model, tokens = calls[0].content
        stand_ins = sum(
            arrival.tokens
            and (arrival.subscription, other.model, sum(other.tokens)) == (subscription, model, sum(tokens))
            for other, arrival in self.surplus
        )
        if len(unsent) > sum(call.request_id in self.told for call in calls) + stand_ins:
            self.problems.append(f"neither sent nor reported: {[call.request_id for call in unsent]}")

    def _judge_bill(self, sent: set[str], completed: set[str]) -> None:
        """Hold Lago's own sum to what should be in it."""
        span = self.world.start - 90 * LAG * 12, self.world.ends + 30 * LAG * 12
        name = "alice"
        arrivals = [
            (call, arrival)
            for call in self.world.calls
            for arrival in call.arrivals
            if arrival.subscription == name and not self.world.unbilled(arrival, span[1])
        ]
        used = sum(call.total for call, _ in arrivals)
        used += sum(call.total for call in self.calls if call.logged == name and call.request_id in sent | completed)
        billed = int(self.drive.organization.billed(name, CODE, *span).units)
        if billed != used:
            self.problems.append(f"Lago bills {name} {billed}, and its events sum up to {used}")

    def _judge_invoices(self) -> None:
        """Hold each final invoice to what had come by then, and what the job sent to being in one."""
        ours = {identity: call for known in (self.full, self.top_up) for identity, call in known.items()}
        for bill, billed in self.drive.invoiced:
            used = sum(
                call.total
                for call in self.world.calls
                for arrival in call.arrivals
                if arrival.subscription == bill.term.external_id and arrival.tokens and bill.holds(arrival.at)
                if arrival.received_at <= bill.final_at
            )
            used += sum(
                ours[identity].total
                for identity, came_at in self.drive.came_at.items()
                if identity in ours and ours[identity].logged == bill.term.external_id
                if bill.holds(ours[identity].end) and came_at <= bill.final_at
            )
            if billed != used:
                self.problems.append(f"the invoice of {bill} bills {billed}, and {used} had come")
        for identity, came_at in self.drive.came_at.items():
            call = ours.get(identity)
            bill_of_it = None if call is None else self._bill(call)
            if call is not None and (bill_of_it is None or came_at > bill_of_it.final_at):
                self.problems.append(f"{call.request_id} was sent for nothing: it came {came_at}, {bill_of_it}")

    def _judge_unbilled(self) -> tuple[Counter[str], Counter[str]]:
        """Hold what runs told of recorded events to what Lago bills; return what is not billed, and what was told."""
        told: dict[tuple[int, str], set[str]] = defaultdict(set)
        for row in self.rows:
            if row["transaction_id"]:
                told[row["run"], row["transaction_id"]].add(row["unbilled"])
        every, found = Counter[str](), Counter[str]()
        for call in self.world.calls:
            for arrival in call.arrivals:
                missed: set[str] = set()
                seen: set[str] = set()
                for run, fired in enumerate(self.drive.fired, start=1):
                    if arrival.received_at > fired.now:
                        continue
                    why, said = self.world.unbilled(arrival, fired.now), told[run, arrival.identity]
                    if said - {why}:
                        self.problems.append(f"run {run} says that {arrival} is unbilled for {said}, and it is {why!r}")
                    if fired.ended and fired.window.start <= arrival.at < fired.window.end and why and arrival.tokens:
                        seen.add(why)
                        if not said:
                            missed.add(why)
                            self.problems.append(f"{arrival} is not billed ({why}), and run {run} does not say so")
                every.update(seen)
                found.update(seen - missed)
        return every, found

    def _surplus(self) -> list[tuple[Call, Arrival]]:
        """Return the events that a perfect matching would leave over or pair with another content."""
        odd = (
            Fate.RESTART,
            Fate.STRAY,
            Fate.LATE,
            Fate.ELSEWHERE,
            Fate.NULL,
            Fate.PINNED,
            Fate.BARE,
        )
        return [
            (call, arrival)
            for call in self.world.calls
            for number, arrival in enumerate(call.arrivals)
            if call.fate in odd or number > 0 or self.world.is_ambiguous(call.end)
        ]

    def _is_due(self, call: Call) -> bool:
        """Tell whether this lost call can be decided, and a run that ended well could send it."""
        if self.world.is_ambiguous(call.end) or (self.world.may_pin and call.api_key in self.wrong_keys):
            return False
        for other, arrival in self.surplus:
            same_payer = arrival.subscription == call.logged
            quantities = other.tokens if arrival.tokens else (0, 0)
            if same_payer and quantities == call.tokens:
                return False
            if abs(arrival.at - call.end) <= _NEAR and (same_payer or other.model == call.model):
                return False
        return any(
            self._could_send(call, fired.now) and self._key_is_proven(call, fired)
            for fired in self._looking_at(call)
            if fired.everything
        )

    def _key_is_proven(self, call: Call, fired: Fired) -> bool:
        """Tell whether the run saw enough calls of this key with their events, where keys may log a wrong user."""
        seen = [
            other
            for other in self.calls
            if other.api_key == call.api_key
            and other.fate in _PLAIN
            and fired.window.start - DAY <= other.end < fired.window.end + DAY
            and other.row_at is not None
            and other.row_at <= fired.now
            and all(arrival.received_at <= fired.now for arrival in other.arrivals)
        ]
        return not self.world.may_pin or len(seen) >= _PROVEN_FROM

    def _was_looked_at(self, call: Call) -> bool:
        return any(True for _ in self._looking_at(call))

    def _looking_at(self, call: Call) -> Any:
        for fired in self.drive.fired:
            within = fired.window.start <= call.end < fired.window.end
            if fired.ended and within and call.row_at is not None and call.row_at <= fired.now:
                yield fired

    def _could_send(self, call: Call, now: datetime) -> bool:
        bill = self._bill(call)
        # What has ended is billed at its end; a draft takes more until an hour before it is final.
        if bill is None or bill.term.terminated_at is not None or not bill.term.is_there(now):
            return False
        is_open = bill.end > now or (bill.final_at > bill.made_at and bill.final_at > now + HOUR)
        return call.end < now - LAG and is_open

    def _bill(self, call: Call) -> Bill | None:
        """Return the invoice that a call belongs to, now or one day; None where its row has no charge or no invoice."""
        active = [term for term in self.world.terms if term.external_id == call.logged and term.is_active(call.end)]
        if not active or active[-1].plan in (FLAT, DYNAMIC):
            return None
        return self.world.bill_of(active[-1], call.end)
