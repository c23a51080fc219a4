"""What ``node`` shows, to readers who are slow."""

from __future__ import annotations

from contextlib import nullcontext

from devicemgr.cli.node import lines


class Reader:
    """Has room now and then."""

    def __init__(self):
        self.has_room, self.got = True, []

    def put(self, line):
        self.got.append(line)


def test_of_lines_that_were_not_read_in_time_the_next_one_says_how_many_there_were(monkeypatch):
    reader = Reader()
    monkeypatch.setattr(lines, "open_lines", lambda stream, **options: nullcontext(reader))
    with lines.open_output() as tell:
        for number, reader.has_room in enumerate((True, False, False, True, True)):
            tell(f"line {number}")
    missing = "(lines missing here, since those before them were not read in time: 2)"
    assert reader.got == ["line 0", missing, "line 3", "line 4"]
