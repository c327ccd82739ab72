"""The operator API with pile YQ-01 online and a simulated rail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg_pool import ConnectionPool

from database.pool import Connection
from payment_sim import keys as sim_keys
from payment_sim.keys import Keys
from tests.integration.rider_web.street_stand import StreetStand, standing


@pytest.fixture(scope="session")
def merchant_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """One merchant's keys; making RSA keys is slow."""
    return sim_keys.generate(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def stand(
    dsn: str, pool: ConnectionPool[Connection], merchant_keys: Keys, tmp_path: Path
) -> Iterator[StreetStand]:
    """Everything up, on free ports."""
    with standing(dsn, pool, merchant_keys, tmp_path) as stand:
        yield stand
