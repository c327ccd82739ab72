"""Parties, tariff versions and agreements: published once, never changed."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from billing import agreements, parties, tariffs
from billing.errors import (
    AgreementInvalid,
    AgreementMissing,
    AgreementSilent,
    AgreementVersionUnknown,
    EffectiveFromTooEarly,
    PartyConflict,
    PartyUnknown,
    TariffInvalid,
    TariffMissing,
    TariffVersionUnknown,
)
from billing.tariff_objects import FeeKind, TariffVersion
from database.pool import Connection

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
DAY = timedelta(days=1)


def document(price: str) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": price, "step_size": 1}
    return {
        "id": "t",
        "currency": "CNY",
        "elements": [{"price_components": [component]}],
        "last_updated": "2026-03-01T00:00:00Z",
    }


def publish(conn: Connection, price: str, effective_from: datetime = NOW) -> TariffVersion:
    return tariffs.publish(
        conn,
        site_id="wutong",
        tariffs={"electricity": document(price)},
        effective_from=effective_from,
        now=NOW,
    )


def test_a_party_is_registered_once(conn: Connection) -> None:
    first = parties.add(conn, party_id="lvdian", kind="operator", name="绿电", now=NOW)
    assert parties.add(conn, party_id="lvdian", kind="operator", name="绿电", now=NOW + DAY) == first
    assert parties.list_all(conn) == (first,)


@pytest.mark.parametrize(
    ("kind", "name", "field"), [("property", "绿电", "kind"), ("operator", "红电", "name")]
)
def test_a_party_is_not_registered_as_something_else(
    conn: Connection, kind: str, name: str, field: str
) -> None:
    parties.add(conn, party_id="lvdian", kind="operator", name="绿电", now=NOW)
    with pytest.raises(PartyConflict) as refusal:
        parties.add(conn, party_id="lvdian", kind=kind, name=name, now=NOW)
    assert refusal.value.field == field


def test_a_site_without_a_tariff_is_an_error_and_not_free(conn: Connection) -> None:
    publish(conn, "0.5", effective_from=NOW)
    for site_id, at in (("wutong", NOW - DAY), ("elsewhere", NOW)):
        with pytest.raises(TariffMissing):
            tariffs.current(conn, site_id=site_id, at=at)
    with pytest.raises(TariffVersionUnknown):
        tariffs.get(conn, 99)


def test_each_instant_has_the_version_that_held_then(conn: Connection) -> None:
    first = publish(conn, "0.5", NOW - DAY)
    second = publish(conn, "0.6", NOW + DAY)
    assert (first.version, second.version) == (1, 2)
    assert tariffs.current(conn, site_id="wutong", at=NOW + DAY - timedelta(seconds=1)) == first
    assert tariffs.current(conn, site_id="wutong", at=NOW + DAY) == second
    assert tariffs.get(conn, first.tariff_version_id) == first


def test_the_same_tariffs_published_again_stay_one_version(conn: Connection) -> None:
    first = publish(conn, "0.5", NOW)
    assert publish(conn, "0.50", NOW + DAY) == first


@pytest.mark.parametrize("effective_from", [NOW - DAY, NOW - timedelta(seconds=1), NOW - 2 * DAY])
def test_the_past_is_not_repriced(conn: Connection, effective_from: datetime) -> None:
    publish(conn, "0.5", NOW - DAY)
    with pytest.raises(EffectiveFromTooEarly):
        publish(conn, "0.6", effective_from)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "tariffs"),
        ({"parking": document("1")}, "parking"),
        ({"service": document("-1")}, "service.elements[0].price_components[0].price"),
    ],
)
def test_tariffs_that_cannot_be_rated_are_not_published(
    conn: Connection, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(TariffInvalid) as refusal:
        tariffs.publish(conn, site_id="wutong", tariffs=given, effective_from=NOW, now=NOW)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tariff_version SET version = 9",
        "DELETE FROM tariff_version",
        "UPDATE agreement_version SET version = 9",
        "DELETE FROM agreement_share",
    ],
)
def test_published_terms_cannot_be_changed(conn: Connection, terms: Any, statement: str) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation, match="immutable"):
        conn.execute(statement.encode())


@pytest.mark.parametrize(
    ("shares", "field"),
    [
        ({}, "shares"),
        ({FeeKind.SERVICE: {"lvdian": 9_999}}, "shares.service"),
        ({FeeKind.SERVICE: {}}, "shares.service"),
        ({FeeKind.SERVICE: {"lvdian": 10_001}}, "shares.service.lvdian"),
        ({FeeKind.SERVICE: {"lvdian": 10_000, "pileway": 0}}, "shares.service.pileway"),
        ({"parking": {"lvdian": 10_000}}, "shares.parking"),
        ({FeeKind.SERVICE: {f"party-{number}": 1 for number in range(51)}}, "shares.service"),
    ],
)
def test_shares_that_are_not_a_whole_are_not_published(
    conn: Connection, terms: Any, shares: dict[FeeKind, dict[str, int]], field: str
) -> None:
    with pytest.raises(AgreementInvalid) as refusal:
        agreements.publish(conn, site_id="wutong", shares=shares, effective_from=NOW, now=NOW)
    assert refusal.value.field == field
    assert field in str(refusal.value)


def test_the_database_itself_refuses_shares_that_are_not_a_whole(conn: Connection, terms: Any) -> None:
    conn.execute(
        """
        INSERT INTO agreement_share (agreement_version_id, fee_kind, party_id, share_bps)
        VALUES (%(id)s, 'electricity', 'pileway', 1)
        """,
        {"id": terms.agreement.agreement_version_id},
    )
    with pytest.raises(psycopg.errors.CheckViolation, match="10001 bps of electricity"):
        conn.commit()


def test_parties_must_be_known_to_share(conn: Connection, terms: Any) -> None:
    with pytest.raises(PartyUnknown) as refusal:
        agreements.publish(
            conn,
            site_id="wutong",
            shares={FeeKind.SERVICE: {"nobody": 5000, "lvdian": 5000}},
            effective_from=NOW,
            now=NOW,
        )
    assert refusal.value.party_ids == ("nobody",)


def test_agreements_are_versions_too(conn: Connection, terms: Any) -> None:
    first = terms.agreement
    second = agreements.publish(
        conn,
        site_id="yuquan",
        shares={FeeKind.SERVICE: {"lvdian": 10_000}},
        effective_from=NOW + DAY,
        now=NOW,
    )
    assert second.version == 2
    assert agreements.current(conn, site_id="yuquan", at=NOW) == first
    assert agreements.current(conn, site_id="yuquan", at=NOW + DAY) == second
    again = agreements.publish(
        conn, site_id="yuquan", shares=second.shares, effective_from=NOW + 2 * DAY, now=NOW
    )
    assert again == second
    with pytest.raises(EffectiveFromTooEarly):
        agreements.publish(conn, site_id="yuquan", shares=first.shares, effective_from=NOW + DAY, now=NOW)
    with pytest.raises(AgreementSilent):
        second.require([FeeKind.SERVICE, FeeKind.ELECTRICITY])
    with pytest.raises(AgreementMissing):
        agreements.current(conn, site_id="elsewhere", at=NOW)
    with pytest.raises(AgreementVersionUnknown):
        agreements.get(conn, 99)
