"""Standard output as it may be: a terminal of another encoding, a pipe whose reader goes away, a full disk."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper

import trio

from ..errors import OutputLost, unwrapped

NOBODY_READS = 141
"""Exit status when the reader of a pipe went away: as the shell has it for a program that died of SIGPIPE."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def standard_output() -> Iterator[None]:
    """Around a verb: what cannot be encoded is replaced, and a pipe that nobody reads ends it quietly, as it does cat.

    Raises OutputLost when the output cannot be written for another reason.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        with unwrapped():
            yield
    except BrokenPipeError:  # sockets have Trio's errors: this can only be a standard stream
        _discard()
        sys.exit(NOBODY_READS)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _discard()
        raise OutputLost(f"the output cannot be written: {error.strerror}") from error


async def until_nobody_reads() -> None:
    """Wait until the reader of a pipe is gone, for a verb that may have nothing to write for long.

    Raises BrokenPipeError then; waits for ever where standard output is no pipe.
    """
    if sys.stdout is None or not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        await trio.sleep_forever()
    await trio.lowlevel.wait_readable(sys.stdout.fileno())  # never readable: only the error wakes us
    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _discard() -> None:
    """What is still buffered must not fail once more when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
