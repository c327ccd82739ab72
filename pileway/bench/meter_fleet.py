"""The piles of the ingest benchmark: every port charging, one frame of all ports every ten seconds.

Frames are numbered: number `n` is pile `n % piles` in its round `n // piles`. What a number means is fixed, so every
process can say what any frame holds without being told.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from psycopg_pool import ConnectionPool

from billing import payments
from charging import piles, starts
from charging.payment_hooks import session_hooks
from charging.piles import BootReport
from charging.waits import Waits
from database.pool import Connection, open_pool
from pileway import composition
from pileway.bench import installations
from pileway.settings import Settings
from protocol import frames, messages
from protocol.envelope import Counter, Sealer
from protocol.frames import Frame
from protocol.topics import Direction
from protocol.words import ClockState, Phase

EPOCH = 1
BOOT = 1
SAMPLE_S = 10
PREPAID_FEN = 3000
POOL_LIMIT_S = 60.0
BACK = timedelta(hours=12)
"""So long before now the first round was sampled; later rounds follow on it."""

_WAITS = Waits()


@dataclass(frozen=True)
class MeteredPile:
    """An enrolled pile, and the session that charges on each of its ports."""

    pile_id: str
    secret: bytes
    session_ids: Sequence[UUID]


@dataclass(frozen=True)
class Fleet:
    """Piles, the instant of their first round (Unix ms), the time between two rounds, and between two piles of one."""

    piles: Sequence[MeteredPile]
    begin_ms: int
    sample_s: int = SAMPLE_S
    gap_ms: int = 1

    def at_ms(self, number: int) -> int:
        """When the frame of this number is sampled, Unix ms; later numbers are later."""
        turn, place = divmod(number, len(self.piles))
        return self.begin_ms + turn * self.sample_s * 1000 + place * self.gap_ms

    def number_of(self, pile_id: str, at_ms: int) -> int | None:
        """Which frame is a pile's of this instant; None for none."""
        turn, in_round_ms = divmod(at_ms - self.begin_ms, self.sample_s * 1000)
        place, between_ms = divmod(in_round_ms, self.gap_ms)
        if turn < 0 or between_ms or place >= len(self.piles) or self.piles[place].pile_id != pile_id:
            return None
        return turn * len(self.piles) + place

    def sealed(self, numbers: range) -> Iterator[Frame]:
        """The frames of these numbers as they travel."""
        sealers = [Sealer(pile.secret, epoch=EPOCH, direction=Direction.UP) for pile in self.piles]
        for number in numbers:
            turn, place = divmod(number, len(self.piles))
            yield frames.seal(
                self._message(turn, place),
                sealer=sealers[place],
                pile_id=self.piles[place].pile_id,
                counter=Counter(BOOT, 2 + turn),
            )

    def message(self, number: int) -> messages.MeterFrame:
        """What the frame of this number says."""
        return self._message(*divmod(number, len(self.piles)))

    def rows(self, numbers: range, *, received_at: datetime) -> Iterator[Mapping[str, object]]:
        """The samples of these frames by the columns of the sample table."""
        for number in numbers:
            turn, place = divmod(number, len(self.piles))
            message = self._message(turn, place)
            sampled_at = datetime.fromtimestamp(message.sampled_at_ms / 1000, UTC)
            for sample in message.samples:
                reading = sample._asdict()
                yield reading | {
                    "pile_id": self.piles[place].pile_id,
                    "port_no": reading["port"],
                    "sampled_at": sampled_at,
                    "received_at": received_at,
                    "phase": int(sample.phase),
                }

    def _message(self, turn: int, place: int) -> messages.MeterFrame:
        pile = self.piles[place]
        samples = tuple(
            _sample(port, session_id, turn=turn, place=place, sample_s=self.sample_s)
            for port, session_id in enumerate(pile.session_ids, start=1)
        )
        at_ms = self.at_ms(turn * len(self.piles) + place)
        return messages.MeterFrame(sampled_at_ms=at_ms, samples=samples, clock=ClockState.SYNCED)


def enrolled(settings: Settings, *, pile_count: int, port_count: int, back: timedelta = BACK) -> Fleet:
    """Lay out a site in an empty database, enrol so many piles there and let every port charge.

    The first round was sampled `back` before now.
    """
    names = [f"BENCH-{number:04}" for number in range(pile_count)]
    now = settings.clock.now()
    dsn = composition.database_url(settings)
    with open_pool(dsn, min_size=1, max_size=1, timeout_s=POOL_LIMIT_S) as pool:
        secrets = installations.provision(pool, settings, names, port_count=port_count)
        metered = _charging_piles(pool, secrets, port_count=port_count, now=now)
    return Fleet(metered, int((now - back).timestamp() * 1000))


def _charging_piles(
    pool: ConnectionPool[Connection],
    secrets: dict[str, bytes],
    *,
    port_count: int,
    now: datetime,
) -> list[MeteredPile]:
    """Boot the enrolled piles and let every port charge for a rider who paid."""
    metered: list[MeteredPile] = []
    for pile_id, secret in secrets.items():
        with pool.connection() as conn:
            _boot(conn, pile_id, port_count=port_count, now=now)
            session_ids = [
                _charging(conn, pile_id=pile_id, port_no=port_no, now=now)
                for port_no in range(1, port_count + 1)
            ]
        metered.append(MeteredPile(pile_id, secret, session_ids))
    return metered


def _boot(conn: Connection, pile_id: str, *, port_count: int, now: datetime) -> None:
    report = BootReport(
        pile_id=pile_id,
        boot=BOOT,
        seq=1,
        connection=1,
        firmware="1.0.0",
        hardware="A",
        port_count=port_count,
        signal_dbm=-70,
        reason="power",
        unsent=0,
    )
    piles.booted(conn, report, now=now)
    piles.seen(conn, {pile_id: (BOOT, 1)}, now=now)


def _charging(conn: Connection, *, pile_id: str, port_no: int, now: datetime) -> UUID:
    order = starts.order(
        conn,
        pile_id=pile_id,
        port_no=port_no,
        amount_fen=PREPAID_FEN,
        rail="wechat_pay",
        waits=_WAITS,
        now=now,
    )
    payment = order.payment
    outcome = payments.mark_paid(
        conn,
        out_trade_no=payment.out_trade_no,
        rail_transaction_id=f"BENCH-{payment.out_trade_no}",
        amount_fen=payment.amount_fen,
        paid_at=now,
        now=now,
    )
    session_hooks(_WAITS).on_paid(conn, outcome.payment, now)
    session_id = order.session.session_id
    starts.started(conn, pile_id=pile_id, session_id=session_id, command_id=None, claimed_at=now, now=now)
    return session_id


def _sample(port: int, session_id: UUID, *, turn: int, place: int, sample_s: int) -> messages.PortSample:
    power_dw = 1500 + (place * 37 + port * 101) % 900 + int(60 * math.sin(turn / 9 + port))
    return messages.PortSample(
        port=port,
        session_id=session_id,
        elapsed_s=turn * sample_s,
        window_s=sample_s,
        voltage_dv=2200 + (turn + place) % 60,
        current_ma=power_dw * 100 // 220,
        power_dw=power_dw,
        power_factor_milli=940 + port,
        energy_dwh=turn * sample_s * power_dw // 3600,
        power_min_dw=power_dw - 12,
        power_max_dw=power_dw + 15,
        power_mean_dw=power_dw + 1,
        temperature_dc=250 + (turn + port) % 120,
        phase=Phase.CC,
    )
