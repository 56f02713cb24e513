"""Whatever stands in a plan file, with a right hash or a wrong one: a refusal in one line, or a plan."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.core.plan import content_hash, event_line, plan_window, planned_line, read_event
from jobs.errors import RefusedError
from jobs.steps.plan_files import describe_plan
from jobs.telling.plans import show_plan
from tests.support.fuzzing import fuzzed, texts, values
from tests.support.planned import EVENT, HEADER

GONE = object()


def forged(header: dict[str, Any], lines: list[bytes]) -> bytes | None:
    """Return a plan with a right hash, or None where this header cannot be hashed as JSON."""
    try:
        header = header | {"sha256": content_hash(header, lines)}
        return b"\n".join([orjson.dumps(header), *lines]) + b"\n"
    except (TypeError, ValueError):
        return None


def changed(tree: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """Return the tree with the value at this path changed, or without it."""
    tree = copy.deepcopy(tree)
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return tree


def try_plan(path: Path, content: bytes) -> None:
    """Read a plan in every way the product does; only a refusal may come of it."""
    path.write_bytes(content)
    with suppress(RefusedError):
        description = describe_plan(path)
        plan_window(description.header)
        with (path.parent / "shown.txt").open("w", encoding="utf-8") as shown:
            show_plan(description, shown)


HEADER_PATHS = [
    *((name,) for name in HEADER if name not in {"sha256", "format"}),
    ("window", "start"),
    ("window", "end"),
]


def test_a_plan_as_it_should_be_is_shown(tmp_path: Path) -> None:
    content = forged(HEADER, [event_line(EVENT)])
    assert content is not None
    (tmp_path / "plan").write_bytes(content)
    assert describe_plan(tmp_path / "plan").groups[0].events == 1


@fuzzed(100)
@given(path=st.sampled_from(HEADER_PATHS), value=st.just(GONE) | values)
@example(path=("window",), value=GONE)
@example(path=("rules",), value=GONE)
@example(path=("window", "start"), value="2025-11-10")
@example(path=("window", "end"), value="2025-11-10T12:00:00+00:00")
def test_a_header_with_a_right_hash_is_refused_or_read(tmp_path: Path, path: tuple[str, ...], value: object) -> None:
    content = forged(changed(HEADER, path, value), [event_line(EVENT)])
    if content is not None:
        try_plan(tmp_path / "plan", content)


@pytest.mark.parametrize("path", HEADER_PATHS, ids=".".join)
def test_a_header_without_one_of_its_fields_is_refused(tmp_path: Path, path: tuple[str, ...]) -> None:
    content = forged(changed(HEADER, path, GONE), [event_line(EVENT)])
    assert content is not None
    (tmp_path / "plan").write_bytes(content)
    with pytest.raises(RefusedError, match="the plan's header lacks"):
        describe_plan(tmp_path / "plan")


PAYLOAD = ("transaction_id", "external_subscription_id", "code", "timestamp", "properties")
EVENT_PATHS: list[tuple[str, ...]] = [
    (name,) for name in ("part", "request_id", "quantity", "model", "spend", "payload", "another")
]
EVENT_PATHS += [("payload", name) for name in (*PAYLOAD, "another")]


@fuzzed(150)
@given(
    path=st.sampled_from(EVENT_PATHS),
    value=st.just(GONE) | values | st.dictionaries(texts, values, max_size=2),
)
@example(path=("quantity",), value="NaN")
@example(path=("quantity",), value=140)
@example(path=("payload", "timestamp"), value="1e999999999")
@example(path=("payload", "timestamp"), value="99999999999.000")
@example(path=("spend",), value="Infinity")
@example(path=("model",), value=None)
@example(path=("payload", "properties"), value={"total_tokens": 140})
def test_an_event_with_a_right_hash_is_refused_or_read(tmp_path: Path, path: tuple[str, ...], value: object) -> None:
    fields = orjson.loads(event_line(EVENT))
    if value is GONE and path[-1] == "another":
        return
    try:
        line = orjson.dumps(changed(fields, path, value))
    except (TypeError, ValueError):
        return
    content = forged(HEADER, [event_line(EVENT), line])
    assert content is not None
    try_plan(tmp_path / "plan", content)
    try:
        event = read_event(line)
    except RefusedError:
        return
    assert event_line(event) == line
    assert planned_line(line).payload == orjson.dumps(event.payload)
    assert planned_line(line).transaction_id == event.transaction_id


@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_an_event_that_is_written_otherwise_is_refused(blank: bytes) -> None:
    """What is sent is a part of the line: bytes that nobody has looked at must not be in it."""
    with pytest.raises(RefusedError, match="written otherwise"):
        read_event(event_line(EVENT).replace(b",", b"," + blank))


@fuzzed(100)
@given(position=st.integers(0, 1000), octets=st.binary(max_size=4), cut=st.booleans())
def test_a_damaged_file_is_refused_or_read(tmp_path: Path, position: int, octets: bytes, cut: bool) -> None:
    content = forged(HEADER, [event_line(EVENT)])
    assert content is not None
    damaged = content[:position] + octets + (b"" if cut else content[position + len(octets) :])
    try_plan(tmp_path / "plan", damaged)


def test_an_id_that_is_no_text_is_refused() -> None:
    with pytest.raises(RefusedError, match="holds a line that is no event"):
        planned_line(b'{"part":"","payload":{"transaction_id":"\xff"}}')
