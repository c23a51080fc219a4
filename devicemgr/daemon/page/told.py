"""Events and the conversation that they tell, as the page gets them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...core.conversation.items import Call, Item, Message, Note
from ...core.conversation.stream import Conversation


class Told:
    """Each event with what was ``said``: the items of its conversation (:mod:`devicemgr.core.conversation`)."""

    def __init__(self) -> None:
        self._conversation = Conversation()

    def __call__(self, event: Mapping[str, Any], severity: str) -> str:
        said = [_plain(item) for item in self._conversation.tell(event)]
        return json.dumps({"time": 0.0, **event, "severity": severity, "said": said})


def _plain(item: Item) -> dict[str, Any]:
    common = {"time": item.time, "failed": item.failed, "rule": item.rule}
    match item:
        case Note(text=text):
            return {"text": text, **common}
        case Message() | Call():
            names = {side: [line.name, line.resource] for side, line in (("from", item.source), ("to", item.target))}
            answer = {"answer": item.answer, "seconds": item.seconds} if isinstance(item, Call) else {}
            return {"text": item.text, **names, **answer, "reply": getattr(item, "is_reply", False), **common}
