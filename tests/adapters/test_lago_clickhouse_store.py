"""Reading events from Lago's ClickHouse, on ClickHouse in process: what is billed, once, and as the API lists it."""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.lago_clickhouse_store import check_clickhouse_events, read_clickhouse_events, whole_rows
from jobs.core.lago.store import ClickHouseStore, clickhouse_store
from jobs.errors import SettingError, SourceError
from tests.adapters.lago_events import helpers as through_api
from tests.scenarios.test_scenarios import folder_bytes
from tests.support.clickhouse import fill
from tests.support.scenario import Scenario, all_scenarios
from tests.support.twins import deep_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.playground.lago_standin import LagoStandIn, Organization

START, WINDOW = through_api.START, through_api.WINDOW
NAMES = ("model", "total_tokens", "odd")


@pytest.fixture
def organization(standin: LagoStandIn) -> Organization:
    return standin.create_organization("store", event_store="clickhouse")


def stored(url: str, organization: Organization, **changed: Any) -> Iterator[bytes]:
    asked: dict[str, Any] = {
        "organization_id": organization.id,
        "codes": ("tokens",),
        "window": WINDOW,
        "property_names": NAMES,
        "statement_timeout": timedelta(seconds=30),
    }
    return read_clickhouse_events(ClickHouseStore(url), **asked | changed)


def test_each_billed_event_comes_once_with_its_last_properties(
    clickhouse: Any, clickhouse_url: str, standin: LagoStandIn, organization: Organization, tmp_path: Path
) -> None:
    organization.add_metric("tokens", aggregation_type="sum_agg", field_name="total_tokens")
    odd = ["", "0.10", "1e3", "NULL", '"', "a\nb,c", "\\", "é\u202e😀"]
    rows = [through_api.event(n, START, properties={"model": "m", "odd": text}) for n, text in enumerate(odd)]
    again = through_api.event(0, START, properties={"model": "m", "odd": "again"})
    outside = [
        through_api.event(50, WINDOW.end),
        through_api.event(51, START - timedelta(milliseconds=1)),
    ]
    organization.insert_events([*rows, again, *outside, through_api.event(52, START, code="other")])
    fill(clickhouse, standin, organization)
    found = through_api.loaded(stored(clickhouse_url, organization), tmp_path)
    texts = {row["transaction_id"]: row["properties"] for row in found}
    assert texts == {f"t{n}": ["m", None, text if n else "again"] for n, text in enumerate(odd)}
    assert len(found) == len(odd)
    assert {row["timestamp"] for row in found} == {"2026-11-01 00:00:00.000Z"}


def test_dead_letters_are_told_and_what_waits_refuses(
    clickhouse: Any, clickhouse_url: str, organization: Organization
) -> None:
    columns = ["organization_id", "external_subscription_id", "code", "transaction_id", "timestamp"]
    row = [organization.id, "s", "tokens", "t", START.replace(tzinfo=None)]
    store = ClickHouseStore(clickhouse_url)
    asked: dict[str, Any] = {"organization_id": organization.id, "codes": ("tokens",), "window": WINDOW}
    clickhouse.insert("events_raw", [row], column_names=columns)
    with pytest.raises(SourceError, match="1 events of the window that its processor has not enriched"):
        check_clickhouse_events(store, **asked)
    clickhouse.insert("events_dead_letter", [row], column_names=columns)
    assert check_clickhouse_events(store, **asked) == 1
    assert not list(stored(clickhouse_url, organization))


def test_a_missing_table_is_told_without_the_password(
    clickhouse: Any, clickhouse_url: str, organization: Organization
) -> None:
    clickhouse.command("DROP TABLE events_enriched")
    with pytest.raises(SourceError, match=r"Lago's ClickHouse at .* could not answer"):
        list(stored(clickhouse_url, organization))
    assert "secret" not in repr(clickhouse_store("clickhouse://u:secret@h:8123/lago", None))
    assert clickhouse_store("clickhouse://u:secret@h:8123/lago", None).address == "h:8123/lago"


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/d", "secret"])
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="does not begin with clickhouse://") as raised:
        clickhouse_store(url, None)
    assert "secret" not in str(raised.value)


def test_without_the_library_the_extra_is_named(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refusing(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("clickhouse_connect"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(SettingError, match=re.escape("litellm-lago-reconcile[clickhouse]")):
        list(stored("clickhouse://h", organization))


@given(st.lists(st.lists(st.text('a"\n,', max_size=5), min_size=1, max_size=3), max_size=8), st.integers(1, 9))
def test_chunks_end_where_rows_end(rows: list[list[str]], size: int) -> None:
    lines = [(",".join(json.dumps(cell.replace('"', "'")) for cell in row) + "\n").replace("\\n", "\n") for row in rows]
    body = "".join(lines).replace("'", '""').encode()
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    chunks = list(whole_rows(pieces, 1))
    assert b"".join(chunks) == body
    assert all(chunk.endswith(b"\n") and chunk.count(b'"') % 2 == 0 for chunk in chunks)


IN_CLICKHOUSE = sorted(
    (scenario for scenario in all_scenarios() if scenario.event_store == "clickhouse"),
    key=lambda scenario: scenario.folder.name != "clickhouse-resent",
)


@pytest.mark.parametrize("scenario", deep_after(1, IN_CLICKHOUSE), ids=lambda scenario: scenario.folder.name)
def test_store_and_api_leave_the_same_folder(
    scenario: Scenario,
    litellm_database_at: Callable[[str], str],
    standin: LagoStandIn,
    clickhouse: Any,
    clickhouse_url: str,
    tmp_path: Path,
) -> None:
    database_url = litellm_database_at(scenario.era)
    organization = scenario.fill(database_url, standin)
    fill(clickhouse, standin, organization)
    through = scenario.left(database_url, organization, tmp_path / "api")
    store: dict[str, Any] = {"RECONCILE_EVENTS_FROM": "clickhouse", "RECONCILE_LAGO_STORE_URL": clickhouse_url}
    assert scenario.left(database_url, organization, tmp_path / "store", **store) == through
    assert folder_bytes(tmp_path / "store") == folder_bytes(tmp_path / "api")
