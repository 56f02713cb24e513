"""The simulated month: the same for the same seed, realistic, and right about what must be found."""

import hashlib
import json
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import pytest

from jobs.drivers.queries import query
from jobs.errors import SettingError
from jobs.playground.recording import load_recording
from jobs.playground.simulation import (
    DAILY_END_USER_SPEND_COLUMNS,
    SPEND_LOG_COLUMNS,
    LossClass,
    Side,
    Simulation,
    SimulationSettings,
    TruthRow,
    simulate,
)

MONTH = datetime(2026, 10, 1, tzinfo=UTC)
SPEND_LOG = {name: number for number, name in enumerate(SPEND_LOG_COLUMNS)}


@pytest.fixture(scope="module")
def month() -> Simulation:
    return simulate(SimulationSettings(MONTH, requests=20_000))


def _digest(simulation: Simulation) -> str:
    digest = hashlib.sha256()
    for rows in (simulation.spend_logs(), simulation.events(), simulation.daily_end_user_spend()):
        for row in rows:
            digest.update(repr(row).encode())
    for truth in simulation.truth():
        digest.update(repr(truth).encode())
    return digest.hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    small = SimulationSettings(MONTH, requests=6_000)
    assert _digest(simulate(small)) == _digest(simulate(small))
    assert _digest(simulate(small)) != _digest(simulate(SimulationSettings(MONTH, seed=2, requests=6_000)))


def test_iterating_twice_gives_the_same_rows() -> None:
    small = simulate(SimulationSettings(MONTH, requests=6_000))
    assert _digest(small) == _digest(small)


def test_truth_names_every_row_once_and_in_order(month: Simulation) -> None:
    truth = list(month.truth())
    logs = [row for row in truth if row.side is Side.SPEND_LOG]
    events = [row for row in truth if row.side is Side.EVENT]
    assert [row.identifier for row in logs] == [row[SPEND_LOG["request_id"]] for row in month.spend_logs()]
    assert [row.identifier for row in events] == [event.transaction_id for event in month.events()]
    assert (len(logs), len(events)) == (month.spend_log_count, month.event_count)
    assert [row.total_tokens for row in logs] == [row[SPEND_LOG["total_tokens"]] for row in month.spend_logs()]
    assert [row.at for row in events] == [event.timestamp for event in month.events()]
    assert [row.total_tokens for row in events] == [event.properties.get("total_tokens", 0) for event in month.events()]


def test_ids_are_unique(month: Simulation) -> None:
    requests = Counter(row[SPEND_LOG["request_id"]] for row in month.spend_logs())
    transactions = Counter(event.transaction_id for event in month.events())
    assert max(requests.values()) == 1
    assert max(transactions.values()) == 1
    uuid4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(uuid4.fullmatch(transaction) for transaction in transactions)


def test_both_sides_conserve_what_was_paired(month: Simulation) -> None:
    """Every matched, mismatched or misattributed spend log has one event of that kind, by model."""
    paired = {"matched", "mismatched", "misattributed"}
    sides: dict[Side, Counter[tuple[str, LossClass, str]]] = {side: Counter() for side in Side}
    for total in month.totals():
        if total.kind in paired:
            sides[total.side][total.kind, total.loss_class, total.model] += total.rows
    assert sides[Side.SPEND_LOG] == sides[Side.EVENT]


def test_totals_of_adjacent_windows_add_up(month: Simulation) -> None:
    middle = MONTH + timedelta(days=12)
    rows: Counter[tuple[object, ...]] = Counter()
    for total in (*month.totals(end=middle), *month.totals(start=middle)):
        rows[total[:6]] += total.rows
    assert rows == Counter({total[:6]: total.rows for total in month.totals()})


def test_every_class_of_loss_occurs(month: Simulation) -> None:
    hidden = {LossClass.LATE_BESIDE_LOST, LossClass.INTERNAL_CALL}
    pinned = {LossClass.LEAKED, LossClass.LEAKED_LOST, LossClass.UNPROVEN_KEY}
    classes = {row.loss_class for row in month.truth()}
    assert classes == set(LossClass) - hidden - pinned
    hiding, pinning = replace(month.settings, hides_losses=True), replace(month.settings, pins_keys=True)
    for changed, besides in ((hiding, hidden), (pinning, pinned)):
        assert {row.loss_class for row in simulate(changed).truth()} - classes == besides


