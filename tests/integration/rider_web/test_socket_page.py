"""The page behind the QR code: what it says, in which language, and what it refuses."""

import re

import pytest

from charging import piles, sites
from charging.ports import PortState
from rider_web import assets
from tests.integration.rider_web.street_stand import NOON, PILE, PORTS, StreetStand, bring_up

FIRST_LOAD_LIMIT = 60_000
"""Bytes before compression, without the chart library that comes later."""


def test_a_free_socket_shows_its_price_with_both_fees_apart(stand: StreetStand) -> None:
    page = stand.http.get(f"/q/{PILE}/3").text
    assert "空闲，可以充电" in page
    assert "玉泉新村" in page
    assert "1.2703 <small>元/度" in page
    assert re.search(r"电费</dt><dd>0\.8203", page)
    assert re.search(r"服务费</dt><dd>0\.45", page)
    assert "未用完的钱立即原路退回" in page
    for yuan in ("1", "2", "3", "5"):
        assert f'name="amount" id="amount-{yuan}00" value="{yuan}"' in page


def test_the_band_of_this_hour_is_marked_and_the_night_is_one(stand: StreetStand) -> None:
    page = stand.http.get(f"/q/{PILE}/3", headers={"Accept-Language": "en"}).text
    [now] = re.findall(r'<tr class="now">.*?</tr>', page)
    assert '10:00–15:00<span class="tag">now</span>' in now
    assert "0.8203" in now
    assert "23:00–07:00" in page
    assert "24:00</span>" in page.split("<table")[0]
    assert "00:00–07:00" not in page


def test_a_fee_by_the_hour_is_not_added_to_one_by_the_kilowatt_hour(stand: StreetStand) -> None:
    page = stand.http.get("/q/BJ-01/1", headers={"Accept-Language": "en"}).text
    assert '<p class="figure">' not in page.split("<form")[0]
    assert re.search(r"Service fee</dt><dd>0\.12 <small>¥/hour", page)


def test_the_language_follows_the_browser_and_the_switch_is_remembered(stand: StreetStand) -> None:
    address = f"/q/{PILE}/3"
    assert '<html lang="zh-CN">' in stand.http.get(address).text
    english = stand.http.get(address, headers={"Accept-Language": "fr;q=0.9, en-GB;q=0.8, zh;q=0.1"})
    assert '<html lang="en">' in english.text
    assert english.headers["content-language"] == "en"
    stand.http.get(address, params={"lang": "en"})
    assert '<html lang="en">' in stand.http.get(address, headers={"Accept-Language": "zh-CN"}).text
    assert '<html lang="zh-CN">' in stand.http.get(address, params={"lang": "zh-CN"}).text


def test_a_busy_socket_names_the_free_ones(stand: StreetStand) -> None:
    stand.charging(port_no=4)
    stand.report_port(5, PortState.FAULT, fault="fuse")
    page = stand.http.get(f"/q/{PILE}/4", headers={"Accept-Language": "en"}).text
    assert "In use" in page
    assert f'href="/q/{PILE}/3"' in page
    assert f'href="/q/{PILE}/5"' not in page
    assert "<form" not in page


@pytest.mark.parametrize(
    ("condition", "words"),
    [("fault", "Out of order"), ("offline", "Offline"), ("disabled", "Out of service")],
)
def test_a_socket_that_cannot_start_says_why_and_sells_nothing(
    stand: StreetStand, condition: str, words: str
) -> None:
    address = f"/q/{PILE}/6"
    if condition == "fault":
        stand.report_port(6, PortState.FAULT, fault="fuse")
    elif condition == "offline":
        stand.lose_link()
    else:
        address = "/q/YQ-02/6"  # never enrolled
    page = stand.http.get(address, headers={"Accept-Language": "en"})
    assert page.status_code == 200
    assert words in page.text
    assert "<form" not in page.text
    port = stand.http.get(address.replace("/q/", "/api/rider/ports/")).json()
    assert (port["condition"], port["can_start"]) == (condition, False)


