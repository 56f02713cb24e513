"""What counts as usage: LiteLLM's own call types, readings, marks in the metadata, spend, sessions and patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from jobs.adapters.litellm_database import open_spend_logs
from jobs.adapters.workspace import Workspace
from jobs.core.database.settings import url_settings
from jobs.core.kinds import ChargeBy
from jobs.core.litellm.call_types import CALL_TYPES, CallClass
from jobs.core.litellm.spend_logs import SourceClock
from jobs.core.litellm.usage_evidence import UsageEvidence
from jobs.core.mapping import Match, Pattern
from jobs.core.window import Window
from jobs.drivers.patterns import payers
from jobs.errors import SettingError
from jobs.settings.pairs import read_mapping
from jobs.steps.read import load_marks
from tests.support.judging import CODE, RULES, Event, SpendLog, catalogue, judged, judged_workspace, metric, tokens
from tests.support.twins import deep_after

HOUR = 3_600_000
NONE = (0, 0)
JUDGE = "shadow_eval_judge"
POLL = "background_response_cost_poll"


@pytest.mark.deep
def test_every_call_type_of_the_installed_litellm_is_known() -> None:
    from litellm.constants import NON_INFERENCE_CALL_TYPES  # noqa: PLC0415 - slow to import
    from litellm.types.utils import CallTypes  # noqa: PLC0415

    assert {kind.value for kind in CallTypes} - CALL_TYPES.keys() == set()
    assert {CALL_TYPES.get(name) for name in NON_INFERENCE_CALL_TYPES} == {CallClass.READING}


@pytest.mark.deep
def test_the_origins_that_litellm_marks_are_internal_but_for_the_poll() -> None:
    from typing import get_args  # noqa: PLC0415

    from litellm.types import utils  # noqa: PLC0415

    origins = get_args(utils.InternalCallOrigin)
    assert JUDGE in origins
    with judged_workspace([], []) as workspace:
        workspace.insert("spend_log_mark", [(origin, origin, False) for origin in origins])
        (found,) = workspace.rows("has_internal_calls")
    assert found["has_internal_calls"]


def kinds(*logs: SpendLog, events: tuple[Event, ...] = (), **changes: Any) -> dict[str, int]:
    """Return the kinds of what is found."""
    return judged(logs, events, **changes).kinds


COUNTS_EVENTS = catalogue(metrics=(metric(field_name=None, kind="count_agg"),))


def test_what_manages_counts_only_with_usage_of_its_own() -> None:
    names = sorted(name for name, kind in CALL_TYPES.items() if kind is CallClass.MANAGEMENT)
    logs = [SpendLog(name, HOUR + number, call_type=name) for number, name in enumerate(names)]
    assert kinds(*(replace(log, tokens=NONE) for log in logs), knows=COUNTS_EVENTS) == {}
    assert kinds(*logs) == {"missing": len(names)}


@pytest.mark.deep
def test_an_unknown_call_type_counts_where_it_shows_usage() -> None:
    unknown = SpendLog("r", HOUR, call_type="ateleport")
    assert kinds(unknown) == {"missing": 1}
    assert kinds(replace(unknown, tokens=NONE, spend="0"), knows=COUNTS_EVENTS) == {}
    assert kinds(replace(unknown, tokens=NONE, spend="0.1"), knows=COUNTS_EVENTS) == {"missing": 1}
    with judged_workspace([unknown], []) as workspace:
        evidence = UsageEvidence(workspace.rows("unbilled_spend", most=5), workspace.rows("unknown_call_types"))
        (told,) = evidence.warnings()
    assert "ateleport (1, 140 tokens)" in told


def test_an_internal_call_without_an_event_is_nobodys() -> None:
    log = SpendLog("r", HOUR)
    assert kinds(log, marks=[("r", JUDGE, False)]) == {}
    assert kinds(replace(log, end_user=None), marks=[("r", JUDGE, False)]) == {}
    assert kinds(log, events=(Event("e", HOUR + 100),), marks=[("r", JUDGE, False)]) == {}
    assert kinds(log, marks=[("r", POLL, False)]) == {"missing": 1}


def test_of_identical_calls_the_gateways_own_gives_its_event_to_the_callers() -> None:
    """A chain: the caller's second call can have only an event that its first would have to leave."""
    logs = [SpendLog("own", HOUR), SpendLog("first", HOUR + 50_000), SpendLog("second", HOUR + 100_000)]
    events = [Event("near-own", HOUR + 50_100), Event("late", HOUR + 100_200)]
    assert judged(logs, events, marks=[("own", JUDGE, False)]).kinds == {}
    assert judged(logs, events).kinds == {"missing": 1}
    pairs = judged(logs, [Event("e", HOUR + 59_000)], marks=[("own", JUDGE, False)])
    assert pairs.kinds == {"missing": 1}
    assert pairs.pairs == {("first", "e", "content")}