def test_a_late_event_lies_right_behind_a_call_that_lost_its_own(month: Simulation) -> None:
    truth = list(simulate(replace(month.settings, hides_losses=True)).truth())
    lost: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
    for row in truth:
        if row.kind == "missing":
            lost[row.subscription, row.model].append(row.at)
    late = [row for row in truth if row.loss_class is LossClass.LATE_BESIDE_LOST and row.side is Side.EVENT]
    assert late
    for row in late:
        assert any(timedelta() < row.at - at < timedelta(minutes=1) for at in lost[row.subscription, row.model])


def test_shares_are_realistic(month: Simulation) -> None:
    rows: Counter[str] = Counter()
    subscriptions: Counter[str] = Counter()
    models: Counter[str] = Counter()
    contents: Counter[tuple[str, str, int]] = Counter()
    for truth in month.truth():
        if truth.side is Side.SPEND_LOG:
            rows[truth.kind] += 1
            subscriptions[truth.subscription] += 1
            models[truth.model] += 1
            contents[truth.subscription, truth.model, truth.total_tokens] += 1
    count = month.spend_log_count
    assert 0.40 < subscriptions.most_common(1)[0][1] / count < 0.60
    assert 0.80 < rows["matched"] / count < 0.95
    assert 0.003 < rows["missing"] / count < 0.04
    assert len([model for model, seen in models.items() if seen > count / 500]) >= 8
    assert sum(seen for seen in contents.values() if seen > 20) / count > 0.3


def test_use_follows_the_day_and_the_week(month: Simulation) -> None:
    hours: Counter[int] = Counter()
    weekend = 0
    for row in month.spend_logs():
        ended = datetime.fromisoformat(str(row[SPEND_LOG["endTime"]])).replace(tzinfo=UTC)
        hours[ended.hour] += 1
        weekend += ended.weekday() >= 5
    assert hours[10] > 3 * hours[3]
    assert weekend / month.spend_log_count < 0.2


def test_times_stay_in_the_month_and_events_follow_the_end(month: Simulation) -> None:
    longest = timedelta()
    for row in month.spend_logs():
        started, first, ended = (
            datetime.fromisoformat(str(row[SPEND_LOG[name]])).replace(tzinfo=UTC)
            for name in ("startTime", "completionStartTime", "endTime")
        )
        assert started <= first <= ended
        assert MONTH <= ended < month.settings.month_end
        longest = max(longest, ended - started)
    assert longest > timedelta(hours=1)
    times = [event.timestamp for event in month.events()]
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times[0] > MONTH
    assert times[-1] < month.settings.month_end


def test_lago_has_no_event_of_the_outage(month: Simulation) -> None:
    start, end = month.outage
    assert not [event for event in month.events() if start <= event.timestamp < end]
    assert sum(row.loss_class is LossClass.LAGO_OUTAGE for row in month.truth()) > 25


def test_hostile_texts_come_with_and_without_events(month: Simulation) -> None:
    hostile = [subscription.external_id for subscription in month.subscriptions if subscription.share == 0]
    kinds = defaultdict(set)
    for row in month.truth():
        if row.subscription in hostile and row.side is Side.SPEND_LOG:
            kinds[row.kind].add(row.subscription)
    assert any(text.startswith("=") for text in kinds["matched"])
    assert len(kinds["matched"]) > 3
    assert len(kinds["missing"] | kinds["held"]) > 3
    assert any(len(text) > 300 for text in hostile)


def test_daily_table_counts_repeated_ids_but_not_killed_pods(month: Simulation) -> None:
    column = {name: number for number, name in enumerate(DAILY_END_USER_SPEND_COLUMNS)}
    daily: Counter[str] = Counter()
    requests = 0
    keys = set()
    for row in month.daily_end_user_spend():
        tokens = [row[column[name]] for name in ("prompt_tokens", "completion_tokens")]
        daily[str(row[column["end_user_id"]])] += sum(int(str(value)) for value in tokens)
        requests += int(str(row[column["api_requests"]]))
        keys.add(tuple(row[column[name]] for name in ("end_user_id", "date", "api_key", "model", "endpoint")))
    logged: Counter[str] = Counter()
    rows = 0
    for spend_log in month.spend_logs():
        if end_user := spend_log[SPEND_LOG["end_user"]]:
            logged[str(end_user)] += int(str(spend_log[SPEND_LOG["total_tokens"]]))
            rows += 1
    lost: Counter[str] = Counter()
    lost_rows = 0
    for truth in month.truth():
        if truth.loss_class in {LossClass.REPEATED_ID, LossClass.REPEATED_ID_OTHER_CONTENT}:
            lost[truth.subscription] += truth.total_tokens
            lost_rows += 1
    assert daily == logged + lost
    assert requests == rows + lost_rows
    assert len(keys) == sum(1 for _ in month.daily_end_user_spend())


