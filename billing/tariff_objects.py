"""Tariffs as OCPI 2.2.1 objects, and the rules of ours that make them ratable.

Source: OCPI 2.2.1, module Tariffs. What differs, and why:

- prices are what the rider pays, in yuan, tax included, so a `vat` is refused rather than guessed at;
- restrictions on current and on reservations are refused: piles do not meter by them;
- a tariff carries no validity of its own: its version says from when it holds;
- ENERGY or TIME, once priced, must have a price at every moment (free of charge is a price of zero), because
  a forgotten band would otherwise be given away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from billing import tariff_gaps
from billing.errors import TariffInvalid
from billing.tariff_elements import Element, OcpiObject, WholeFenYuan

MAX_ELEMENTS = 100


class FeeKind(StrEnum):
    """What a rider pays for, each rated by a tariff and split by shares of its own."""

    ELECTRICITY = "electricity"
    SERVICE = "service"
    OCCUPANCY = "occupancy"


class Price(OcpiObject):
    """OCPI Price, in yuan and whole fen; with no VAT apart, both fields say the same."""

    excl_vat: WholeFenYuan
    incl_vat: WholeFenYuan | None = None

    @model_validator(mode="after")
    def _no_vat_apart(self) -> Self:
        if self.incl_vat is not None and self.incl_vat != self.excl_vat:
            raise ValueError("incl_vat differs from excl_vat, but prices here include tax")
        return self

    @property
    def amount_fen(self) -> int:
        return int(self.excl_vat * 100)


class DisplayText(OcpiObject):
    """OCPI DisplayText: a text for people in one language."""

    language: Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$")]
    text: Annotated[str, Field(min_length=1, max_length=512)]


class Tariff(OcpiObject):
    """OCPI Tariff: the prices of one fee kind."""

    country_code: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "CN"
    party_id: Annotated[str, Field(pattern=r"^[A-Z0-9]{3}$")] = "PLW"
    id: Annotated[str, Field(min_length=1, max_length=36)]
    currency: Literal["CNY"]
    type: Literal["AD_HOC_PAYMENT", "REGULAR"] | None = None
    tariff_alt_text: Annotated[tuple[DisplayText, ...], Field(max_length=10)] = ()
    tariff_alt_url: Annotated[str, Field(max_length=255)] | None = None
    min_price: Price | None = None
    max_price: Price | None = None
    elements: Annotated[tuple[Element, ...], Field(min_length=1, max_length=MAX_ELEMENTS)]
    last_updated: datetime

    @field_validator("elements")
    @classmethod
    def _no_gaps(cls, elements: tuple[Element, ...]) -> tuple[Element, ...]:
        gap = tariff_gaps.first_gap(elements)
        if gap is not None:
            raise ValueError(gap)
        return elements

    @field_validator("last_updated")
    @classmethod
    def _aware(cls, at: datetime) -> datetime:
        if at.tzinfo is None:
            raise ValueError("a time without a zone")
        return at

    @model_validator(mode="after")
    def _minimum_below_maximum(self) -> Self:
        if self.min_price and self.max_price and self.min_price.amount_fen > self.max_price.amount_fen:
            raise ValueError("min_price is above max_price")
        return self


@dataclass(frozen=True)
class TariffVersion:
    """What a site charges from an instant on; never changed once published."""

    tariff_version_id: int
    site_id: str
    version: int
    effective_from: datetime
    tariffs: Mapping[FeeKind, Tariff]


def parse(document: object, *, field: str = "") -> Tariff:
    """A tariff from its JSON object; raises TariffInvalid naming what is wrong by its path under `field`."""
    try:
        return Tariff.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        reason = "not a field that can be rated here" if first["type"] == "extra_forbidden" else first["msg"]
        raise TariffInvalid(_path(field, first["loc"]), reason.removeprefix("Value error, ")) from error


def _path(field: str, location: Sequence[int | str]) -> str:
    path = field
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".") or "tariff"
