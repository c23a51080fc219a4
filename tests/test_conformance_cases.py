"""Every conformance case of the reference is cited by a test, or stands here with the reason why not.

And every LIM item has a test that is named after it, and a row in the README that names that test.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
README = (TESTS.parent / "README.md").read_text()
CASES = {f"CC-{number:03}" for number in range(1, 158)}
LIMITS = {f"LIM-{number}" for number in range(1, 40)}

NOT_COVERED = {
    "CC-035": "there is no set to add an empty path to: the watcher's sockets are what a directory listing says",
    "CC-036": "a path has one task, which is gone before the next one of that path is started; there is no operation "
    "that could be begun twice",
    "CC-076": "the DRA gate is not implemented: devices that claims stand for are not a Device Manager's affair",
    "CC-077": "as CC-076; a resource known through holdings only is refused, see CC-065",
    "CC-106": "a manager outside a cluster sees no phases: a pod that has succeeded is one that was removed",
}


def citations():
    """Every CC id in the tests; ``CC-006…CC-008`` and ``CC-006…008`` are all of them."""
    found = set()
    for path in TESTS.rglob("*"):
        if path.suffix not in (".py", ".trace") or path == Path(__file__):
            continue
        for first, last in re.findall(r"CC-(\d{3})(?:…(?:CC-)?(\d{3}))?", path.read_text()):
            found |= {f"CC-{number:03}" for number in range(int(first), int(last or first) + 1)}
    return found


def test_every_case_is_cited_or_has_a_reason():
    assert CASES - citations() == set(NOT_COVERED)


def test_every_limit_has_a_row_in_the_readme_and_a_test_of_its_name():
    named = {}
    for path in TESTS.rglob("test_*.py"):
        for number in re.findall(r"def test_lim_(\d+)_", path.read_text()):
            named.setdefault(f"LIM-{number}", set()).add(str(path.relative_to(TESTS.parent)))
    assert named.keys() == LIMITS
    rows = re.findall(r"^\| ((?:LIM-\d+(?:, )?)+) \|.*\| `([^`]+)` \|$", README, re.MULTILINE)
    shown = {limit: file for limits, file in rows for limit in limits.split(", ")}
    assert shown.keys() == LIMITS
    assert {limit: file for limit, file in shown.items() if file not in named[limit]} == {}
