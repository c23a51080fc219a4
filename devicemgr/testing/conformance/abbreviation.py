"""How ids and lists of ids are shortened in evidence, so that no two of them look the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

LONGEST = 24
"""An id of up to this many characters is shown whole."""
MAX_LINE = 200
"""A line of up to this many characters is shown whole."""
MOST = 5
"""How many ids of a list are shown."""


def shortened(texts: Sequence[str], *, longest: int = LONGEST, among: Iterable[str] = ()) -> list[str]:
    """Each text whole, or cut in the middle: ``GPU-4f2a1c07…93b59c1b``. If two of them, or one of them and one of
    ``among``, would look the same, more is shown."""
    kept = dict.fromkeys([*texts, *among], longest)
    while alike := _alike(kept):
        for text in alike:
            kept[text] *= 2
    return [_cut(text, kept[text]) for text in texts]


def _alike(kept: Mapping[str, int]) -> list[str]:
    """The texts that look like another one and are not shown whole yet."""
    by_look: dict[str, list[str]] = defaultdict(list)
    for text, length in kept.items():
        by_look[_cut(text, length)].append(text)
    alike = (text for texts in by_look.values() if len(texts) > 1 for text in texts)
    return [text for text in alike if len(text) > kept[text]]


def _cut(text: str, length: int) -> str:
    """``length`` is that of the result, with the mark."""
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[head + 1 - length :]}"


def first_few(items: Iterable[object], *, among: Iterable[str] = ()) -> str:
    """The first few items, in their order, and how many more there are."""
    return _first(shortened(list(map(str, items)), among=among))


def _first(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MOST} more" if len(texts) > MOST else ""
    return ", ".join(texts[:MOST]) + more


def difference(before: Iterable[str], after: Iterable[str], *, longest: int = LONGEST) -> str:
    """What has changed in a list whose order does not matter: ``missing a, b; new c; 38 the same``."""
    one, other = Counter(before), Counter(after)
    texts = sorted(one | other)
    looks = dict(zip(texts, shortened(texts, longest=longest), strict=True))
    changes = []
    for what, changed in (("missing", one - other), ("new", other - one)):
        if changed:
            changes.append(f"{what} {_first([looks[text] for text in sorted(changed.elements())])}")
    return "; ".join([*changes, f"{(one & other).total()} the same"])


def shortened_line(line: str) -> str:
    """The beginning of a long line."""
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"
