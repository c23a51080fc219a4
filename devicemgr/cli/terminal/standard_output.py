"""Standard output that may be a terminal of another encoding, a pipe whose reader goes away, or a full disk."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

import click
import trio

from ...concurrency.exception_groups import collapse_exception_group
from ...errors import OutputLost

BROKEN_PIPE = 141
"""Exit status when the reader of a pipe is gone: that of a shell for a program killed by SIGPIPE."""
_IN_ASCII = {"→": "->", "⇢": "..>", "…": "...", "·": "-", "–": "-", "│": "|", "├": "|", "└": "`", "─": "-"}
"""Signs of our own, for an encoding that does not have them: they mean something."""
_LOST = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """An error handler, as of codecs.register_error."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_IN_ASCII.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error(f"{__name__}.in_ascii", _in_ascii)


@contextmanager
def standard_output(ctx: click.Context) -> Iterator[None]:
    """Around a verb: replace what cannot be encoded, and end quietly, as cat does, when the reader of a pipe is gone.

    Raises OutputLost if the output cannot be written for another reason.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=f"{__name__}.in_ascii")
    try:
        with collapse_exception_group():
            yield
    except OSError as error:
        if ctx.invoked_subcommand is None or not is_output_lost(error):
            raise  # the daemon does not write there: this is a bug
        discard()
        if error.errno == errno.EPIPE:
            sys.exit(BROKEN_PIPE)
        raise OutputLost(f"the output cannot be written: {error.strerror}") from error


def is_output_lost(error: Exception) -> bool:
    """The errors of sockets are Trio's, and those of files ours. What remains, without a name, is a standard stream."""
    return isinstance(error, OSError) and error.errno in _LOST and error.filename is None


async def until_reader_is_gone() -> None:
    """Wait until the reader of a pipe is gone, for a verb that may not write for a long time; wait for ever if standard
    output is not a pipe."""
    if sys.stdout is None or not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        await trio.sleep_forever()
    await trio.lowlevel.wait_readable(sys.stdout.fileno())  # it is never readable: only an error returns


async def end_with_reader() -> None:
    """For a program that goes on as long as somebody may read what it tells. Raises BrokenPipeError."""
    await until_reader_is_gone()
    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def discard() -> None:
    """Discard what is buffered, which would fail again when Python exits."""
    if sys.stdout is None:  # closed from the start; standard error has failed
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
