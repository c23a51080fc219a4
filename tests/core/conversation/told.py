"""Events as a conversation, for tests."""

from __future__ import annotations

from devicemgr.core.conversation.stream import Conversation
from devicemgr.core.conversation.text import line_of


def told(events):
    conversation = Conversation()
    return [item for event in events for item in conversation.tell(event)]


def lines(events, since=None):
    return [line_of(item, since=since) for item in told(events)]