def test_usage_that_counts_failed_attempts_is_held() -> None:
    result = judged([SpendLog("r", HOUR)], [], marks=[("r", None, True)])
    assert result.found("kind", "reason") == [("held", "source_incomplete")]


@pytest.mark.parametrize(
    "call_type",
    [
        "aget_responses",
        *(pytest.param(name, marks=pytest.mark.deep) for name in ("acancel_responses", "aget_interaction")),
    ],
)
def test_a_reading_counts_once_and_only_as_the_sole_record(call_type: str) -> None:
    made = SpendLog("made", HOUR, call_type="aresponses", tokens=NONE)
    read = SpendLog("read", HOUR + 60_000, call_type=call_type)
    again = replace(read, request_id="again", at_ms=HOUR + 90_000)
    nothing_billed = {"held: zero_quantity": 1}
    assert kinds(made, read, again) == {"missing": 1, **nothing_billed}
    assert kinds(made, read, again, marks=[("again", POLL, False)]) == {"missing": 1, **nothing_billed}
    assert judged([made, again, read], []).found("kind", "request_id")[-1] == ("missing", "read")
    assert kinds(replace(made, tokens=(100, 40)), read, events=(Event("e", HOUR + 100),)) == {}
    # More readings than responses without usage, another payer's, one before any response: none of them is billed.
    other = replace(read, request_id="other", tokens=(7, 7), at_ms=HOUR + 70_000)
    assert kinds(made, read, other) == {"missing": 1, **nothing_billed}
    assert kinds(made, replace(read, end_user="bob")) == {"held: source_incomplete": 1, **nothing_billed}
    assert kinds(made, replace(read, at_ms=HOUR - 1)) == nothing_billed


def test_a_reading_by_its_suffix_is_the_polls() -> None:
    assert kinds(SpendLog("resp_1_background_cost", HOUR, call_type="aget_responses")) == {"missing": 1}


@pytest.mark.deep
def test_the_record_of_a_background_response_is_no_second_call() -> None:
    made = SpendLog("made", HOUR, call_type="aresponses", tokens=NONE)
    poll = SpendLog("resp_background_cost", HOUR + 600_000, call_type="aget_responses")
    event = Event("e", HOUR + 100, properties={"model": "gpt-4o"})
    assert kinds(made, poll, events=(event,), knows=COUNTS_EVENTS) == {}
    assert kinds(made, poll, events=(event,)) == {"missing": 1}


@pytest.mark.parametrize(
    ("changes", "sort"),
    deep_after(
        4,
        [
            ({"tokens": NONE}, "without_tokens"),
            ({"tokens": NONE, "call_type": "aspeech"}, "otherwise_priced"),
            ({"status": "failure"}, "failed"),
            ({"tokens": NONE, "spend": "0"}, None),
            ({"tokens": NONE, "call_type": "pass_through_endpoint"}, "without_tokens"),
            ({"tokens": NONE, "call_type": "avideo_retrieve"}, "otherwise_priced"),
            ({"call_type": "aget_responses"}, "unclear_reading"),
            ({"status": "failure", "spend": "0"}, None),
            ({"tokens": NONE, "spend": "NaN"}, None),
            ({}, None),
        ],
    ),
)
def test_spend_that_no_quantity_answers_to_is_told(changes: dict[str, Any], sort: str | None) -> None:
    log = replace(SpendLog("r", HOUR), **changes)
    with judged_workspace([log, replace(log, request_id="other")], []) as workspace:
        found = workspace.rows("unbilled_spend", most=5)
        evidence = UsageEvidence(found, ())
        reasons, warnings = [*evidence.reasons()], [*evidence.warnings()]
    assert [(row["sort"], row["all_spend_logs"], row["all_spend"]) for row in found] == (
        [(sort, 2, "0.002")] if sort else []
    )
    assert [reason.code for reason in reasons] == ([sort] if sort not in (None, "otherwise_priced") else [])
    assert len(warnings) == (sort == "otherwise_priced")
    assert all("0.002 USD" in text for text in (*(reason.text for reason in reasons), *warnings))


