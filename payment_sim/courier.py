"""The thread that lets refunds end and delivers notifications, retrying by the documented schedule."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import structlog

from payment_sim import outbox, signing
from payment_sim.database import Database
from payment_sim.faults import FaultBoard
from payment_sim.keys import Keys
from payment_sim.merchant_book import MerchantBook
from payment_sim.records import Notification

log = structlog.get_logger()

DOCUMENTED_RETRIES_S = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600)
"""Seconds between tries as the documents give them: 15 retries in about a day."""

ANSWER_TIMEOUT_S = 5.0
"""A merchant must acknowledge within this many seconds."""

PARALLEL_DELIVERIES = 8
_LONGEST_SLEEP_S = 1.0
_STOP_TIMEOUT_S = 10.0
# Held longer than a try can take, so that a try lost with the process comes up again.
_HOLD_S = 3 * ANSWER_TIMEOUT_S


class Courier:
    """Started and stopped with the simulator; `wake` it when there is something new to do."""

    def __init__(
        self, database: Database, keys: Keys, board: FaultBoard, *, retries_s: Sequence[float]
    ) -> None:
        self._database = database
        self._keys = keys
        self._board = board
        self._retries_s = tuple(retries_s)
        self._something_new = threading.Event()
        self._stopping = threading.Event()
        self._free = threading.Semaphore(PARALLEL_DELIVERIES)
        self._thread: threading.Thread | None = None

    def start(self, book: MerchantBook) -> None:
        """Begin to work; what was left from before a restart goes first."""
        self._thread = threading.Thread(
            target=self._run, args=(book,), name="payment-sim-courier", daemon=True
        )
        self._thread.start()

    def wake(self) -> None:
        """Look for work now."""
        self._something_new.set()

    def stop(self) -> None:
        """Finish the tries under way and stop."""
        self._stopping.set()
        self._something_new.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self, book: MerchantBook) -> None:
        with (
            httpx.Client(timeout=ANSWER_TIMEOUT_S, trust_env=False) as http,
            ThreadPoolExecutor(PARALLEL_DELIVERIES, thread_name_prefix="payment-sim-delivery") as threads,
        ):
            while not self._stopping.is_set():
                self._something_new.clear()
                refund_due_s = book.settle_due_refunds()
                while not self._stopping.is_set() and self._free.acquire(timeout=_LONGEST_SLEEP_S):
                    notification = outbox.take_due(self._database, hold_s=_HOLD_S)
                    if notification is None:
                        self._free.release()
                        break
                    threads.submit(self._deliver, http, notification)
                self._sleep_until(refund_due_s, outbox.next_due_s(self._database))

    def _sleep_until(self, *due_s: float | None) -> None:
        soonest = min((due for due in due_s if due is not None), default=time.time() + _LONGEST_SLEEP_S)
        self._something_new.wait(min(max(soonest - time.time(), 0.005), _LONGEST_SLEEP_S))

    def _deliver(self, http: httpx.Client, notification: Notification) -> None:
        try:
            faults = self._board.faults
            if faults.drop_notifications:
                outbox.record_try(
                    self._database, notification.notification_id, delivered=False, next_delay_s=None
                )
                return
            if faults.probe_notifications:
                self._send(http, notification, probe=True)
            delivered = self._send(http, notification)
            if faults.duplicate_notifications:
                delivered = self._send(http, notification) or delivered
            delay_s = (
                self._retries_s[notification.tries] if notification.tries < len(self._retries_s) else None
            )
            outbox.record_try(
                self._database, notification.notification_id, delivered=delivered, next_delay_s=delay_s
            )
        except Exception:
            # The outermost line of the delivery: the notification stays pending and comes up again.
            log.exception("payment_sim_delivery_failed", notification_id=notification.notification_id)
        finally:
            self._free.release()
            self.wake()

    def _send(self, http: httpx.Client, notification: Notification, *, probe: bool = False) -> bool:
        body = notification_body(self._keys, notification)
        try:
            response = http.post(
                notification.notify_url,
                content=body,
                headers={
                    "Content-Type": "application/json",
                    **signing.signed_headers(self._keys, body, probe=probe),
                },
            )
        except httpx.HTTPError as error:
            log.info(
                "payment_sim_undelivered", event_type=notification.event_type, reason=type(error).__name__
            )
            return False
        return response.status_code in {200, 204}


def notification_body(keys: Keys, notification: Notification) -> bytes:
    """The bytes of a notification, its resource sealed anew for each try."""
    envelope = {
        "id": notification.notification_id,
        "create_time": notification.created_at,
        "resource_type": "encrypt-resource",
        "event_type": notification.event_type,
        "summary": "支付成功" if notification.original_type == "transaction" else "退款状态变更",
        "resource": signing.seal(
            keys, notification.resource.encode(), associated_data=notification.original_type
        ),
    }
    return json.dumps(envelope, ensure_ascii=False).encode()
