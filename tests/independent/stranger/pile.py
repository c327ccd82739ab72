"""Sections 7 to 9 of docs/protocol.md: a pile with its ports, whose sockets all hold the same battery.

Its clock may run faster than real time, as a test platform's does: then everything physical follows the clock, and
only repetitions are counted in real seconds.
"""

import time

from port import CHARGE_W, Port, Session
from samples import Samples
from wire import Body, Wire

PLUG_AFTER_MS = 20_000
MAINS_DV = 2_240
BOOT_WAITS_S = (5.0, 30.0, 60.0)
SETTLEMENT_WAITS_S = (10.0, 30.0, 120.0, 600.0, 1_800.0)

# Numbers of section 13.
OK, PENDING_PLUG, REFUSED = 1, 2, 3
PORT_BUSY, NO_SUCH_PORT, EXPIRED, SESSION_ENDED = 2, 4, 15, 18
STOPPED, ALREADY_ENDED, SESSION_MISMATCH, TOO_LATE = 1, 2, 3, 4
NO_LOAD = 11
BY_BOOT, BY_COMMAND, BY_LOAD, BY_FULL, BY_LIMIT = 1, 4, 5, 6, 7
CC, FLOATING = 0, 2
POWER_ON = 1
APP = 1
NO_CLOCK, SYNCED = 0, 2


