"""Every LIM item of the book has a test that is named after it, and a row "at a glance" that names that test.

That every item, conformance cases included, is cited by a test or says why not is for tests/rules to see.
"""

from __future__ import annotations

import re
from pathlib import Path

from devicemgr.rules.book import read_book

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "devicemgr" / "rules" / "kubelet-defects.md").read_text()
LIMITS = {id for id, item in read_book().items() if id.startswith("LIM-") and "Not tested here:" not in item.text}


def test_every_limit_has_a_row_at_a_glance_and_a_test_of_its_name():
    named = {}
    for path in TESTS.rglob("test_*.py"):
        for number in re.findall(r"def test_lim_(\d+)_", path.read_text()):
            named.setdefault(f"LIM-{number}", set()).add(str(path.relative_to(TESTS.parent)))
    assert named.keys() == LIMITS
    rows = re.findall(r"^\| ((?:LIM-\d+(?:, )?)+) \|.*\| `([^`]+)` \|$", PAGE, re.MULTILINE)
    shown = {limit: file for limits, file in rows for limit in limits.split(", ")}
    assert shown.keys() == LIMITS
    assert {limit: file for limit, file in shown.items() if file not in named[limit]} == {}
