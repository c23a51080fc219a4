"""Events as texts, for the page: each with what was said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from ...core.conversation.elapsed import with_duration
from ...core.conversation.fields import count, number
from ...core.conversation.items import Call, Item, Message, Note
from ...core.conversation.stream import Conversation
from ...events.summary import shortened, values_in_short

MOST_FIELDS, LONGEST_NAME = 30, 60
"""No event of ours has more fields, nor a longer name."""


class EventTexts:
    """Each event in short, with what was ``said``: the items of its conversation (:mod:`devicemgr.core.conversation`).

    In short, because an event may name every device of a pod, and a browser keeps a thousand of them.
    """

    def __init__(self) -> None:
        self._conversation = Conversation()

    def text_of(self, event: Mapping[str, Any], severity: str) -> str:
        """As JSON."""
        said = [_plain(item) for item in self._conversation.tell(event)]
        ours = {
            "sequence": count(event, "sequence"),
            "event": shortened(event["event"], LONGEST_NAME),
            "time": number(event, "time"),
            "severity": severity,
            "said": said,
        }
        try:
            fields = {shortened(name): values_in_short(value) for name, value in islice(event.items(), MOST_FIELDS)}
            return json.dumps({**fields, **ours}, allow_nan=False)
        except ValueError:  # from a file of others: a number that JSON does not have, and browsers do not read
            return json.dumps(ours)

    def know_pod(self, *, namespace: str, name: str, uid: str) -> None:
        """A pod that is there now: the log may have lost its admission, or an earlier run admitted it."""
        self._conversation.know_pod(namespace=namespace, name=name, uid=uid)

    def skip(self, event: Mapping[str, Any]) -> None:
        """An event that nobody is shown: what is said later may refer to it."""
        self._conversation.tell(event)


def _plain(item: Item) -> dict[str, Any]:
    common = {"time": item.time, "failed": item.failed, "rule": item.rule}
    match item:
        case Note(sentence=text):
            return {"text": text, **common}
        case Message() | Call():
            names = {side: [line.name, line.resource] for side, line in (("from", item.source), ("to", item.target))}
            answer = {"answer": with_duration(item.answer, item.seconds)} if isinstance(item, Call) else {}
            return {"text": item.text, **names, **answer, "reply": getattr(item, "is_reply", False), **common}
