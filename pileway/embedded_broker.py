"""A private Mosquitto under the home folder: one listener for piles, one for the gateway, both mutual TLS.

A pile's certificate names it: the common name is its user name and its client id, and the ACL patterns let it
write and read only its own topics. A revoked certificate is refused from the moment the broker has read the list
again; the connection it has is the gateway's to end. The service listener trusts another authority, so that no
pile can reach it. Queues are sized so that the broker drops nothing silently in the hours a gateway may be away.
"""

import os
import shutil
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from pileway import account, certificates, guard, home, server_log
from pileway.certificates import Authority
from pileway.errors import NotReady, PartMissing, PortTaken
from pileway.revocation_watch import RevocationWatch
from pileway.running_process import RunningProcess

READY_LIMIT_S = 20.0
STOP_LIMIT_S = 20.0

GATEWAY_USER = "gateway"
MAX_PACKET_SIZE_BYTES = 65_536
MAX_INFLIGHT_MESSAGES = 4_000
MAX_QUEUED_MESSAGES = 1_000_000
AUTOSAVE_INTERVAL_S = 5

_POLL_S = 0.02
_PORT_TRIES = 5
_CONNECT_LIMIT_S = 1.0
_SEARCH_PATH = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/sbin", "/opt/homebrew/bin")

_CONFIG = """\
# Written by pileway at each start; changes made here are lost.
per_listener_settings true
persistence true
persistence_location {data}/
autosave_interval {autosave_interval_s}
persistent_client_expiration 14d
max_inflight_messages {max_inflight_messages}
max_queued_messages {max_queued_messages}
max_packet_size {max_packet_size_bytes}
set_tcp_nodelay true
retain_available false
log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S

listener {device_port} {bind_address}
cafile {folder}/device-ca.crt
crlfile {folder}/device-ca.crl
certfile {folder}/server.crt
keyfile {folder}/server.key
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
allow_zero_length_clientid false
acl_file {folder}/device.acl

listener {service_port} 127.0.0.1
cafile {folder}/service-ca.crt
certfile {folder}/server.crt
keyfile {folder}/server.key
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
allow_anonymous false
allow_zero_length_clientid false
acl_file {folder}/service.acl
"""

_DEVICE_ACL = """\
pattern write v1/+/%u/up/+
pattern read v1/+/%u/down/+
"""