class Pile:
    """A pile in service; `tick` is called often."""

    def __init__(self, wire: Wire, *, port_count: int, speed: float) -> None:
        self.settled = 0
        self.samples = Samples(wire.say)
        self._wire = wire
        self._speed = speed
        self._from_s = time.monotonic()
        self._from_ms = 0
        self._clock_state = NO_CLOCK
        self._ports = {number: Port(number, plugged=number == 1) for number in range(1, port_count + 1)}
        self._boot_due: tuple[float, int] | None = (0.0, 0)
        self._heartbeat_s, self._sample_s = 60, 30
        self._heartbeat_ms = self._sample_ms = 0
        self._answers: dict[bytes, tuple[str, Body]] = {}
        self._settlements: dict[bytes, Body] = {}
        self._settlement_due: dict[bytes, tuple[float, int]] = {}
        self._ended: set[bytes] = set()

    def tick(self) -> None:
        """Hear, live, and say what is due."""
        if not self._wire.connected:
            self._wire.connect(self._first_word)
            self._settlement_due = dict.fromkeys(self._settlements, (0.0, 0))
            self.samples.link_lost()
        while not self._wire.received.empty():
            self._hear(*self._wire.received.get_nowait())
        now_ms = self._now_ms()
        for port in self._ports.values():
            self._live(port, now_ms)
        self._say_what_is_due(now_ms)

    def _first_word(self) -> tuple[str, Body]:
        if self._boot_due is None:
            return "heartbeat", self._heartbeat(self._now_ms())
        self._boot_due = (time.monotonic() + BOOT_WAITS_S[0], 1)
        return "boot", self._boot()

    def _hear(self, name: str, body: Body) -> None:
        if name == "boot_ack":
            self._set_clock(body[1])
            self._heartbeat_s, self._sample_s = body[2], body[3]
            self._wire.reconnect_jitter_s = body[4]
            if self._boot_due is not None:
                self._boot_due = None
                self._wire.say("time_request", {1: self._now_ms()})
                for port in self._ports.values():
                    self._tell(port, BY_BOOT)
        elif self._boot_due is not None:
            return
        elif name == "start":
            self._start(body)
        elif name == "stop":
            self._stop(body)
        elif name == "settlement_ack":
            self.settled += self._settlements.pop(body[1], None) is not None
            self._settlement_due.pop(body[1], None)
        elif name == "meter_receipt":
            self.samples.hear(body)
        elif name == "time":
            self._set_clock(body[1])

    def _start(self, start: Body) -> None:
        command_id, session_id, number = start[1], start[2], start[3]
        if command_id not in self._answers:
            now_ms = self._now_ms()
            port = self._ports.get(number)
            answer: Body = {1: command_id, 2: session_id, 3: number, 4: REFUSED, 5: now_ms}
            if port is None:
                answer[7] = NO_SUCH_PORT
            elif now_ms > start[11]:
                answer[7] = EXPIRED
            elif session_id in self._ended:
                answer[7] = SESSION_ENDED
            elif port.session is not None:
                answer[7] = PORT_BUSY
            else:
                answer |= {4: OK if port.plugged else PENDING_PLUG, 6: port.register_dwh}
                port.session = Session(start, accepted_ms=now_ms, register_dwh=port.register_dwh)
            self._answers[command_id] = ("start_ack", answer)
        self._wire.say(*self._answers[command_id])
        if (port := self._ports.get(number)) is not None:
            self._tell(port, BY_COMMAND)

    def _stop(self, stop: Body) -> None:
        command_id, session_id, number = stop[1], stop[2], stop[3]
        port = self._ports.get(number)
        running = port is not None and port.session is not None and port.session.start[2] == session_id
        if command_id not in self._answers:
            if running:
                result = TOO_LATE if self._now_ms() > stop[5] else STOPPED
            else:
                result = ALREADY_ENDED if session_id in self._ended else SESSION_MISMATCH
            answer: Body = {1: command_id, 2: session_id, 3: number, 4: result, 5: self._now_ms()}
            self._answers[command_id] = ("stop_ack", answer)
        self._wire.say(*self._answers[command_id])
        if running and port is not None and self._answers[command_id][1][4] == STOPPED:
            self._end(port, stop[4], self._now_ms())

    def _live(self, port: Port, now_ms: int) -> None:
        session = port.session
        if session is None:
            return
        start = session.start
        if not port.plugged and now_ms >= session.accepted_ms + PLUG_AFTER_MS:
            port.plugged = True
        if not session.started_ms:
            if port.plugged:
                session.started_ms = session.until_ms = session.sampled_ms = now_ms
                power_dw = round(session.power_w * 10)
                self._wire.say(
                    "started",
                    {
                        1: start[1],
                        2: start[2],
                        3: port.number,
                        4: now_ms,
                        5: session.register_dwh,
                        6: power_dw,
                    },
                )
                self._tell(port, BY_LOAD)
            elif now_ms >= session.accepted_ms + start[9] * 1000:
                self._end(port, NO_LOAD, now_ms)
            return
        if session.look(now_ms):
            self._tell(port, BY_FULL)
        reason = session.end_reason(now_ms)
        if reason is not None:
            self._end(port, reason, session.until_ms)

    def _end(self, port: Port, reason: int, now_ms: int) -> None:
        session = port.session
        assert session is not None
        if session.started_ms:
            session.run_until(now_ms)
        port.session, port.full = None, session.full
        energy_dwh = int(session.energy_dwh)
        port.register_dwh = session.register_dwh + energy_dwh
        session_id = session.start[2]
        self._ended.add(session_id)
        self._settlement_due[session_id] = (0.0, 0)
        self._settlements[session_id] = {
            1: session_id,
            2: APP,
            3: port.number,
            4: session.started_ms or session.accepted_ms,
            5: now_ms,
            6: session.duration_s,
            7: session.register_dwh,
            8: port.register_dwh,
            9: energy_dwh,
            10: [[slot, *session.slots[slot]] for slot in sorted(session.slots)],
            11: [[tier, *reversed(session.tiers[tier])] for tier in sorted(session.tiers)],
            12: CHARGE_W * 10 if session.started_ms else 0,
            13: round(session.power_w * 10) if session.started_ms else 0,
            14: reason,
            15: reason,
            16: session.samples,
            17: session.start[10],
            18: self._clock_state,
        }
        self._tell(port, BY_LIMIT)

    def _say_what_is_due(self, now_ms: int) -> None:
        now_s = time.monotonic()
        if self._boot_due is not None:
            due_s, said = self._boot_due
            if now_s >= due_s:
                self._wire.say("boot", self._boot())
                self._boot_due = (now_s + BOOT_WAITS_S[min(said, len(BOOT_WAITS_S) - 1)], said + 1)
            return
        for session_id, (due_s, said) in list(self._settlement_due.items()):
            if now_s >= due_s:
                self._wire.say("settlement", self._settlements[session_id])
                wait_s = SETTLEMENT_WAITS_S[min(said, len(SETTLEMENT_WAITS_S) - 1)]
                self._settlement_due[session_id] = (now_s + wait_s, said + 1)
        if now_ms >= self._heartbeat_ms:
            self._heartbeat_ms = now_ms + self._heartbeat_s * 1000
            self._wire.say("heartbeat", self._heartbeat(now_ms))
        if now_ms >= self._sample_ms:
            self._sample_ms = now_ms + self._sample_s * 1000
            rows = [self._sample(port, now_ms) for port in self._ports.values() if port.draws]
            if rows:
                self.samples.add({1: now_ms, 2: rows, 3: self._clock_state})
        self.samples.say_due()

    def _boot(self) -> Body:
        return {
            1: self._now_ms(),
            2: self._wire.connection,
            3: POWER_ON,
            4: "STRANGER-1",
            5: "A",
            6: "0.0.1",
            7: 1,
            8: len(self._ports),
            9: -77,
            10: len(self._settlements),
            11: self._clock_state,
        }

    def _heartbeat(self, now_ms: int) -> Body:
        rows = [[port.number, port.state, port.power_dw] for port in self._ports.values()]
        energy_dwh = sum(port.energy_dwh for port in self._ports.values())
        return {
            1: now_ms,
            2: self._wire.connection,
            3: -77,
            4: 251,
            5: MAINS_DV,
            6: sum(row[2] for row in rows),
            7: energy_dwh // 10,
            8: 0,
            9: len(self._settlements),
            10: rows,
        }

    def _sample(self, port: Port, now_ms: int) -> list[object]:
        session = port.session
        assert session is not None
        window_ms = max(1, now_ms - session.sampled_ms)
        mean_dw = round((session.energy_dwh - session.sampled_dwh) * 3_600_000 / window_ms)
        power_dw = port.power_dw
        session.samples += 1
        session.sampled_ms, session.sampled_dwh = now_ms, session.energy_dwh
        return [
            port.number,
            session.start[2],
            session.duration_s,
            min(32_767, window_ms // 1000),
            MAINS_DV,
            round(power_dw * 1000 / MAINS_DV),
            power_dw,
            1000,
            int(session.energy_dwh),
            min(power_dw, mean_dw),
            max(power_dw, mean_dw),
            mean_dw,
            288,
            FLOATING if session.low_ms else CC,
        ]

    def _tell(self, port: Port, cause: int) -> None:
        previous, port.told = port.told, port.state
        if previous == port.state and cause != BY_BOOT:
            return
        body: Body = {
            1: self._now_ms(),
            2: port.number,
            3: port.state,
            4: previous,
            5: port.plugged,
            6: port.power_dw,
            7: cause,
        }
        if port.session is not None:
            body[8] = port.session.start[2]
        self._wire.say("port_state", body)

    def _now_ms(self) -> int:
        return self._from_ms + int((time.monotonic() - self._from_s) * 1000 * self._speed)

    def _set_clock(self, time_ms: int) -> None:
        off_ms = time_ms - self._now_ms()
        if self._clock_state == NO_CLOCK or abs(off_ms) > 2_000 * self._speed:
            self._from_ms += off_ms
        self._clock_state = SYNCED
