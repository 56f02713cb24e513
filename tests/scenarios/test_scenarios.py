"""Every scenario folder is played on a real LiteLLM schema and the Lago stand-in; see `tests/support/scenario.py`."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.scenario import ALWAYS, ON_REQUEST, SCENARIOS, WHERE_ROWS, Scenario, all_scenarios

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn
    from tests.support.clusters import RunningCluster

_UPDATE = os.environ.get("UPDATE_GOLDENS") == "1"


@pytest.mark.parametrize("scenario", all_scenarios(), ids=lambda scenario: scenario.folder.name)
def test_scenario(
    scenario: Scenario, scenario_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path
) -> None:
    database_url = scenario_database_at(scenario.era)
    organization = scenario.fill(database_url, standin)
    found = scenario.left(database_url, organization, tmp_path / "api")
    if _UPDATE:
        scenario.bless(found)
    different = scenario.differences(found)
    for name in different:
        expected = scenario.expected / name
        want = expected.read_text(encoding="utf-8") if expected.exists() else None
        assert (name, found.get(name, b"").decode()) == (name, want)
    assert not different


# The recorded one plays the other roads in every run; all others in the deep tests.
_EVERY_ROAD = {"recorded-proxy"}


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(scenario, marks=[] if scenario.folder.name in _EVERY_ROAD else pytest.mark.deep)
        for scenario in all_scenarios()
    ],
    ids=lambda scenario: scenario.folder.name,
)
def test_every_road_leaves_the_same_files(
    scenario: Scenario,
    scenario_database_at: Callable[[str], str],
    standin: LagoStandIn,
    cluster: RunningCluster,
    tmp_path: Path,
) -> None:
    """The same run from Lago's own store, where it can be read, and over a cluster leaves what the run alone leaves."""
    database_url = scenario_database_at(scenario.era)
    organization = scenario.fill(database_url, standin)
    found = scenario.left(database_url, organization, tmp_path / "api")
    store = {"RECONCILE_EVENTS_FROM": "postgres", "RECONCILE_LAGO_STORE_URL": standin.database_url}
    source = store if scenario.event_store == "postgres" else {}
    cluster.give(scenario.environment(database_url, organization, tmp_path, **source))
    over = {"RECONCILE_CLUSTER": cluster.address, "RECONCILE_CLUSTER_PARTS": "3"}
    assert scenario.left(database_url, organization, tmp_path / "spread", **source, **over) == found
    assert folder_bytes(tmp_path / "spread") == folder_bytes(tmp_path / "api")


def folder_bytes(output: Path) -> dict[str, bytes]:
    """Return the files of the run's folder but for run.json, which tells times and sources; {} where the run failed."""
    return {path.name: path.read_bytes() for path in output.glob("*/*") if path.name != "run.json"}


def test_every_scenario_says_what_it_is_and_what_must_come_of_it() -> None:
    incomplete = []
    for scenario in all_scenarios():
        names = {path.name for path in scenario.expected.glob("*")}
        is_whole = names == {"error.txt"} or set(ALWAYS) <= names <= {*ALWAYS, *WHERE_ROWS, *ON_REQUEST}
        about = scenario.folder / "about.md"
        if not (is_whole and about.exists() and len(about.read_text(encoding="utf-8").split()) >= 10):
            incomplete.append(scenario.folder.name)
    assert incomplete == []


def test_the_recorded_calls_are_judged_as_they_went() -> None:
    """Accept 2 in words, so that nobody blesses it away."""
    recorded = SCENARIOS / "recorded-proxy" / "expected"
    with (recorded / "discrepancies.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = Counter((row["kind"], row["reason"]) for row in rows)
    assert kinds == {
        ("mismatched", ""): 6,
        ("missing", ""): 3,
        ("unattributed", ""): 1,
        ("held", "zero_quantity"): 1,
        ("duplicated", ""): 1,
    }
