"""How ids, and lists of them, are shown in evidence: short, and so that no two of them look the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

LONGEST = 24
"""Characters of an id that is shown whole."""
MAX_LINE = 200
"""Characters of a line that is shown whole."""
MOST = 5
"""Ids that are shown of a list."""


def shortened(texts: Sequence[str], *, longest: int = LONGEST, among: Iterable[str] = ()) -> list[str]:
    """Each of them whole, or cut in the middle: ``GPU-4f2a1c07…93b59c1b``. Where two would look the same, or one like
    another ``among`` which they are, more of them is shown."""
    kept = dict.fromkeys([*texts, *among], longest)
    while alike := _alike(kept):
        for text in alike:
            kept[text] *= 2
    return [_cut(text, kept[text]) for text in texts]


def _alike(kept: Mapping[str, int]) -> list[str]:
    """Those that look like another one and have more to show."""
    by_look: dict[str, list[str]] = defaultdict(list)
    for text, length in kept.items():
        by_look[_cut(text, length)].append(text)
    alike = (text for texts in by_look.values() if len(texts) > 1 for text in texts)
    return [text for text in alike if len(text) > kept[text]]


def _cut(text: str, length: int) -> str:
    """To so many characters, the mark included."""
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[head + 1 - length :]}"


def first_few(items: Iterable[object], *, among: Iterable[str] = ()) -> str:
    """The first few, in their order."""
    return _first(shortened(list(map(str, items)), among=among))


def _first(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MOST} more" if len(texts) > MOST else ""
    return ", ".join(texts[:MOST]) + more


def difference(before: Iterable[str], after: Iterable[str], *, longest: int = LONGEST) -> str:
    """What became of a list whose order means nothing: ``missing a, b; new c; 38 the same``."""
    one, other = Counter(before), Counter(after)
    texts = sorted(one | other)
    looks = dict(zip(texts, shortened(texts, longest=longest), strict=True))
    changes = []
    for what, changed in (("missing", one - other), ("new", other - one)):
        if changed:
            changes.append(f"{what} {_first([looks[text] for text in sorted(changed.elements())])}")
    return "; ".join([*changes, f"{(one & other).total()} the same"])


def shortened_line(line: str) -> str:
    """Its beginning, where it is long."""
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"
