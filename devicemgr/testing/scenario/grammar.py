"""Lines → steps, or an error that names the line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ...errors import BadInput
from ...input.yaml_fields import nearest

CALLS = ("options", "list", "allocate", "preferred", "pre-start")
OPTIONS = ("pre-start", "preferred")
KINDS = ("init", "side")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_LIMIT = re.compile(r"(?:(\w+):)?([^:=]+):([^:=]+)=(\d{1,6})")
_LONGEST_JUMP = 1e6
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Verb:
    """``words`` is how many it takes: at least, and at most."""

    usage: str
    does: str
    words: tuple[int, float]


VERBS: Mapping[str, Verb] = {
    "plugin": Verb(
        "plugin NAME RESOURCE ID[!]… [options=pre-start,preferred]",
        "serves a plug-in on NAME.sock with these devices (`!`: unhealthy), which asks for these calls",
        (2, math.inf),
    ),
    "register": Verb(
        "register NAME [version=V] [endpoint=E] [resource=R]",
        "calls Register for it, with its own version, socket and resource, or with those given",
        (1, 4),
    ),
    "list": Verb("list NAME ID[!]…", "sends another list", (1, math.inf)),
    "end": Verb("end NAME", "ends its streams, as a plug-in that stops does", (1, 1)),
    "fail": Verb("fail NAME CALL TEXT", f"from now on CALL ({', '.join(CALLS)}) fails with this error", (3, math.inf)),
    "admit": Verb(
        "admit POD [KIND:]CONTAINER:RESOURCE=N…",
        "admits a pod; KIND is `init` or `side` (a sidecar), and without it the container is a main one",
        (2, math.inf),
    ),
    "remove": Verb("remove POD", "removes a pod", (1, 1)),
    "advance": Verb("advance SECONDS", "lets time pass", (1, 1)),
    "restart": Verb(
        "restart",
        "restarts the manager as a kubelet does: sockets are removed, and `register` creates that of its plug-in again",
        (0, 0),
    ),
    "capacity": Verb("capacity", "prints how many devices of each resource the node has", (0, 0)),
}


@dataclass(frozen=True, slots=True)
class ScenarioLine:
    """A step, or with an empty ``verb`` a comment or an empty line; and the lines that a run wrote under it."""

    number: int
    text: str
    verb: str = ""
    words: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


def parse_scenario(text: str, *, file: str) -> list[ScenarioLine]:
    """Every step, comment and empty line, in order. Raises BadInput."""
    found: list[ScenarioLine] = []
    plugins: set[str] = set()
    for line, written in _with_what_was_written(text, file):
        number, content = line
        if not content.startswith(">"):
            found.append(ScenarioLine(number, content, written=written))
            continue
        try:
            verb, *words = content[1:].split() or [""]
            _check(verb, words, plugins)
        except ValueError as error:
            raise BadInput(str(error), file=file, line=number) from error
        found.append(ScenarioLine(number, content, verb, tuple(words), written))
    if not any(line.verb for line in found):
        raise BadInput("this has no steps: a step is a line such as '> register NAME'", file=file)
    return found


def _with_what_was_written(text: str, file: str) -> Iterator[tuple[tuple[int, str], tuple[str, ...]]]:
    current: tuple[int, str] | None = None
    written: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("    ") and current is not None:
            written.append(line.removeprefix("    "))
        elif line and not line.startswith((">", "#")):
            raise BadInput(
                "a line is a step ('> register NAME'), a comment ('# …'), or, indented by four spaces, what a step "
                "caused",
                file=file,
                line=number,
            )
        else:
            if current is not None:
                yield current, tuple(written)
            current, written = (number, line), []
    if current is not None:
        yield current, tuple(written)


def _check(verb: str, words: list[str], plugins: set[str]) -> None:
    """Raises ValueError."""
    if verb not in VERBS:
        hint = nearest(verb, VERBS, cutoff=0.5) or f"; there are {', '.join(VERBS)}"
        raise ValueError(f"there is no step {verb!r}{hint}")
    least, most = VERBS[verb].words
    if not least <= len(words) <= most:
        raise ValueError(f"write: > {VERBS[verb].usage}")
    if verb == "plugin":
        if words[0] in plugins or not _NAME.fullmatch(words[0]):
            raise ValueError(f"{words[0]!r} is no new name of a plug-in: letters, digits, '.', '_' and '-', at most 40")
        plugins.add(words[0])
    elif verb in ("register", "list", "end", "fail") and words[0] not in plugins:
        hint = nearest(words[0], plugins, cutoff=0.5)
        raise ValueError(f"there is no plug-in {words[0]!r} yet: it begins with '> plugin {words[0]} …'{hint}")
    if check := _CHECKS.get(verb):
        check(words)


def _check_plugin(words: list[str]) -> None:
    for word in words[2:]:
        if word.startswith("options=") and not set(word.removeprefix("options=").split(",")) <= set(OPTIONS):
            raise ValueError(f"{word!r}: write options= and one or both of {', '.join(OPTIONS)}")


def _check_register(words: list[str]) -> None:
    given: set[str] = set()
    for word in words[1:]:
        name, equals, _ = word.partition("=")
        if not equals or name not in ("version", "endpoint", "resource") or name in given:
            raise ValueError(f"{word!r}: write version=V, endpoint=E or resource=R, each once")
        given.add(name)


def _check_fail(words: list[str]) -> None:
    if words[1] not in CALLS:
        raise ValueError(f"{words[1]!r} is no call: there are {', '.join(CALLS)}")


def _check_admit(words: list[str]) -> None:
    kinds: dict[str, str | None] = {}
    limits: set[tuple[str, str]] = set()
    for word in words[1:]:
        limit = _LIMIT.fullmatch(word)
        if limit is None or limit[1] not in (None, *KINDS):
            raise ValueError(f"{word!r}: write CONTAINER:RESOURCE=N, perhaps with {' or '.join(KINDS)}: before it")
        if kinds.setdefault(limit[2], limit[1]) != limit[1]:
            raise ValueError(f"{word!r}: there is a container {limit[2]!r} of another kind already")
        if (limit[2], limit[3]) in limits:
            raise ValueError(f"{word!r}: container {limit[2]!r} has asked for {limit[3]} already")
        limits.add((limit[2], limit[3]))


def _check_advance(words: list[str]) -> None:
    try:
        seconds = float(words[0])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_JUMP:
        raise ValueError(f"{words[0]!r} is no number of seconds")


_CHECKS: Mapping[str, Callable[[list[str]], None]] = {
    "plugin": _check_plugin,
    "register": _check_register,
    "fail": _check_fail,
    "admit": _check_admit,
    "advance": _check_advance,
}


def limit_of(word: str) -> tuple[str, str, str, int]:
    """Kind (or empty), container, resource and count of a word that was checked."""
    limit = _LIMIT.fullmatch(word)
    assert limit is not None, word
    return limit[1] or "", limit[2], limit[3], int(limit[4])
