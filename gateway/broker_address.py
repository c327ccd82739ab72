"""The way into the broker on the gateway's side: `mqtts://` anywhere, `mqtt://` on this machine alone."""

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from gateway.errors import BrokerUrlInvalid

_DEFAULT_PORTS = {"mqtts": 8883, "mqtt": 1883}


@dataclass(frozen=True)
class BrokerAddress:
    """A broker's host and port, and whether its connections are encrypted."""

    host: str
    port: int
    encrypted: bool

    @classmethod
    def parse(cls, url: str) -> "BrokerAddress":
        """Read `mqtts://host[:port]`, or `mqtt://` of a loopback address. Raises BrokerUrlInvalid."""
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        except ValueError:
            raise BrokerUrlInvalid(url) from None
        host = parts.hostname or ""
        if not port or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise BrokerUrlInvalid(url)
        encrypted = parts.scheme == "mqtts"
        if not encrypted and not _is_this_machine(host):
            raise BrokerUrlInvalid(url)
        return cls(host, port, encrypted)


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files of the gateway's side of mutual TLS."""

    broker_ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Trust in the broker's authority alone, and our own certificate. Raises OSError, ssl.SSLError."""
        context = ssl.create_default_context(cafile=str(self.broker_ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self.certificate), str(self.key))
        return context


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
