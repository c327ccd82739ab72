"""Languages: every text has its Chinese, places keep their names, and the choice follows the rider."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

import rider_web
from rider_web import languages
from rider_web.languages import CHINESE, ENGLISH

PACKAGE = Path(rider_web.__file__).parent
PLACES = re.compile(r"%\((\w+)\)s")


def texts_in_use() -> set[str]:
    found = extract_from_dir(
        str(PACKAGE),
        method_map=[("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")],
        options_map={},
        keywords={"mark": None, "_": None},
    )
    return {message for _, _, message, _, _ in found if isinstance(message, str)}


def catalogue() -> dict[str, str]:
    with (PACKAGE / "locales" / "zh_CN.po").open("rb") as source:
        return {
            str(message.id): str(message.string)
            for message in read_po(source, locale="zh_CN", abort_invalid=True)
            if message.id
        }


def test_every_text_has_its_chinese_and_no_chinese_is_left_over() -> None:
    assert texts_in_use() == catalogue().keys()
    assert [text for text, chinese in catalogue().items() if not chinese] == []


@pytest.mark.parametrize(("text", "chinese"), sorted(catalogue().items()))
def test_a_translation_fills_the_same_places(text: str, chinese: str) -> None:
    assert set(PLACES.findall(text)) == set(PLACES.findall(chinese))


@pytest.mark.parametrize(
    ("asked", "remembered", "header", "expected"),
    [
        (None, None, None, CHINESE),
        (None, None, "", CHINESE),
        (None, None, "*", CHINESE),
        (None, None, "fr", CHINESE),
        (None, None, "en", ENGLISH),
        (None, None, "en-GB,en;q=0.9,zh;q=0.1", ENGLISH),
        (None, None, "zh-Hans-CN, en;q=0.5", CHINESE),
        (None, None, "en;q=0.2, zh-TW;q=0.7", CHINESE),
        (None, None, "en;q=0, zh", CHINESE),
        (None, None, "en;q=oops", CHINESE),
        (None, "en", "zh-CN", ENGLISH),
        ("zh-CN", "en", "en", CHINESE),
        ("xx", "en", "zh", ENGLISH),
    ],
)
def test_the_switch_counts_before_the_cookie_and_the_cookie_before_the_browser(
    asked: str | None, remembered: str | None, header: str | None, expected: languages.Language
) -> None:
    assert languages.choose(asked, remembered, header) == expected


@given(header=st.text(max_size=600))
def test_no_header_breaks_the_choice(header: str) -> None:
    assert languages.choose(None, None, header) in languages.LANGUAGES
