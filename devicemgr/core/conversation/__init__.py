"""The events, told as a conversation: who called whom, about what, and how it ended.

A :class:`~.stream.Conversation` turns each event, as the trace and the ``events`` verb have it, into items; every view
is drawn from those. What a peer has written is text in all of them: escaped and bounded.

``items``     what a conversation consists of: lifelines, messages, calls, notes
``fields``    reading the fields of an event that may come from any file
``elapsed``   how much time passes from event to event
``narrator``  events → items
``stream``    a whole stream of them, with what is missing in it
``notes``     what the manager did by itself, in one sentence
``rules``     the item of the book that explains an event
``text``      items as lines
``drawing``   items in the order of a picture, and how much of them is drawn
``mermaid``   a picture as Mermaid
``svg``       a picture as SVG
"""