class _Row(NamedTuple):
    subscription: str
    model: str
    quantities: tuple[int, ...]
    at: datetime
    truth: TruthRow


def _rows(month: Simulation) -> tuple[list[_Row], list[_Row]]:
    truth = month.truth()
    expected = []
    for row in month.spend_logs():
        told = next(truth)
        if told.kind not in {"excluded", "unattributed"} and told.total_tokens:
            prompt, completion = (int(str(row[SPEND_LOG[n]])) for n in ("prompt_tokens", "completion_tokens"))
            expected.append(_Row(told.subscription, told.model, (prompt, completion), told.at, told))
    recorded = []
    for event in month.events():
        told = next(truth)
        if "moderation" not in told.model:
            tokens = tuple(
                event.properties[name] for name in ("prompt_tokens", "completion_tokens") if name in event.properties
            )
            recorded.append(_Row(told.subscription, told.model, tokens, told.at, told))
    return expected, recorded


class _Reference:
    """The stages of docs/matching.md, said again as simply as they can be, for rows with tokens."""

    def __init__(self, expected: list[_Row], recorded: list[_Row], late: timedelta) -> None:
        self.left_expected, self.left_recorded = expected, recorded
        self._early, self._late = timedelta(seconds=5), late
        self.found: Counter[tuple[Side, str, str, str]] = Counter()
        self.tokens: Counter[tuple[Side, str, str, str]] = Counter()

    def run(self) -> None:
        matched = self._stage("matched", lambda row: (row.subscription, row.model, row.quantities))
        self._stage("misattributed", lambda row: (row.model, row.quantities))
        self._late_ones()
        self._stage("mismatched", lambda row: (row.subscription, row.model))
        events: defaultdict[object, list[datetime]] = defaultdict(list)
        quantities = {(row.subscription, row.quantities) for row in self.left_recorded}
        for row in self.left_recorded:
            events[row.model].append(row.at)
            twin = (row.subscription, row.model, row.quantities) in matched
            self._count(Side.EVENT, "duplicated" if twin else "orphaned", row)
        for row in self.left_expected:
            doubtful = (row.subscription, row.quantities) in quantities
            near = bisect_left(events[row.model], row.at - self._late)
            alone = near == bisect_right(events[row.model], row.at + self._late)
            assert doubtful or alone, "a left-over event of the model casts doubt on a missing one"
            held = row.truth.kind == "held"
            self._count(Side.SPEND_LOG, "ambiguous" if doubtful else "held" if held else "missing", row)

    def _late_ones(self) -> None:
        """Match what stands alone with its content on either side, the event later than its call."""
        sides = (self.left_expected, self.left_recorded)
        counts = [Counter((row.subscription, row.model, row.quantities) for row in side) for side in sides]
        for call in [*self.left_expected]:
            content = (call.subscription, call.model, call.quantities)
            if counts[0][content] == counts[1][content] == 1 and max(call.quantities) >= 100:
                (event,) = (
                    row for row in self.left_recorded if (row.subscription, row.model, row.quantities) == content
                )
                if event.at > call.at + self._late:
                    self.left_expected.remove(call)
                    self.left_recorded.remove(event)
                    self._count(Side.SPEND_LOG, "matched", call)
                    self._count(Side.EVENT, "matched", event)

    def _stage(self, kind: str, key: Callable[[_Row], object]) -> set[object]:
        groups: defaultdict[object, tuple[list[_Row], list[_Row]]] = defaultdict(lambda: ([], []))
        for number, side in enumerate((self.left_expected, self.left_recorded)):
            for row in side:
                groups[key(row)][number].append(row)
        taken: set[object] = set()
        self.left_expected, self.left_recorded = [], []
        for content, (expected, recorded) in groups.items():
            expected.sort(key=lambda row: row.at)
            recorded.sort(key=lambda row: row.at)
            for pair in self._pairs(expected, recorded):
                taken.add(content)
                self._count(Side.SPEND_LOG, kind, pair[0])
                self._count(Side.EVENT, kind, pair[1])
        self.left_recorded.sort(key=lambda row: row.at)
        return taken

    def _pairs(self, expected: list[_Row], recorded: list[_Row]) -> Iterator[tuple[_Row, _Row]]:
        """Every window is equally wide, so taking the earliest that fits gives a maximum matching."""
        left, right = 0, 0
        while left < len(expected) and right < len(recorded):
            distance = recorded[right].at - expected[left].at
            if distance < -self._early:
                self.left_recorded.append(recorded[right])
                right += 1
            elif distance > self._late:
                self.left_expected.append(expected[left])
                left += 1
            else:
                yield expected[left], recorded[right]
                left, right = left + 1, right + 1
        self.left_expected.extend(expected[left:])
        self.left_recorded.extend(recorded[right:])

    def _count(self, side: Side, kind: str, row: _Row) -> None:
        self.found[side, kind, row.subscription, row.model] += 1
        self.tokens[side, kind, row.subscription, row.model] += row.truth.total_tokens


