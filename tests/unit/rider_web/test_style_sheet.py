"""The colours can be read: WCAG 2.1 contrast of every pair of text and ground, light and dark."""

import re
from pathlib import Path

import pytest

import rider_web

STYLES = (Path(rider_web.__file__).parent / "static" / "pages.css").read_text()
PAIRS = [
    ("ink", "paper"),
    ("ink", "surface"),
    ("ink", "sunken"),
    ("soft", "paper"),
    ("soft", "surface"),
    ("soft", "sunken"),
    ("on-pine", "pine"),
    ("on-pine-soft", "pine"),
    ("brand", "surface"),
    ("brand", "sunken"),
    ("on-action", "action"),
    ("ink", "amber-wash"),
    ("amber-ink", "amber-wash"),
    ("danger", "danger-wash"),
    ("danger", "surface"),
    ("amber", "pine"),
]
LEAST_CONTRAST = 4.5
"""WCAG 2.1, 1.4.3, for text of any size."""


def palette(dark: bool) -> dict[str, str]:
    light, shade = re.findall(r":root \{(.*?)\}", STYLES, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return colours | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", shade)) if dark else colours


def luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        share = channel / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[index : index + 2], 16)) for index in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_stands_out_from_its_ground(text: str, ground: str, dark: bool) -> None:
    colours = palette(dark)
    low, high = sorted((luminance(colours[text]), luminance(colours[ground])))
    assert (high + 0.05) / (low + 0.05) >= LEAST_CONTRAST
