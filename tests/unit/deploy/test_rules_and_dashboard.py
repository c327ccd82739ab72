"""What deploy/ gives an operator can be loaded, and each alert says what it means and what to do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pileway.settings import Settings
from pileway.telemetry.server import PORT_AFTER_FIRST
from tests import deploy_files

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
SEVERITIES = {"page", "ticket"}


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    return deploy_files.alerts()


def test_every_alert_says_why_it_matters_and_what_to_do(alerts: list[dict[str, Any]]) -> None:
    assert len({alert["alert"] for alert in alerts}) == len(alerts) > 20
    for alert in alerts:
        assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", alert["for"])
        assert alert["labels"]["severity"] in SEVERITIES
        assert set(alert["annotations"]) == {"summary", "why", "do", "runbook"}
        assert all(len(words) > 20 for words in alert["annotations"].values()), alert["alert"]
        assert re.search(r"[<>=]", alert["expr"]), "an alert compares something"
        assert alert["expr"].count("(") == alert["expr"].count(")")


def test_every_runbook_is_a_heading_of_the_operations_document(alerts: list[dict[str, Any]]) -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for alert in alerts:
        document, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert document == "docs/operations.md"
        assert anchor in anchors, alert["alert"]


def test_prometheus_scrapes_the_ports_that_are_served() -> None:
    jobs = deploy_files.read_yaml(deploy_files.SCRAPING)["scrape_configs"]
    targets = {
        target["labels"]["process"]: int(target["targets"][0].rsplit(":", 1)[1])
        for job in jobs
        for target in job["static_configs"]
    }
    first = Settings.model_fields["metrics_port"].default
    assert targets == {process: first + after for process, after in PORT_AFTER_FIRST.items()}


def test_the_dashboard_has_its_rows_and_no_panel_without_a_query() -> None:
    panels = json.loads(deploy_files.DASHBOARD.read_text())["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Ingest", "Latency", "Commands", "Database", "Broker", "Business", "Processes"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"]), panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_rules_and_dashboard_name_metrics() -> None:
    for expression in deploy_files.dashboard_expressions():
        assert deploy_files.metrics_in(expression), expression
