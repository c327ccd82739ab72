"""The languages riders read: catalogue, choice and formats that depend on the language.

The English text is the message id; `locales/zh_CN.po` is the Chinese catalogue. It is compiled in memory
when first needed, so there is no compiled file to keep in step.
"""

from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

COOKIE = "pileway_language"
"""Remembers the switch; holds nothing but a language code."""

_LOCALES = Path(__file__).parent / "locales"


@dataclass(frozen=True)
class Language:
    """One language of the pages; `code` is the HTML language tag."""

    code: str
    name: str
    catalogue: str | None
    """File name of the catalogue under `locales/`; None where the message ids are the text."""

    @property
    def translations(self) -> NullTranslations:
        return _translations(self.catalogue)

    def say(self, message: str, **values: object) -> str:
        """`message` in this language, with its %(name)s places filled."""
        return self.translations.gettext(message) % values if values else self.translations.gettext(message)


CHINESE = Language("zh-CN", "中文", "zh_CN.po")
ENGLISH = Language("en", "English", None)
LANGUAGES = (CHINESE, ENGLISH)


def mark(message: str) -> str:
    """Mark a text for the catalogue where it is named before the language is known."""
    return message


def choose(asked: str | None, remembered: str | None, accept_language: str | None) -> Language:
    """The language to answer in: the switch, then the cookie, then Accept-Language; Chinese otherwise."""
    for code in (asked, remembered):
        for language in LANGUAGES:
            if code == language.code:
                return language
    wanted = [tag for tag, quality in _accepted(accept_language or "") if quality > 0]
    found = negotiate_locale(wanted, ["zh", "zh-CN", "en"], sep="-")
    return ENGLISH if found == "en" else CHINESE


def _accepted(header: str) -> list[tuple[str, float]]:
    tags: list[tuple[str, float]] = []
    for item in header[:512].split(","):
        tag, _, parameters = item.strip().partition(";")
        quality = 1.0
        if parameters.strip().startswith("q="):
            try:
                quality = float(parameters.strip()[2:])
            except ValueError:
                quality = 0.0
        if tag and tag != "*":
            # negotiate_locale knows zh-CN and zh; script subtags such as zh-Hans-CN say the same to us.
            tags.append(("zh" if tag.lower().startswith("zh") else tag, quality))
    return sorted(tags, key=lambda pair: -pair[1])


@cache
def _translations(catalogue: str | None) -> NullTranslations:
    if catalogue is None:
        return NullTranslations()
    with (_LOCALES / catalogue).open("rb") as source:
        messages = read_po(source, locale="zh_CN", abort_invalid=True)
    compiled = BytesIO()
    write_mo(compiled, messages)
    compiled.seek(0)
    return Translations(compiled)
