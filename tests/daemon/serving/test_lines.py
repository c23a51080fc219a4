"""Lines for somebody who may read them, or not."""

from __future__ import annotations

import fcntl
import io
import os
import threading
from contextlib import contextmanager

import pytest

from devicemgr.daemon.serving import lines as written
from devicemgr.daemon.serving.lines import open_lines


@contextmanager
def pipe(monkeypatch):
    """One that takes less than what may wait, and what reads it."""
    monkeypatch.setattr(written, "MOST_UNREAD", 10_000)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with open(reader, encoding="utf-8") as read, open(writer, "w", encoding="utf-8") as stream:
        yield stream, read


def fill(lines):
    """Returns what it took, which nobody reads."""
    taken = []
    while lines.has_room:
        taken.append(f"line {len(taken)}")
        lines.put(taken[-1])
    return taken


def test_who_does_not_read_holds_nobody_up_and_gets_everything_up_to_a_limit(monkeypatch):
    with pipe(monkeypatch) as (stream, read):
        with open_lines(stream) as lines:
            taken = fill(lines)
            assert 9_980 < len("\n".join(taken)) < 10_000 + 4096 + 20
            assert [read.readline() for _ in taken] == [f"{line}\n" for line in taken]
        stream.close()
        assert read.read() == ""


def test_the_end_waits_for_a_slow_reader_and_not_for_one_who_has_stopped(monkeypatch):
    monkeypatch.setattr(written, "END_TIMEOUT", 0.01)
    with pipe(monkeypatch) as (stream, read):
        with open_lines(stream) as lines:
            taken = fill(lines)
        stream.close()
        assert read.read().splitlines() == taken, "the thread goes on as long as the program"


def test_all_lines_are_written_at_the_end(monkeypatch):
    with pipe(monkeypatch) as (stream, read):
        for end in ("first", "second"):
            with open_lines(stream) as lines:
                lines.put(f"the {end} – end")
        stream.close()
        assert read.read() == "the first – end\nthe second – end\n"


def test_a_pipe_that_others_have_made_to_fail_when_it_is_full_is_waited_for(monkeypatch):
    with pipe(monkeypatch) as (stream, read):
        os.set_blocking(stream.fileno(), False)
        with open_lines(stream) as lines:
            taken = fill(lines)
            assert [read.readline() for _ in taken] == [f"{line}\n" for line in taken]


def test_what_the_encoding_of_a_terminal_does_not_have_is_written_in_digits(monkeypatch):
    with pipe(monkeypatch) as (stream, read):
        stream.reconfigure(encoding="latin-1")
        with open_lines(stream) as lines:
            lines.put("a → b")
        stream.close()
        assert read.read() == "a \\u2192 b\n"


def test_or_as_its_stream_says(monkeypatch):
    with pipe(monkeypatch) as (stream, read):
        stream.reconfigure(encoding="ascii", errors="replace")
        with open_lines(stream) as lines:
            lines.put("a → b")
        stream.close()
        assert read.read() == "a ? b\n"


@pytest.mark.parametrize("ends_with_reader", [False, True])
def test_a_reader_who_is_gone_is_reported_once_unless_the_program_ends_with_it(monkeypatch, capfd, ends_with_reader):
    with pipe(monkeypatch) as (stream, read):
        read.close()
        with open_lines(stream, ends_with_reader=ends_with_reader) as lines:
            fill(lines)
            assert not lines.has_room
    assert capfd.readouterr().err.count("no more events are written there") == (not ends_with_reader)


def test_where_no_thread_can_be_started_lines_are_written_at_once(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pipe(monkeypatch) as (stream, read):
        before = os.listdir("/proc/self/fd")
        with open_lines(stream) as lines:
            lines.put("a")
            assert read.readline() == "a\n"
        assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_without_a_descriptor_there_is_nobody_to_wait_for(stream):
    with open_lines(stream) as lines:
        if lines.has_room:
            lines.put("a")
    assert stream is None or stream.getvalue() == "a\n"
