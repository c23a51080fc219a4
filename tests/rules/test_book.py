"""The book has every rule that is cited anywhere, and every rule of it is cited by a test, or says why not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from devicemgr.core.checkpoint.kubelet_format import parse_checkpoint
from devicemgr.rules import book as rules
from devicemgr.rules.book import Item, cited_in, families_of, find, items_of, near, parts_of, read_book

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "devicemgr" / "rules"
BOOK = read_book()
TEXTS = {".py", ".md", ".trace", ".golden", ".yaml", ".yml", ".toml", ".proto", ".service"}

PAGE = """\
# A page

### XX-1: The first rule

What it does.

```
# XX-9: no heading, but code
```

### XX-1a: A step of it

## A section

| Id | Rule | Why |
|---|---|---|
| XX-2 | The second rule | a reason |
| XX-3 | The third rule | |

| Other | Table |
|---|---|
| XX-4 | no rule |
"""


def files(*roots: str) -> list[Path]:
    found = [path for root in roots for path in sorted((ROOT / root).rglob("*")) if path.suffix in TEXTS]
    return [path for path in found if "corpus" not in path.parts]


def citations(paths: list[Path]) -> dict[str, Path]:
    """Every id that is cited, with one of the files."""
    return {id: path for path in paths for id in cited_in(path.read_text(encoding="utf-8"), BOOK)}


def cited_by_tests() -> set[str]:
    """The ids in the tests, ``test_lim_7_…`` included; who cites a step cites what it is a step of."""
    paths = [path for path in files("tests") if path.suffix in (".py", ".trace") and path != Path(__file__)]
    named = {f"LIM-{n}" for path in paths for n in re.findall(r"def test_lim_(\d+)_", path.read_text())}
    cited = citations(paths).keys() | named
    return cited | {item.id for item in BOOK.values() if cited & {part.id for part in parts_of(item, BOOK)}}


def reason_for_no_test(item: Item) -> str:
    match = re.search(r"Not tested here: (\S.*)", item.text)
    return match[1] if match else ""


def test_a_page_is_its_items_in_order():
    first, step, second, third = items_of(PAGE, topic="page")
    assert first == Item(
        id="XX-1",
        topic="page",
        sentence="The first rule",
        text="What it does.\n\n```\n# XX-9: no heading, but code\n```",
    )
    assert (step.id, step.sentence, step.text) == ("XX-1a", "A step of it", "")
    assert (second.id, second.sentence, second.text) == ("XX-2", "The second rule", "*Why:* a reason")
    assert (third.id, third.text) == ("XX-3", "")


def test_steps_of_a_rule():
    page = {item.id: item for item in items_of(PAGE, topic="page")}
    assert [part.id for part in parts_of(page["XX-1"], page)] == ["XX-1a"]
    assert parts_of(page["XX-1a"], page) == []


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("See XX-1 and (XX-12b).", ["XX-1", "XX-12b"]),
        ("XX-7…XX-9", ["XX-7", "XX-7d", "XX-7e", "XX-7f", "XX-8", "XX-8a", "XX-9"]),
        ("XX-7…9 and XX-9", ["XX-7", "XX-7d", "XX-7e", "XX-7f", "XX-8", "XX-8a", "XX-9"]),
        ("XX-7d…7f", ["XX-7d", "XX-7e", "XX-7f"]),
        ("XX-E9…E11", ["XX-E9", "XX-E10", "XX-E11"]),
        ("XX-7f…8a", ["XX-7f", "XX-8", "XX-8a"]),
        ("XX-5…", ["XX-5"]),
        ("YY-1, XX-1st, XX-n, UTF-8", []),
    ],
)
def test_ids_in_a_text(text, ids):
    book = [f"XX-{n}" for n in ("E9", "E10", "E11", "7", "7d", "7e", "7f", "8", "8a", "9")]
    assert cited_in(text, book) == ids


def test_an_id_is_found_however_it_is_spelt():
    assert find("alloc7D", BOOK) is BOOK["ALLOC-7d"]
    assert find("no-such-rule", BOOK) is None


def test_ids_that_may_have_been_meant():
    page = {item.id: item for item in items_of(PAGE, topic="page")}
    assert near("XX-1b", page) == ["XX-1", "XX-1a"]
    assert near("training", page) == []


def test_an_id_is_the_id_of_one_item():
    ids = [item.id for path in PAGES.glob("*.md") for item in items_of(path.read_text(encoding="utf-8"), topic="")]
    assert sorted(ids) == sorted(BOOK)


def test_the_table_of_contents_has_every_page_and_its_families():
    contents = (PAGES / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[[^]]+\]\(([\w-]+)\.md\) \| ([A-Z0-9, ]+) \|", contents, re.MULTILINE)
    assert [page for page, _ in rows] == list(dict.fromkeys(item.topic for item in BOOK.values()))
    assert {page for page, _ in rows} | {"README"} == {path.stem for path in PAGES.glob("*.md")}
    for page, families in rows:
        assert set(families.split(", ")) == families_of([item.id for item in BOOK.values() if item.topic == page]), page


def test_every_id_that_is_cited_is_an_item():
    cited = citations([ROOT / "README.md", *files("devicemgr", "tests", "examples", "proto")])
    assert {id: path for id, path in cited.items() if id not in BOOK} == {}


def test_every_item_is_cited_by_a_test_or_says_why_not():
    untested = BOOK.keys() - cited_by_tests()
    assert untested == {item.id for item in BOOK.values() if reason_for_no_test(item)}


def test_every_link_and_every_path_in_the_book_leads_somewhere():
    for page in PAGES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
        for path in re.findall(r"`((?:devicemgr|tests|examples|proto)/[\w./-]*)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_checkpoint_that_the_book_shows_has_the_right_checksum():
    (shown,) = re.findall(r"```json\n(.*?)```", (PAGES / "checkpoint.md").read_text(encoding="utf-8"), re.DOTALL)
    found = parse_checkpoint(json.dumps(json.loads(shown)).encode())
    assert [entry.resource for entry in found.entries] == list(found.registered)


def test_the_book_is_read_once():
    assert rules.read_book() is BOOK
