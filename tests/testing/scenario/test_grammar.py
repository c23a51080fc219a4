"""Lines → steps, or an error that names the line and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from devicemgr.errors import BadInput
from devicemgr.testing.scenario import VERBS, parse_scenario

PLUGIN = "> plugin p vendor.com/gpu dev1 dev2! options=pre-start,preferred"


def test_lines_keep_their_order_and_what_was_written_under_them():
    text = f"# why\n{PLUGIN}\n> capacity\n    vendor.com/gpu capacity=1\n    more\n\n> advance 1.5\n"
    lines = parse_scenario(text, file="x.trace")
    assert [(line.number, line.verb, line.words, line.written) for line in lines] == [
        (1, "", (), ()),
        (2, "plugin", ("p", "vendor.com/gpu", "dev1", "dev2!", "options=pre-start,preferred"), ()),
        (3, "capacity", (), ("vendor.com/gpu capacity=1", "more")),
        (6, "", (), ()),
        (7, "advance", ("1.5",), ()),
    ]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (">", "there is no step ''"),
        ("> registr p", "did you mean register"),
        ("> frobnicate", "there are plugin, register, list"),
        ("> register", "write: > register NAME"),
        ("> capacity now", "write: > capacity"),
        ("> register q", "there is no plug-in 'q' yet: it begins with '> plugin q …'"),
        ("> plugin p vendor.com/gpu", "no new name"),
        ("> plugin ../q vendor.com/gpu", "no new name"),
        ("> plugin q vendor.com/gpu options=all", "options="),
        ("> register p name=q", "write version=V"),
        ("> register p version", "write version=V"),
        ("> register p version=1 version=2", "each once"),
        ("> fail p Allocate no", "there are options, list, allocate"),
        ("> admit a main:vendor.com/gpu", "write CONTAINER:RESOURCE=N"),
        ("> admit a main:vendor.com/gpu=-1", "write CONTAINER:RESOURCE=N"),
        ("> admit a main:vendor.com/gpu=99999999999", "write CONTAINER:RESOURCE=N"),
        ("> admit a last:main:vendor.com/gpu=1", "init or side"),
        ("> admit a init:c:vendor.com/gpu=1 c:vendor.com/gpu=1", "of another kind already"),
        ("> admit a c:vendor.com/gpu=1 c:vendor.com/gpu=1", "has asked for vendor.com/gpu already"),
        ("> advance soon", "no number of seconds"),
        ("> advance -1", "no number of seconds"),
        ("> advance nan", "no number of seconds"),
        ("> advance 1e300", "no number of seconds"),
        ("register p", "a line is a step"),
        ("  > register p", "a line is a step"),
    ],
)
def test_a_wrong_step_is_refused_with_its_line(step, words):
    with pytest.raises(BadInput) as refused:
        parse_scenario(f"# a comment\n{PLUGIN}\n{step}\n", file="x.trace")
    assert str(refused.value).startswith("x.trace:3: ")
    assert words in str(refused.value)


@pytest.mark.parametrize("text", ["", "# only\n", "\n\n"])
def test_a_scenario_has_steps(text):
    with pytest.raises(BadInput, match="no steps"):
        parse_scenario(text, file="x.trace")


def test_the_page_has_each_step_as_the_code_has_it():
    page = (Path(__file__).parents[3] / "devicemgr" / "testing" / "README.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("| `> ")] == [
        f"| `> {verb.usage}` | {verb.does} |" for verb in VERBS.values()
    ]
