"""The dashboard, the alerts, the runbook and the pictures fit each other and the metrics that there are."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
import yaml
from lab import PROJECT, dashboard
from lab.dashboard_pictures import Line, Span, picture, queries

from cfmiddleware.metrics import names
from cfmiddleware.metrics.kinds import Counter, Gauge, Histogram

PAGE = PROJECT / "docs" / "dashboard.rst"
SVG = "{http://www.w3.org/2000/svg}"


def exposed() -> set[str]:
    """Return the name of every time series that there is."""
    found = {"up"}
    for metric in names.STATE.metrics.values():
        if isinstance(metric, Histogram):
            found |= {f"{metric.name}_{end}" for end in ("bucket", "sum", "count")}
        elif isinstance(metric, Gauge):
            found.add(metric.name)
        elif isinstance(metric, Counter):
            found.add(f"{metric.name}_total")
    return found


def used(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:cfmiddleware|registry)_\w+|up)\{", expression))


def expressions() -> list[str]:
    panels = [target.expression for panel in dashboard.panels() for target in panel.targets]
    return panels + [rule["expr"] for rule in dashboard.rules()]


@pytest.mark.parametrize("expression", expressions())
def test_queries_ask_for_metrics_that_are_there(expression: str):
    assert used(expression)
    assert used(expression) <= exposed()


def test_every_metric_is_on_the_dashboard():
    asked = set().union(
        *(used(target.expression) for panel in dashboard.panels() for target in panel.targets)
    )
    stems = {re.sub(r"_(total|bucket)$", "", name) for name in asked}
    # Distribution has a gauge whose name ends like a counter's.
    assert {name.removesuffix("_total") for name in names.STATE.metrics} - stems == set()


def test_the_dashboard_is_one_that_grafana_10_reads():
    board = json.loads(dashboard.DASHBOARD.read_text(encoding="utf-8"))
    assert board["schemaVersion"] >= 38
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource", "job", "instance"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    assert board["panels"][0]["title"] == "Offload"


def test_every_panel_has_its_picture_on_the_page_drawn_from_its_queries():
    page = PAGE.read_text(encoding="utf-8")
    files = set()
    for panel in dashboard.panels():
        files.add(panel.file_name)
        assert f".. figure:: grafana/pictures/{panel.file_name}\n   :alt: {panel.title}\n" in page
        assert panel.text in page
        drawn = ElementTree.parse(dashboard.PICTURES / panel.file_name).getroot()
        description = drawn.findtext(f"{SVG}desc")
        assert description == queries(panel), f"{panel.title}: run scripts/dashboard-pictures"
        assert drawn.findall(f"{SVG}polyline"), panel.title
    assert {path.name for path in dashboard.PICTURES.iterdir()} == files


def test_every_alert_has_its_section_in_the_runbook_and_a_test_that_makes_it_fire():
    runbook = dashboard.RUNBOOK.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^(\w+)\n-+\n\n\*(Page|Ticket)\.\*", runbook, re.MULTILINE))
    alerts = {rule["alert"]: rule["labels"]["severity"].capitalize() for rule in dashboard.rules()}
    assert alerts == sections
    for rule in dashboard.rules():
        assert rule["annotations"]["runbook"] == f"docs/runbook.rst#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"].endswith(".")
    fired = set()
    for path in dashboard.RULE_TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for expected in test["promql_expr_test"]:
                for sample in expected["exp_samples"]:
                    fired |= set(re.findall(r'alertname="(\w+)"', sample["labels"]))
    assert fired == set(alerts)


def test_a_picture_has_a_line_for_each_series_and_a_gap_where_there_is_no_value():
    panel = dashboard.panels()[3]
    assert panel.is_stacked
    span = Span(1000, 1040, 10)
    steady = Line("a", dict.fromkeys(span.times, 1.0))
    drawn = ElementTree.fromstring(picture(panel, [steady, steady._replace(name="<b>")], span))
    assert [text.text for text in drawn.findall(f"{SVG}text")][-2:] == ["a", "<b>"]
    assert len(drawn.findall(f"{SVG}polygon")) == 2

    gap = Line("a", {1000.0: 1.0, 1010.0: 1.0, 1040.0: 1.0})
    drawn = ElementTree.fromstring(picture(dashboard.panels()[0], [gap], span))
    assert len(drawn.findall(f"{SVG}polyline")) == 2
