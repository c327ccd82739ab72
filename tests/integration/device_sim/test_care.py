"""A pile on a real broker takes new keys and new firmware, and restarts in order."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim import FleetThread, PileConfig
from protocol import frames
from protocol.envelope import Counter, Opener, Sealer
from protocol.firmware import Manifest, sign
from protocol.messages import (
    Boot,
    CommandAck,
    Firmware,
    FirmwareState,
    KeyRotate,
    PortSet,
    Query,
    Reboot,
    StartAck,
    TimeRequest,
)
from protocol.topics import Direction
from protocol.words import BootReason, CommandResult, FirmwareError, FirmwareStep, QueryTopic
from tests.integration.device_sim.test_link import start_of

if TYPE_CHECKING:
    from tests.integration.device_sim.conftest import Platform, StreetClock

NEW_SECRET = bytes(range(32, 64))
MAKER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LIMIT_S = 20.0


def later_ms(platform: "Platform") -> int:
    """A deadline some real seconds away."""
    return platform.clock.ms() + 20_000_000


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something, with a limit."""
    limit_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit_s, "what was waited for did not come"


def test_a_pile_asks_for_the_time_once_it_is_heard(platform: "Platform", fleet: FleetThread) -> None:
    assert fleet.ask(lambda fleet: fleet.pile("P-1").pile.outbox.open)
    platform.wait_for(TimeRequest)


def test_a_reboot_is_acknowledged_before_the_pile_goes(platform: "Platform", fleet: FleetThread) -> None:
    reboot = Reboot(uuid4(), False, later_ms(platform))
    platform.say(reboot)
    [answer] = platform.wait_for(CommandAck)
    assert (answer.command_id, answer.result) == (reboot.command_id, CommandResult.DONE)
    boots = platform.wait_for(Boot, lambda heard: len(heard) >= 2)
    assert [boot.reason for boot in boots[:2]] == [BootReason.POWER, BootReason.COMMAND]
    fleet.wait_ready(LIMIT_S)


def test_a_power_cut_after_a_reboot_is_a_power_cut_again(platform: "Platform", fleet: FleetThread) -> None:
    platform.say(Reboot(uuid4(), False, later_ms(platform)))
    platform.wait_for(Boot, lambda heard: len(heard) >= 2)
    fleet.wait_ready(LIMIT_S)
    fleet.cut_power("P-1", 0.0)
    boots = platform.wait_for(Boot, lambda heard: heard[-1].reason is BootReason.POWER and len(heard) >= 3)
    assert boots[-1].reason is BootReason.POWER


def test_a_frame_heard_before_a_power_cut_is_a_replay_after_it(
    platform: "Platform", fleet: FleetThread
) -> None:
    topic, payload = platform.say(PortSet(uuid4(), 9, False, later_ms(platform)))
    platform.wait_for(CommandAck)
    fleet.cut_power("P-1", 0.0)
    platform.wait_for(Boot, lambda heard: len(heard) >= 2)
    fleet.wait_ready(LIMIT_S)
    platform.client.publish(topic, payload, qos=1)
    wait_until(lambda: fleet.ask(lambda fleet: fleet.pile("P-1").refused["replayed"]) == 1)
    assert len(platform.heard(CommandAck)) == 1


@dataclass
class Rotated:
    """The platform's end once it knows the next secret, too."""

    platform: "Platform"
    seq: int = 0
    epochs: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self._sealer = Sealer(NEW_SECRET, epoch=2, direction=Direction.DOWN)
        secrets = {1: bytes(range(32)), 2: NEW_SECRET}
        # The platform reads both epochs from the moment it has sent the new secret.
        self.platform.read_with(Opener(secrets, direction=Direction.UP))

    def say(self, message: Query) -> None:
        """Tell the pile something under the new epoch."""
        self.seq += 1
        frame = frames.seal(message, sealer=self._sealer, pile_id="P-1", counter=Counter(1, self.seq))
        self.platform.client.publish(frame.topic, frame.payload, qos=1)


def test_a_key_is_rotated_in_the_middle_of_a_session_and_over_a_power_cut(
    platform: "Platform", fleet: FleetThread
) -> None:
    platform.say(start_of(platform))
    platform.wait_for(StartAck)
    rotated = Rotated(platform)
    platform.say(KeyRotate(uuid4(), 2, NEW_SECRET, later_ms(platform)))
    [answer] = platform.wait_for(CommandAck)
    assert answer.result is CommandResult.DONE
    first = next(heard for heard in platform.received if heard.epoch == 2)
    assert isinstance(first.message, CommandAck)
    counters = [heard.counter for heard in platform.received]
    assert first.counter == max(counters[: platform.received.index(first) + 1])
    # Still under the old epoch, then under the new one: both are taken, once.
    platform.say(Query(uuid4(), QueryTopic.STATUS, later_ms(platform)))
    platform.wait_for(CommandAck, lambda heard: len(heard) == 2)
    fleet.cut_power("P-1", 0.0)
    platform.wait_for(Boot, lambda heard: len(heard) >= 2)
    assert platform.received[-1].epoch == 2
    # The pile has not heard the platform under the new epoch yet, and still takes the old one.
    fleet.wait_ready(LIMIT_S)
    rotated.say(Query(uuid4(), QueryTopic.STATUS, later_ms(platform)))
    platform.wait_for(CommandAck, lambda heard: len(heard) == 3)
    platform.say(Query(uuid4(), QueryTopic.STATUS, later_ms(platform)))
    wait_until(lambda: fleet.ask(lambda fleet: fleet.pile("P-1").refused["unknown_epoch"]) == 1)
    assert len(platform.heard(CommandAck)) == 3


