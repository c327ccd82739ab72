"""An alarm reaches the rider's phone while the page is open."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_rider_path import phone
from tests.integration.rider_web.dangers import alarm
from tests.integration.rider_web.street_stand import PILE, StreetStand


@pytest.mark.parametrize(
    ("locale", "words"),
    [("zh-CN", "烟雾报警！充电已停止。"), ("en-GB", "Smoke alarm! Charging was stopped.")],
)
def test_smoke_appears_on_the_open_page_of_a_charge(
    stand: StreetStand, browser: Browser, locale: str, words: str
) -> None:
    session_id = stand.charging(port_no=3)
    stand.meter(session_id, minutes=20)
    with phone(browser, locale=locale) as page:
        page.goto(f"{stand.url}/s/{session_id}")
        expect(page.locator("[data-notice]")).to_have_count(0)
        alarm(stand)
        notice = page.locator("[data-notice=danger]")
        expect(notice).to_contain_text(words)
        expect(notice).to_have_attribute("role", "alert")
        page.goto(f"{stand.url}/q/{PILE}/5")
        expect(page.get_by_role("button", name="¥")).to_have_count(0)
