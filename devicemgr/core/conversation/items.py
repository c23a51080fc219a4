"""What a conversation consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ...model import ResourceName
from .fields import listed


@dataclass(frozen=True, slots=True)
class Lifeline:
    """One who speaks. A plug-in has one for each socket and resource; ``resource`` is empty for all others."""

    name: str
    resource: ResourceName = ""

    @property
    def label(self) -> str:
        """``gpu.sock [vendor.com/gpu]``"""
        return f"{self.name} [{self.resource}]" if self.resource else self.name


MANAGER = Lifeline("manager")
CALLER = Lifeline("caller")
"""Who admits pods: a program, the command line, a kubelet's place."""
API_SERVER = Lifeline("API server")
"""Whom a node of a cluster tells what it has, and what became of its pods."""
CHECK = Lifeline("check")
"""A check that calls the plug-in itself, past the manager."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """``time`` is when the event was recorded, in seconds since the epoch; None in a golden trace.

    ``about`` are the resources that it concerns; empty if it concerns all. ``rule`` is an id of the book, or empty.
    """

    time: float | None = None
    about: frozenset[ResourceName] = frozenset()
    rule: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(_Item):
    """One message: a request, or with ``is_reply`` an answer or an entry of a stream."""

    source: Lifeline
    target: Lifeline
    text: str
    is_reply: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(_Item):
    """A request with its answer, which took ``seconds`` (None if that is not known). ``time`` is when it ended."""

    source: Lifeline
    target: Lifeline
    text: str
    answer: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(_Item):
    """Something that the manager did by itself. It has no lifeline that names the resource: views show ``sentence``."""

    text: str

    @property
    def sentence(self) -> str:
        """``text``, with the resources that it is about: ``its devices count as unhealthy [vendor.com/gpu]``."""
        return f"{self.text} [{listed(sorted(self.about))}]" if self.about else self.text


Item: TypeAlias = Message | Call | Note


def lifelines_of(item: Item) -> tuple[Lifeline, ...]:
    """Those at which it is drawn."""
    return (MANAGER,) if isinstance(item, Note) else (item.source, item.target)
