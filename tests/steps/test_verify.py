"""What a verification asks Lago for, and what it takes for seen: from the plan's file, in the workspace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from jobs.adapters.workspace import Workspace
from jobs.core.plan import PlannedEvent, event_line
from jobs.core.window import Window
from jobs.steps.verify import _stretches

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)


def _event(number: int, code: str, at: timedelta, **properties: str) -> PlannedEvent:
    timestamp = f"{int((MIDNIGHT + at).timestamp())}.{at.microseconds // 1000:03}"
    return PlannedEvent(
        f"id-{number}", "alice", code, "", f"r{number}", timestamp, tuple(properties.items()), "1", "gpt", ""
    )


def _plan(path: Path, *events: PlannedEvent) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in (b'{"format":"x"}', *map(event_line, events))))
    return path


def test_each_code_is_listed_for_the_hours_of_its_own_events(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    plan = _plan(
        tmp_path / "plan.jsonl",
        _event(1, "a", hour, model="gpt"),  # its millisecond may be shown in the hour before
        _event(2, "a", 2.5 * hour, tokens="1"),
        _event(3, "a", 5.5 * hour),
        _event(4, "b", 3.5 * hour),
    )
    with Workspace(tmp_path, memory_limit="200MB") as workspace:
        workspace.run("load_sent_events", path=str(plan))
        assert list(_stretches(workspace.rows("sent_hours"))) == [
            ("a", Window(MIDNIGHT, MIDNIGHT + 3 * hour)),
            ("a", Window(MIDNIGHT + 5 * hour, MIDNIGHT + 6 * hour)),
            ("b", Window(MIDNIGHT + 3 * hour, MIDNIGHT + 4 * hour)),
        ]
        assert list(workspace.texts("sent_property_names")) == ["model", "tokens"]


def test_an_event_with_an_amount_is_seen_with_that_amount_only(tmp_path: Path) -> None:
    events = [replace(_event(number, "a", timedelta(0), model="gpt"), amount="5.472") for number in range(4)]
    plan = _plan(tmp_path / "plan.jsonl", *events, _event(4, "a", timedelta(0), model="gpt"))
    with Workspace(tmp_path, memory_limit="200MB") as workspace:
        workspace.run("load_sent_events", path=str(plan))
        for number, amount in enumerate(("5.472000000000000", "5.473", "", None, "1")):
            workspace._database.execute(
                "INSERT INTO scratch.listed_event (transaction_id, subscription, code, timestamp, properties,"
                " precise_total_amount_cents) VALUES (?, 'alice', 'a', '2026-11-01T00:00:00.000Z', ['gpt'], ?)",
                [f"id-{number}", amount],
            )
        workspace.run("verify_sent_events", names=["model"])
        assert [row["verified"] for row in workspace.records("verified_events")] == [True, False, False, False, True]


def test_an_event_is_seen_where_lago_shows_all_that_was_planned(tmp_path: Path) -> None:
    plan = _plan(
        tmp_path / "plan.jsonl",
        _event(1, "a", timedelta(0), model='gpt \u00e9 "x"', tokens="5"),
        _event(2, "a", timedelta(0), model="gpt", tokens="5"),
        _event(3, "a", timedelta(0), model="gpt"),
        _event(4, "a", timedelta(0), model="gpt"),
        _event(5, "a", timedelta(0), model="gpt"),
    )
    shown = [
        ("id-1", "2026-11-01T00:00:00.000Z", ['gpt \u00e9 "x"', "5"]),
        ("id-2", "2026-11-01T00:00:00.000Z", ["gpt", "6"]),
        ("id-3", "2026-10-31T23:59:59.999Z", ["gpt", None]),
        ("id-4", "2026-10-31T23:59:59.998Z", ["gpt", None]),
    ]
    with Workspace(tmp_path, memory_limit="200MB") as workspace:
        workspace.run("load_sent_events", path=str(plan))
        for identity, time, properties in shown:
            workspace._database.execute(
                "INSERT INTO scratch.listed_event (transaction_id, subscription, code, timestamp, properties)"
                " VALUES (?, 'alice', 'a', ?, ?)",
                [identity, time, properties],
            )
        workspace.run("verify_sent_events", names=["model", "tokens"])
        assert [(row["transaction_id"], row["reason"]) for row in workspace.records("verified_events")] == [
            ("id-1", ""),
            ("id-2", "in Lago with another content"),
            ("id-3", ""),
            ("id-4", "in Lago with another content"),
            ("id-5", "not visible in Lago"),
        ]
        assert workspace.rows("count_unseen") == [{"unseen": 3}]
