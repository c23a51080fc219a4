"""Standard output as it may be: a terminal of another encoding, a pipe whose reader goes away, a full disk."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

import click
import trio

from ..errors import OutputLost, collapse_exception_group

BROKEN_PIPE = 141
"""Exit status when the reader of a pipe went away: as the shell has it for a program that died of SIGPIPE."""
_LOST = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def standard_output(ctx: click.Context) -> Iterator[None]:
    """Around a verb: what cannot be encoded is replaced, and a pipe that nobody reads ends it quietly, as it does cat.

    Raises OutputLost when the output cannot be written for another reason.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        with collapse_exception_group():
            yield
    except OSError as error:
        if ctx.invoked_subcommand is None or not is_output_lost(error):
            raise  # the daemon writes nothing there: that is a bug
        discard()
        if error.errno == errno.EPIPE:
            sys.exit(BROKEN_PIPE)
        raise OutputLost(f"the output cannot be written: {error.strerror}") from error


def is_output_lost(error: Exception) -> bool:
    """Sockets have Trio's errors, and files ours: what is left of these is a standard stream."""
    return isinstance(error, OSError) and error.errno in _LOST


async def until_reader_is_gone() -> None:
    """Wait until the reader of a pipe is gone, for a verb that may have nothing to write for long; for ever where
    standard output is no pipe."""
    if sys.stdout is None or not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        await trio.sleep_forever()
    await trio.lowlevel.wait_readable(sys.stdout.fileno())  # never readable: only the error wakes us


def discard() -> None:
    """What is still buffered must not fail once more when Python ends."""
    if sys.stdout is None:  # it was closed from the start, and it is standard error that failed
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
