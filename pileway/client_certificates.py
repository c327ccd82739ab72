"""Hands the client certificate of a TLS connection to the application, as the ASGI TLS extension has it.

uvicorn checks client certificates but does not tell the application whose it was. Each connection is a protocol
object of its own, so the application it serves can be given its certificate with every request.
"""

import asyncio
import ssl

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol


class ClientCertificateProtocol(H11Protocol):
    """HTTP/1.1 whose requests carry the connection's checked client certificate, if there is one."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Look at the handshake that has just ended."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der is not None:
            self.app = _with_certificate(self.app, ssl.DER_cert_to_PEM_cert(der))


def _with_certificate(app: ASGI3Application, certificate_pem: str) -> ASGI3Application:
    async def serve(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        extensions = dict(scope.get("extensions") or {})
        extensions["tls"] = {"client_cert_chain": (certificate_pem,)}
        await app({**scope, "extensions": extensions}, receive, send)  # type: ignore[arg-type]  # one key more

    return serve
