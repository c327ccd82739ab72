"""The rider's path in a real browser on a phone-sized screen."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.integration.rider_web.street_stand import PILE, StreetStand

expect.set_options(timeout=15_000)

STICKS_OUT = """
[...document.querySelectorAll(".card *:not(.visually-hidden)")]
  .filter((part) => part.getBoundingClientRect().right > part.closest(".card").getBoundingClientRect().right)
  .map((part) => part.outerHTML.slice(0, 80))
"""


@contextmanager
def phone(
    browser: Browser, *, locale: str = "zh-CN", dark: bool = False, script: bool = True, width: int = 390
) -> Generator[Page]:
    """A page on a phone; fails the test on any console error, foreign address or what is wider than its place."""
    context: BrowserContext = browser.new_context(
        viewport={"width": width, "height": 844},
        locale=locale,
        color_scheme="dark" if dark else "light",
        is_mobile=True,
        has_touch=True,
        java_script_enabled=script,
    )
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: complaints.append(request.url) if "127.0.0.1" not in request.url else None,
    )
    yield page
    assert complaints == []
    if script:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(STICKS_OUT) == []
    context.close()


def session_of(page: Page) -> UUID:
    return UUID(page.url.rsplit("/", 1)[1].split("?")[0])


def test_a_rider_scans_pays_watches_stops_and_gets_the_rest_back(
    stand: StreetStand, browser: Browser
) -> None:
    with phone(browser) as page:
        page.goto(f"{stand.url}/q/{PILE}/3")
        expect(page.get_by_role("heading", level=1)).to_contain_text("空闲，可以充电")
        page.get_by_text("¥3", exact=True).click()
        expect(page.get_by_role("button", name="付款 ¥3.00")).to_be_visible()
        page.get_by_role("button", name="付款 ¥3.00").click()

        expect(page.locator("body")).to_contain_text("3.00")
        page.locator("button.pay").click()
        page.wait_for_url(re.compile(r"/s/[0-9a-f-]{36}"))
        session_id = session_of(page)
        headline = page.locator("[data-field=headline]")
        expect(headline).to_have_text("正在启动")

        stand.accept(session_id, plugged=False)
        expect(headline).to_have_text("请插上充电器")
        stand.power_flows(session_id)
        expect(headline).to_have_text("正在充电")
        stand.meter(session_id, power_w=180, minutes=30)
        expect(page.locator("[data-shown=power]")).to_have_text("180")
        expect(page.locator("[data-shown=energy]")).to_have_text("0.090")
        expect(page.locator("[data-shown=time]")).to_have_text("0:30:00")
        expect(page.locator("dd [data-shown=electricity]")).to_have_text("0.07")
        expect(page.locator(".curve canvas")).to_be_visible()
        stand.meter(session_id, power_w=190, minutes=30)
        expect(page.locator("[data-shown=power]")).to_have_text("190")

        page.get_by_role("button", name="停止充电").click()
        page.get_by_role("dialog").get_by_role("button", name="停止充电").click()
        expect(headline).to_have_text("正在停止")
        stand.settle(session_id, reason="user_stop_app")
        expect(headline).to_have_text("您已停止充电")
        expect(page.locator("main")).to_contain_text("支付渠道正在原路退回")
        stand.send_refunds(session_id)
        expect(page.locator("main")).to_contain_text("已退回到您的付款账户")
        view = stand.view(session_id)
        expect(page.locator("main")).to_contain_text(f"¥{view['refunded_fen'] / 100:.2f}")
        assert view["refunded_fen"] + view["charged_fen"] == 300


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
def test_pages_fit_a_phone_in_both_languages_light_and_dark(
    stand: StreetStand, browser: Browser, locale: str, dark: bool
) -> None:
    session_id = stand.charging()
    stand.meter(session_id, minutes=90)
    settled = stand.charging(port_no=2)
    stand.meter(settled, minutes=500)
    stand.settle(settled)
    with phone(browser, locale=locale, dark=dark) as page:
        for path in (f"/q/{PILE}/3", f"/q/{PILE}/1", "/q/BJ-01/1", f"/s/{session_id}", f"/s/{settled}"):
            page.goto(stand.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
            targets = page.locator(".button, .switch a, .amounts label, .sockets a, summary")
            for button in targets.filter(visible=True).all():
                box = button.bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) >= 44, (path, button.inner_text())


def test_an_own_amount_replaces_the_choice(stand: StreetStand, browser: Browser) -> None:
    with phone(browser, locale="en-GB") as page:
        page.goto(f"{stand.url}/q/{PILE}/3")
        page.get_by_label(re.compile("Other amount")).fill("1.85")
        expect(page.locator("input[name=amount]:checked")).to_have_count(0)
        expect(page.get_by_role("button", name="Pay ¥1.85")).to_be_visible()
        page.get_by_text("¥5", exact=True).click()
        expect(page.get_by_label(re.compile("Other amount"))).to_have_value("")
        expect(page.get_by_role("button", name="Pay ¥5.00")).to_be_visible()


@pytest.mark.parametrize("locale", ["zh-CN", "en-GB"])
def test_a_socket_fits_the_narrowest_phones(stand: StreetStand, browser: Browser, locale: str) -> None:
    with phone(browser, locale=locale, width=320) as page:
        page.goto(f"{stand.url}/q/{PILE}/3")
        expect(page.get_by_role("table")).to_be_visible()


def test_every_step_works_without_script(stand: StreetStand, browser: Browser) -> None:
    with phone(browser, script=False) as page:
        page.goto(f"{stand.url}/q/{PILE}/3")
        page.get_by_role("button", name="付款").click()
        page.locator("button.pay").click()
        page.wait_for_url(re.compile(r"/s/[0-9a-f-]{36}"))
        session_id = session_of(page)
        stand.accept(session_id)
        stand.power_flows(session_id)
        page.reload()
        page.get_by_role("button", name="停止充电").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("正在停止")


def test_a_wrong_code_says_what_to_do(stand: StreetStand, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="en-GB")
    page = context.new_page()
    answer = page.goto(f"{stand.url}/q/NOPE/1")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("We do not know this code")
    expect(page.get_by_role("alert")).to_contain_text("There is no charging pile “NOPE”.")
    context.close()


def test_the_documents_open_without_the_internet(stand: StreetStand, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if stand.url not in request.url else None)
    page.goto(f"{stand.url}/docs")
    expect(page.locator(".opblock-summary-path").first).to_be_visible()
    expect(page.locator("body")).to_contain_text("Every party with its balance")
    assert [url for url in foreign if not url.startswith("data:")] == []
    context.close()