def test_a_metric_that_counts_calls_bills_calls_without_tokens() -> None:
    with judged_workspace([SpendLog("r", HOUR, tokens=NONE)], [], knows=COUNTS_EVENTS) as workspace:
        assert workspace.rows("unbilled_spend", most=5) == []


@pytest.mark.parametrize(
    ("end_user", "reason"),
    deep_after(
        2,
        [
            ("user_4ec41ed1_account_b8a1abcd-1a69_session_1710cf53-27ac", "session"),
            ("user_of_the_session", "no_subscription"),
            ("user_4ec41ed1_account__session_1710cf53-27ac", "session"),
            ('{"device_id": "4ec4", "account_uuid": "", "session_id": "1710cf53"}', "session"),
            ("user_k9zQ_account_b8a1\nabcd_session_1710cf53", "session"),
            ('{"session_id": 1, "other"', "no_subscription"),
            ('{"name": "acme"}', "no_subscription"),
        ],
    ),
)
def test_sessions_of_coding_agents_are_recognised(end_user: str, reason: str) -> None:
    result = judged([SpendLog("r", HOUR, end_user=end_user)], [])
    assert result.found("kind", "reason") == [("held", reason)]


def test_patterns_of_the_mapping_file_name_payers(tmp_path: Path) -> None:
    file = tmp_path / "mapping.csv"
    file.write_text("source,subscription,match\nu_1,bob,\nu_,alice,prefix\nx[0-9]+,carol,regex\nu,dave,exact\n")
    exact, patterns = read_mapping(file)
    assert exact == (("u_1", "bob"), ("u", "dave"))
    assert patterns == (Pattern(Match.PREFIX, "u_", "alice"), Pattern(Match.REGEX, "x[0-9]+", "carol"))
    named = {"u_1": "bob", "u_2": "alice", "u_2\nx": "alice", "x12": "carol", "x12y": None, "u": "dave", "U_2": None}
    by_pattern = {source: to for source, to in named.items() if to and source not in dict(exact)}
    assert payers((source for source in named if source not in dict(exact)), patterns) == by_pattern
    rules = replace(RULES, mapping=exact, patterns=patterns)
    logs = [SpendLog(f"r{number}", HOUR + number, end_user=source) for number, source in enumerate(named)]
    assert judged(logs, [], rules=rules).kinds == {"held: no_subscription": 1, "missing": 4, "unattributed": 2}


def test_no_expression_takes_long_of_a_strangers_text() -> None:
    """Python's own would take longer than the universe is old."""
    source = "a" * 5000 + "!"
    assert payers([source, "aa"], (Pattern(Match.REGEX, "(a+)+", "bob"),)) == {"aa": "bob"}
    rules = replace(
        RULES, mapping=(), patterns=(Pattern(Match.REGEX, "(a|a)*b", "bob"), Pattern(Match.REGEX, "(a+)+!", "alice"))
    )
    assert judged([SpendLog("r", HOUR, end_user=source)], [], rules=rules).kinds == {"missing": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("source,subscription,match\na,b,glob\n", "line 2: match is 'glob'"),
        ("source,subscription,match\na(,b,regex\n", "line 2: 'a(' is no regular expression of RE2: missing )"),
        ("source,subscription,match\n(?!a),b,regex\n", "line 2: '(?!a)' is no regular expression of RE2: invalid perl"),
        ("source,subscription,match\na{9999},b,regex\n", "line 2: 'a{9999}' is no regular expression of RE2: invalid"),
        ("source,subscription,match\na,b,prefix\na,c,prefix\n", "line 3: 'a' stands there twice"),
        ("source,subscription,match\n,b,prefix\n", "line 2: source or subscription is empty"),
        ("source,subscription,match\na,b\n", "line 2: no row of three cells"),
        ("source,payer\n", "another header"),
    ],
)
def test_what_cannot_be_used_in_a_mapping_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mapping.csv"
    file.write_text(text)
    with pytest.raises(SettingError) as refused:
        read_mapping(file)
    assert problem in str(refused.value)


