"""A rider at a pile without connection: pays, reads the code, types it in or gives it up."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from psycopg_pool import ConnectionPool

from charging import local_starts, start_codes, timers
from charging.local_starts import LocalStart
from charging.session_states import SessionState
from database.pool import Connection
from tests.browser.test_rider_path import phone, session_of
from tests.integration.rider_web.street_house import WAITS, StreetHouse
from tests.integration.rider_web.street_stand import PILE, StreetStand, standing
from tests.waiting import wait_until

expect.set_options(timeout=15_000)


@pytest.fixture
def stand(
    dsn: str, pool: ConnectionPool[Connection], house: StreetHouse, tmp_path: Path
) -> Iterator[StreetStand]:
    """Everything up, codes sold, and pile YQ-01 without a link."""
    with standing(dsn, pool, house, tmp_path, codes=True) as stand:
        stand.lose_link()
        yield stand


def test_a_rider_pays_reads_the_code_and_charges_with_it(stand: StreetStand, browser: Browser) -> None:
    with phone(browser) as page:
        page.goto(f"{stand.url}/q/{PILE}/3")
        expect(page.get_by_role("heading", level=1)).to_contain_text("凭启动码充电")
        page.get_by_role("button", name=re.compile("付款")).click()
        page.locator("button.pay").click()
        page.wait_for_url(re.compile(r"/s/[0-9a-f-]{36}"))
        session_id = session_of(page)
        expect(page.locator("[data-field=headline]")).to_have_text("请输入启动码")
        with stand.pool.connection() as conn:
            code = start_codes.of_session(conn, session_id)
        assert code is not None
        expect(page.locator("[data-code]")).to_have_text(code.digits)
        assert [part.inner_text() for part in page.locator("[data-code] span").all()] == [
            code.digits[:4],
            code.digits[4:7],
            code.digits[7:],
        ]
        expect(page.locator("[data-left-s]")).to_have_text(re.compile(r"^2\d:[0-5]\d$|^19:[0-5]\d$"))
        shown = page.locator("[data-left-s]").inner_text()
        expect(page.locator("[data-left-s]")).not_to_have_text(shown)
        told = LocalStart(
            pile_id=PILE,
            session_id=session_id,
            source="code",
            port_no=3,
            begun_at=stand.clock.now(),
            limit_s=43_200,
            limit_dwh=20_000,
            credential=None,
        )
        with stand.pool.connection() as conn:
            assert local_starts.told(conn, told, now=stand.clock.now())
        expect(page.locator("[data-field=headline]")).to_have_text("正在充电")
        expect(page.locator("[data-code]")).to_have_count(0)
        assert stand.view(session_id)["start_code"] is None


def test_before_the_payment_nobody_sees_the_code(stand: StreetStand) -> None:
    session_id = stand.order(port_no=3)
    with stand.pool.connection() as conn:
        code = start_codes.of_session(conn, session_id)
    assert code is not None
    assert stand.view(session_id)["start_code"] is None
    assert code.digits not in stand.http.get(f"/s/{session_id}").text
    stand.pay(session_id)
    assert stand.view(session_id)["start_code"]["digits"] == code.digits


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
def test_the_code_fits_a_phone_in_both_languages(
    stand: StreetStand, browser: Browser, locale: str, dark: bool
) -> None:
    session_id = stand.order(port_no=3)
    stand.pay(session_id)
    with phone(browser, locale=locale, dark=dark) as page:
        page.goto(f"{stand.url}/s/{session_id}")
        digits = page.locator("[data-code]").bounding_box()
        span = page.locator("[data-code] span").first.bounding_box()
        assert digits is not None
        assert span is not None
        assert span["height"] >= 36
        assert digits["height"] < 2 * span["height"], "the ten digits stand in one line"
        for button in page.locator(".button").filter(visible=True).all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44


def test_giving_up_hides_the_code_and_brings_the_money_back(stand: StreetStand, browser: Browser) -> None:
    session_id = stand.order(port_no=3)
    stand.pay(session_id)
    with phone(browser, locale="en-GB") as page:
        page.goto(f"{stand.url}/s/{session_id}")
        page.get_by_role("button", name="Give up").click()
        page.get_by_role("dialog").get_by_role("button", name="Give up").click()
        headline = page.locator("[data-field=headline]")
        expect(headline).to_have_text("The code has ended")
        expect(page.locator("[data-code]")).to_have_count(0)
        stand.clock.forward(hours=26)
        with stand.pool.connection() as conn:
            for step in timers.STEPS:
                while step(conn, WAITS, stand.clock.now()):
                    pass
        stand.send_refunds(session_id)
        expect(headline).to_have_text("Could not start")
        expect(page.locator("[data-field=explanation]")).to_contain_text("The code was not used.")
        wait_until(lambda: stand.view(session_id)["refunded_fen"] == 300, what="the refund")
    assert stand.state(session_id) is SessionState.FAILED
