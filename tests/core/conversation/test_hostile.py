"""What a peer wrote is text in every view: neither markup nor commands to a terminal, and never long."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from devicemgr.core.conversation.drawing import drawing_of
from devicemgr.core.conversation.mermaid import escaped, mermaid
from devicemgr.core.conversation.svg import svg
from tests.core.conversation.told import lines, told

WORDS = {
    "markup": "<img src=x onerror=alert(1)>",
    "entity": "&lt;b&gt; &#59; ]]> -->",
    "ansi": "\x1b[2J\x1b]0;owned\x07",
    "newlines": "a\nend\nparticipant Z\r\n%% x",
    "mermaid": "dev; Note over L0: x #59; %%{init: {}}%%",
    "bidi": "\u202egpu\u2066",
    "surrogate": "\ud800",
    "megabyte": "x" * 1_000_000,
    "escapes": "\x00" * 1_000_000,
}


def hostile(word):
    names = dict.fromkeys(("resource", "endpoint", "reason", "message", "name", "uid", "pod_uid", "container"), word)
    names |= dict.fromkeys(("sent", "received", "method", "outcome", "version", "namespace", "path", "problem"), word)
    names |= {"added": [word] * 3, "devices": [word] * 3, "limits": {word: 1}, "freed": {word: [word]}, "check": word}
    kinds = (
        *("RegistrationRequested", "CallFinished", "PluginRegistered", "DeviceListApplied", "EndpointStopped"),
        *(
            "PluginRefused",
            "PodAdmissionRequested",
            "DevicesAllocated",
            "PodRefused",
            "PodRemoved",
            "PluginSocketFailed",
        ),
    )
    return [{"event": kind, "sequence": number, **names} for number, kind in enumerate(kinds, start=1)]


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_lines_are_printable_and_bounded(word):
    for line in lines(hostile(word)):
        assert line.isprintable()
        assert len(line) < 2000


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_svg_has_no_element_of_a_peer(word):
    picture = svg(drawing_of(told(hostile(word))))
    elements = list(ElementTree.fromstring(picture).iter())
    tags = {one.tag.rpartition("}")[2] for one in elements}
    assert tags <= {"svg", "style", "defs", "marker", "path", "g", "line", "text", "title", "rect"}
    assert {name for one in elements if one.get("role") for name in one.attrib} == {"role", "aria-label"}
    picture.encode()
    assert len(picture) < 100_000


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_mermaid_has_no_line_and_no_character_of_syntax_of_a_peer(word):
    picture = mermaid(drawing_of(told(hostile(word))))
    first, *rest = picture.splitlines()
    assert first == "sequenceDiagram"
    assert all(line.startswith(("    participant L", "    L", "    Note over L")) for line in rest)
    for line in rest:
        text = line.replace("<br/>", "").partition(" as ")[2] or line.partition(": ")[2]
        assert not set(text) & set('<>"&%{};') - {";"}
        assert text.count("#") == text.count(";")
    assert len(picture) < 100_000


def test_mermaid_escapes_what_is_no_letter_digit_or_punctuation_of_names():
    assert escaped("a;b#c<d>") == "a#59;b#35;c#60;d#62;"
    assert escaped("") == "-"
