"""The book as data: items, each with an id such as ALLOC-7d, one sentence, and the text that explains it.

An item is a heading, ``### ALLOC-7d: The sentence``, with everything up to the next heading; or a row of a table whose
first column is called ``Id``, where a row is enough. Only :func:`read_book`, and who calls it, does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

_ID = r"[A-Z][A-Z0-9]+-E?\d+[a-z]?"
_HEADING = re.compile(r"#+ (.*)")
_ITEM_HEADING = re.compile(rf"({_ID}): (.*)")
_CITED = re.compile(rf"\b({_ID})(?:…(?:[A-Z][A-Z0-9]+-)?(E?\d+[a-z]?))?(?!\w)")
_LINK_TO_PAGE = re.compile(r"\]\(([a-z-]+)\.md\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One rule. ``topic`` is the name of its page, ``sentence`` the rule itself, ``text`` the Markdown below it."""

    id: str
    topic: str
    sentence: str
    text: str


def items_of(page: str, *, topic: str) -> list[Item]:
    """The items of one page, in order."""
    return [item for title, lines in _sections(page) for item in _items_of_section(title, lines, topic)]


def _sections(page: str) -> Iterator[tuple[str, list[str]]]:
    """Each heading with the lines up to the next one; in a fenced block ``#`` begins no heading."""
    title, lines, is_fenced = "", list[str](), False
    for line in page.splitlines():
        is_fenced ^= line.startswith("```")
        if not is_fenced and (heading := _HEADING.fullmatch(line)):
            yield title, lines
            title, lines = heading[1], []
        else:
            lines.append(line)
    yield title, lines


def _items_of_section(title: str, lines: list[str], topic: str) -> Iterator[Item]:
    if match := _ITEM_HEADING.fullmatch(title):
        yield Item(id=match[1], topic=topic, sentence=match[2], text="\n".join(lines).strip())
    columns: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            columns = []
        elif not columns:
            columns = cells
        elif columns[0] == "Id" and re.fullmatch(_ID, cells[0]):
            named = [f"*{name}:* {cell}" for name, cell in zip(columns, cells, strict=True) if cell]
            yield Item(id=cells[0], topic=topic, sentence=cells[1], text="\n\n".join(named[2:]))


@cache
def read_book() -> Mapping[str, Item]:
    """Every item by its id, in the order of the table of contents in ``README.md``."""
    folder = resources.files(__package__)
    pages = dict.fromkeys(_LINK_TO_PAGE.findall((folder / "README.md").read_text(encoding="utf-8")))
    texts = {topic: (folder / f"{topic}.md").read_text(encoding="utf-8") for topic in pages}
    return {item.id: item for topic, text in texts.items() for item in items_of(text, topic=topic)}


def parts_of(item: Item, book: Mapping[str, Item]) -> list[Item]:
    """The items that are steps of this one: ALLOC-7a, ALLOC-7b … of ALLOC-7."""
    return [one for one in book.values() if one.id[:-1] == item.id and one.id[-1].isalpha()]


def cited_in(text: str, book: Collection[str]) -> list[str]:
    """The ids that a text names, each once, whether the book has them or not.

    ``CAP-7…CAP-9`` and ``CAP-7…9`` also name what the book has between the two. UTF-8 is no id: the book has no family
    of that name.
    """
    families = families_of(book)
    found: dict[str, None] = {}
    for first, last in _CITED.findall(text):
        family = _place(first)[0]
        if family in families:
            found[first] = None
            if last:
                end = f"{family}-{last}"
                between = [id for id in book if _place(first) < _place(id) < _place(end)]
                found |= dict.fromkeys([*sorted(between, key=_place), end])
    return list(found)


def sentences_in(text: str) -> dict[str, str]:
    """The rules that a text names, each with its sentence."""
    book = read_book()
    return {id: book[id].sentence for id in cited_in(text, book) if id in book}


def families_of(ids: Collection[str]) -> set[str]:
    """What their ids begin with: LW, ALLOC …"""
    return {_place(id)[0] for id in ids}


def _place(id: str) -> tuple[str, str, int, str]:
    """A sort key: ALLOC-7f before ALLOC-8, and ALLOC-E9 before ALLOC-E10."""
    match = re.fullmatch(r"(\w+)-(E?)(\d+)([a-z]?)", id)
    assert match is not None, id
    return match[1], match[2], int(match[3]), match[4]


def find(id: str, book: Mapping[str, Item]) -> Item | None:
    """The item of this id; capitals and dashes do not matter."""
    return book.get(id) or {_plain(item.id): item for item in book.values()}.get(_plain(id))


def near(id: str, book: Mapping[str, Item]) -> list[str]:
    """Ids that may have been meant, the most likely one first."""
    plain = {_plain(one): one for one in book}
    return [plain[one] for one in get_close_matches(_plain(id), plain, 4, 0.6)]


def _plain(id: str) -> str:
    return re.sub(r"[^a-z0-9]", "", id.lower())
