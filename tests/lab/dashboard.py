"""The dashboard and the alerts of docs/, as tests and pictures read them."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import yaml

from lab import PROJECT

DASHBOARD = PROJECT / "docs" / "grafana" / "cfmiddleware.json"
PICTURES = PROJECT / "docs" / "grafana" / "pictures"
RULES = PROJECT / "docs" / "prometheus" / "cfmiddleware.rules.yml"
RULE_TESTS = [RULES.with_name(f"{name}.test.yml") for name in ("cfmiddleware", "cfmiddleware-ages")]
RUNBOOK = PROJECT / "docs" / "runbook.rst"


class Target(NamedTuple):
    """One query of a panel.

    :param expression: as it stands in the dashboard.
    :param legend: how its series are named; `{{label}}` stands for a label's value.
    """

    expression: str
    legend: str

    def asked(self, job: str, window: str) -> str:
        """Return the expression as Grafana sends it to Prometheus.

        :param window: the time over which rates are.
        """
        text = self.expression.replace("$__rate_interval", window)
        return text.replace("$job", job).replace("$instance", ".*")

    def named(self, labels: dict[str, str]) -> str:
        """Return the name of a series."""
        return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), self.legend)


class Panel(NamedTuple):
    """A panel of the dashboard."""

    row: str
    title: str
    text: str
    unit: str
    is_stacked: bool
    targets: list[Target]

    @property
    def file_name(self) -> str:
        """The name of its picture."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") + ".svg"


def panels() -> list[Panel]:
    """Return every panel, in the order in which they stand."""
    found, row = [], ""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        defaults = panel["fieldConfig"]["defaults"]
        found.append(
            Panel(
                row,
                panel["title"],
                panel["description"],
                defaults["unit"],
                defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal",
                [Target(target["expr"], target["legendFormat"]) for target in panel["targets"]],
            )
        )
    return found


def rules() -> list[dict[str, Any]]:
    """Return every alert."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def without_thresholds(expression: str) -> list[str]:
    """Return what an alert looks at: each expression that `and` joins, less its last comparison, and less a
    second look at another metric; of what is absent, what is looked for.
    """
    if (absent := re.fullmatch(r"absent\((.*)\)", expression.strip())) is not None:
        return [absent[1]]
    parts = re.split(r"\n\s*(?:and\s*\n|> 3 \* )", expression.strip())
    return [re.sub(r"\s*(?:>|==)\s*[0-9.]+$", "", part.strip()) for part in parts]
