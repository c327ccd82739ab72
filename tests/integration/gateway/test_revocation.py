"""A pile that is shut out loses its connection within five seconds and does not get another until it is let in."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from psycopg_pool import ConnectionPool

from charging import certificates, pile_states
from database.pool import Connection
from gateway.certificate_authority import CertificateAuthority
from gateway.revocation_list import RevocationList
from pileway import home
from tests.integration.embedded import mqtt_client

if TYPE_CHECKING:
    from tests.conftest import Broker
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Any]
    Until = Callable[..., None]

CUT_WITHIN_S = 5.0
PILE = "YQ-01"


@pytest.fixture
def revoked(broker: "Broker", pool: ConnectionPool[Connection]) -> RevocationList:
    """The list of this broker's authority, written where the broker's own comes from."""
    path = broker.server.secrets / "device-ca.crl"
    authority = broker.device_authority
    return RevocationList(
        pool=pool,
        authority=CertificateAuthority(certificate=authority.certificate, key=authority.key),
        wall_clock=lambda: datetime.now(UTC),
        write=lambda pem: home.write_private(path, pem),
        known_pem=path.read_bytes(),
    )


@pytest.fixture
def kept(revoked: RevocationList) -> Iterator[RevocationList]:
    with revoked.kept():
        yield revoked


def is_let_in(broker: "Broker", pile_id: str) -> bool:
    """Whether the broker takes a new connection under the certificate the pile was given."""
    try:
        with mqtt_client.connected(
            broker.device_url,
            ca_path=broker.ca_path,
            certificate_path=broker.folder / f"{pile_id}.crt",
            key_path=broker.folder / f"{pile_id}.key",
            client_id=pile_id,
        ):
            return True
    except (OSError, ssl.SSLError):
        return False


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("shut_out", [pile_states.revoke, pile_states.quarantine])
def test_a_connected_pile_is_cut_off_within_five_seconds_and_stays_out(
    shut_out: Callable[..., object],
    broker: "Broker",
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    # Another pile's connection is not touched by any of it.
    other = connect_pile("YQ-02")
    other.boots()

    laid_out.change_state(PILE, shut_out)
    until(lambda: not pile.client.is_connected() and not is_let_in(broker, PILE), within_s=CUT_WITHIN_S)
    assert not laid_out.pile(PILE).online
    other.say(other.heartbeat())
    assert other.client.is_connected()
    assert is_let_in(broker, "YQ-02")


@pytest.mark.usefixtures("kept")
def test_a_released_pile_is_let_in_and_heard_again(
    broker: "Broker",
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    start_gateway()
    connect_pile(PILE).boots()
    laid_out.change_state(PILE, pile_states.quarantine)
    until(lambda: not is_let_in(broker, PILE))
    laid_out.change_state(PILE, pile_states.release)
    until(lambda: is_let_in(broker, PILE))
    assert laid_out.pile(PILE).state == "active"


def test_a_revoked_pile_is_cut_off_by_the_gateway_alone_whenever_it_speaks(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    laid_out.change_state(PILE, pile_states.revoke)
    until(lambda: gateway.health.warden.turned_out > 0, within_s=CUT_WITHIN_S)
    until(pile.client.is_connected)

    def refused() -> bool:
        frame = pile.seal(pile.heartbeat())
        pile.client.publish(frame.topic, frame.payload, qos=1)
        return "pile_revoked" in laid_out.refusals()

    until(refused)


def test_a_revoked_pile_is_refused_by_a_broker_that_starts_again(
    broker: "Broker", connect_pile: "ConnectPile", laid_out: "Street", revoked: RevocationList, until: "Until"
) -> None:
    connect_pile(PILE).close()
    laid_out.change_state(PILE, pile_states.revoke)
    assert revoked.refresh()
    broker.restart()
    assert not is_let_in(broker, PILE)


def test_the_list_is_made_anew_only_when_it_changes_and_always_with_a_later_date(
    connect_pile: "ConnectPile", laid_out: "Street", revoked: RevocationList
) -> None:
    connect_pile(PILE)
    dates: list[datetime] = []
    for change in (pile_states.quarantine, pile_states.release, pile_states.revoke):
        laid_out.change_state(PILE, change)
        assert revoked.refresh()
        assert not revoked.refresh()
        assert revoked.known_pem is not None
        dates.append(x509.load_pem_x509_crl(revoked.known_pem).last_update_utc)
    assert dates == sorted(set(dates))


def test_the_list_names_a_pile_that_enrolled_anew_by_its_old_certificate_only(
    broker: "Broker", laid_out: "Street", revoked: RevocationList
) -> None:
    old, new = broker.issue_pile("YQ-03"), broker.issue_pile("YQ-04")
    laid_out.enrol(PILE, certificate=old.certificate_path)
    laid_out.enrol(PILE, certificate=new.certificate_path)
    revoked.refresh()
    assert revoked.known_pem is not None
    listed = {entry.serial_number for entry in x509.load_pem_x509_crl(revoked.known_pem)}
    assert listed == {x509.load_pem_x509_certificate(old.certificate_path.read_bytes()).serial_number}


def test_a_certificate_that_has_expired_leaves_the_list(
    pool: ConnectionPool[Connection], laid_out: "Street"
) -> None:
    laid_out.enrol(PILE)
    laid_out.change_state(PILE, pile_states.revoke)
    with pool.connection() as conn:
        assert len(certificates.barred(conn, unexpired_at=datetime.now(UTC))) == 1
        assert certificates.barred(conn, unexpired_at=datetime(2100, 1, 1, tzinfo=UTC)) == []
