"""The last message of a program: its panic or exception, without the dump that follows.

Each runtime has its own way to end a program. A kind is how that begins, and a function that separates the message from
what comes after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

MOST = 3
"""How many lines are shown."""
NEAR = 5
"""A program can survive an exception, for example: if more lines than this follow, it was not the end."""
RECENT = 10
"""An error that was logged within the last lines, this many, is shown before the very last."""
LONGEST_DUMP = 1000
"""Lines of an exception that are examined."""
_READ = 1000
"""Characters of a line that are examined."""


class _Message(NamedTuple):
    words: Sequence[str]
    length: int
    """In lines, with the dump."""


class _Kind(NamedTuple):
    """``ends``: no program survives it."""

    begins: str
    extract: Callable[[Sequence[str]], _Message | None]
    ends: bool


def exit_message(output: str) -> list[str]:
    """A few lines, stripped."""
    lines = [_COLOUR.sub("", line) for line in output.splitlines()]
    how: list[str] = []
    for at in range(len(lines) - 1, -1, -1):
        if (found := _crash_at(lines, at)) is not None:
            words = [word.strip() for word in found.words]
            if not words[0].startswith(_ABORTED):
                return words
            how = words
    return how or _last_logged([line.strip() for line in lines if line.strip()])


def _crash_at(lines: Sequence[str], at: int) -> _Message | None:
    """The message that begins on this line, if it ended the program."""
    if not (begin := _BEGINS.match(lines[at][:_READ])):
        return None
    kind = _KINDS[int(str(begin.lastgroup).removeprefix("kind"))]
    found = kind.extract(lines[at : at + LONGEST_DUMP])
    if found is None or kind.ends:
        return found
    after = (line for line in lines[at + found.length :] if line.strip())
    return found if len(list(islice(after, NEAR + 1))) <= NEAR else None


def _last_logged(lines: Sequence[str]) -> list[str]:
    """The last lines; before the very last, those that a logger marks as errors."""
    *recent, last = lines[-RECENT:] or [""]
    if errors := [line for line in recent if _ERROR.match(line[:_READ])][1 - MOST :]:
        return [*errors, last]
    return list(lines[-MOST:])


def _until(ends: str, *, most: int = MOST) -> Callable[[Sequence[str]], _Message]:
    """The first line, and those after it up to an empty one or a match; without registers."""

    def extract(lines: Sequence[str]) -> _Message:
        end = next((at for at, line in enumerate(lines[1:], 1) if not line.strip() or re.match(ends, line)), len(lines))
        words = [line for line in lines[:end] if not _REGISTERS.match(line)]
        return _Message(words[:most], end)

    return extract


def _rust(lines: Sequence[str]) -> _Message:
    """Since Rust 1.73 the message follows the place, on lines of its own."""
    words, length = _until(r"note:|stack backtrace:")(lines)
    while length < len(lines) and re.match(r"note:|stack backtrace:|\s+\d+: |\s+at ", lines[length]):
        length += 1
    return _Message(words, length)


def _python(lines: Sequence[str]) -> _Message | None:
    """The exception after the frames, with the indented lines below it, as gRPC has them."""
    end = next((at for at, line in enumerate(lines[1:], 1) if line and not line[0].isspace()), None)
    if end is None:
        return None
    more = end + 1
    while more < len(lines) and re.match(r"\s+\S|>$", lines[more]):
        more += 1
    return _Message(lines[end:more][:MOST], more)


def _python_group(lines: Sequence[str]) -> _Message | None:
    """The exception group, and the exceptions in it that are not groups."""
    length = next((at for at, line in enumerate(lines) if not re.match(r"\s*[|+]", line)), len(lines))
    names = [found[1] for line in lines[:length] if (found := re.match(r"\s*\| ([\w.]+(?:: .*)?)$", line))]
    leaves = [word for word in names if not re.match(r"[\w.]*ExceptionGroup\b", word)]
    more = [f"and {len(leaves) - MOST + 1} more"] if len(leaves) >= MOST else []
    return _Message([*names[:1], *leaves[: MOST - 1], *more], length) if names else None


def _with_places(lines: Sequence[str]) -> _Message | None:
    """JVM, .NET and Node: the exception, its root cause, and where each was raised."""
    frame = r"\s+at \S"
    begin = next((at for at, line in enumerate(lines[:MOST]) if re.match(frame, line)), None)
    if not begin:
        return None
    length = begin
    while length < len(lines) and re.match(rf"{frame}|{_BETWEEN_FRAMES}", lines[length]):
        length += 1
    causes = [line for line in lines[:length] if line.startswith("Caused by: ")]
    return _Message([*lines[:begin], *causes[-1:]], length)


_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_ABORTED = "SIGABRT: "
"""How a Go program, or glog, has ended itself; the reason is above."""
_REGISTERS = re.compile(r"PC=|(?:r[a-z]x|r\d+|rip|eax) +0x")
_BETWEEN_FRAMES = r"\s*\.\.\. \d+ more|Caused by: |\s+Suppressed: |Emitted |\s+\w+: |\}"
_STAMP = r"\d{4}(?:\d{4})? \d\d:\d\d:\d\d\.\d+ +\d+ "
"""Of a line of glog or klog, behind the severity; glog for C++ has the year."""

_KINDS = (
    # Go: of a fault in C it names the signal, and then the registers.
    _Kind(r"panic: |fatal error: |SIG[A-Z]+: ", _until(r"goroutine \d|runtime stack:"), ends=True),
    # A fatal line of a logger: glog and klog, logrus, zap.
    _Kind(
        rf'F{_STAMP}|time=\S+ level=(?:fatal|panic)\b|(?:FATA|PANI)\[|{{.*"level":"(?:fatal|panic)"',
        _until(rf"goroutine \d|[IWEF]{_STAMP}"),
        ends=True,
    ),
    _Kind(r"Traceback \(most recent call last\):", _python, ends=False),
    _Kind(r" +\+ Exception Group Traceback \(most recent call last\):", _python_group, ends=False),
    _Kind(r"Fatal Python error: ", _until(r"Python runtime state|(?:Current thread|Thread) "), ends=True),
    _Kind(r"thread '[^']*'(?: \(\d+\))? panicked at ", _rust, ends=False),
    _Kind(
        r"fatal runtime error: |thread '[^']*'(?: \(\d+\))? has overflowed its stack|memory allocation of \d+ bytes",
        _until(r"note:|stack backtrace:", most=1),
        ends=True,
    ),
    # C++, and what the C library and the sanitizers say.
    _Kind(r"terminate called |libc\+\+abi: |\S+: .*: Assertion `.+' failed\.", _until(r"Aborted|\*\*\* "), ends=True),
    _Kind(
        r"\*\*\* (?:SIG[A-Z]+ |stack smashing|buffer overflow)|double free or corruption|(?:free|malloc|realloc)\(\): |"
        r"==\d+==ERROR: ",
        _until(r"PC: @|\s+(?:#\d|@) ", most=1),
        ends=True,
    ),
    _Kind(
        r'Exception in thread "|Unhandled exception\. |(?:Uncaught )?[\w.$]*(?:Exception|Error)(?:: |$)',
        _with_places,
        ends=False,
    ),
)
_BEGINS = re.compile("|".join(f"(?P<kind{number}>{kind.begins})" for number, kind in enumerate(_KINDS)))
_ERROR = re.compile(
    rf'E{_STAMP}|.*\blevel="?error\b|.*"level":"error"|ERRO\[|(?:\S+\s+){{0,3}}\[?(?:ERROR|FATAL|CRITICAL)\b',
    re.IGNORECASE,
)
