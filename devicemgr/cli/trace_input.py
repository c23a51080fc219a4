"""A trace that is named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

from ..core.conversation.items import Item, Note
from ..core.conversation.stream import Conversation
from ..errors import BadInput
from ..trace_file import MAX_LINE, TraceLine, read_trace
from .input_file import STDIN, display_name

trace_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))


@dataclass
class TraceInput:
    """Reads a file line by line, so that a trace may be larger than memory. Lines that cannot be read are counted, and
    :meth:`complain` raises BadInput for the first of them when everything else has been shown."""

    file: Path
    first_problem: TraceLine | None = None
    problems: int = 0
    conversation: Conversation = field(default_factory=Conversation)

    @property
    def name(self) -> str:
        return display_name(self.file)

    def lines(self) -> Iterator[TraceLine]:
        """Raises BadInput if this is no trace at all."""
        with self._opened() as opened:
            for line in read_trace(_texts(opened), file=self.name):
                if line.problem:
                    self.problems += 1
                    self.first_problem = self.first_problem or line
                else:
                    yield line

    def items(self) -> Iterator[Item]:
        for line in self.lines():
            yield from self.items_of(line)

    def items_of(self, line: TraceLine) -> list[Item]:
        if line.event is not None:
            return self.conversation.tell(line.event)
        verb, _, rest = line.step.partition(" ")
        return [Note(text=f"{rest} s pass")] if verb == "advance" else []

    def complain(self) -> None:
        if self.first_problem is not None:
            others = f" (and {self.problems - 1:,} more lines)" if self.problems > 1 else ""
            raise BadInput(f"{self.first_problem.problem}{others}", file=self.name, line=self.first_problem.number)

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        try:
            if self.name == STDIN:
                yield sys.stdin.buffer
            else:
                with self.file.open("rb") as opened:
                    yield opened
        except IsADirectoryError as error:
            raise BadInput(f"cannot be read: {error.strerror}", file=self.name) from error
        except (FileNotFoundError, PermissionError) as error:
            raise BadInput(f"cannot be read: {error.strerror}", file=self.name) from error


def _texts(opened: BinaryIO) -> Iterator[str]:
    """The lines. Of one that is too long, the rest is skipped."""
    while raw := opened.readline(MAX_LINE + 2):
        end = raw
        while end and not end.endswith(b"\n") and len(end) > MAX_LINE:
            end = opened.readline(MAX_LINE + 2)
        yield raw.decode("utf-8", errors="replace")


def about(items: Iterable[Item], resource: str | None) -> Iterator[Item]:
    """The items that are about this resource, or about all."""
    return (item for item in items if resource is None or not item.about or resource in item.about)
