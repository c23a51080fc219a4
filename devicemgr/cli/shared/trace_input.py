"""A trace that is named on the command line."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

from ...core.conversation.items import Item, Note
from ...core.conversation.stream import Conversation
from ...errors import BadInput
from ...input.trace_file import MAX_LINE, TraceLine, read_trace
from .input_file import display_name, open_input, readable

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
        """As it is named in messages."""
        return display_name(self.file)

    def lines(self) -> Iterator[TraceLine]:
        """Raises BadInput if this is no trace at all."""
        with open_input(self.file) as opened:
            for line in read_trace(_texts(opened, self.name), file=self.name):
                if line.problem:
                    self.problems += 1
                    self.first_problem = self.first_problem or line
                else:
                    yield line

    def items(self) -> Iterator[Item]:
        """The whole conversation."""
        for line in self.lines():
            yield from self.items_of(line)

    def items_of(self, line: TraceLine) -> list[Item]:
        """What the next line adds to the conversation."""
        if line.event is not None:
            return self.conversation.tell(line.event)
        verb, _, rest = line.step.partition(" ")
        return [Note(text=f"{rest} s pass")] if verb == "advance" else []

    def complain(self) -> None:
        """At the end. Raises BadInput if a line could not be read."""
        if self.first_problem is not None:
            others = f" (and {self.problems - 1:,} more lines)" if self.problems > 1 else ""
            raise BadInput(f"{self.first_problem.problem}{others}", file=self.name, line=self.first_problem.number)


def _texts(opened: BinaryIO, name: str) -> Iterator[str]:
    """The lines. Of one that is too long, the rest is skipped, but only when the next line is wanted: the first one of
    a file that is no trace may have no end. Raises BadInput."""
    while raw := _line(opened, name):
        yield raw.decode("utf-8-sig" if raw.startswith(BOM_UTF8) else "utf-8", errors="replace")
        end = raw
        while end and not end.endswith(b"\n") and len(end) > MAX_LINE:
            end = _line(opened, name)


def _line(opened: BinaryIO, name: str) -> bytes:
    with readable(name):
        return opened.readline(MAX_LINE + 2)
