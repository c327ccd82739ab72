"""Refusals in the words and status codes of the WeChat Pay API v3 documents."""

from __future__ import annotations

from dataclasses import dataclass

PARAMETERS_CHANGED = "268498688"
"""The numeric code of a number used again with other parameters, at the end of the Request-ID."""


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal: HTTP status, documented code, message, and the numeric code that ends the Request-ID."""

    status: int
    code: str
    message: str
    detail_code: str = "1"


def parameter_error(message: str) -> ApiError:
    """A field that is missing or malformed."""
    return ApiError(400, "PARAM_ERROR", message)


def invalid_request(message: str, detail_code: str = "1") -> ApiError:
    """A well-formed request against the rules."""
    return ApiError(400, "INVALID_REQUEST", message, detail_code)


def sign_error(message: str) -> ApiError:
    """A signature that does not verify, is stale, or names an unknown key."""
    return ApiError(401, "SIGN_ERROR", message)


def system_error() -> ApiError:
    """The platform failed before anything happened."""
    return ApiError(500, "SYSTEM_ERROR", "系统异常，请用相同参数重新调用")


def order_not_exist() -> ApiError:
    """No order of this number."""
    return ApiError(404, "ORDER_NOT_EXIST", "订单不存在")


def order_paid() -> ApiError:
    """The order is paid already."""
    return ApiError(400, "ORDER_PAID", "该订单已支付")


def order_closed() -> ApiError:
    """The order is closed already."""
    return ApiError(400, "ORDER_CLOSED", "该订单已关闭")


def resource_not_exists() -> ApiError:
    """No refund, or no order to refund, of this number."""
    return ApiError(404, "RESOURCE_NOT_EXISTS", "资源不存在")


def not_enough() -> ApiError:
    """The merchant's balance does not cover the refund."""
    return ApiError(403, "NOT_ENOUGH", "基本账户余额不足，请充值后重新发起")
