"""Which failures of accept(2) are temporary."""

from __future__ import annotations

import errno

ACCEPT_PAUSE = 0.1
"""Seconds without accepting when there is no descriptor or no memory for one more connection."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_GONE = {
    errno.ECONNABORTED,
    # TCP errors of the new connection; accept(2) says to retry after them.
    errno.ENETDOWN,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.EPERM,  # a firewall refused it
}


def pause_after(error: OSError) -> float:
    """Seconds until accept may be tried again. Raises the error when it is permanent."""
    if error.errno in _EXHAUSTED:
        return ACCEPT_PAUSE
    if error.errno in _GONE:
        return 0.0
    raise error
