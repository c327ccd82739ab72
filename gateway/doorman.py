"""Turns a pile out of the broker: connects under its client id where gateways are let in, and leaves again.

MQTT knows one session a client id: a second connection under it ends the first (MQTT 5, 3.1.4), which is told so and
closed, and its session and what waits in it are gone. A pile may not choose its client id and a gateway may, so that
only a gateway can do this. Whether the pile comes back is the certificate's affair.
"""

import socket
import ssl
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import structlog
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from gateway.link import TlsFiles

TIMEOUT_S = 3.0
_DEFAULT_PORT = 8883

log = structlog.get_logger()


class Doorman:
    """Knows the way in; each turning out is a connection of its own. One thread uses it: the warden's."""

    def __init__(self, *, broker_url: str, tls: TlsFiles) -> None:
        """`broker_url` is the gateways' side, checked by the links."""
        address = urlsplit(broker_url)
        self._host = address.hostname or ""
        self._port = address.port or _DEFAULT_PORT
        self._tls = tls
        self._context: ssl.SSLContext | None = None

    def turn_out(self, pile_id: str) -> bool:
        """End the pile's connection, if it has one, and its session; False when the broker could not be reached."""
        connected = Event()

        def on_connect(_client: Client, _userdata: Any, _flags: Any, reason: ReasonCode, _p: Any) -> None:
            if not reason.is_failure:
                connected.set()

        client = Client(CallbackAPIVersion.VERSION2, client_id=pile_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.tls_set_context(self._tls_context())  # pyright: ignore[reportUnknownMemberType]  # paho's gap
        client.connect_timeout = TIMEOUT_S
        client.on_connect = on_connect
        try:
            client.connect(self._host, self._port, clean_start=True)
            while not connected.is_set() and client.loop(TIMEOUT_S) is MQTTErrorCode.MQTT_ERR_SUCCESS:
                continue
        except (OSError, ssl.SSLError) as error:
            log.warning("pile_not_turned_out", pile_id=pile_id, error=type(error).__name__)
            return False
        finally:
            client.disconnect()
            _close(client)
        return connected.is_set()

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self._tls.broker_ca))
            self._context.load_cert_chain(str(self._tls.certificate), str(self._tls.key))
        return self._context


def _close(client: Client) -> None:
    sock = client.socket()
    if isinstance(sock, socket.socket):
        sock.close()
