"""When accept(2) fails: what passes by itself, and what does not."""

from __future__ import annotations

import errno

ACCEPT_PAUSE = 0.1
"""Seconds without accepting when there is no descriptor or memory for one more connection."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_GONE = {
    errno.ECONNABORTED,
    # Of TCP: what has happened to the connection since it came. accept(2) says to go on.
    errno.ENETDOWN,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.EPERM,  # a firewall's
}


def pause_after(error: OSError) -> float:
    """Seconds until accept may be tried again. Raises the error when it is one that stays."""
    if error.errno in _EXHAUSTED:
        return ACCEPT_PAUSE
    if error.errno in _GONE:
        return 0.0
    raise error
