"""A recorded trace, read again: the JSON lines of ``--trace``, or a golden trace with its steps (``.trace``).

A golden trace has the events of each step as the log has them, without times; see ``testing/scenario``. Lines that
cannot be read are kept apart, so that a reader sees the rest: a manager that was killed leaves half a line.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .. import events
from ..errors import BadInput

MAX_LINE = 64 * 2**20
"""Characters of a line: the list of a million devices has about as many."""
_MOST_OMITTED = 1_000_000
_EVENT = re.compile(r"(DEBUG|INFO|WARNING) +([A-Z]\w+)(?= |$)")
_KEY = re.compile(r" +(\w+)=")
_BARE = re.compile(r"[^ ,\]]*")
_OMITTED = re.compile(r"…(\d{1,9}) in all")
_TYPES = {
    name: {field.name: str(field.type).partition("[")[0] for field in fields(getattr(events, name))}
    for name in events.__all__
    if name not in ("Severity", "as_json")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLine:
    """One line. It has an ``event``; or, of a golden trace, it is a ``step`` or a ``comment``, or something else that
    the step wrote. A line that cannot be read has a ``problem``. The ``level`` of an event is "debug", "info" or
    "warning", if the line states it."""

    number: int
    text: str
    event: Mapping[str, Any] | None = None
    level: str = ""
    step: str = ""
    comment: str = ""
    problem: str = ""


def read_trace(lines: Iterable[str], *, file: str) -> Iterator[TraceLine]:
    """Every line that is not empty. Raises BadInput if the first one shows that this is no trace."""
    is_golden: bool | None = None
    lines_have_ends = False
    for number, line in enumerate(lines, start=1):
        is_cut_off = lines_have_ends and not line.endswith("\n")
        lines_have_ends = line.endswith("\n")
        if not (text := line.rstrip("\r\n")).strip():
            continue
        if is_golden is None:
            is_golden = text.startswith((">", "#"))
            first = _golden_line(number, text) if is_golden else _json_line(number, text)
            if first.problem:
                raise BadInput(f"{first.problem}. {_what_it_should_be(text)}", file=file, line=number)
            yield first
        else:
            yield _golden_line(number, text, is_cut_off=is_cut_off) if is_golden else _json_line(number, text)
    if is_golden is None:
        raise BadInput("this trace is empty", file=file)


def _what_it_should_be(text: str) -> str:
    if "\0" in text or "\N{REPLACEMENT CHARACTER}" in text:
        return "This is no UTF-8 text. Of a compressed trace: zcat FILE | python -m devicemgr sequence -"
    return "A trace is what --trace writes, one JSON object a line; or a golden trace, which begins with '>' or '#'"


def _json_line(number: int, text: str) -> TraceLine:
    if len(text) > MAX_LINE:
        return TraceLine(number=number, text=text[:200], problem="the line is too long")
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = f"the line is cut off, or no JSON: {error}"
        return TraceLine(number=number, text=text, problem=problem)
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return TraceLine(number=number, text=text, problem="this JSON is no event: it has no name under 'event'")
    return TraceLine(number=number, text=text, event=event, level=str(event.get("level", "")))


def _golden_line(number: int, text: str, *, is_cut_off: bool = False) -> TraceLine:
    if text.startswith(">"):
        return TraceLine(number=number, text=text, step=text[1:].strip())
    if text.startswith("#"):
        return TraceLine(number=number, text=text, comment=text[1:].strip())
    if not text.startswith("    "):
        return TraceLine(number=number, text=text, problem="a line begins with '>', '#' or four spaces")
    if is_cut_off:
        return TraceLine(number=number, text=text, problem="the line is cut off: it has no end")
    if (found := _EVENT.match(text, 4)) is None:
        return TraceLine(number=number, text=text)
    try:
        event = {"event": found[2], **_values(found[2], text, found.end())}
        return TraceLine(number=number, text=text, event=event, level=found[1].lower())
    except ValueError as error:
        return TraceLine(number=number, text=text, problem=f"this event cannot be read: {error}")


def _values(event: str, text: str, at: int) -> dict[str, Any]:
    """The fields of an event, from a line of the log. Raises ValueError."""
    values: dict[str, Any] = {}
    types = _TYPES.get(event, {})
    while at < len(text):
        if (key := _KEY.match(text, at)) is None:
            raise ValueError(f"expected NAME=VALUE at {text[at : at + 20]!r}")
        value, at = _value(text, key.end())
        values[key[1]] = _typed(value, types.get(key[1], ""))
    return values


def _value(text: str, at: int) -> tuple[str | list[str], int]:
    if text.startswith("[", at):
        return _list(text, at + 1)
    return _word(text, at, re.compile(r"[^ ]*"))


def _list(text: str, at: int) -> tuple[list[str], int]:
    items: list[str] = []
    while not text.startswith("]", at):
        item, at = _word(text, at, re.compile(r"…\d+ in all") if text.startswith("…", at) else _BARE)
        if omitted := _OMITTED.fullmatch(item):
            items += ["…"] * (min(int(omitted[1]), _MOST_OMITTED) - len(items))
        else:
            items.append(item)
        if text.startswith(",", at):
            at += 1
        elif not text.startswith("]", at):
            raise ValueError("a list without an end")
    return items, at + 1


def _word(text: str, at: int, bare: re.Pattern[str]) -> tuple[str, int]:
    if text.startswith('"', at):
        word, end = json.JSONDecoder().raw_decode(text, at)
        return str(word), end
    found = bare.match(text, at)
    return (found[0], found.end()) if found else ("", at)


def _typed(value: str | list[str], kind: str) -> Any:
    if isinstance(value, list):
        return value
    if kind == "bool":
        return value == "True"
    if kind in ("int", "float"):
        return float(value) if kind == "float" else int(value)
    if kind == "Mapping" and len(value) < MAX_LINE:
        try:
            return ast.literal_eval(value)
        except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError(f"{value[:40]!r} is no mapping") from error
    return value