@dataclass
class Files:
    """A file server: what it gives, with which status, how often it was asked."""

    url: str = ""
    content: bytes = b""
    statuses: list[int] = field(default_factory=list[int])
    asked: int = 0


@pytest.fixture
def files() -> Iterator[Files]:
    """A running HTTP server of one file."""
    files = Files()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files.asked += 1
            self.send_response(files.statuses.pop(0) if files.statuses else 200)
            self.send_header("Content-Length", str(len(files.content)))
            self.end_headers()
            try:
                self.wfile.write(files.content)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Tests need no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files.url = f"http://127.0.0.1:{server.server_address[1]}/image"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield files
    server.shutdown()
    server.server_close()
    thread.join(LIMIT_S)


@pytest.fixture
def known_maker(config: PileConfig, platform: "Platform", clock: "StreetClock") -> Iterator[FleetThread]:
    """The pile with its maker's key, running and acknowledged."""
    config = replace(config, firmware_key=MAKER.public_key().public_bytes_raw())
    with FleetThread([config], clock=clock, speed=clock.speed) as fleet:
        fleet.wait_ready(LIMIT_S)
        yield fleet


def firmware_of(
    platform: "Platform", files: Files, *, boots: bool = True, url: str | None = None
) -> Firmware:
    """A signed command for what the server holds; the window is open for long."""
    files.content = json.dumps({"model": "PW-SIM", "version": "3.1", "boots": boots}).encode().ljust(100_000)
    sha256 = hashlib.sha256(files.content).digest()
    manifest = Manifest("PW-SIM", "3.1", "0.1", len(files.content), sha256)
    return Firmware(
        command_id=uuid4(),
        version="3.1",
        model="PW-SIM",
        url=url or files.url,
        size_bytes=len(files.content),
        sha256=sha256,
        signature=sign(MAKER, manifest),
        minimum_version="0.1",
        window_from_ms=platform.clock.ms(),
        window_to_ms=platform.clock.ms() + 200_000_000,
        force=False,
        expires_at_ms=later_ms(platform),
    )


def ended(states: list[FirmwareState]) -> bool:
    """Whether the newest state is an end."""
    return bool(states) and states[-1].step in (FirmwareStep.DONE, FirmwareStep.FAILED)


def test_firmware_is_downloaded_installed_and_told_step_by_step(
    platform: "Platform", known_maker: FleetThread, files: Files
) -> None:
    files.statuses = [503]
    platform.say(firmware_of(platform, files))
    states = platform.wait_for(FirmwareState, ended)
    steps = list(dict.fromkeys(state.step for state in states))
    assert steps == list(FirmwareStep)[:6]
    assert (states[-1].running, files.asked) == ("3.1", 2)
    boot = platform.heard(Boot)[-1]
    assert (boot.reason, boot.firmware) == (BootReason.OTA, "3.1")


def test_firmware_that_does_not_boot_leaves_the_old_running(
    platform: "Platform", known_maker: FleetThread, files: Files
) -> None:
    platform.say(firmware_of(platform, files, boots=False))
    states = platform.wait_for(FirmwareState, ended)
    assert (states[-1].error, states[-1].running) == (FirmwareError.BOOT_FAILED, "0.1.0")
    assert platform.heard(Boot)[-1].firmware == "0.1.0"


def test_a_server_that_sends_more_than_announced_is_cut_off(
    platform: "Platform", known_maker: FleetThread, files: Files
) -> None:
    command = firmware_of(platform, files)
    files.content += b"x"
    platform.say(command)
    states = platform.wait_for(FirmwareState, ended)
    assert (states[-1].error, files.asked) == (FirmwareError.SIZE, 1)


def test_an_address_that_is_no_web_address_is_not_followed(
    platform: "Platform", known_maker: FleetThread, files: Files
) -> None:
    platform.say(firmware_of(platform, files, url="file:///etc/hostname"))
    states = platform.wait_for(FirmwareState, ended)
    assert states[-1].error is FirmwareError.DOWNLOAD
