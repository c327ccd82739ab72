"""The operator API with pile YQ-01 online and a simulated rail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg_pool import ConnectionPool

from database.pool import Connection
from tests.integration.rider_web.street_house import StreetHouse, building
from tests.integration.rider_web.street_stand import StreetStand, standing


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
