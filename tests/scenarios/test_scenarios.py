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


# What `make test` shows by another scenario or by a quicker test, `make test-deep` shows by these as well.
_SHOWN_BY = {
    "charges-that-bill-in-part": "core/lago/test_billing_rules.py",
    "empty-request-id": "repeated-response-id",
    "lago-1-30": "adapters/lago_events/test_crowds.py",
    "agent-sdk-price": "commands/backfill/test_amounts.py",
    "arrived-after-the-grace-period": "core/lago/test_billing_rules.py",
    "arrived-after-the-invoice": "core/lago/test_billing_rules.py",
    "arrived-in-the-grace-period": "core/lago/test_billing_rules.py",
    "attempts-counted-together": "core/test_usage_evidence.py",
    "background-responses": "readings-of-responses",
    "blanks-around-the-user": "steps/test_causes.py",
    "call-over-the-edge": "steps/matching/test_holding.py",
    "charge-by-key-alias": "charge-by-team",
    "charge-by-mapping-file": "steps/matching/test_payers.py",
    "charge-by-metadata": "steps/matching/test_payers.py",
    "charge-by-user": "charge-by-team",
    "class-0-complementary-shortfall": "class-0-pinned-end-user",
    "class-0-end-user-of-another-call": "class-0-pinned-end-user",
    "class-b-topped-up": "commands/backfill/test_holding.py",
    "class-j-cache-hits-not-billed": "steps/matching/test_pairs.py",
    "claude-code-sessions": "core/test_usage_evidence.py",
    "clickhouse-null-subscription": "steps/matching/test_pairs.py",
    "clickhouse-resent-after-the-invoice": "clickhouse-resent",
    "clickhouse-same-id-other-time": "clickhouse-resent",
    "derived-ids": "steps/matching/test_pairs.py",
    "draft-in-new-york": "core/lago/test_billing_rules.py",
    "dynamic-charge": "commands/backfill/test_amounts.py",
    "dynamic-charge-with-amounts": "commands/backfill/test_amounts.py",
    "earlier-backfill": "steps/matching/test_pairs.py",
    "end-user-tracking-disabled": "steps/test_causes.py",
    "failure-only-in-metadata": "adapters/spend_logs/test_schemas.py",
    "gateway-internal-calls": "core/test_usage_evidence.py",
    "gateway-internal-calls-by-team": "core/test_usage_evidence.py",
    "hostile-texts": "fuzz/test_hostile_texts.py",
    "incomplete-subscription": "recorded-but-never-billed",
    "internal-calls": "core/test_usage_evidence.py",
    "lago-1-45": "adapters/lago_events/test_crowds.py",
    "late-after-backfill": "steps/matching/test_surplus_advice.py",
    "late-event": "steps/test_causes.py",
    "late-event-under-another-name": "steps/matching/test_foreign.py",
    "literal-none-request-id": "repeated-response-id",
    "metric-counts-events": "count-metric-and-management-calls",
    "metric-takes-maximum": "core/test_meters.py",
    "metric-with-weighted-sum": "core/test_meters.py",
    "model-alias": "steps/matching/test_payers.py",
    "negative-tokens": "steps/matching/test_pairs.py",
    "not-settled": "steps/matching/test_holding.py",
    "null-subscription": "steps/matching/test_pairs.py",
    "once-late-event": "steps/test_once.py",
    "once-slices": "steps/test_once.py",
    "once-time-zone": "steps/test_causes.py",
    "partition-duplicates": "steps/matching/test_pairs.py",
    "pay-in-advance": "commands/backfill/test_holding.py",
    "pay-in-advance-allowed": "commands/backfill/test_holding.py",
    "period-closed": "commands/backfill/test_holding.py",
    "period-closed-but-sent": "commands/backfill/test_holding.py",
    "periods-without-an-invoice": "core/lago/test_billing_rules.py",
    "plan-without-charge": "recorded-but-never-billed",
    "property-missing": "steps/test_causes.py",
    "provider-prefix": "steps/matching/test_payers.py",
    "quantity-with-exponent": "steps/matching/test_payers.py",
    "recurring-metric": "core/lago/test_billing_rules.py",
    "repeated-id-and-sent-twice": "repeated-response-id",
    "rows-of-litellm-1-110": "core/test_usage_evidence.py",
    "same-id-under-two-subscriptions": "steps/matching/test_pairs.py",
    "seoul-cut-over": "adapters/spend_logs/test_times.py",
    "seoul-local-time": "adapters/spend_logs/test_times.py",
    "seoul-without-the-setting": "steps/test_causes.py",
    "sessions-by-pattern": "core/test_usage_evidence.py",
    "shared-key": "steps/test_causes.py",
    "spend-without-usage": "core/test_usage_evidence.py",
    "subscription-not-begun": "recorded-but-never-billed",
    "terminated-subscription": "recorded-but-never-billed",
    "timestamp-in-milliseconds": "steps/matching/test_holding.py",
    "top-up-in-doubt": "steps/matching/test_holding.py",
    "upgrade": "core/lago/test_billing_rules.py",
}


def _assert_as_expected(scenario: Scenario, found: dict[str, bytes]) -> None:
    if _UPDATE:
        scenario.bless(found)
    different = scenario.differences(found)
    for name in different:
        expected = scenario.expected / name
        want = expected.read_text(encoding="utf-8") if expected.exists() else None
        assert (name, found.get(name, b"").decode()) == (name, want)
    assert not different


@pytest.mark.parametrize(
    "scenario",
    [scenario for scenario in all_scenarios() if scenario.folder.name not in _SHOWN_BY],
    ids=lambda scenario: scenario.folder.name,
)
def test_scenario(
    scenario: Scenario, scenario_database_at: Callable[[str], str], standin: LagoStandIn, tmp_path: Path
) -> None:
    database_url = scenario_database_at(scenario.era)
    organization = scenario.fill(database_url, standin)
    _assert_as_expected(scenario, scenario.left(database_url, organization, tmp_path / "api"))


# tests/commands/test_cluster_failures.py plays the recorded one over these roads in every run.
@pytest.mark.deep
@pytest.mark.parametrize("scenario", all_scenarios(), ids=lambda scenario: scenario.folder.name)
def test_every_road_leaves_the_same_files(
    scenario: Scenario,
    scenario_database_at: Callable[[str], str],
    standin: LagoStandIn,
    cluster: RunningCluster,
    tmp_path: Path,
) -> None:
    """A run from Lago's own store, where it can be read, and over a cluster leaves what it leaves alone."""
    database_url = scenario_database_at(scenario.era)
    organization = scenario.fill(database_url, standin)
    found = scenario.left(database_url, organization, tmp_path / "api")
    _assert_as_expected(scenario, found)
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


def test_what_is_left_to_the_deep_tests_is_shown_by_others() -> None:
    names = {scenario.folder.name for scenario in all_scenarios()}
    tests = SCENARIOS.parent
    assert _SHOWN_BY.keys() <= names
    wrong = {by for by in _SHOWN_BY.values() if by in _SHOWN_BY or not (by in names or (tests / by).is_file())}
    assert wrong == set()


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
