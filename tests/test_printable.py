"""What others have written, on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicemgr.printable import MOST_MARKS, printable

ACUTE = "\N{COMBINING ACUTE ACCENT}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vendor.com/gpu",
        "4 devices … ok → é",
        f"e{ACUTE}",
        f"Z{ACUTE * MOST_MARKS}",
        "\u0e01\u0e47\u0e49",
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "1\ufe0f\u20e3 \u2764\ufe0f",
        "\u1019\u103c\u102d\u102f\u1037",  # a town, in Burmese
        "\u05e9\u05c1\u05bc\u05b8\u0591",
        "\u0f67\u0fb2\u0f71\u0f74\u0f83",
    ],
    ids=ascii,
)
def test_what_people_write_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\nb"),
        ("\u202egpu", "\\u202egpu"),
        (f"{ACUTE}gpu", "\\u0301gpu"),
        (ACUTE * 2, "\\u0301\\u0301"),
        (f"devices: {ACUTE}", "devices: \\u0301"),
        (f"devices={ACUTE}", "devices=\\u0301"),
        (f"Z{ACUTE * 7}a{ACUTE}", f"Z{ACUTE * 5}\\u0301\\u0301a{ACUTE}"),
        ("\U0001e8d0", "\\U0001e8d0"),
    ],
    ids=ascii,
)
def test_what_would_do_something_else_is_escaped(text, shown):
    assert printable(text) == shown


@given(st.text(st.sampled_from(f"aZ 1:\u0e01\n\x1b{ACUTE}\u20dd\ud800")))
def test_it_is_printable_has_few_marks_on_one_character_and_stays_so(text):
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    marks = "".join("M" if unicodedata.category(one) in ("Mn", "Me") else "." for one in shown)
    assert not marks.startswith("M")
    assert "M" * (MOST_MARKS + 1) not in marks