@pytest.mark.parametrize("era", ["1.53", "1.109", "1.109-partitioned"])
def test_marks_are_read_of_the_asked_and_marked_only(litellm_database_at: Callable[[str], str], era: str) -> None:
    url = litellm_database_at(era)
    attempts = {"cost_breakdown": {"additional_costs": {"failed_attempts_cost": 0.1}}}
    metadata: dict[str, Any] = {
        "judge": {"internal_call_origin": JUDGE},
        "attempts": attempts,
        "both": {"internal_call_origin": POLL, **attempts},
        "plain": {"status": "success", "internal_call_origin": None, "cost_breakdown": {"additional_costs": {}}},
        "text": "internal_call_origin",
        "list": ["failed_attempts_cost"],
        "other": {"internal_call_origin": "", "cost_breakdown": ["additional_costs"]},
        "costs": {"cost_breakdown": {"additional_costs": 7}},
    }
    with psycopg.connect(url) as connection:
        for name, value in {**metadata, "unasked": metadata["judge"]}.items():
            connection.execute(
                'INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, "startTime", "endTime", metadata)'
                " VALUES (%s, 'acompletion', '2026-11-23', '2026-11-23', %s)",
                [name, Jsonb(value)],
            )
    with open_spend_logs(url_settings(url, "DATABASE_URL"), statement_timeout=timedelta(seconds=30)) as spend_logs:
        found = sorted(spend_logs.read_marks(iter([*metadata, "nowhere"] * 2)))
        day = Window(datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC))
        clock, longest = SourceClock("Asia/Seoul"), timedelta(hours=1)
        everything = b"".join(spend_logs.read_all_marks(day, clock=clock, longest_call=longest)).decode()
        after = Window(day.end + timedelta(hours=13), day.end + timedelta(days=1))
        assert b"".join(spend_logs.read_all_marks(after, clock=clock, longest_call=longest)) == b""
    assert found == [("attempts", None, True), ("both", POLL, True), ("judge", JUDGE, False)]
    assert sorted(everything.removeprefix("\ufeff").splitlines()) == [
        "attempts,,t",
        f"both,{POLL},t",
        f"judge,{JUDGE},f",
        f"unasked,{JUDGE},f",
    ]


@pytest.mark.parametrize("cost", [0, 100])
def test_marks_are_the_same_whether_spend_logs_are_looked_up_or_all_passed_by(
    litellm_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: int
) -> None:
    monkeypatch.setattr("jobs.steps.read._LOOK_UP_COST", cost)
    day = Window(datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC))
    with psycopg.connect(litellm_database) as connection:
        for name, call_type, origin in (("judge", "a", JUDGE), ("call", "a", None), ("unasked", "b", JUDGE)):
            connection.execute(
                'INSERT INTO "LiteLLM_SpendLogs"'
                ' (request_id, call_type, total_tokens, "startTime", "endTime", metadata)'
                " VALUES (%s, %s, 5, '2026-11-23', '2026-11-23', %s)",
                [name, call_type, Jsonb({"internal_call_origin": origin})],
            )
    how: dict[str, Any] = {"clock": SourceClock(), "longest_call": timedelta(hours=1)}
    settings = url_settings(litellm_database, "DATABASE_URL")
    with (
        open_spend_logs(settings, statement_timeout=timedelta(seconds=30)) as spend_logs,
        Workspace(tmp_path, memory_limit="200MB") as workspace,
    ):
        workspace.load("load_spend_logs", spend_logs.read(day, **how))
        load_marks(
            workspace, spend_logs, partial(spend_logs.read_all_marks, day, **how), "ask_about_readings", readings=["a"]
        )
        assert workspace.rows("has_internal_calls") == [{"has_internal_calls": True, "marks": 1}]


def test_by_team_an_internal_call_takes_no_event_from_a_callers() -> None:
    rules = replace(RULES, charge_by=ChargeBy.TEAM_ID)
    logs = [SpendLog("own", HOUR, team_id="alice"), SpendLog("call", HOUR + 2000, team_id="alice")]
    result = judged(logs, [Event("e", HOUR + 100)], rules=rules, marks=[("own", JUDGE, False)])
    assert result.pairs == {("call", "e", "content")}
    assert result.kinds == {}


def test_a_call_type_that_is_priced_otherwise_may_have_tokens() -> None:
    image = SpendLog("r", HOUR, call_type="aimage_generation", tokens=(5, 100))
    event = Event("e", HOUR + 100, properties=tokens("gpt-4o", 5, 100), code=CODE)
    assert kinds(image, events=(event,)) == {}