@pytest.mark.parametrize(
    ("seed", "tolerance"),
    [
        pytest.param(seed, tolerance, marks=[] if (seed, tolerance) == (1, timedelta(minutes=15)) else pytest.mark.deep)
        for seed in (1, 7)
        for tolerance in (timedelta(seconds=90), timedelta(minutes=5), timedelta(minutes=15))
    ],
)
def test_a_plain_reconciliation_finds_the_truth_whatever_the_tolerance(tolerance: timedelta, seed: int) -> None:
    simulation = simulate(SimulationSettings(MONTH, seed=seed, requests=25_000))
    expected, recorded = _rows(simulation)
    reference = _Reference(expected, recorded, tolerance)
    rows: Counter[tuple[Side, str, str, str]] = Counter()
    tokens: Counter[tuple[Side, str, str, str]] = Counter()
    for row in (*expected, *recorded):
        rows[row.truth.side, row.truth.kind, row.subscription, row.model] += 1
        tokens[row.truth.side, row.truth.kind, row.subscription, row.model] += row.truth.total_tokens
    reference.run()
    assert reference.found == rows
    assert reference.tokens == tokens


def test_left_over_rows_of_two_incidents_never_share_a_quantity(month: Simulation) -> None:
    lost, surplus = set(), set()
    for row in month.truth():
        if row.kind in {"missing", "held"} and row.total_tokens:
            lost.add((row.subscription, row.total_tokens))
        if row.kind in {"duplicated", "orphaned"}:
            surplus.add((row.subscription, row.total_tokens))
    assert lost
    assert surplus
    assert lost.isdisjoint(surplus)


def test_no_event_without_tokens_is_near_an_edge_of_the_outage(month: Simulation) -> None:
    """It would fit a lost call as well as its own."""
    for row in month.truth():
        if row.loss_class is LossClass.EVENT_WITHOUT_TOKENS:
            assert min(abs(row.at - edge) for edge in month.outage) > timedelta(minutes=15)


@pytest.mark.parametrize(
    ("month_start", "requests"),
    [
        (datetime(2026, 10, 1), 6_000),  # noqa: DTZ001 - the fault under test
        (datetime(2026, 10, 2, tzinfo=UTC), 6_000),
        (MONTH, 10),
    ],
)
def test_settings_that_make_no_month_are_refused(month_start: datetime, requests: int) -> None:
    with pytest.raises(SettingError):
        SimulationSettings(month_start, requests=requests)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("simulation_copy_spend_logs", SPEND_LOG_COLUMNS),
        ("simulation_copy_daily_end_user_spend", DAILY_END_USER_SPEND_COLUMNS),
    ],
)
def test_copy_statement_has_the_columns_in_order(name: str, columns: tuple[str, ...]) -> None:
    listed = query("playground", name).split("(", 1)[1]
    assert tuple(re.findall(r'"(\w+)"', listed)) == columns


def test_json_columns_hold_json(month: Simulation) -> None:
    for row in month.spend_logs():
        assert json.loads(str(row[SPEND_LOG["metadata"]]))["status"] == row[SPEND_LOG["status"]]
        assert isinstance(json.loads(str(row[SPEND_LOG["request_tags"]])), list)


def test_recording_is_complete_and_exact_to_the_microsecond() -> None:
    recording = load_recording()
    assert (len(recording.spend_logs), len(recording.events)) == (30, 23)
    assert recording.events[0].timestamp == datetime(2026, 11, 23, 12, 58, 22, 372682, tzinfo=UTC)
    assert recording.events[0].properties["response_cost"] == 0.00017999999999999998
    assert [tuple(row) for row in recording.spend_logs] == [SPEND_LOG_COLUMNS] * len(list(recording.spend_log_rows()))
