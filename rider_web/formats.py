"""Numbers as riders read them: yuan, kilowatt hours, watts, time. Pure."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

LOCAL_ZONE = ZoneInfo("Asia/Shanghai")


def yuan(amount_fen: int) -> str:
    """Fen as yuan with both decimals, such as 1.05."""
    sign = "-" if amount_fen < 0 else ""
    whole, fen = divmod(abs(amount_fen), 100)
    return f"{sign}{whole}.{fen:02d}"


def yuan_short(amount_fen: int) -> str:
    """Fen as yuan without needless zeros, such as 2 or 1.5."""
    return (
        str((Decimal(amount_fen) / 100).normalize().quantize(Decimal(1)))
        if amount_fen % 100 == 0
        else (yuan(amount_fen).rstrip("0"))
    )


def price(price_yuan: Decimal) -> str:
    """A price in yuan with two to four decimals, such as 0.61 or 0.5103."""
    text = f"{price_yuan:.4f}"
    while text.endswith("0") and len(text.partition(".")[2]) > 2:
        text = text[:-1]
    return text


def kilowatt_hours(energy_dwh: int) -> str:
    """0.1 Wh as kWh to three decimals, cut and not rounded: never more than was delivered."""
    return f"{energy_dwh // 10_000}.{energy_dwh // 10 % 1000:03d}"


def kilowatt_hours_short(energy_dwh: int) -> str:
    """0.1 Wh as kWh to one decimal, cut."""
    return f"{energy_dwh // 10_000}.{energy_dwh // 1000 % 10}"


def watts(power_dw: int) -> str:
    """0.1 W as whole watts."""
    return str((power_dw + 5) // 10)


def duration(duration_s: int) -> str:
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(max(duration_s, 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def minutes(duration_s: int) -> str:
    """Seconds as m:ss."""
    whole, seconds = divmod(max(duration_s, 0), 60)
    return f"{whole}:{seconds:02d}"


def local_clock(at: datetime) -> str:
    """An instant of today as local time, such as 08:15."""
    return at.astimezone(LOCAL_ZONE).strftime("%H:%M")


def minute_of_day(minute: int) -> str:
    """Minutes after local midnight as HH:MM; the end of the day is 24:00."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def local_time(at: datetime) -> str:
    """An instant as local date and time, such as 2026-03-01 08:15."""
    return at.astimezone(LOCAL_ZONE).strftime("%Y-%m-%d %H:%M")


def kilowatt_hours_exact(energy_dwh: int) -> str:
    """0.1 Wh as kWh to four decimals: every digit that was metered."""
    return f"{energy_dwh // 10_000}.{energy_dwh % 10_000:04d}"


def local_time_short(at: datetime) -> str:
    """An instant of these days as local day and time, such as 03-01 08:15."""
    return at.astimezone(LOCAL_ZONE).strftime("%m-%d %H:%M")
