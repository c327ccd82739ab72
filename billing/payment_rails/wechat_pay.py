"""WeChat Pay API v3 as a rail: H5 payments, refunds, queries and notifications, on httpx and cryptography.

The body is serialised once and signed as the bytes that are sent. An answer counts only when the platform's
signature over it verifies; refusals (4xx) move no money and are taken as they come. Signatures and their
timestamps are about the network, so they go by the wall clock, whatever clock the platform runs on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TypeVar
from urllib.parse import quote

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from pydantic import BaseModel, ValidationError

from billing.errors import NotificationRefused
from billing.payment_rails import wechat_messages, wechat_signature
from billing.payment_rails.rail import (
    Notification,
    Ok,
    PaymentStatus,
    PaymentSucceeded,
    RailResult,
    RefundChanged,
    Rejected,
    Unknown,
)
from billing.payment_rails.wechat_messages import Inconsistent
from billing.payment_rails.wechat_signature import RequestSigner, ResponseVerifier, SignatureRefused

log = structlog.get_logger()

NAME = "wechat_pay"
CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 20
MAX_NOTIFICATION_BYTES = 64 * 1024
DESCRIPTION_LENGTH = 127

_BEIJING = timezone(timedelta(hours=8))
_USER_AGENT = "pileway/0.1 (open e-bike charging platform)"
_NO_CONTENT = 204

M = TypeVar("M", bound=BaseModel)
V = TypeVar("V")


@dataclass(frozen=True)
class WechatMerchant:
    """A merchant's identity and keys at WeChat Pay; keys stay out of repr and logs."""

    mchid: str
    appid: str
    serial_no: str
    private_key: RSAPrivateKey = field(repr=False)
    api_v3_key: bytes = field(repr=False)
    platform_serial: str
    platform_key: RSAPublicKey = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.api_v3_key) != wechat_signature.API_V3_KEY_BYTES:
            raise ValueError("the APIv3 key is not 32 bytes long")


