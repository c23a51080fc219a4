"""A plug-in that ``check`` starts, kills and starts again."""

from __future__ import annotations

import trio

from devicemgr.testing.conformance import Command


async def test_one_that_was_killed_has_not_ended_unasked_while_the_next_one_starts(tmp_path, monkeypatch):
    """Somebody looks all the time whether the plug-in has died, also in the middle of a new start."""
    command, seen, really = Command(["sleep", "60"]), [], trio.lowlevel.open_process
    await command.start(tmp_path)
    await command.kill()

    async def look(*args, **kwargs):
        seen.append(command.ending)
        return await really(*args, **kwargs)

    monkeypatch.setattr(trio.lowlevel, "open_process", look)
    await command.start(tmp_path)
    assert seen == [None]
    assert command.is_running
    await command.kill()
    command_died = Command(["false"])
    await command_died.start(tmp_path)
    with trio.fail_after(30):
        while command_died.ending is None:  # noqa: ASYNC110 - the end of a process that nobody waits for has no event
            await trio.sleep(0.01)
    assert command_died.ending == "with exit status 1"
