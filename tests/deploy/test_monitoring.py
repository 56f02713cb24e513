"""Alert rules and dashboard under k8s/: their PromQL parses, and what they name is what the job publishes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from cronsim import CronSim

from jobs.cli import cli
from jobs.core.telling.metrics import GAUGES, Measured, findings_gauges, last_run_gauges, of_command, success_gauge
from jobs.core.window import Window

_FOLDER = Path(__file__).parents[2] / "k8s"
_NOW = datetime(2026, 3, 1, tzinfo=UTC)
_MEASURED = Measured(Window(_NOW, _NOW + timedelta(days=1)), True, {}, {}, {}, (), 0, outcomes={}, verified=0)
_GAUGES = (*findings_gauges(_MEASURED), success_gauge(_NOW), *last_run_gauges(_NOW, 0, timedelta(0)))
METRICS = {gauge.name: frozenset(gauge.labels) for gauge in of_command(_GAUGES, "reconcile")}
DOCUMENT = yaml.safe_load((_FOLDER / "alerts.yaml").read_text(encoding="utf-8"))
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in DOCUMENT["spec"]["groups"] for rule in group["rules"]
}
DASHBOARD = json.loads((_FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
PANELS: dict[str, dict[str, Any]] = {panel["title"]: panel for panel in DASHBOARD["panels"]}
CRON_JOB = yaml.safe_load((_FOLDER / "cronjob.yaml").read_text(encoding="utf-8"))["spec"]


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Yield every selector of a PromQL expression; raise `ValueError` where it is none."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        found.extend([node] if isinstance(node, promql_parser.VectorSelector) else [])
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    yield from found


def wrong_names(expression: str) -> list[str]:
    """Return the metrics and labels of an expression that the job does not publish."""
    wrong, known = [], set[str]()
    for selector in selectors(expression):
        labels = METRICS.get(selector.name or "")
        wrong += [str(selector.name)] if labels is None else []
        known |= labels or set()
        wrong += [matcher.name for matcher in selector.matchers.matchers if matcher.name not in (labels or set())]
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    return wrong + [name for names in grouped for name in re.findall(r"\w+", names) if name not in known]


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every query of the dashboard with its panel's title."""
    for title, panel in PANELS.items():
        for target in panel["targets"]:
            yield title, target


def gap() -> timedelta:
    """Return the time between two firings of the CronJob."""
    firings = CronSim(CRON_JOB["schedule"], _NOW)
    first, second = next(firings), next(firings)
    return second - first


