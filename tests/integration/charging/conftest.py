"""The stand most tests of charging begin with."""

from datetime import timedelta

import pytest

from charging import enrolment
from charging.enrolment import SecretVault
from database.pool import Connection
from pileway import street
from tests.integration.charging.stand import NOW, PILE, Stand, bring_up


@pytest.fixture
def stand(conn: Connection) -> Stand:
    street.lay_out(conn, now=NOW - timedelta(days=1))
    enrolment.provision(
        conn,
        SecretVault(b"k" * 32),
        pile_id=PILE,
        secret=b"s" * 32,
        certificate_serial="1",
        certificate_expires_at=NOW + timedelta(days=365),
        now=NOW - timedelta(hours=2),
    )
    bring_up(conn, boot=1)
    return Stand(conn)
