"""What is shown of a node: a line for each thing that matters to who looks on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ...cluster.api.retries import MAX_DELAY
from ...daemon.event_log import RecordedEvent, Sink
from ...daemon.serving.lines import CountedLines, open_lines
from ...daemon.serving.trace import format_event
from ...events import (
    ApiRequestRefused,
    ApiServerLost,
    ApiServerReached,
    Event,
    NodeRegistered,
    NodeStandsBy,
    NodeStatusPublished,
    PodDeleted,
    PodStatusPublished,
)
from ...printable import printable

Tell: TypeAlias = Callable[[str], None]
"""Takes a line."""


@contextmanager
def open_output() -> Iterator[Tell]:
    """Lines on standard output that no node ever waits for: with a terminal after Ctrl-S it would soon not be Ready.
    Those that find no room are counted, and the next one says how many they were."""
    with open_lines(sys.stdout, ends_with_reader=True) as lines:
        counted = CountedLines(lines)
        yield lambda line: counted.put(lambda: line, missing=_missing)


def _missing(count: int) -> str:
    return f"(lines missing here, since those before them were not read in time: {count})"


def line_of(event: Event) -> str | None:
    """None for what only ``--verbose`` shows."""
    match event:
        case NodeRegistered(existed=existed):
            return "taken over: it was registered before" if existed else "registered"
        case NodeStatusPublished(capacity=capacity, allocatable=allocatable):
            return ", ".join(
                f"{name} {allocatable.get(name, 0)} of {there}" for name, there in sorted(capacity.items())
            )
        case NodeStandsBy(holder=holder, seconds=seconds):
            return (
                f"stands by: {holder} is the node of this name. This one takes over when that one has ended, or has "
                f"not been heard of for {seconds:g} s"
            )
        case PodStatusPublished(namespace=namespace, name=name, phase=phase, reason=reason):
            return f"{namespace}/{name} {phase}{f': {reason}' if reason else ''}"
        case PodDeleted(namespace=namespace, name=name):
            return f"{namespace}/{name} deleted"
        case ApiRequestRefused(what=what, problem=problem):
            return f"the API server does not let it {what}: {problem}"
        case _:
            return None


def line_of_all(event: Event) -> str | None:
    """What all nodes of one program have in common, and one of them tells."""
    match event:
        case ApiServerLost(problem=problem):
            return f"the API server is lost: {problem}; it is asked again, at least every {MAX_DELAY:g} s"
        case ApiServerReached(seconds=seconds):
            return f"the API server is back after {seconds:.1f} s"
        case _:
            return None


def sink(name: str, tell: Tell, *, is_first: bool, verbose: bool) -> Sink:
    """For the events of the node of this name."""

    def show(recorded: RecordedEvent) -> None:
        event = recorded.event
        if verbose:
            tell(printable(f"{name}: {format_event(event)}"))
        elif line := line_of(event):
            tell(printable(f"{name}: {line}"))
        elif is_first and (line := line_of_all(event)):
            tell(printable(line))

    return show
