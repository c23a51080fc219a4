"""Events as a browser gets them."""

from __future__ import annotations

import json

import pytest

from devicemgr.daemon.page.event_texts import EventTexts


@pytest.mark.parametrize(("seconds", "shown"), [(0.0123, "OK (12.3 ms)"), (60.0, "OK (60.0 s)"), (None, "OK")])
def test_an_answer_says_how_long_it_took_in_every_view_alike(seconds, shown):
    call = {"event": "CallFinished", "resource": "vendor.com/gpu", "method": "PreStartContainer", "outcome": "OK"}
    if seconds is not None:
        call["seconds"] = seconds
    (said,) = json.loads(EventTexts().text_of(call, "info"))["said"]
    assert said["answer"] == shown