_SERVICE_ACL = f"""\
user {GATEWAY_USER}
topic read v1/+/+/up/+
topic write v1/+/+/down/+
topic read $SYS/#
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class BrokerAddress:
    """Where the started broker listens, and the files its clients need."""

    device_url: str
    service_url: str
    server_ca_path: Path
    gateway_certificate_path: Path
    gateway_key_path: Path


@dataclass
class EmbeddedBroker(RunningProcess):
    """One broker and its folder; `start` and `stop` may be called in turn."""

    stop_signal = signal.SIGTERM
    stop_limit_s = STOP_LIMIT_S

    folder: Path
    secrets: Path
    log_path: Path
    device_port: int | None = None
    service_port: int | None = None
    bind_address: str = "127.0.0.1"
    device_authority_path: Path | None = None
    revocation_list_path: Path | None = None
    addition: str = ""
    """More lines of configuration; `{folder}` in them is where the certificates are."""
    name: str = "broker"
    _log_start: int = field(default=0, init=False)
    _revocations: RevocationWatch | None = field(default=None, init=False)

    def start(self) -> BrokerAddress:
        """Start the broker with its certificates and rules; raises a `PartFailed` that says what is wrong.

        A later start keeps the ports, so that its clients find it again.
        """
        program = _find_program()
        owner = account.for_servers()
        account.give(self.folder, owner)
        account.give(self.folder / "data", owner)
        account.open_way(self.folder, owner)
        self._write_certificates(owner)
        revocations = self._revocations_for(owner)
        revocations.copy()
        device_port, service_port = self._launch_on_free_ports(program, owner)
        revocations.start()
        self._revocations = revocations
        self.device_port, self.service_port = device_port, service_port
        log.info("broker_started", device_port=device_port, service_port=service_port)
        return BrokerAddress(
            device_url=f"mqtts://{_told_address(self.bind_address)}:{device_port}",
            service_url=f"mqtts://127.0.0.1:{service_port}",
            server_ca_path=self.secrets / "service-ca.crt",
            gateway_certificate_path=self.secrets / "gateway.crt",
            gateway_key_path=self.secrets / "gateway.key",
        )

    def stop(self) -> None:
        """Stop the broker in order."""
        if self._revocations is not None:
            self._revocations.stop()
        super().stop()

    def kill9(self) -> None:
        """Kill it at once, as a power cut would; for tests."""
        if self._revocations is not None:
            self._revocations.stop()
        super().kill9()

    def _revocations_for(self, owner: tuple[int, int] | None) -> RevocationWatch:
        if self._revocations is not None:
            self._revocations.stop()
        source = self.revocation_list_path
        if source is None:
            source = self.secrets / "device-ca.crl"
            authority = certificates.load_or_create_authority(self.secrets, "device-ca")
            certificates.keep_revocation_list(source, authority)
        return RevocationWatch(
            source=source, copy=self.folder / "device-ca.crl", owner=owner, reload=self._read_again
        )

    def _read_again(self) -> None:
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGHUP)

    def _write_certificates(self, owner: tuple[int, int] | None) -> None:
        service = certificates.load_or_create_authority(self.secrets, "service-ca")
        server = certificates.kept_server(
            self.secrets, "broker", authority=service, names=certificates.machine_names(self.bind_address)
        )
        if not self._gateway_still_serves(service):
            gateway = certificates.issue_client(service, GATEWAY_USER)
            home.write_private(self.secrets / "gateway.key", gateway.key_pem)
            home.write_private(self.secrets / "gateway.crt", gateway.certificate_pem)
        for name, content in {
            "device-ca.crt": self._device_authority_pem(),
            "service-ca.crt": service.certificate_pem,
            "server.crt": server.certificate_pem,
            "server.key": server.key_pem,
            "device.acl": _DEVICE_ACL.encode(),
            "service.acl": _SERVICE_ACL.encode(),
        }.items():
            home.write_private(self.folder / name, content, owner=owner)

    def _device_authority_pem(self) -> bytes:
        if self.device_authority_path is not None:
            return self.device_authority_path.read_bytes()
        return certificates.load_or_create_authority(self.secrets, "device-ca").certificate_pem

    def _gateway_still_serves(self, service: Authority) -> bool:
        certificate_path, key_path = self.secrets / "gateway.crt", self.secrets / "gateway.key"
        return (
            certificate_path.exists()
            and key_path.exists()
            and certificates.still_serves(certificate_path.read_bytes(), authority=service)
        )

    def _launch_on_free_ports(self, program: Path, owner: tuple[int, int] | None) -> tuple[int, int]:
        for attempt in range(1, _PORT_TRIES + 1):
            device_port = home.remembered_port(self.folder.parent / "device.port", wanted=self.device_port)
            service_port = home.remembered_port(self.folder.parent / "service.port", wanted=self.service_port)
            try:
                self._launch(program, owner, device_port=device_port, service_port=service_port)
                self._wait_ready(device_port, service_port)
            except PortTaken:
                fixed = self.device_port is not None or self.service_port is not None
                if fixed or attempt == _PORT_TRIES:
                    raise
            else:
                return device_port, service_port
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _launch(
        self, program: Path, owner: tuple[int, int] | None, *, device_port: int, service_port: int
    ) -> None:
        for port in (device_port, service_port):
            if not home.port_is_free(port):
                raise PortTaken(f"Mosquitto cannot use port {port}: another program listens there")
        config = (_CONFIG + self.addition).format(
            folder=self.folder,
            data=self.folder / "data",
            autosave_interval_s=AUTOSAVE_INTERVAL_S,
            max_inflight_messages=MAX_INFLIGHT_MESSAGES,
            max_queued_messages=MAX_QUEUED_MESSAGES,
            max_packet_size_bytes=MAX_PACKET_SIZE_BYTES,
            device_port=device_port,
            service_port=service_port,
            bind_address=self.bind_address,
        )
        home.write_private(self.folder / "mosquitto.conf", config.encode(), owner=owner)
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with server_log.open_log(self.log_path) as output:
            self._process = guard.spawn(
                [program, "-c", self.folder / "mosquitto.conf"],
                death_signal=signal.SIGTERM,
                output=output,
                account=owner,
                directory=self.folder,
            )

    def _wait_ready(self, *ports: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                raise server_log.failure("Mosquitto", self.log_path, after=self._log_start)
            if all(_answers(port) for port in ports):
                return
            time.sleep(_POLL_S)
        self.stop()
        raise NotReady(
            f"Mosquitto did not answer within {READY_LIMIT_S:.0f} s. Its log {self.log_path} ends:\n"
            + server_log.tail(self.log_path, after=self._log_start)
        )


def _find_program() -> Path:
    path = os.pathsep.join((os.environ.get("PATH", ""), *_SEARCH_PATH))
    program = shutil.which("mosquitto", path=path)
    if program is None:
        raise PartMissing(
            "Mosquitto is not installed: run make setup, or install the package mosquitto"
            " (Debian, Ubuntu: apt-get install mosquitto; macOS: brew install mosquitto),"
            " or set PILEWAY_BROKER_URL to a broker of your own"
        )
    return Path(program)


def _told_address(bind_address: str) -> str:
    return socket.gethostname() if bind_address == "0.0.0.0" else bind_address  # noqa: S104 - compared, not bound


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_LIMIT_S):
            return True
    except OSError:
        return False
