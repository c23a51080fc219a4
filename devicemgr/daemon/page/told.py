"""Events and the conversation that they tell, as the page gets them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...core.conversation.fields import count, number
from ...core.conversation.items import Call, Item, Message, Note
from ...core.conversation.stream import Conversation


class Told:
    """Each event with what was ``said``: the items of its conversation (:mod:`devicemgr.core.conversation`)."""

    def __init__(self) -> None:
        self._conversation = Conversation()

    def __call__(self, event: Mapping[str, Any], severity: str) -> str:
        said = [_plain(item) for item in self._conversation.tell(event)]
        ours = {"time": number(event, "time") or 0.0, "severity": severity, "said": said}
        try:
            return json.dumps({**event, **ours}, allow_nan=False)
        except ValueError:  # from a file of others: a number that JSON does not have, and browsers do not read
            return json.dumps({"sequence": count(event, "sequence"), "event": event["event"], **ours})


def _plain(item: Item) -> dict[str, Any]:
    common = {"time": item.time, "failed": item.failed, "rule": item.rule}
    match item:
        case Note(text=text):
            return {"text": text, **common}
        case Message() | Call():
            names = {side: [line.name, line.resource] for side, line in (("from", item.source), ("to", item.target))}
            answer = {"answer": item.answer, "seconds": item.seconds} if isinstance(item, Call) else {}
            return {"text": item.text, **names, **answer, "reply": getattr(item, "is_reply", False), **common}
