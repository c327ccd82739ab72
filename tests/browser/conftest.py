"""A phone's browser (Debian's Chromium) before the API process with pile YQ-01 online and a simulated rail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from psycopg_pool import ConnectionPool

from database.pool import Connection
from tests.integration.rider_web.street_house import StreetHouse, building
from tests.integration.rider_web.street_stand import StreetStand, standing

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreetHouse]:
    """What all stands of this worker share."""
    with building(tmp_path_factory.mktemp("keys")) as house:
        yield house


@pytest.fixture
def stand(
    dsn: str, pool: ConnectionPool[Connection], house: StreetHouse, tmp_path: Path
) -> Iterator[StreetStand]:
    """Everything up."""
    with standing(dsn, pool, house, tmp_path) as stand:
        yield stand


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; playwright's event loop must not outlive the module, or others cannot run theirs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
