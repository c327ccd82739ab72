"""The payment rails of an installation, made from its settings."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from psycopg_pool import ConnectionPool

from billing.payment_rails.rail import Rail
from billing.payment_rails.wechat_pay import WechatMerchant, WechatPay
from billing.rail_calls import RailDesk
from charging.payment_hooks import session_hooks
from database.pool import Connection
from pileway import composition
from pileway.errors import SettingsInvalid
from pileway.settings import Settings, required

WECHAT_PAY = "wechat_pay"


def open_rails(settings: Settings) -> dict[str, Rail]:
    """Every rail the settings describe, by name. Raises SettingsInvalid."""
    rail = WechatPay(
        _wechat_merchant(settings),
        base_url=required(settings.wechat_pay_url, "PILEWAY_WECHAT_PAY_URL"),
        notify_url=f"{settings.web_url}/rails/{WECHAT_PAY}/notify",
        wall_clock=lambda: datetime.now(UTC),
    )
    return {WECHAT_PAY: rail}


def rail_desk(settings: Settings, opened: ConnectionPool[Connection]) -> RailDesk:
    """Where payments and refunds are talked over with the rails, with charging's hooks."""
    return RailDesk(
        pool=opened,
        rails=open_rails(settings),
        clock=settings.clock.now,
        hooks=session_hooks(composition.waits(settings)),
    )


def _wechat_merchant(settings: Settings) -> WechatMerchant:
    merchant_key = serialization.load_pem_private_key(
        _pem(settings.wechat_pay_merchant_key_path, "PILEWAY_WECHAT_PAY_MERCHANT_KEY_PATH"), password=None
    )
    platform_key = serialization.load_pem_public_key(
        _pem(settings.wechat_pay_public_key_path, "PILEWAY_WECHAT_PAY_PUBLIC_KEY_PATH")
    )
    if not isinstance(merchant_key, RSAPrivateKey):
        raise SettingsInvalid("PILEWAY_WECHAT_PAY_MERCHANT_KEY_PATH", "holds no RSA key")
    if not isinstance(platform_key, RSAPublicKey):
        raise SettingsInvalid("PILEWAY_WECHAT_PAY_PUBLIC_KEY_PATH", "holds no RSA key")
    api_v3_key = required(settings.wechat_pay_api_v3_key, "PILEWAY_WECHAT_PAY_API_V3_KEY")
    try:
        return WechatMerchant(
            mchid=required(settings.wechat_pay_merchant_id, "PILEWAY_WECHAT_PAY_MERCHANT_ID"),
            appid=required(settings.wechat_pay_app_id, "PILEWAY_WECHAT_PAY_APP_ID"),
            serial_no=required(settings.wechat_pay_merchant_serial, "PILEWAY_WECHAT_PAY_MERCHANT_SERIAL"),
            private_key=merchant_key,
            api_v3_key=api_v3_key.get_secret_value().encode(),
            platform_serial=required(settings.wechat_pay_public_key_id, "PILEWAY_WECHAT_PAY_PUBLIC_KEY_ID"),
            platform_key=platform_key,
        )
    except ValueError as error:
        raise SettingsInvalid("PILEWAY_WECHAT_PAY_API_V3_KEY", str(error)) from None


def _pem(path: Path | None, variable: str) -> bytes:
    return required(path, variable).read_bytes()