def longest() -> timedelta:
    """Return the longest time from a firing to the end of its run."""
    return timedelta(
        seconds=CRON_JOB["startingDeadlineSeconds"] + CRON_JOB["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    )


def test_every_gauge_is_among_them() -> None:
    assert METRICS.keys() == {f"litellm_lago_{name}" for name in GAUGES}


def test_a_name_that_is_not_published_is_found() -> None:
    assert wrong_names('sum by (kin) (litellm_lago_discrepancies{comand="x"}) > litellm_lago_lost') == [
        "comand",
        "litellm_lago_lost",
        "kin",
    ]
    with pytest.raises(ValueError, match=r"."):
        wrong_names("sum by (kind (x)")


def test_the_rules_are_a_rule_of_the_operator() -> None:
    assert (DOCUMENT["apiVersion"], DOCUMENT["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert "namespace" not in DOCUMENT["metadata"]
    assert len(RULES) == sum(len(group["rules"]) for group in DOCUMENT["spec"]["groups"]), "names are unique"
    assert RULES.keys() == {
        "LitellmLagoNoSuccess",
        "LitellmLagoNeverSucceeded",
        "LitellmLagoRunFailed",
        "LitellmLagoRunRefused",
        "LitellmLagoNotCertified",
        "LitellmLagoMissingQuantity",
        "LitellmLagoUnverified",
    }


@pytest.mark.parametrize("name", RULES)
def test_a_rule_asks_for_what_is_published_and_says_what_to_do(name: str) -> None:
    rule = RULES[name]
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert list(selectors(rule["expr"])), "it looks at something"
    assert wrong_names(rule["expr"]) == []
    promql_parser.parse_duration(rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description"}
    assert re.findall(r"[Ee]xit code (\d)", annotations["description"]), "which exit codes"
    documents = re.findall(r"docs/\w+\.md", annotations["description"])
    assert documents, "where to read on"
    assert all((_FOLDER.parent / document).is_file() for document in documents)
    assert set(re.findall(r"\$labels\.(\w+)", str(annotations))) <= {"command"}
    assert set(re.findall(r"litellm-lago ([a-z]+)", str(annotations))) <= set(cli.commands)
    assert set(re.findall(r"LitellmLago\w+", annotations["description"])) <= RULES.keys()


def test_two_firings_without_success_are_an_alert_and_one_is_none() -> None:
    limit = timedelta(seconds=int(RULES["LitellmLagoNoSuccess"]["expr"].rpartition(" > ")[2]))
    assert limit == 2 * gap() + longest()
    for name in ("LitellmLagoRunFailed", "LitellmLagoRunRefused"):
        assert f"< {limit.total_seconds():.0f}" in RULES[name]["expr"]
    assert promql_parser.parse_duration(RULES["LitellmLagoNeverSucceeded"]["for"]) > gap()


def test_the_findings_of_the_scheduled_run_alert_until_two_firings_have_passed() -> None:
    settled = timedelta(hours=3)  # the settlement lag, and the minutes to the full hour before it
    for name in ("LitellmLagoNotCertified", "LitellmLagoMissingQuantity", "LitellmLagoUnverified"):
        (seconds,) = re.findall(r"time\(\) - litellm_lago_window_end_seconds < (\d+)$", RULES[name]["expr"])
        assert 2 * gap() + longest() + settled <= timedelta(seconds=int(seconds)) < 3 * gap()


def test_the_dashboard_asks_for_what_is_published() -> None:
    for title, target in targets():
        assert list(selectors(target["expr"])), title
        assert wrong_names(target["expr"]) == [], title
        known = set().union(*(METRICS[str(selector.name)] for selector in selectors(target["expr"])))
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= known, title
    asked = {str(selector.name) for _, target in targets() for selector in selectors(target["expr"])}
    left_out = {"window_start_seconds", "window_end_seconds", "last_run_timestamp_seconds", "found_discrepancies"}
    assert asked == METRICS.keys() - {f"litellm_lago_{name}" for name in left_out}


def test_the_dashboard_names_no_host_and_no_data_source_of_its_own() -> None:
    text = json.dumps(DASHBOARD)
    assert "://" not in text
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variables["command"]["query"]["query"])[0]
    assert label in METRICS[metric]
    sources = [panel["datasource"] for panel in PANELS.values()] + [target["datasource"] for _, target in targets()]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert set(re.findall(r"\$(?!_)\{?(\w+)", text)) == variables.keys()


def test_panels_are_explained_and_do_not_overlap() -> None:
    assert len(PANELS) == len(DASHBOARD["panels"]) == len({panel["id"] for panel in PANELS.values()})
    cells = set[tuple[int, int]]()
    for title, panel in PANELS.items():
        assert panel["description"].endswith("."), title
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, title
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        own = set(product(across, down))
        assert not own & cells, title
        cells |= own


def test_alerts_fire_for_what_is_left_and_only_then(tmp_path: Path) -> None:
    """Prometheus' own tool plays `tests/data/alerts_test.yaml`, where Debian's package `prometheus` is installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here (Debian's package prometheus)")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(DOCUMENT["spec"]), encoding="utf-8")
    shutil.copy(Path(__file__).parents[1] / "data" / "alerts_test.yaml", tmp_path)
    played = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert played.returncode == 0, played.stdout + played.stderr
