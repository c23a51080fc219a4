"""Which signals end our programs, and how a program runs until one comes."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import trio


def termination_signals() -> set[signal.Signals]:
    """SIGTERM, SIGINT, and SIGHUP, which says that the terminal is gone. The last two are not among them if they are
    ignored at the start, as nohup does, and a shell for background jobs."""
    optional = {signal.SIGINT, signal.SIGHUP}
    return {signal.SIGTERM} | {one for one in optional if signal.getsignal(one) is not signal.SIG_IGN}


async def until_signal(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work``, which has no end of its own, until a signal comes; then it is cancelled.

    Signals often come in pairs, as when a terminal is closed. The second one waits until ``work`` has left everything
    that it entered.
    """
    with trio.open_signal_receiver(*termination_signals()) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await anext(signals)
            nursery.cancel_scope.cancel()


async def until_interrupted(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` until it ends, or SIGINT comes; then it is cancelled. A second one ends the program at once, also
    while it writes to a terminal that has stopped, or to a pipe that is full.

    A KeyboardInterrupt could be raised anywhere: in the task that reads a connection, it makes the call of another task
    fail, and that failure is all that is told. A SIGINT that is ignored at the start, as in the background of a shell,
    stays so.
    """
    usual, token = signal.getsignal(signal.SIGINT), trio.lowlevel.current_trio_token()
    with trio.CancelScope() as scope:

        def interrupt(*_: object) -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            token.run_sync_soon(scope.cancel)

        signal.signal(signal.SIGINT, usual if usual is signal.SIG_IGN else interrupt)
        try:
            await work()
        finally:
            signal.signal(signal.SIGINT, usual)
