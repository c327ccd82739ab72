"""Simulated riders: they do over HTTP what a phone does, from the QR code to the payment."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from random import Random
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import structlog

from billing.tariff_elements import LOCAL
from pileway.demo_platform import DemoPlatform
from pileway.errors import PilewayError
from rider_web.session_view import SessionView

ANSWER_LIMIT_S = 15.0
AMOUNTS_FEN = (100, 200, 200, 300, 500)
ARRIVALS_PER_HOUR = (2, 1, 1, 1, 1, 2, 5, 12, 14, 9, 7, 7, 9, 8, 7, 7, 9, 14, 22, 26, 22, 16, 9, 4)
"""Riders per hour of the local day on a street of a hundred-odd sockets: they come home, and they come to work."""

log = structlog.get_logger()


class RiderRefused(PilewayError):
    """The platform or the rail said no to a simulated rider."""


@dataclass(frozen=True)
class Phone:
    """A rider's browser without the screen."""

    http: httpx.Client
    web_url: str

    def order(self, pile_id: str, port_no: int, amount_fen: int) -> tuple[UUID, str]:
        """Order a charge; returns the session and where to pay. Raises RiderRefused."""
        answer = self.http.post(
            f"{self.web_url}/api/rider/sessions",
            json={"pile_id": pile_id, "port_no": port_no, "amount_fen": amount_fen},
        )
        if answer.status_code != HTTPStatus.CREATED:
            raise RiderRefused(f"{pile_id}/{port_no}: {_words(answer)}")
        body = answer.json()
        return UUID(body["session_id"]), body["pay_url"]

    def pay(self, pay_url: str) -> None:
        """Press the cashier's button. Raises RiderRefused."""
        address = urlsplit(pay_url)
        pressed = address._replace(path=f"{address.path}/pay").geturl()
        answer = self.http.post(pressed)
        if answer.status_code not in (HTTPStatus.OK, HTTPStatus.SEE_OTHER):
            raise RiderRefused(f"the cashier answered {answer.status_code}")

    def look(self, session_id: UUID) -> SessionView:
        """The session as its page shows it. Raises RiderRefused."""
        answer = self.http.get(f"{self.web_url}/api/rider/sessions/{session_id}")
        if answer.status_code != HTTPStatus.OK:
            raise RiderRefused(_words(answer))
        return SessionView.model_validate_json(answer.content)


@contextmanager
def phone(platform: DemoPlatform) -> Generator[Phone]:
    """A phone that reaches the demo and nothing else. Raises RiderRefused when the demo cannot be reached."""
    headers = {"Accept-Language": "en"}
    with httpx.Client(timeout=ANSWER_LIMIT_S, trust_env=False, headers=headers) as http:
        try:
            yield Phone(http, platform.settings.web_url)
        except httpx.HTTPError as error:
            raise RiderRefused(f"{platform.settings.web_url}: {error}") from None


class Riders:
    """A thread that sends riders to free sockets, as many as the local hour brings."""

    def __init__(self, platform: DemoPlatform, sockets: list[tuple[str, int]], *, seed: int) -> None:
        self._platform = platform
        self._sockets = sockets
        self._chance = Random(seed)  # noqa: S311 - a street's variety, not a secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="riders", daemon=True)
        self.served = 0
        self.turned_away = 0

    def __enter__(self) -> "Riders":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(ANSWER_LIMIT_S)

    def _run(self) -> None:
        with phone(self._platform) as rider:
            while not self._stop.wait(self._next_in_s(self._platform.now)):
                self._arrive(rider)

    def _next_in_s(self, now: datetime) -> float:
        """Real seconds until the next rider, by a Poisson process at the local hour's rate."""
        per_hour = ARRIVALS_PER_HOUR[now.astimezone(LOCAL).hour]
        return self._platform.settings.clock.real_s(self._chance.expovariate(per_hour) * 3600)

    def _arrive(self, rider: Phone) -> None:
        pile_id, port_no = self._chance.choice(self._sockets)
        try:
            _, pay_url = rider.order(pile_id, port_no, self._chance.choice(AMOUNTS_FEN))
            rider.pay(pay_url)
        except (RiderRefused, httpx.HTTPError) as error:
            self.turned_away += 1
            log.info("rider_turned_away", pile_id=pile_id, port_no=port_no, why=str(error))
        else:
            self.served += 1


def _words(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
