"""Which signals end a program of ours."""

from __future__ import annotations

import signal


def termination_signals() -> set[signal.Signals]:
    """SIGTERM; SIGINT; and SIGHUP: the terminal is gone. Not the last two where whoever started us has switched them
    off, as nohup does, and a shell for what it runs in the background."""
    optional = {signal.SIGINT, signal.SIGHUP}
    return {signal.SIGTERM} | {one for one in optional if signal.getsignal(one) is not signal.SIG_IGN}
