"""Turns a pile out of the broker: connects under its client id where gateways are let in, and leaves again.

MQTT knows one session a client id: a second connection under it ends the first (MQTT 5, 3.1.4), which is told so and
closed, and its session and what waits in it are gone. A pile may not choose its client id and a gateway may, so that
only a gateway can do this. Whether the pile comes back is the certificate's affair.
"""

import ssl
from contextlib import closing, suppress

import structlog
from mqtt5 import ConnectPacket, DisconnectPacket

from gateway.broker_address import BrokerAddress, TlsFiles
from gateway.connection import Connection
from gateway.errors import BrokerRefused, LinkLost

TIMEOUT_S = 3.0

log = structlog.get_logger()


class Doorman:
    """Knows the way in; each turning out is a connection of its own. One thread uses it: the warden's."""

    def __init__(self, *, broker_url: str, tls: TlsFiles) -> None:
        """`broker_url` is the gateways' side. Raises BrokerUrlInvalid."""
        self._address = BrokerAddress.parse(broker_url)
        self._tls = tls
        self._context: ssl.SSLContext | None = None

    def turn_out(self, pile_id: str) -> bool:
        """End the pile's connection, if it has one, and its session; False when the broker could not be reached."""
        try:
            connection = Connection.open(
                self._address,
                hello=ConnectPacket(pile_id, clean_start=True),
                context=self._tls_context(),
                within_s=TIMEOUT_S,
            )
        except (OSError, LinkLost, BrokerRefused) as error:
            log.warning("pile_not_turned_out", pile_id=pile_id, error=type(error).__name__)
            return False
        with closing(connection), suppress(OSError):
            connection.wire.send(DisconnectPacket().write())
        return True

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._context is None and self._address.encrypted:
            self._context = self._tls.context()
        return self._context
