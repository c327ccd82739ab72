"""What a merchant may send, checked as the documents state it; what is not simulated is accepted and ignored."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from payment_sim.errors import parameter_error

_NUMBER = r"^[0-9A-Za-z_\-|*]{6,32}$"
_REFUND_NUMBER = r"^[0-9A-Za-z_\-|*@]{1,64}$"
# Public, without a query; http only because a simulator also runs on a bench without certificates.
_NOTIFY_URL = r"^https?://[^?#]+$"


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class OrderAmount(_Body):
    """Fen."""

    total: int = Field(ge=1, le=100_000_000)
    currency: Literal["CNY"] = "CNY"


class H5Info(_Body):
    """Where the payment page is opened."""

    type: str = Field(min_length=1, max_length=32)


class SceneInfo(_Body):
    """The payer's device; H5 payments must tell it."""

    payer_client_ip: str = Field(min_length=2, max_length=45)
    h5_info: H5Info


class PlaceOrder(_Body):
    """POST /v3/pay/transactions/h5."""

    appid: str = Field(max_length=32)
    mchid: str = Field(max_length=32)
    description: str = Field(min_length=1, max_length=127)
    out_trade_no: str = Field(pattern=_NUMBER)
    time_expire: AwareDatetime | None = Field(default=None, strict=False)
    attach: str | None = Field(default=None, max_length=128)
    notify_url: str = Field(pattern=_NOTIFY_URL, max_length=255)
    amount: OrderAmount
    scene_info: SceneInfo

    def expires_at(self, *, earliest: datetime, latest: datetime) -> datetime:
        """The last instant to pay, never before `earliest` nor after `latest`."""
        return latest if self.time_expire is None else min(max(self.time_expire, earliest), latest)

    def identity_sha256(self) -> str:
        """Names what may not change when the same number is sent again; the payer's address may."""
        return hashlib.sha256(self.model_dump_json(exclude={"scene_info"}).encode()).hexdigest()


class CloseOrder(_Body):
    """POST /v3/pay/transactions/out-trade-no/{out_trade_no}/close."""

    mchid: str


class RefundAmount(_Body):
    """Fen: what goes back of which total."""

    refund: int = Field(ge=1)
    total: int = Field(ge=1)
    currency: Literal["CNY"]


class PlaceRefund(_Body):
    """POST /v3/refund/domestic/refunds."""

    transaction_id: str | None = None
    out_trade_no: str | None = None
    out_refund_no: str = Field(pattern=_REFUND_NUMBER)
    reason: str | None = Field(default=None, max_length=80)
    notify_url: str | None = Field(default=None, pattern=_NOTIFY_URL, max_length=256)
    amount: RefundAmount

    def identity_sha256(self) -> str:
        """Names what may not change when the same number is sent again."""
        return hashlib.sha256(self.model_dump_json(exclude={"reason", "notify_url"}).encode()).hexdigest()


B = TypeVar("B", bound=_Body)


def parse(model: type[B], body: bytes) -> B:
    """Read a request body; raises PARAM_ERROR naming the field."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise parameter_error(f"输入源“/body/{where}”不符合要求: {first['msg']}") from None