def test_a_site_without_a_price_sells_nothing(stand: StreetStand) -> None:
    bare = "GM-01"
    with stand.pool.connection() as conn:
        sites.add(conn, site_id="bare", name="光明里", address="", now=NOON)
        piles.register(
            conn, pile_id=bare, site_id="bare", model="P10", port_count=PORTS, power_limit_w=5_500, now=NOON
        )
        bring_up(conn, bare)
    port = stand.http.get(f"/api/rider/ports/{bare}/1").json()
    assert (port["condition"], port["can_start"], port["tariff_version_id"]) == ("no_price", False, None)
    assert "<form" not in stand.http.get(f"/q/{bare}/1").text
    refused = stand.http.post("/api/rider/sessions", json={"pile_id": bare, "port_no": 1, "amount_fen": 300})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "price_missing")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/q/NOPE/1", "There is no charging pile “NOPE”."),
        (f"/q/{PILE}/77", f"Pile {PILE} has no socket 77."),
        (f"/q/{PILE}/0", f"Pile {PILE} has no socket 0."),
        (f"/q/{PILE}/abc", "The address in the code is not complete, or was damaged."),
        (f"/q/{PILE}/999999999999999999999", "The address in the code is not complete, or was damaged."),
        ("/q/%00/1", "The address in the code is not complete, or was damaged."),
        ("/q/%3Cscript%3E/1", "The address in the code is not complete, or was damaged."),
        ("/s/not-a-session", "There is no charge under this address."),
        ("/s/2f6c1a52-8a3e-4d0a-9c55-0f4a3c1e7b90", "There is no charge under this address."),
        ("/nowhere", "There is nothing under this address."),
    ],
)
def test_an_unknown_address_gets_a_page_that_says_what_to_do(
    stand: StreetStand, address: str, words: str
) -> None:
    page = stand.http.get(address, headers={"Accept-Language": "en", "Accept": "text/html"})
    assert page.status_code == 404
    assert words in page.text
    assert '<ol class="steps">' in page.text
    assert "Traceback" not in page.text


def test_the_form_leads_to_the_rail(stand: StreetStand) -> None:
    sent = stand.http.post(f"/q/{PILE}/1", data={"amount": "3", "own_amount": ""})
    assert sent.status_code == 303
    assert sent.headers["location"].startswith(f"{stand.pay_url}/cashier")


def test_an_own_amount_counts_before_the_choice(stand: StreetStand) -> None:
    stand.http.post(f"/q/{PILE}/1", data={"amount": "3", "own_amount": "1.85"})
    with stand.pool.connection() as conn:
        assert conn.execute("SELECT amount_fen FROM payment").fetchone() == (185,)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("abc", "Please enter an amount in yuan, such as 2.50."),
        ("1.234", "Please enter an amount in yuan, such as 2.50."),
        ("NaN", "Please enter an amount in yuan, such as 2.50."),
        ("1e999", "Please enter an amount in yuan, such as 2.50."),
        ("0.05", "Please choose an amount from ¥0.10 to ¥100."),
        ("-2", "Please choose an amount from ¥0.10 to ¥100."),
        ("500", "Please choose an amount from ¥0.10 to ¥100."),
    ],
)
def test_an_impossible_amount_is_said_on_the_form_and_kept_to_correct(
    stand: StreetStand, typed: str, words: str
) -> None:
    page = stand.http.post(f"/q/{PILE}/1", data={"own_amount": typed}, headers={"Accept-Language": "en"})
    assert page.status_code == 422
    assert words in page.text
    assert f'value="{typed}"' in page.text
    assert 'aria-invalid="true"' in page.text


def test_the_first_load_is_small_and_all_our_own(stand: StreetStand) -> None:
    page = stand.http.get(f"/q/{PILE}/3")
    addresses = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text)
    assert len(addresses) == 3
    loaded = [page, *(stand.http.get(address) for address in addresses)]
    assert sum(len(each.content) for each in loaded) < FIRST_LOAD_LIMIT
    assert all(each.headers["cache-control"].endswith("immutable") for each in loaded[1:])
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)


def test_nothing_inline_can_run(stand: StreetStand) -> None:
    page = stand.http.get(f"/q/{PILE}/3")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert " style=" not in page.text
    assert not re.findall(r"<script(?![^>]*src=)", page.text)
    assert page.headers["referrer-policy"] == "same-origin"


def test_the_chart_library_is_served_and_only_under_its_own_digest(stand: StreetStand) -> None:
    library = stand.http.get(assets.url("vendor/uplot-1.6.32/uPlot.iife.min.js"))
    assert library.status_code == 200
    assert b"uPlot (v1.6.32)" in library.content[:400]
    assert stand.http.get("/assets/000000000000/pages.css").status_code == 404