class WechatPay:
    """The rail `wechat_pay`. Thread-safe; `close` it when done.

    `base_url` is https://api.mch.weixin.qq.com or a simulator's. `notify_url` is public, without a query, and
    receives payment and refund notifications alike. `wall_clock` tells real time for signatures.
    """

    def __init__(
        self,
        merchant: WechatMerchant,
        *,
        base_url: str,
        notify_url: str,
        wall_clock: Callable[[], datetime],
        proxy: str | None = None,
    ) -> None:
        self._merchant = merchant
        self._notify_url = notify_url
        self._wall_clock = wall_clock
        self._signer = RequestSigner(merchant.mchid, merchant.serial_no, merchant.private_key)
        self._verifier = ResponseVerifier({merchant.platform_serial: merchant.platform_key})
        self._http = httpx.Client(
            base_url=base_url,
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            proxy=proxy,
            trust_env=False,
            headers={
                "Accept": "application/json",
                "User-Agent": _USER_AGENT,
                "Wechatpay-Serial": merchant.platform_serial,
            },
        )

    @property
    def name(self) -> str:
        """`wechat_pay`."""
        return NAME

    def close(self) -> None:
        """Close the connections to WeChat Pay."""
        self._http.close()

    def create_payment(
        self,
        *,
        out_trade_no: str,
        amount_fen: int,
        description: str,
        payer_ip: str,
        expires_at: datetime,
        return_url: str,
    ) -> RailResult[str]:
        """Place an H5 payment; the address is good for five minutes and a repeat gives a fresh one."""
        content = {
            "appid": self._merchant.appid,
            "mchid": self._merchant.mchid,
            "description": description[:DESCRIPTION_LENGTH],
            "out_trade_no": out_trade_no,
            "time_expire": expires_at.astimezone(_BEIJING).isoformat(timespec="seconds"),
            "notify_url": self._notify_url,
            "amount": {"total": amount_fen, "currency": wechat_messages.CURRENCY},
            "scene_info": {"payer_client_ip": payer_ip, "h5_info": {"type": "Wap"}},
        }
        result = self._call("POST", "/v3/pay/transactions/h5", content)
        return _read(
            result,
            wechat_messages.H5Created,
            lambda created: f"{created.h5_url}&redirect_url={quote(return_url, safe='')}",
        )

    def query_payment(self, out_trade_no: str) -> RailResult[PaymentStatus]:
        """Ask how a payment stands."""
        path = (
            f"/v3/pay/transactions/out-trade-no/{quote(out_trade_no, safe='')}?mchid={self._merchant.mchid}"
        )

        def status(transaction: wechat_messages.Transaction) -> PaymentStatus:
            _same_number(transaction.out_trade_no, out_trade_no)
            return self._payment_status(transaction)

        return _read(self._call("GET", path), wechat_messages.Transaction, status)

    def close_payment(self, out_trade_no: str) -> RailResult[None]:
        """Close a payment; closing twice is fine, a paid one answers ALREADY_PAID."""
        path = f"/v3/pay/transactions/out-trade-no/{quote(out_trade_no, safe='')}/close"
        result = self._call("POST", path, {"mchid": self._merchant.mchid})
        return Ok(None) if isinstance(result, Ok) else result

    def refund(
        self, *, out_trade_no: str, out_refund_no: str, amount_fen: int, paid_fen: int, reason: str
    ) -> RailResult[RefundChanged]:
        """Ask for a refund; the same number with the same amounts is one refund however often it is sent."""
        content = {
            "out_trade_no": out_trade_no,
            "out_refund_no": out_refund_no,
            "reason": reason,
            "notify_url": self._notify_url,
            "amount": {"refund": amount_fen, "total": paid_fen, "currency": wechat_messages.CURRENCY},
        }
        return self._read_refund(self._call("POST", "/v3/refund/domestic/refunds", content), out_refund_no)

    def query_refund(self, out_refund_no: str) -> RailResult[RefundChanged]:
        """Ask how a refund stands."""
        path = f"/v3/refund/domestic/refunds/{quote(out_refund_no, safe='')}"
        return self._read_refund(self._call("GET", path), out_refund_no)

    def parse_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Verify, then decrypt, then read a notification; raises NotificationRefused."""
        if len(body) > MAX_NOTIFICATION_BYTES:
            raise NotificationRefused(NAME, "oversized")
        try:
            self._verifier.verify(headers, body, now=self._wall_clock())
            envelope = wechat_messages.NotificationEnvelope.model_validate_json(body)
            resource = wechat_signature.decrypt(
                self._merchant.api_v3_key,
                nonce=envelope.resource.nonce,
                associated_data=envelope.resource.associated_data,
                ciphertext=envelope.resource.ciphertext,
            )
            return self._read_notification(envelope.event_type, resource)
        except SignatureRefused as refused:
            raise NotificationRefused(NAME, refused.reason) from None
        except ValidationError:
            # The error would quote what it could not read.
            raise NotificationRefused(NAME, "malformed") from None
        except Inconsistent as inconsistent:
            raise NotificationRefused(NAME, str(inconsistent)) from None

    def _read_notification(self, event_type: str, resource: bytes) -> Notification:
        if event_type == "TRANSACTION.SUCCESS":
            status = self._payment_status(wechat_messages.Transaction.model_validate_json(resource))
            if not isinstance(status, PaymentSucceeded):
                raise Inconsistent("a success that is none")
            return status
        if event_type in {"REFUND.SUCCESS", "REFUND.ABNORMAL", "REFUND.CLOSED"}:
            notice = wechat_messages.RefundNotice.model_validate_json(resource)
            return wechat_messages.refund_notice(notice, mchid=self._merchant.mchid)
        raise Inconsistent(f"event type {event_type!r}")

    def _payment_status(self, transaction: wechat_messages.Transaction) -> PaymentStatus:
        return wechat_messages.payment_status(
            transaction, mchid=self._merchant.mchid, appid=self._merchant.appid
        )

    def _read_refund(self, result: RailResult[bytes], out_refund_no: str) -> RailResult[RefundChanged]:
        def changed(answer: wechat_messages.RefundAnswer) -> RefundChanged:
            _same_number(answer.out_refund_no, out_refund_no)
            return wechat_messages.refund_answer(answer)

        return _read(result, wechat_messages.RefundAnswer, changed)

    def _call(
        self, method: str, target: str, content: Mapping[str, object] | None = None
    ) -> RailResult[bytes]:
        body = b"" if content is None else json.dumps(content, ensure_ascii=False).encode()
        request = self._http.build_request(method, target, content=body)
        if body:
            request.headers["Content-Type"] = "application/json"
        request.headers["Authorization"] = self._signer.authorization(
            method=method, target=request.url.raw_path.decode(), body=body, now=self._wall_clock()
        )
        try:
            response = self._http.send(request)
        except httpx.HTTPError as error:
            result: RailResult[bytes] = Unknown(type(error).__name__)
            log.warning("wechat_pay_unreachable", method=method, reason=result.reason)
            return result
        result = self._judge(response)
        log.info(
            "wechat_pay_called",
            method=method,
            path=request.url.path,
            status=response.status_code,
            request_id=response.headers.get("Request-ID"),
            outcome=type(result).__name__.lower(),
        )
        return result

    def _judge(self, response: httpx.Response) -> RailResult[bytes]:
        if response.is_server_error:
            return Unknown(f"http_{response.status_code}")
        if response.is_client_error:
            return _rejection(response)
        try:
            self._verifier.verify(response.headers, response.content, now=self._wall_clock())
        except SignatureRefused as refused:
            return Unknown(f"signature_{refused.reason}")
        if response.status_code not in {httpx.codes.OK, _NO_CONTENT}:
            return Unknown(f"http_{response.status_code}")
        return Ok(response.content)


def _rejection(response: httpx.Response) -> RailResult[bytes]:
    try:
        code = wechat_messages.ErrorAnswer.model_validate_json(response.content).code
    except ValidationError:
        # Some box between us and WeChat Pay may have answered.
        return Unknown(f"http_{response.status_code}")
    return Rejected(wechat_messages.rejection_kind(code), code)


def _read(result: RailResult[bytes], model: type[M], meaning: Callable[[M], V]) -> RailResult[V]:
    if not isinstance(result, Ok):
        return result
    try:
        return Ok(meaning(model.model_validate_json(result.value)))
    except (ValidationError, Inconsistent) as error:
        return Unknown(type(error).__name__.lower())


def _same_number(answered: str, asked: str) -> None:
    if answered != asked:
        raise Inconsistent("an answer about another number")
