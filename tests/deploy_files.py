"""The files in deploy/ that others run: what they say, and which metrics they name."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import playwright

DEPLOY = Path(__file__).parents[1] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
SCRAPING = DEPLOY / "prometheus" / "prometheus.yml"
DASHBOARD = DEPLOY / "grafana" / "pileway.json"
PARSE_LIMIT_S = 60

# The browser tests' driver brings a whole YAML parser, and Python has none.
_DRIVER = Path(playwright.__file__).parent / "driver"
_PARSE = """
const {yaml} = require(process.argv[1]);
const text = require('fs').readFileSync(process.argv[2], 'utf8');
console.log(JSON.stringify(yaml.parse(text, {strict: true})));
"""


def read_yaml(path: Path) -> Any:
    """What a YAML file says; fails where it is none."""
    parser = str(_DRIVER / "package" / "lib" / "utilsBundle.js")
    done = subprocess.run(
        [str(_DRIVER / "node"), "-e", _PARSE, parser, str(path)],
        capture_output=True,
        text=True,
        timeout=PARSE_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def alerts() -> list[dict[str, Any]]:
    """Every alert rule."""
    return [rule for group in read_yaml(ALERTS)["groups"] for rule in group["rules"]]


def dashboard_expressions() -> Iterator[str]:
    """Every query of the dashboard."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def metrics_in(expression: str) -> set[str]:
    """The names of our metrics in a query."""
    return set(re.findall(r"\b(?:pileway|process)_[a-z0-9_]+", expression))
