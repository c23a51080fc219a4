"""A picture as Mermaid's ``sequenceDiagram``, which GitHub and many editors draw."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .drawing import Arrow, Drawing
from .items import MANAGER, Lifeline, Message, Note


def mermaid(drawing: Drawing) -> str:
    """The whole diagram, without a fence around it."""
    return "".join(f"{line}\n" for line in _lines(drawing))


def _lines(drawing: Drawing) -> Iterator[str]:
    yield "sequenceDiagram"
    ids = {lifeline: f"L{place}" for place, lifeline in enumerate(drawing.lifelines)}
    for lifeline, id in ids.items():
        yield f"    participant {id} as {_label(lifeline)}"
    ends = list(ids.values())
    if drawing.left_out:
        yield f"    Note over {ends[0]},{ends[-1]}: {escaped(drawing.left_out)}"
    for arrow in drawing.arrows:
        yield f"    {_arrow(arrow, ids, drawing.when(arrow))}"
    messages = [arrow for arrow in drawing.arrows if isinstance(arrow, Message)]
    if messages:  # a title would not be wrapped, nor would it make room for itself; a note over all lifelines does
        legend = [*drawing.legend, *(["cross: a failure"] if any(one.failed for one in messages) else [])]
        yield f"    Note over {ends[0]},{ends[-1]}: {escaped(' · '.join(legend))}"


def _label(lifeline: Lifeline) -> str:
    name = escaped(lifeline.name)
    return f"{name}<br/>{escaped(lifeline.resource)}" if lifeline.resource else name


def _arrow(arrow: Arrow, ids: dict[Lifeline, str], when: str) -> str:
    time = f"{when} · " if when else ""
    if isinstance(arrow, Note):
        return f"Note over {ids[MANAGER]}: {time}{escaped(arrow.sentence)}"
    kind = "--x" if arrow.failed else "-->>" if arrow.is_reply else "->>"
    return f"{ids[arrow.source]}{kind}{ids[arrow.target]}: {time}{escaped(arrow.text)}"


def escaped(text: str) -> str:
    """The text, whatever it is, as text: Mermaid ends a message at a semicolon, draws tags, and takes ``#59;`` for a
    character. Letters, digits and the punctuation of names stay as they are."""
    return re.sub(r"[^\w \-.,:/()\[\]…=+'→·]", lambda found: f"#{ord(found[0])};", text) or "-"
